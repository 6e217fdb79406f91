"""Jobs as the submitter runs them, by the launcher's program and kubectl."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.base import IMAGE
from tests.cluster.team import Team
from tests.command_line import environment
from tests.trainer_runs import TINY, metrics

_JOB_LABEL = "training.kubeflow.org/job-name"


class Jobs:
    """The launcher and kubectl as the submitter of a team."""

    def __init__(self, team: Team) -> None:
        self.team = team

    def launcher(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run the program to its end."""
        done = subprocess.run(
            _program(*arguments), env=self._environment(), capture_output=True, text=True, timeout=timeout
        )
        assert "\nTraceback" not in f"\n{done.stderr}", done.stderr  # a rank's own is indented
        return done

    def start_launcher(self, *arguments: str) -> subprocess.Popen[str]:
        """Run the program in the background."""
        pipe = subprocess.PIPE
        return subprocess.Popen(_program(*arguments), env=self._environment(), stdout=pipe, stderr=pipe, text=True)

    def _environment(self) -> dict[str, str]:
        return environment(KUBECONFIG=str(self.team.kubeconfig), LAUNCHER_IMAGE=trainer_image())

    def write(self, name: str, *, train: dict[str, Any] | None = None, **fields: Any) -> str:
        """Write a job file of the tiny job with changes; its path."""
        path = self.team.folder / f"{name}.yaml"
        training = {} if "command" in fields else {"train": {**TINY, **(train or {})}}
        path.write_text(yaml.safe_dump({"name": name, **training, **fields}))
        return str(path)

    def submit(self, name: str, *arguments: str, train: dict[str, Any] | None = None, **fields: Any) -> None:
        """Submit such a job; it must be accepted."""
        done = self.launcher("submit", self.write(name, train=train, **fields), *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def put(self, name: str, content: str) -> str:
        """Write a file to the results volume through a pod, as a user without access to it would; its folder there."""
        script = f"mkdir -p /results/code && cat > /results/code/{name}"
        pod: dict[str, Any] = {
            "spec": {
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 10001,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "put",
                        "image": trainer_image(),
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["sh", "-c", script],
                        "stdin": True,
                        "stdinOnce": True,
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                        "volumeMounts": [{"name": "results", "mountPath": "/results"}],
                    }
                ],
                "volumes": [{"name": "results", "persistentVolumeClaim": {"claimName": "results"}}],
            }
        }
        options = ("--restart=Never", "--rm", "--stdin", "--quiet", "--image=none", f"--overrides={json.dumps(pod)}")
        self.team.admin("run", "put", *options, stdin=content)
        return "/results/code"

    def status(self, name: str) -> dict[str, Any]:
        """``launcher status -o json``."""
        document: dict[str, Any] = json.loads(self.launcher("status", name, "-o", "json").stdout)
        return document

    def pods(self, name: str) -> list[dict[str, Any]]:
        """The job's pods, by index."""
        return sorted(
            self.team.admin.items("get", "pods", "--selector", f"{_JOB_LABEL}={name}"), key=lambda pod: _index(pod)
        )

    def pod_uids(self, name: str) -> dict[str, str]:
        """Pod name -> uid."""
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in self.pods(name)}

    def condition(self, name: str) -> str | None:
        """The type of the job's newest true condition."""
        conditions = self.team.admin.json("get", "pytorchjob", name).get("status", {}).get("conditions", [])
        true = [one["type"] for one in conditions if one["status"] == "True"]
        return next((one for one in ("Failed", "Succeeded") if one in true), true[-1] if true else None)

    def wait_until(self, condition: Callable[[], object], *, seconds: float = 120, name: str | None = None) -> None:
        """Wait for ``condition``; after ``seconds`` fail, with all that is known of the job."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds:.0f} s in vain\n{self.describe(name)}"
            time.sleep(0.1)

    def describe(self, name: str | None) -> str:
        """Pods, events and the ends of logs, for failure messages."""
        admin = self.team.admin
        parts = [admin.run("get", "pytorchjobs,pods", "--output=wide").stdout]
        parts.append(admin.run("get", "events", "--sort-by=.lastTimestamp").stdout[-3000:])
        if name:
            logs = ("logs", "--selector", f"{_JOB_LABEL}={name}", "--prefix", "--tail=40", "--all-containers")
            parts.append(admin.run(*logs).stdout[-6000:])
        return "\n".join(parts)

    def wait_for_end(self, name: str, *, seconds: float = 300) -> str:
        """``Succeeded`` or ``Failed``."""
        self.wait_until(lambda: self.condition(name) in ("Succeeded", "Failed"), seconds=seconds, name=name)
        condition = self.condition(name)
        assert condition
        return condition

    def exec(self, pod: str, *command: str) -> str:
        """Run a command in a pod, as the administrator."""
        return self.team.admin("exec", pod, "--", *command)

    def signal_newest_rank(self, pod: str, signal: str) -> None:
        """Send a signal to the youngest child of the container's first process: a rank of its supervisor or agent."""
        self.exec(pod, "sh", "-c", f"kill -{signal} $(awk '{{print $NF}}' /proc/1/task/1/children)")

    def steps_done(self, name: str) -> int:
        """The last step in metrics.jsonl, read where the volume is, or by worker 0."""
        shared = self.team.cluster.shared_folder
        if shared:
            return max((line["step"] for line in metrics(self.results_folder(name))), default=0)
        read = ("exec", f"{name}-worker-0", "--", "cat", f"{self.results(name)}/metrics.jsonl")
        lines = self.team.admin.run(*read).stdout.splitlines()
        return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)

    def results(self, name: str) -> str:
        """The results folder, as pods see it."""
        return f"/results/{self.team.namespace}/{name}"

    def results_folder(self, name: str) -> Path:
        """The results folder on this machine: the volume's own, else fetched."""
        shared = self.team.cluster.shared_folder
        if shared:
            return shared / self.team.namespace / "results" / self.team.namespace / name
        target = self.team.folder / f"fetched-{name}"
        done = self.launcher("results", name, "--fetch", str(target))
        assert done.returncode == 0, done.stderr
        return target


def trainer_image() -> str:
    """The image that the cluster's nodes have or can pull."""
    return os.environ.get("IMAGE", IMAGE)


def _program(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "launcher", *arguments]


def _index(pod: dict[str, Any]) -> int:
    return int(pod["metadata"]["labels"]["training.kubeflow.org/replica-index"])
