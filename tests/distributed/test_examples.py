"""Every file in examples/ trains, on one rank and on several, and survives a kill: reduced, on data made here."""

import json
import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from launcher.backends.local.volumes import localize, with_folders_from
from launcher.job.load import load_job
from launcher.job.spec import JobSpec
from tests.command_line import EXAMPLES, ROOT
from tests.distributed.example_data import write_inputs
from tests.trainer_runs import (
    assert_same_results,
    kill_a_rank,
    kill_supervisor,
    result_files,
    running,
    train_disturbed,
)

SAVED_EVERY = 3
# Small enough for a few seconds, with checkpoints so close that a kill lands between two.
COMMON = {
    "train.epochs": "2",
    "train.batch_size": "32",
    "train.checkpoint.every_steps": str(SAVED_EVERY),
    "train.logging.every_steps": "1",
}
NARROW_CONVNET = {"train.model.blocks": "[[8], [16]]", "train.model.hidden": "[16]"}
REDUCED: dict[str, Mapping[str, str]] = {
    "digits": {"train.batch_size": "128", **NARROW_CONVNET},
    "digits-focal": {"train.batch_size": "128", **NARROW_CONVNET},
    "fashion-mlp": {"train.model.hidden": "[32, 16]"},
    "fashion-convnet": NARROW_CONVNET,
    "fashion-resnet18": {"train.data.validation_fraction": "0.1", "train.early_stop.patience": "1"},
    "fashion-transfer": {
        "train.epochs": "3",
        "train.data.samples_per_class": "16",
        "train.data.image_size": "32",
        "train.model.unfreeze": "[{epoch: 3, freeze: features.6}]",
    },
    "fashion-transformer": {"train.model.width": "16", "train.model.heads": "2", "train.model.feed_forward": "32"},
    "own-model": {"train.model.args": "{width: 8}"},
    "pronunciation": {
        "train.data.test_fraction": "0.2",
        "train.model.embedding": "16",
        "train.model.hidden": "16",
        "train.decoding.beam": "2",
    },
}
FAST = ("digits", "fashion-transfer", "pronunciation")
SEED = int(os.environ.get("KILL_SEED", "20261125"))

ELSEWHERE = {"digits-folds": "test_folds.py", "own-script": "tests/local/test_own_script.py"}
"""Examples with a results folder of another shape, and the file that tests them."""

NAMES = sorted({path.stem for path in EXAMPLES.glob("*.yaml")} - ELSEWHERE.keys())
every_example = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in NAMES]
)


@dataclass(frozen=True)
class Trained:
    """A reduced example, and the results folders of runs that nobody disturbed."""

    train: dict[str, Any]
    alone: Path
    """On one rank."""
    on_two: Path
    """On two."""

    def steps_before_the_last_stage(self) -> int:
        """Steps after which nothing is unfrozen any more; all of them where nothing ever is."""
        summary = _summary(self.on_two)
        stages = self.train["model"].get("unfreeze", ())
        return int(
            summary["steps"] // summary["epochs_done"] * (stages[-1]["epoch"] - 1) if stages else summary["steps"]
        )


def _summary(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return content


def _reduced(name: str, inputs: Path) -> dict[str, Any]:
    """The example's training configuration, reduced, reading data under ``inputs``."""
    text = (EXAMPLES / f"{name}.yaml").read_text()
    overrides = {**COMMON, **REDUCED[name]}
    spec = load_job(text, filename=name, overrides=list(overrides.items()))
    # What lies in the repository is there; other folders are of somebody's machine.
    elsewhere = {
        volume.name: volume.model_copy(update={"local": str(inputs / volume.name)})
        for volume in spec.volumes
        if not (volume.local and (ROOT / Path(volume.local).expanduser()).resolve().is_relative_to(ROOT.resolve()))
    }
    volumes = tuple(elsewhere.get(volume.name, volume) for volume in spec.volumes)
    spec = with_folders_from(spec.model_copy(update={"volumes": volumes}), ROOT)
    assert spec.train is not None
    write_inputs(spec.train, lambda path: _on_this_machine(spec, path))
    return localize(spec, spec.train).model_dump(mode="json")


def _on_this_machine(spec: JobSpec, path: str) -> Path:
    [volume] = [volume for volume in spec.volumes if path.startswith(f"{volume.mount}/")]
    return Path(str(volume.local)) / Path(path).relative_to(volume.mount)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """Trains an example when a test first asks for it."""
    done: dict[str, Trained] = {}

    def train(name: str) -> Trained:
        if name not in done:
            done[name] = _train(name, tmp_path_factory.mktemp(name))
        return done[name]

    return train


def _train(name: str, folder: Path) -> Trained:
    train = _reduced(name, folder / "inputs")
    example = Trained(train, folder / "alone", folder / "on-two")
    # At once: starting and finishing take most of the time, on one core each.
    with running(example.alone, train, ranks=1) as alone, running(example.on_two, train, ranks=2) as on_two:
        assert alone.wait() == 0, alone.output()
        assert on_two.wait() == 0, on_two.output()
    return example


def test_every_example_has_a_reduced_form_here() -> None:
    assert sorted(REDUCED) == NAMES, "add to REDUCED what makes a new example small enough to be tested here"


@every_example
def test_an_example_leaves_complete_results_on_one_rank_and_on_two(
    name: str, trained: Callable[[str], Trained]
) -> None:
    example = trained(name)
    for folder, ranks in ((example.alone, 1), (example.on_two, 2)):
        missing = [file for file in result_files(example.train["task"], ranks=ranks) if not (folder / file).is_file()]
        assert not missing, f"on {ranks} ranks"
    assert _summary(example.alone)["samples"] == _summary(example.on_two)["samples"]


@every_example
def test_an_example_that_is_killed_at_a_random_step_resumes_byte_equal(
    name: str, trained: Callable[[str], Trained], tmp_path: Path
) -> None:
    example = trained(name)
    # Where layers unfreeze step by step, the last stage comes after the kill: the resumed run must unfreeze by itself.
    step = random.Random(f"{SEED}/{name}").randrange(SAVED_EVERY + 1, example.steps_before_the_last_stage())
    print(f"KILL_SEED={SEED}: {name} is killed after step {step} of {_summary(example.on_two)['steps']}")
    # A supervisor restarts its ranks within a second, a new supervisor takes several: fast tests cannot have that.
    kill = kill_a_rank if name in FAST else kill_supervisor
    history = train_disturbed(tmp_path, example.train, step, kill)
    assert [attempt["resumed_from"] is None for attempt in history] == [True, False]
    assert_same_results(tmp_path, example.on_two)
