"""The life of a job through the program itself, as the submitter of a namespace on a real API server."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.errors import LauncherExit
from tests.api.cluster_actor import ClusterActor
from tests.api.conftest import KubeconfigFor
from tests.api.control_plane import ControlPlane
from tests.api.fake_kubelet import FakeKubelet
from tests.api.jobs import IMAGE, cluster
from tests.command_line import EXAMPLES, environment, run_launcher

Run = Callable[..., subprocess.CompletedProcess[str]]
FILE = str(EXAMPLES / "digits.yaml")


@pytest.fixture
def run(kubeconfig_for: KubeconfigFor, control_plane: ControlPlane) -> Run:
    """Run the program with the submitter's kubeconfig; no output of it may hold the token."""
    kubeconfig = kubeconfig_for("submitter")

    def launch(*arguments: str, user: str = "") -> subprocess.CompletedProcess[str]:
        chosen = kubeconfig_for(user) if user else kubeconfig
        result = run_launcher(*arguments, env=environment(KUBECONFIG=str(chosen), LAUNCHER_IMAGE=IMAGE))
        assert "canary" not in result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        return result

    return launch


def test_the_life_of_a_job(run: Run, actor: ClusterActor, fake_kubelet: FakeKubelet, namespace: str) -> None:
    submitted = run("submit", FILE, "--gpus", "0", "-o", "json")
    assert submitted.returncode == 0, submitted.stderr
    document = json.loads(submitted.stdout)
    assert (document["outcome"], document["state"], document["namespace"]) == ("created", "Pending", namespace)
    assert run("submit", FILE, "--gpus", "0").stdout == "digits unchanged\n"
    different = run("submit", FILE, "--gpus", "0", "--set", "train.batch_size=32")
    assert different.returncode == LauncherExit.USAGE
    assert "train.batch_size" in different.stderr

    actor.node("node-0", gpus=0)
    actor.accept("digits")
    actor.run("digits")
    fake_kubelet.write(namespace, "digits-worker-0", "[rank 0] epoch 1\n")
    assert json.loads(run("status", "digits", "-o", "json").stdout)["state"] == "Running"
    assert run("list").stdout.splitlines()[1].split()[:2] == ["digits", "Running"]
    assert run("logs", "digits").stdout == "epoch 1\n"
    assert run("wait", "digits", "--timeout", "1s").returncode == LauncherExit.TIMEOUT

    with cluster(actor):
        assert run("cancel", "digits").returncode == 0
        assert run("wait", "digits").returncode == LauncherExit.STOPPED
        assert run("resume", "digits").stdout == "digits resumed\n"
        assert run("suspend", "digits").returncode == 0
        assert run("submit", FILE, "--gpus", "0").stdout == "digits resumed\n"
        assert run("delete", "digits").stdout == "digits\n"
    gone = run("status", "digits")
    assert gone.returncode == LauncherExit.NOT_FOUND
    assert f"no job 'digits' in namespace {namespace}" in gone.stderr


def test_wait_ends_with_3_and_the_cause_where_a_job_fails(run: Run, actor: ClusterActor, tmp_path: Path) -> None:
    run("submit", FILE, "--gpus", "0")
    actor.node("node-0", gpus=0)
    actor.accept("digits")
    actor.run("digits")
    actor.fail("digits", 0, 3, json.dumps({"code": 3, "cause": "no folder /data", "rank": 0, "lines": ["last words"]}))
    failed = run("wait", "digits", "-o", "json")
    assert failed.returncode == LauncherExit.JOB_FAILED
    assert json.loads(failed.stdout)["exit_code"] == 3
    assert "no folder /data (rank 0)" in failed.stderr
    assert "last words" in failed.stderr


def test_jobs_of_all_namespaces_have_a_column_for_them(run: Run, namespace: str) -> None:
    run("submit", FILE, "--gpus", "0")
    rows = run("list", "-A", user="admin").stdout.splitlines()
    assert rows[0].split()[:2] == ["NAMESPACE", "NAME"]
    assert [namespace, "digits"] in [row.split()[:2] for row in rows[1:]]
    refused = run("list", "-A")
    assert refused.returncode == LauncherExit.UNUSABLE
    assert "at the cluster scope" in refused.stderr


def test_another_namespace_is_chosen_by_its_option(run: Run) -> None:
    elsewhere = run("status", "digits", "-n", "default")
    assert elsewhere.returncode == LauncherExit.UNUSABLE
    assert 'in the namespace "default"' in elsewhere.stderr


def test_a_context_that_does_not_exist_is_answered_by_those_that_do(run: Run) -> None:
    wrong = run("list", "--context", "lab")
    assert wrong.returncode == LauncherExit.UNUSABLE
    assert "there is no context 'lab' (--context); contexts there: submitter" in wrong.stderr
