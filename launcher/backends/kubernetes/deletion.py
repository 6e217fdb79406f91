"""Waiting for a deleted job to be gone with all that it owns."""

import time
from contextlib import suppress

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
    if change := old.mended_replicas:
        with suppress(NotFound):
            api.patch(JOB, old.name, old.namespace, {"spec": change})
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
