import logging
from pathlib import Path

import pytest
import torch

from trainer.exits import StorageError
from trainer.output.checkpoint import Checkpoint, Checkpointer


def _checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, {"model": {"weight": torch.full((3, 2), float(step))}}, {"epoch": step // 10})


@pytest.fixture
def checkpointer(tmp_path: Path) -> Checkpointer:
    made = Checkpointer(tmp_path, keep=2)
    made.prepare()
    return made


def _folder(tmp_path: Path, step: int) -> Path:
    return tmp_path / "checkpoints" / f"step-{step:08d}"


def test_what_was_saved_comes_back(checkpointer: Checkpointer) -> None:
    checkpointer.save(_checkpoint(20))
    loaded = checkpointer.load(20)
    assert loaded.state == {"step": 20, "epoch": 2}
    assert torch.equal(loaded.tensors["model"]["weight"], torch.full((3, 2), 20.0))


def test_a_channels_last_tensor_comes_back_with_its_values(checkpointer: Checkpointer) -> None:
    weight = torch.randn(4, 3, 5, 5).contiguous(memory_format=torch.channels_last)
    checkpointer.save(Checkpoint(1, {"model": {"weight": weight}}, {}))
    assert torch.equal(checkpointer.load(1).tensors["model"]["weight"], weight)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "COMPLETE"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(
    checkpointer: Checkpointer, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    for step in (10, 20):
        checkpointer.save(_checkpoint(step))
    damaged = _folder(tmp_path, 20) / name
    data = bytearray(damaged.read_bytes())
    data[-2] ^= 1
    damaged.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert checkpointer.latest_valid_step() == 10
    assert "step-00000020 is not used" in caplog.text


def test_a_truncated_or_missing_file_is_noticed(checkpointer: Checkpointer, tmp_path: Path) -> None:
    for step in (10, 20, 30):
        checkpointer.save(_checkpoint(step))
    (_folder(tmp_path, 30) / "COMPLETE").unlink()
    (_folder(tmp_path, 20) / "model.safetensors").write_bytes(b"")
    assert checkpointer.latest_valid_step() == 10


def test_what_a_killed_writer_left_is_never_found_and_is_removed(checkpointer: Checkpointer, tmp_path: Path) -> None:
    checkpointer.save(_checkpoint(10))
    half = tmp_path / "checkpoints" / ".tmp-0123"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert checkpointer.latest_valid_step() == 10
    checkpointer.prepare()
    assert not half.exists()


def test_a_full_disk_costs_only_the_new_checkpoint(
    checkpointer: Checkpointer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpointer.save(_checkpoint(10))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.output.checkpoint.save_file", full)
    with pytest.raises(StorageError, match="No space left"):
        checkpointer.save(_checkpoint(20))
    assert checkpointer.latest_valid_step() == 10
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000010"]


def test_the_newest_and_the_best_are_kept(checkpointer: Checkpointer) -> None:
    for step in (10, 20, 30, 40):
        checkpointer.save(_checkpoint(step))
        checkpointer.expire(best_step=10)
    assert checkpointer.steps() == [10, 30, 40]


def test_a_checkpoint_that_cannot_be_deleted_only_warns(
    checkpointer: Checkpointer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (10, 20, 30):
        checkpointer.save(_checkpoint(step))

    def refuse(*_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(Path, "rename", refuse)
    checkpointer.expire(best_step=None)
    assert "cannot delete the expired checkpoint step-00000010" in caplog.text


def test_tied_weights_are_saved_under_both_names(checkpointer: Checkpointer) -> None:
    weight = torch.arange(6.0).view(2, 3)
    checkpointer.save(Checkpoint(1, {"model": {"embed": weight, "head": weight, "turned": weight.T}}, {}))
    loaded = checkpointer.load(1).tensors["model"]
    assert torch.equal(loaded["embed"], weight)
    assert torch.equal(loaded["head"], weight)
    assert torch.equal(loaded["turned"], weight.T)
