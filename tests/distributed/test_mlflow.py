"""A training on two ranks logs to MLflow, whatever is killed, and trains on where there is no MLflow."""

import importlib.util
from pathlib import Path

import psutil
import pytest

from tests.mlflow_points import expected_points, rows, stored_points
from tests.trainer_runs import TrainerProcess, attempts, kill_supervisor, running, tiny, train_to_end

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None,
    reason="MLflow logging is not tested: pip install 'pytorchjob-launcher[mlflow]'",
)


def test_a_server_that_is_away_costs_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    train = tiny(logging={"every_steps": 1, "mlflow": {"tracking_uri": "http://127.0.0.1:9"}})
    train_to_end(tmp_path, train)
    log = (tmp_path / "logs" / "supervisor.log").read_text()
    assert log.count("WARNING MLflow: cannot log to http://127.0.0.1:9: ") == 1, log
    again = f"MLflow: not everything was sent; do that with: python -m trainer mlflow {tmp_path}"
    assert log.count(again) == 1, log
    assert log.count("WARNING") == 3, log
    assert not (tmp_path / "mlflow").exists()


def _ranks(run: TrainerProcess) -> list[psutil.Process]:
    """Its ranks, in their order, without the process that logs to MLflow."""
    children = psutil.Process(run.process.pid).children()
    return [child for child in children if "--follow" not in child.cmdline()]


def _wait_until_stored(run: TrainerProcess, database: Path, step: int) -> None:
    """Hold the ranks after ``step`` until the store has all that they wrote."""
    run.wait_until(lambda: run.steps_done() >= step)
    for rank in _ranks(run):
        rank.suspend()
    run.wait_until(lambda: stored_points(database) == expected_points(run.folder))


@pytest.mark.slow
def test_a_rank_and_the_supervisor_are_killed_and_every_step_is_stored_once(tmp_path: Path) -> None:
    train = tiny(epochs=4, logging={"every_steps": 1, "mlflow": {}}, checkpoint={"every_steps": 10})
    database = tmp_path / "mlflow" / "mlflow.db"
    with running(tmp_path, train) as run:
        _wait_until_stored(run, database, 15)
        first, second = _ranks(run)
        second.kill()
        first.resume()
        run.wait_until(lambda: len(attempts(tmp_path)) == 2 and len(_ranks(run)) == 2)
        run.wait_until(lambda: second.pid not in [rank.pid for rank in _ranks(run)])
        _wait_until_stored(run, database, 35)
        kill_supervisor(run)
    train_to_end(tmp_path, train)
    assert [attempt["resumed_from"] is None for attempt in attempts(tmp_path)] == [True, False, False]
    assert stored_points(database) == expected_points(tmp_path)
    assert {step for name, step, _ in stored_points(database) if name == "train/loss"} == set(range(1, 89))
    assert rows(database, "SELECT name, status FROM runs") == [("tiny", "FINISHED")]
    final = dict(rows(database, "SELECT key, value FROM metrics WHERE key LIKE 'final/%'"))
    assert final["final/accuracy"] > 0.5
