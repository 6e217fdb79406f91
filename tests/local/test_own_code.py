"""The example whose network, data, transform and loss are one's own, through ``launcher submit`` on this machine."""

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.command_line import EXAMPLES
from tests.local.test_own_script import launcher, ranks, wait_until
from tests.own_code import own_imports
from tests.trainer_runs import assert_same_results, attempts, last_checkpoint, metrics
from trainer import cli

SHORT = ("--set", "train.epochs=4", "--set", "train.checkpoint.every_steps=8", "--set", "train.logging.every_steps=1")
KILLED_AFTER = 30


def _submit(root: Path) -> Path:
    """Start the example; its results folder."""
    done = launcher(root, "submit", "examples/own-model.yaml", *SHORT, "--gpus", "2")
    assert done.stdout == "own-model created\n", done.stderr
    return root / "local" / "own-model"


@pytest.fixture(scope="module")
def killed_and_undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A run that lost a rank in its second epoch, and one that did not, at once: starting takes most of the time."""
    roots = [tmp_path_factory.mktemp(name) for name in ("killed", "undisturbed")]
    try:
        killed, undisturbed = (_submit(root) for root in roots)
        wait_until(lambda: len(metrics(killed)) > KILLED_AFTER, killed)
        os.kill(ranks(killed)[1].pid, signal.SIGKILL)
        for root in roots:
            done = launcher(root, "wait", "own-model")
            assert done.returncode == 0, done.stderr
        yield killed, undisturbed
    finally:
        for root in roots:
            launcher(root, "delete", "own-model", "--grace-period", "0s")


def test_code_of_ones_own_survives_the_loss_of_a_rank_and_ends_byte_equal(
    killed_and_undisturbed: tuple[Path, Path],
) -> None:
    killed, undisturbed = killed_and_undisturbed
    assert [attempt["end"]["code"] for attempt in attempts(killed)] == [137, 0]
    assert attempts(killed)[1]["resumed_from"] is not None
    assert [attempt["end"]["code"] for attempt in attempts(undisturbed)] == [0]
    assert_same_results(killed, undisturbed)


def test_the_results_say_which_code_it_was_and_are_complete(killed_and_undisturbed: tuple[Path, Path]) -> None:
    folder = killed_and_undisturbed[1]
    summary = json.loads((folder / "summary.json").read_text())
    assert sorted(summary["code"]) == ["data", "losses", "nets", "transforms"]
    assert summary["code"]["nets"]["file"] == str(EXAMPLES / "own_model" / "nets.py")
    assert summary["classes"][3] == "three"
    for name in ("report.html", "exports/model.pt2", "predictions/worst/00.png"):
        assert (folder / name).is_file(), name


def test_its_checkpoint_predicts_where_the_code_is_allowed_and_nowhere_else(
    killed_and_undisturbed: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    checkpoint = last_checkpoint(killed_and_undisturbed[1])
    image = tmp_path / "blank.png"
    Image.new("L", (8, 8)).save(image)
    with own_imports():
        assert cli.main(["predict", str(checkpoint), str(image)]) == 2
        assert "its network is code, nets:SmallNet(width=32, depth=3), which using it would run" in caplog.text
        assert "--import-from DIR, or --allow-import nets" in caplog.text
    with own_imports():
        code = shutil.copytree(EXAMPLES / "own_model", tmp_path / "code")
        with (code / "nets.py").open("a") as file:
            file.write("# changed\n")
        assert cli.main(["predict", "--import-from", str(code), str(checkpoint), str(image)]) == 0
    assert re.search(r"blank\.png +(zero|one|two|three|four|five|six|seven|eight|nine) ", capsys.readouterr().out)
    assert "code of your own has changed since the network was trained: nets" in caplog.text


@pytest.mark.slow
def test_arguments_that_do_not_fit_end_the_job_with_what_is_wrong(tmp_path: Path) -> None:
    options = ("--set", "train.model.args.widht=8", "--set", "train.loss.args.epsilon=much", "--wait")
    done = launcher(tmp_path, "submit", "examples/own-model.yaml", "--gpus", "2", *options)
    assert done.returncode == 3
    assert "exit code  2" in done.stderr, done.stderr
    assert "train.model.args.widht: SmallNet takes no such argument; did you mean width?" in done.stderr
    assert 'train.loss.args.epsilon: PolyLoss wants float (got "much")' in done.stderr
