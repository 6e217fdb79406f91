"""The follow display: a bar on a terminal, plain throttled lines elsewhere."""

import io
from typing import Any

from rich.console import Console

from launcher.backends.base import Progress, State
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
