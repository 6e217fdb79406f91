"""A trained network is used from its checkpoint alone, and a checkpoint that was tampered with is refused."""

import csv
import io
import json
import pickle
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.own_code import own_imports, write_modules
from tests.trainer_runs import last_checkpoint, tiny, train_to_end
from trainer import cli


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_to_end(tmp_path_factory.mktemp("trained"), tiny(), ranks=1)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every digit as a PNG of its own, named by its sample id."""
    folder = tmp_path_factory.mktemp("images")
    for sample, pixels in enumerate(load_digits().images):
        Image.fromarray((pixels * 15).astype(np.uint8)).save(folder / f"{sample}.png")
    return folder


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    """The checkpoint's folder, alone and free to be changed."""
    return shutil.copytree(last_checkpoint(trained), tmp_path / "step-00000044")


@dataclass(frozen=True)
class Done:
    """How a call of the command line ended."""

    code: int
    stdout: str
    log: str


@pytest.fixture
def predict(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Done]:
    """``trainer predict`` in this process."""

    def call(*arguments: str | Path, stdin: str = "") -> Done:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = cli.main(["predict", *map(str, arguments)])
        return Done(code, capsys.readouterr().out, caplog.text)

    return call


Predict = Callable[..., Done]


def _answers(done: Done) -> list[dict[str, Any]]:
    assert done.code == 0, done
    answers: list[dict[str, Any]] = json.loads(done.stdout)["predictions"]
    return answers


def test_image_files_get_what_the_run_said_of_the_same_samples(predict: Predict, trained: Path, images: Path) -> None:
    with (trained / "predictions" / "test.csv").open() as file:
        rows = list(csv.DictReader(file))[:100]
    answers = _answers(predict(trained, *(images / f"{row['sample']}.png" for row in rows), "-o", "json"))
    assert [answer["predicted"] for answer in answers] == [row["predicted"] for row in rows]
    for answer, row in zip(answers, rows, strict=True):
        assert answer["probability"] == pytest.approx(float(row["confidence"]), abs=1e-5)


def test_the_checkpoints_folder_is_enough(predict: Predict, checkpoint: Path, images: Path) -> None:
    [answer] = _answers(predict(checkpoint, images / "0.png", "-o", "json"))
    assert set(answer) == {"sample", "predicted", "probability", "alternatives", "error"}
    assert len(answer["alternatives"]) == 2
    assert answer["probability"] > answer["alternatives"][0]["probability"] > answer["alternatives"][1]["probability"]


def test_a_table_for_people_names_the_next_answers_as_well(predict: Predict, trained: Path, images: Path) -> None:
    done = predict(trained, images / "0.png", images / "1.png", "--top", "2")
    header, first, second = done.stdout.splitlines()
    assert header.split() == ["SAMPLE", "PREDICTED", "PROBABILITY", "NEXT"]
    assert first.startswith(str(images / "0.png"))
    assert len(second.split()) == 5


def test_inputs_may_come_a_line_each_from_stdin(predict: Predict, trained: Path, images: Path) -> None:
    done = predict(trained, "-", stdin=f"{images / '0.png'}\n{images / '1.png'}\n")
    assert len(done.stdout.splitlines()) == 3


def test_a_file_that_is_no_image_is_named_and_the_others_are_answered(
    predict: Predict, trained: Path, images: Path
) -> None:
    broken = images / "broken.txt"
    broken.write_text("no image")
    done = predict(trained, images / "0.png", broken, images / "missing.png", "-o", "json")
    good, bad, missing = json.loads(done.stdout)["predictions"]
    assert done.code == 3
    assert good["error"] is None
    assert good["predicted"] is not None
    assert "not a readable image" in bad["error"]
    assert missing["error"] == "No such file or directory"


def test_a_folder_without_a_checkpoint_is_refused_with_what_to_give(predict: Predict, tmp_path: Path) -> None:
    done = predict(tmp_path, "x.png")
    assert done.code == 5
    assert "give a results folder or a step-* folder" in done.log


def _sealed(checkpoint: Path) -> None:
    """Make the list of sizes and checksums true again, as somebody who tampers would."""
    files = [path for path in checkpoint.iterdir() if path.name != "COMPLETE"]
    marks = {
        path.name: {"bytes": path.stat().st_size, "crc32": zlib.crc32(path.read_bytes())} for path in sorted(files)
    }
    (checkpoint / "COMPLETE").write_text(json.dumps(marks))


def _change_network(checkpoint: Path, **changes: Any) -> None:
    state = json.loads((checkpoint / "state.json").read_text())
    state["network"].update(changes)
    (checkpoint / "state.json").write_text(json.dumps(state))


class _Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.target,)


def test_a_pickle_in_the_place_of_tensors_is_refused_and_never_run(
    predict: Predict, checkpoint: Path, images: Path
) -> None:
    touched = checkpoint / "touched"
    (checkpoint / "model.safetensors").write_bytes(pickle.dumps(_Bomb(touched)))
    _sealed(checkpoint)
    done = predict(checkpoint, images / "0.png")
    assert done.code == 5
    assert "cannot read checkpoint" in done.log
    assert not touched.exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"name": "feed-forward", "hidden": [65536] * 60}}, "its tensors are not those of its network"),
        ({"image_shape": [1, 65536, 65536]}, "its tensors are not those of its network"),
        ({"classes": ["only one"]}, "its tensors are not those of its network"),
        ({"model": {"name": "feed-forward", "import": "os:system"}}, "network"),
        ({"model": {"name": "__import__('os')"}}, "unknown model"),
        ({"mean": [float("nan")]}, "network"),
        ({"std": []}, "network"),
        ({"task": "shell"}, "network"),
    ],
)
def test_a_network_that_does_not_belong_to_the_tensors_is_refused_before_it_is_built(
    predict: Predict, checkpoint: Path, images: Path, changes: dict[str, Any], words: str
) -> None:
    _change_network(checkpoint, **changes)
    _sealed(checkpoint)
    done = predict(checkpoint, images / "0.png")
    assert done.code == 2
    assert words in done.log


@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        ("os:system", (), "its network is code, os:system(command='touch {touched}'), which using it would run"),
        ("evil:Net", (), "--import-from DIR, or --allow-import evil where that is installed"),
        ("os:system", ("--import-from", "{code}"), "os is no module of {code}, and only that may be imported here"),
        (
            "nets:os.system",
            ("--import-from", "{code}"),
            "nets:os.system is not defined in {code} but in os, and only what is may be used here",
        ),
        ("evil:Net", ("--import-from", "{code}"), "evil is no module of {code}"),
        ("evil:Net", ("--allow-import", "json"), "evil is no module of json"),
        ("subprocess:getoutput", ("--allow-import", "json"), "subprocess is no module of json"),
        ("nets:Net", ("--import-from", "{code}/nowhere"), "--import-from: {code}/nowhere: no such folder"),
    ],
)
def test_code_that_a_checkpoint_names_runs_only_where_it_was_allowed(
    predict: Predict,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    options: tuple[str, ...],
    words: str,
) -> None:
    touched, code = tmp_path / "touched", write_modules(tmp_path / "code", nets="import os\nclass Net: pass")
    evil = write_modules(tmp_path / "elsewhere", evil=f"import os\nos.system('touch {touched}')\nclass Net: pass")
    monkeypatch.syspath_prepend(str(evil))
    _change_network(checkpoint, model={"import": path, "args": {"command": f"touch {touched}"}})
    _sealed(checkpoint)
    with own_imports():
        done = predict(*(option.format(code=code) for option in options), checkpoint, "x.png")
    assert done.code == 2
    assert words.format(code=code, touched=touched) in done.log
    assert not touched.exists()


def test_a_changed_file_is_noticed_by_its_checksum(predict: Predict, checkpoint: Path, images: Path) -> None:
    _change_network(checkpoint, classes=list("abcdefghij"))
    done = predict(checkpoint, images / "0.png")
    assert done.code == 5
    assert "state.json differs from what was written" in done.log


def test_the_name_of_the_best_checkpoint_cannot_lead_out_of_its_folder(
    predict: Predict, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.json").write_text(json.dumps({"checkpoint": "../../etc"}))
    done = predict(tmp_path, "x.png")
    assert done.code == 2
    assert "is not the name of a checkpoint" in done.log
