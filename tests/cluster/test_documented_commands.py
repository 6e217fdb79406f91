"""The kubectl commands of docs/cluster.md, run by a submitter as they stand there."""

import os
import re
import subprocess

from tests.cluster.jobs import Jobs
from tests.command_line import ROOT
from tests.tools.build import tool

WATCHING_SECONDS = "5"
TIMED_OUT = 124


def commands() -> list[str]:
    """Those of the table that is headed "want, command"."""
    text = (ROOT / "docs" / "cluster.md").read_text()
    table = text.partition("| want | command |")[2].partition("\n\n")[0]
    return re.findall(r"\| `(kubectl [^`]+)` \|", table)


def run(jobs: Jobs, command: str) -> tuple[int, str]:
    """Exit code and output; commands that follow something are ended after a while."""
    path = f"{tool('kubectl').parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "KUBECONFIG": str(jobs.team.kubeconfig)}
    shell = ["timeout", WATCHING_SECONDS, "sh", "-c", f"exec {command}"]
    done = subprocess.run(shell, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def test_every_documented_kubectl_command_works_for_a_submitter(jobs: Jobs) -> None:
    assert len(commands()) >= 10
    jobs.submit("digits", gpus=2, resources={"gpus_per_node": 1}, train={"epochs": 100_000})
    jobs.wait_until(lambda: jobs.steps_done("digits") > 10, name="digits")
    jobs.exec("digits-worker-1", "sh", "-c", "kill -TERM 1")  # so that there is an earlier run to show
    restarts = ("get", "pod", "digits-worker-1", "--output=jsonpath={.status.containerStatuses[0].restartCount}")
    jobs.wait_until(lambda: jobs.team.submitter(*restarts) == "1", name="digits")
    begun = jobs.steps_done("digits")
    jobs.wait_until(lambda: jobs.steps_done("digits") > begun, name="digits")
    for command in commands():
        follows = re.search(r" -[fw]\b", command)
        code, output = run(jobs, command.replace("NAME", "digits"))
        assert code == (TIMED_OUT if follows else 0), f"{command}\n{output}"
        assert output.strip(), f"{command} printed nothing"
        if "describe" not in command and "events" not in command:
            assert "digits" in output or "[rank 1]" in output, output
