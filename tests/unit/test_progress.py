"""The follow display: a bar on a terminal, plain throttled lines elsewhere."""

import io
from typing import Any

import pytest
from rich.console import Console

from launcher.backends.base import Progress, State, read_progress
from launcher.progress import PLAIN_SECONDS, PlainDisplay, follow_display
from tests.unit.test_output import status


def progress(step: int, epoch: int = 1, loss: float | None = 0.5) -> Progress:
    return Progress(step=step, steps=100, epoch=epoch, epochs=2, loss=loss, samples_per_second=1234.5, eta_seconds=9.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def plain() -> tuple[PlainDisplay, list[str], Clock]:
    lines: list[str] = []
    clock = Clock()
    return PlainDisplay(lines.append, clock=clock), lines, clock


def test_plain_lines_are_throttled_between_milestones() -> None:
    display, lines, clock = plain()
    for step in range(1, 30):
        clock.now += 1.0
        display.show(status(progress=progress(step)))
    assert len(lines) == 1 + 29 // int(PLAIN_SECONDS)


def test_each_change_of_state_attempt_or_epoch_has_its_line() -> None:
    display, lines, _ = plain()
    moments: list[dict[str, Any]] = [
        {"state": State.PENDING},
        {"progress": progress(1)},
        {"progress": progress(2)},
        {"progress": progress(60, epoch=2)},
        {"progress": progress(60, epoch=2), "attempt": 2},
        {"progress": progress(100, epoch=2), "attempt": 2, "state": State.SUCCEEDED},
    ]
    for moment in moments:
        display.show(status(**moment))
    assert len(lines) == 5
    assert lines[1] == "digits: Running, step 1/100, epoch 1/2, loss 0.5000, 1,234 samples/s"


def test_a_script_need_not_tell_more_than_its_steps() -> None:
    display, lines, _ = plain()
    display.show(status(progress=read_progress('{"step": 1, "steps": 9}')))
    assert lines == ["digits: Running, step 1/9, loss -"]


@pytest.mark.parametrize(
    "text",
    ["", "step 1 of 9", "[1, 9]", "null", '{"step": 1}', '{"step": "1", "steps": 9}', '{"step": NaN, "steps": 9}'],
)
def test_a_line_that_names_no_step_is_no_progress(text: str) -> None:
    assert read_progress(text) is None


def test_what_is_no_finite_number_in_a_progress_line_is_unknown() -> None:
    seen = read_progress('{"step": 1, "steps": 9, "loss": NaN, "epoch": "1", "samples_per_second": true, "attempt": 2}')
    assert seen is not None
    assert (seen.loss, seen.epoch, seen.samples_per_second, seen.attempt) == (None, None, None, 2)


def test_a_missing_loss_and_a_hostile_reason_are_shown_safely() -> None:
    display, lines, _ = plain()
    display.show(status(progress=progress(1, loss=None), reason="x\x1b[31m"))
    assert "loss -," in lines[0]
    assert "\x1b" not in lines[0]


def test_a_terminal_gets_a_bar() -> None:
    screen = io.StringIO()
    with follow_display(Console(file=screen, force_terminal=True, width=120)) as show:
        show(status(progress=progress(50)))
    drawn = screen.getvalue()
    assert "━" in drawn
    assert "50/100" in drawn
    assert "loss 0.5000" in drawn


def test_no_terminal_gets_no_bar(capsys: Any) -> None:
    with follow_display(Console(file=io.StringIO())) as show:
        show(status(progress=progress(50)))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "step 50/100" in shown.err
