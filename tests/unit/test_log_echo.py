"""What scripts print, on its way from the ranks' logs to the supervisor's own output."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.runtime.log_echo import LogEcho
from trainer.runtime.rendezvous import Generation
from trainer.runtime.work import rank_settings

TWO = Generation(1, 1, nodes=(0,), ranks_per_node=2, address="127.0.0.1", port=1, listener=None)


class Output:
    """The supervisor's output, in a file."""

    def __init__(self, path: Path, logs: Path, *, echo: bool) -> None:
        self._path = path
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        self.echo = LogEcho(rank_settings(TWO, node=0, logs=logs, echo=echo), attempt=4, descriptor=self.descriptor)

    def lines(self, *, at_end: bool = False) -> list[str]:
        self.echo.copy(at_end=at_end)
        return self._path.read_text().splitlines()


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Output]:
    made = Output(tmp_path / "out", tmp_path, echo=True)
    yield made
    os.close(made.descriptor)


def append(folder: Path, rank: int, text: str) -> None:
    with (folder / f"rank-{rank}.log").open("a") as file:
        file.write(text)


def test_lines_are_tagged_with_their_rank_and_come_once_and_whole(output: Output, tmp_path: Path) -> None:
    assert output.lines() == []
    append(tmp_path, 1, "one\ntw")
    append(tmp_path, 0, "zero\n")
    assert output.lines() == ["[rank 0] zero", "[rank 1] one"]
    append(tmp_path, 1, "o\nlast")
    assert output.lines()[2:] == ["[rank 1] two"]
    assert output.lines(at_end=True)[3:] == ["[rank 1] last"]


def test_progress_is_passed_on_with_the_attempt_and_from_rank_0_alone(output: Output, tmp_path: Path) -> None:
    for rank in (0, 1):
        append(tmp_path, rank, '@progress {"step": 1}\n')
    assert output.lines() == ['@progress {"step": 1, "attempt": 4}']


@pytest.mark.parametrize("text", ["[1]", "half", '"text"'])
def test_what_only_looks_like_progress_is_passed_on_as_it_is(output: Output, tmp_path: Path, text: str) -> None:
    append(tmp_path, 0, f"@progress {text}\n")
    assert output.lines() == [f"@progress {text}"]


def test_on_a_laptop_only_progress_is_passed_on(tmp_path: Path) -> None:
    output = Output(tmp_path / "out", tmp_path, echo=False)
    append(tmp_path, 0, 'text\n@progress {"step": 1}\n')
    assert output.lines(at_end=True) == ['@progress {"step": 1, "attempt": 4}']
    os.close(output.descriptor)


def test_of_a_progress_bar_only_its_last_state_is_passed_on(output: Output, tmp_path: Path) -> None:
    append(tmp_path, 0, "\r 10%" * 50_000)
    assert output.lines() == []
    append(tmp_path, 0, "\r100%\r\n")
    assert output.lines() == ["[rank 0] 100%"]
