"""Results on a claim, read through a short-lived pod that mounts it read-only and prints what is asked for.

Nothing but ``pods: create get delete`` and ``pods/log: get`` is needed. A stream through ``exec`` would be simpler, and
needs the right to run anything in any pod of the namespace.
"""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any

from launcher.backends.base import Results
from launcher.backends.folders import FolderSink
from launcher.backends.kubernetes.api import Api
from launcher.backends.kubernetes.errors import ApiError, Forbidden
from launcher.backends.kubernetes.framing import Frames, Interrupted, MemorySink
from launcher.backends.kubernetes.kinds import POD, Object, name_of, uid_of
from launcher.backends.kubernetes.pods import ends, in_order, phase_of, waits
from launcher.backends.kubernetes.record import Job
from launcher.backends.kubernetes.transport import Broken
from launcher.errors import BackendUnusable, LauncherError
from launcher.output import printable
from trainer.config.contract import SUMMARY_FILE

CONTAINER = "reader"
START_SECONDS = 180.0
POLL_SECONDS = 1.0
# The pod ends itself even if this process dies before it can delete it.
POD_SECONDS = 3600
TRIES_WITHOUT_PROGRESS = 3
HOPELESS = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
)


class ResultsReader:
    """Reads the results folder of one job."""

    def __init__(self, api: Api, job: Job) -> None:
        if job.results_claim is None:
            raise LauncherError(
                f"job {job.name} has no claim at {job.results_folder}, so its results were lost with its pods\n"
                f"name one in the job file: results: {{claim: NAME}}"
            )
        self._api = api
        self._job = job

    def list(self) -> Results:
        """The files, and the summary of a job that succeeded."""
        sink = MemorySink()
        frames = Frames(sink)
        self._read(frames, "list")
        summary = sink.contents.get(SUMMARY_FILE) if self._job.condition("Succeeded") else None
        return Results(
            path=self._job.results,
            summary=_decoded(summary),
            files=tuple(path for path, _ in frames.files),
        )

    def fetch(self, folder: Path) -> FolderSink:
        """Copy all files into ``folder``; what is there already under the same names is replaced."""
        sink = FolderSink(folder)
        frames = Frames(sink)
        self._read(frames, "fetch")
        if frames.is_missing:
            raise LauncherError(f"job {self._job.name} has written nothing to {self._job.results} yet")
        return sink

    def fetch_one(self, path: str, folder: Path) -> bool:
        """Copy one file into ``folder``; False where the results have none of that name."""
        sink = FolderSink(folder)
        self._read(Frames(sink), "fetch", only=path)
        return sink.written == [path]

    def set_aside(self) -> str | None:
        """Rename the folder; its new name as a person finds it, or None where there is no folder."""
        frames = Frames(MemorySink())
        self._read(frames, "aside")
        return f"{self._job.results.rpartition('/')[0]}/{frames.moved_to}" if frames.moved_to else None

    def _read(self, frames: Frames, mode: str, *, only: str = "") -> None:
        """Read to the end, going on in a new pod where one was cut off."""
        tries, before = 0, -1
        while True:
            try:
                with self._pod(mode, frames, only) as pod, self._log(pod) as lines:
                    return frames.read(lines)
            except (Interrupted, Broken) as interruption:
                tries, before = (0 if frames.progress > before else tries + 1), frames.progress
                if tries == TRIES_WITHOUT_PROGRESS:
                    raise BackendUnusable(f"reading the results was interrupted: {interruption}; try again") from None
                self._api.client.say(f"reading the results was interrupted ({interruption}); going on")

    def _log(self, pod: Object) -> Any:
        return self._api.pod_log(name_of(pod), self._job.namespace, {"container": CONTAINER, "follow": "true"})

    @contextmanager
    def _pod(self, mode: str, frames: Frames, only: str) -> Iterator[Object]:
        """A reader pod that has started; deleted in any case."""
        name = f"{self._job.name[:40]}-results-{secrets.token_hex(4)}"
        arguments = [mode, self._job.results_folder, frames.path, str(frames.offset), only]
        manifest = reader_pod(self._job, name, arguments, read_only=mode != "aside")
        try:
            self._api.create(POD, manifest, self._job.namespace)
            yield self._started(name)
        finally:
            with suppress(ApiError):  # it ends by itself, and goes with the job
                self._api.delete(POD, name, self._job.namespace, grace_seconds=0)

    def _started(self, name: str) -> Object:
        self._api.client.say(f"reading {self._job.results} through the pod {name}")
        give_up = time.monotonic() + START_SECONDS
        while True:
            pod = self._api.get(POD, name, self._job.namespace)
            if phase_of(pod) != "Pending":
                return pod
            reason = waits(pod)
            if reason.startswith(HOPELESS) or time.monotonic() > give_up:
                words = printable(reason or "no reason is given")
                raise BackendUnusable(f"the pod that reads the results does not start: {words}")
            time.sleep(POLL_SECONDS)


def without_reader(error: Forbidden, job: Job, pods: tuple[Object, ...]) -> Results:
    """The final metrics in a pod's last message, for those who may not start a reader pod.

    Raises:
        Forbidden: There are none.
    """
    metrics = next((end.metrics for end in ends(in_order(pods)) if end.metrics), None)
    if metrics is None:
        raise error
    return Results(path=job.results, summary={"metrics": metrics}, files=())


def _decoded(content: bytes | None) -> dict[str, Any] | None:
    try:
        summary = json.loads(content or b"null")
    except ValueError:
        return None
    return summary if isinstance(summary, dict) else None


def reader_pod(job: Job, name: str, arguments: list[str], *, read_only: bool = True) -> Object:
    """A pod that a `restricted` namespace accepts, with the job's own image, and the claim as its only volume."""
    claim, mount = job.results_claim or ("", "")
    template = job.template.get("spec", {})
    copied = ("imagePullSecrets", "nodeSelector", "tolerations", "priorityClassName")
    command = (job.container.get("command") or ["python3"])[0]
    python = command if Path(command).name.startswith("python") else "python3"
    script = resources.files(__package__).joinpath("reader_script.py").read_text(encoding="utf-8")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": job.namespace,
            "labels": {
                "app.kubernetes.io/name": "pytorchjob-results-reader",
                "app.kubernetes.io/managed-by": "pytorchjob-launcher",
                "app.kubernetes.io/instance": job.name,
            },
            "annotations": {"sidecar.istio.io/inject": "false"},
            "ownerReferences": [owner_reference(job)] if uid_of(job.obj) else [],
        },
        "spec": {
            **{key: template[key] for key in copied if key in template},
            "restartPolicy": "Never",
            "activeDeadlineSeconds": POD_SECONDS,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                **template.get("securityContext", {}),
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": CONTAINER,
                    "image": job.container.get("image"),
                    "command": [python, "-I", "-c", script, *arguments],
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "128Mi"},
                        "limits": {"cpu": "1", "memory": "256Mi"},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "results", "mountPath": mount, "readOnly": read_only}],
                }
            ],
            "volumes": [{"name": "results", "persistentVolumeClaim": {"claimName": claim, "readOnly": read_only}}],
        },
    }


def owner_reference(job: Job) -> Object:
    """Makes an object go away with the job."""
    return {
        "apiVersion": job.obj["apiVersion"],
        "kind": job.obj["kind"],
        "name": job.name,
        "uid": uid_of(job.obj),
        "controller": False,
    }
