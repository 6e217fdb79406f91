"""Waiting for a deleted job to be gone with all that it owns."""

import time

from launcher.backends.kubernetes.api import Api
from launcher.backends.kubernetes.errors import NotFound
from launcher.backends.kubernetes.kinds import JOB, uid_of
from launcher.backends.kubernetes.record import Job
from launcher.errors import TimedOut

POLL_SECONDS = 0.5


def wait_until_gone(api: Api, old: Job, *, seconds: float) -> None:
    """Wait until the object, and all that it owns, is no more.

    Raises:
        TimedOut: It is still there.
    """
    if old.stated_nodes < 1:
        _mend(api, old)
    give_up = time.monotonic() + seconds
    while True:
        try:
            obj = api.get(JOB, old.name, old.namespace)
        except NotFound:
            return
        if uid_of(obj) != uid_of(old.obj):
            return
        if time.monotonic() > give_up:
            raise TimedOut(
                f"job {old.name} is still being deleted after {seconds:.0f} s: one of its pods does not end\n"
                f"see `kubectl get pods -n {old.namespace}`, then try again"
            )
        time.sleep(POLL_SECONDS)


def _mend(api: Api, job: Job) -> None:
    """Undo `kubectl scale --replicas=0`: the operator's webhook refuses the very update that ends a deletion."""
    try:
        api.patch(
            JOB, job.name, job.namespace, {"spec": {"pytorchReplicaSpecs": {"Worker": {"replicas": job.least_nodes}}}}
        )
    except NotFound:
        return
