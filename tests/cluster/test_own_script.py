"""A plain PyTorch script of the user's own, submitted as an example, through the loss of a rank to its results."""

import json
from pathlib import Path

from tests.cluster.jobs import Jobs, trainer_image
from tests.command_line import EXAMPLES
from tests.trainer_runs import attempts, metrics

EPOCHS = 100
STEPS = EPOCHS * 22


def test_the_example_on_two_pods_survives_the_loss_of_a_rank_and_its_results_are_fetched(
    jobs: Jobs, tmp_path: Path
) -> None:
    folder = jobs.put("train.py", (EXAMPLES / "own_script" / "train.py").read_text())
    script, epochs = f'command.0="{folder}/train.py"', f'command.2="{EPOCHS}"'
    options = ("--image", trainer_image(), "--gpus-per-node", "1", "--set", script, "--set", epochs)
    submitted = jobs.launcher("submit", str(EXAMPLES / "own-script.yaml"), *options)
    assert submitted.returncode == 0, submitted.stderr
    jobs.wait_until(lambda: jobs.steps_done("own-script") > 30, name="own-script")
    before = jobs.pod_uids("own-script")
    jobs.signal_newest_rank("own-script-worker-1", "KILL")

    assert jobs.wait_for_end("own-script") == "Succeeded", jobs.describe("own-script")
    assert jobs.pod_uids("own-script") == before, "the rank was started again in place"
    document = jobs.status("own-script")
    assert (document["state"], document["exit_code"], document["attempt"]) == ("Succeeded", 0, 2)
    assert document["progress"]["step"] == STEPS
    assert "resumed after step" in jobs.launcher("logs", "own-script", "--rank", "1").stdout

    copy = tmp_path / "copy"
    fetched = jobs.launcher("results", "own-script", "--fetch", str(copy))
    assert fetched.returncode == 0, fetched.stderr
    assert [(attempt["nodes"], attempt["end"]["code"]) for attempt in attempts(copy)] == [(2, 137), (2, 0)]
    assert attempts(copy)[1]["resumed_from"].startswith("last.pt of ")
    assert [line["step"] for line in metrics(copy)] == list(range(1, STEPS + 1))
    assert json.loads((copy / "summary.json").read_text())["metrics"]["accuracy"] > 0.9
    assert {path.name for path in (copy / "logs" / "attempt-2").iterdir()} >= {"rank-0.log", "rank-1.log"}
