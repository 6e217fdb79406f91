"""What the container's control group says of memory, in both versions of its interface."""

from pathlib import Path

import pytest

from trainer.runtime.memory import MemoryUse, in_units


def test_version_2_is_read(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n")
    (tmp_path / "memory.max").write_text("536870912\n")
    (tmp_path / "memory.peak").write_text("536870912\n")
    use = MemoryUse.now(tmp_path)
    assert use == MemoryUse(1, 536870912, 536870912)
    assert use.describe() == "the memory limit of 512 MiB (peak 512 MiB)"


def test_version_1_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    folder.mkdir()
    (folder / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    (folder / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (folder / "memory.max_usage_in_bytes").write_text("1610612736\n")
    assert MemoryUse.now(tmp_path) == MemoryUse(2, None, 1610612736)


def test_where_there_is_no_control_group_nothing_is_known(tmp_path: Path) -> None:
    assert MemoryUse.now(tmp_path) == MemoryUse()


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (6 << 30, "6 GiB"), (2048 << 40, "2048 TiB")]
)
def test_sizes_are_written_as_people_do(size: int, text: str) -> None:
    assert in_units(size) == text
