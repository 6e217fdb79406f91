"""Kubeflow's own Python client sees a job that the launcher submitted as one of its own.

It wants an older Kubernetes client than the launcher does, so it lives in an environment of its own, made once.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.jobs import Jobs
from tests.tools.build import cache_folder

CLIENT = "kubeflow-training==1.9.4"
SCRIPT = """
import json, sys
from kubeflow.training import TrainingClient

kubeconfig, namespace, name = sys.argv[1:]
client = TrainingClient(config_file=kubeconfig, namespace=namespace, job_kind="PyTorchJob")
listed = [job.metadata.name for job in client.list_jobs()]
at_first = client.get_job(name)
done = client.wait_for_job_conditions(name, expected_conditions={"Succeeded"}, timeout=240, polling_interval=1)
logs, _ = client.get_job_logs(name)
print(json.dumps({
    "listed": listed,
    "workers": at_first.spec.pytorch_replica_specs["Worker"].replicas,
    "conditions": [one.type for one in done.status.conditions if one.status == "True"],
    "succeeded": client.is_job_succeeded(name),
    "pods": sorted(client.get_job_pod_names(name)),
    "logs": {pod: len(text) for pod, text in logs.items()},
}))
"""


@pytest.fixture(scope="session")
def client_python() -> Path:
    """The interpreter of an environment with Kubeflow's client, kept in the user's cache."""
    folder = cache_folder().with_name("kubeflow-client") / CLIENT.partition("==")[2]
    python = folder / "bin" / "python"
    installed = folder / ".installed"
    if not installed.exists():
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", CLIENT],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"NOT TESTED: {CLIENT} cannot be installed here: {done.stderr.strip()[-300:]}")
        installed.touch()
    return python


def run_client(python: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run([str(python), "-c", SCRIPT, *arguments], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_kubeflows_client_lists_gets_and_waits_for_a_job_of_the_launcher(client_python: Path, jobs: Jobs) -> None:
    jobs.submit("job", gpus=0, processes=1)
    answer = run_client(client_python, str(jobs.team.kubeconfig), jobs.team.namespace, "job")
    assert answer["listed"] == ["job"]
    assert answer["workers"] == 1
    assert "Succeeded" in answer["conditions"]
    assert answer["succeeded"] is True
    assert answer["pods"] == ["job-worker-0"]
    assert answer["logs"]["job-worker-0"] > 0
    assert jobs.status("job")["state"] == "Succeeded"
