import errno
import json
from pathlib import Path

import pytest

from trainer.exits import StorageError
from trainer.output import storage


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    storage.write_json(path, {"accuracy": 1})

    def write_half() -> None:
        with storage.replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert json.loads(path.read_text()) == {"accuracy": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_with_the_path_and_the_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StorageError, match=r"summary\.json: No space left on device \(\d+ MiB free, uid \d+\)"):
        storage.write_json(tmp_path / "summary.json", {})


def test_of_two_writers_of_one_new_file_the_first_wins(tmp_path: Path) -> None:
    assert storage.create_json(tmp_path / "0001.json", {"writer": 1})
    assert not storage.create_json(tmp_path / "0001.json", {"writer": 2})
    assert json.loads((tmp_path / "0001.json").read_text()) == {"writer": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_non_finite_numbers_are_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(tmp_path / "summary.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())
