"""Everything that is imported is checked at the start, on all ranks together."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.own_code import own_imports, write_modules
from tests.rank_processes import on_ranks
from tests.trainer_runs import tiny
from trainer.config import ImageClassification
from trainer.config.imports import Source
from trainer.exits import ConfigError, DataError
from trainer.own_code.check import check_same_everywhere, import_own_code
from trainer.runtime.distributed import Ranks

ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"), None)
CODE = """
    def net(width: int, classes, input_shape): ...
    def blobs(train: bool = True): ...
    def crop(size: int): ...
    def poly(epsilon: float, class_counts): ...
"""


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    with own_imports():
        yield


def config_of(folder: Path, **parts: dict[str, Any]) -> ImageClassification:
    train = {
        "model": {"import": "unit_check:net", "args": {"width": 8}},
        "loss": {"import": "unit_check:poly", "args": {"epsilon": 1}, "returns": "mean"},
        "data": {"kind": "import", "import": "unit_check:blobs", "test_args": {"train": False}},
    }
    return ImageClassification.model_validate(tiny(import_from=str(folder), **{**train, **parts}))


def test_what_the_trainer_passes_by_itself_need_not_be_given(tmp_path: Path) -> None:
    import_own_code(config_of(write_modules(tmp_path, unit_check=CODE)), ALONE)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    write_modules(tmp_path, unit_check=CODE)
    data = {
        "kind": "import",
        "import": "unit_check:blobs",
        "test_args": {"trian": False},
        "transform": {"import": "unit_check:crop"},
    }
    config = config_of(tmp_path, data=data, model={"import": "unit_check:nett"})
    with pytest.raises(ConfigError) as caught:
        import_own_code(config, ALONE)
    assert str(caught.value).splitlines() == [
        "train.data.test_args.trian: blobs takes no such argument; did you mean train? (it takes: train=True)",
        "train.data.transform.args.size: crop needs it (it takes: size)",
        "train.model.import: unit_check has no nett; did you mean net? (it defines net, blobs, crop, poly)",
    ]


def test_a_missing_folder_is_named_by_its_field(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.import_from: .*nowhere: no such folder to import from"):
        import_own_code(config_of(tmp_path / "nowhere"), ALONE)


def _compare(ranks: Ranks) -> str:
    """Each rank has a module of its own beside the common one, which differs on rank 2."""
    nets = Source(file=f"/code/{ranks.rank}/nets.py", sha256="ba" if ranks.rank == 2 else "ab")
    try:
        check_same_everywhere({"nets": nets, f"plots_{ranks.rank}": Source(file="p.py", sha256=str(ranks.rank))}, ranks)
    except ConfigError as error:
        return str(error)
    return "same"


def test_code_that_differs_between_ranks_is_refused_on_all_of_them() -> None:
    said = on_ranks(3, _compare)
    assert said[0].startswith(
        "train.import_from: code of your own differs between ranks 0 and 2: /code/0/nets.py and /code/2/nets.py (nets)"
    )
    assert said == [said[0]] * 3
    assert on_ranks(2, _compare) == ["same"] * 2
