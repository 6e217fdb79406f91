"""The state of a local job, decided from facts: every combination that can be seen."""

from datetime import UTC, datetime
from typing import Any

import pytest

from launcher.backends.base import State
from launcher.backends.local.record import Attempt, AttemptEnd
from launcher.backends.local.status import Facts, judge

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def attempt(code: int | None = None, **end: Any) -> Attempt:
    ended = None if code is None else AttemptEnd(code=code, ended=NOON, **end)
    return Attempt(attempt=1, pid=1, process_started=0.0, started=NOON, ranks=2, end=ended)


def facts(**changes: Any) -> Facts:
    return Facts(**{"alive": False, "attempt": None, "cancelled": False, "is_complete": False, **changes})


@pytest.mark.parametrize(
    ("seen", "state", "reason"),
    [
        (facts(alive=True), State.PENDING, "starting"),
        (facts(alive=True, attempt=attempt()), State.RUNNING, ""),
        (facts(alive=True, attempt=attempt(), cancelled=True), State.RUNNING, "stopping: saving a checkpoint"),
        (facts(alive=True, attempt=attempt(139)), State.RUNNING, "attempt 1 ended, starting again: crashed"),
        (facts(alive=True, attempt=attempt(3)), State.RUNNING, ""),
        (facts(attempt=attempt(0), is_complete=True), State.SUCCEEDED, ""),
        (facts(attempt=attempt(0), is_complete=True, cancelled=True), State.SUCCEEDED, ""),
        (facts(attempt=attempt(0)), State.FAILED, "no summary.json"),
        (facts(attempt=attempt(143)), State.SUSPENDED, "preempted after saving"),
        (facts(attempt=attempt(143), cancelled=True), State.CANCELLED, "preempted after saving"),
        (facts(attempt=attempt(3)), State.FAILED, "data missing or unreadable"),
        (facts(attempt=attempt(3), cancelled=True), State.FAILED, "data missing or unreadable"),
        (facts(attempt=attempt(137)), State.FAILED, "memory limit"),
        (facts(attempt=attempt()), State.FAILED, "the supervisor vanished (killed, or the machine restarted)"),
        (facts(attempt=attempt(), is_complete=True), State.SUCCEEDED, ""),  # killed after its last write
        (facts(is_complete=True), State.SUCCEEDED, ""),  # found everything done, so it began no attempt
        (facts(attempt=attempt(139)), State.FAILED, "crashed"),
        (facts(attempt=attempt(139), cancelled=True), State.CANCELLED, "crashed"),  # while waiting to start again
        (facts(attempt=attempt(), cancelled=True), State.CANCELLED, "killed before it could save"),
        (facts(), State.FAILED, "never started: it wrote nothing"),
        (facts(last_words=("Traceback", "ImportError: x")), State.FAILED, "never started: ImportError: x"),
        (facts(cancelled=True), State.CANCELLED, "stopped before it started"),
    ],
)
def test_state_follows_from_process_and_attempts(seen: Facts, state: State, reason: str) -> None:
    verdict = judge(seen)
    assert verdict.state is state
    assert reason in verdict.reason


@pytest.mark.parametrize("code", [None, 0, 1, 3, 134, 139, 143])
@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("is_complete", [False, True])
def test_a_job_whose_supervisor_is_gone_is_over(code: int | None, cancelled: bool, is_complete: bool) -> None:
    seen = facts(attempt=attempt(code), cancelled=cancelled, is_complete=is_complete)
    assert judge(seen).state.is_over


def test_a_failure_names_rank_exception_and_last_lines() -> None:
    end = attempt(1, cause="uncaught exception", rank=3, exception="ValueError: bad\nmore", lines=("x", "y"))
    verdict = judge(facts(attempt=end, last_words=("unused",)))
    assert verdict.reason == "uncaught exception (rank 3, ValueError: bad)"
    assert verdict.exit_code == 1
    assert verdict.ended == NOON
    assert verdict.failure is not None
    assert (verdict.failure.rank, verdict.failure.lines) == (3, ("x", "y"))


def test_a_failure_without_recorded_lines_shows_what_the_supervisor_said() -> None:
    verdict = judge(facts(attempt=attempt(), last_words=("out of memory",)))
    assert verdict.failure is not None
    assert verdict.failure.lines == ("out of memory",)
