"""What to do about a job that waits, by the words that say why; every command is one that a submitter may run."""

import re
from collections.abc import Callable

from launcher.backends.kubernetes.errors import QUOTA_HINT, SECURITY_HINT
from launcher.backends.kubernetes.record import JOB_NAME, Job

# The operator's queue doubles its pause from 5 ms to 1000 s, and forgets it once a pass succeeds, as suspending does.
_TRIES_AGAIN = (
    "the operator tries again by itself, each time after twice as long (up to 17 minutes); "
    "`launcher suspend {name}`, then `launcher resume {name}` make it try at once"
)
_OF_CLAIM = (
    "create the claim {0}, and the job goes on by itself (`kubectl get pvc -n {namespace}` shows those there are); "
    "or `launcher delete {name}`, then submit it with another claim"
)
_OF_IMAGE = (
    "check `image` and, for a private registry, `image_pull_secrets`: `launcher delete {name}`, then submit with the "
    "right ones; the job goes on by itself if this image appears"
)
_OF_CONFIG = (
    "create what the message names, and the job goes on by itself; or `launcher delete {name}`, then submit it with "
    "another `env`"
)
_OF_PLACE = (
    "the job starts by itself once such a node is free; or `launcher cancel {name}`, then submit it with another "
    "`node_selector` or `tolerations`"
)
_OF_OPERATOR = "ask an administrator; `kubectl get pods -A -l control-plane=kubeflow-training-operator` shows it"
_ANY = "see `kubectl describe pods -n {namespace} -l {label}={name}`"


def _of_room(reason: str, job: Job) -> str:
    """For a node that has too little left of something."""
    limits = (job.container.get("resources") or {}).get("limits") or {}
    names = list(dict.fromkeys(re.findall(r"Insufficient ([\w./-]*\w)", reason)))
    asked = " and ".join(f"{limits[name]} {name}" if name in limits else name for name in names)
    of_gpus = set(names) - {"cpu", "memory"}
    less = "fewer `--gpus`, or fewer per pod (`--gpus-per-node`)" if of_gpus else "less `resources`"
    return (
        f"each pod asks for {asked}: the job starts by itself once a node has that free, when others end "
        f"(`launcher list`) or nodes are added; or `launcher cancel {job.name}`, then submit it again with {less}"
    )


_KNOWN: tuple[tuple[str, str | Callable[[str, Job], str]], ...] = (
    ("exceeded quota", f"{QUOTA_HINT}\n{_TRIES_AGAIN}"),
    ("violates PodSecurity", f"{SECURITY_HINT}\n{_TRIES_AGAIN}"),
    ("FailedCreate", f"change what the message names, or ask an administrator\n{_TRIES_AGAIN}"),
    ("has not noticed it", _OF_OPERATOR),
    (r'persistentvolumeclaim "([^"]+)" not found', _OF_CLAIM),
    ("unbound immediate PersistentVolumeClaims", "see `kubectl describe pvc -n {namespace}`"),
    (r"Insufficient [\w./-]+", _of_room),
    (r"untolerated taint|node affinity/selector", _OF_PLACE),
    ("ImagePull|InvalidImageName", _OF_IMAGE),
    ("CreateContainerConfigError", _OF_CONFIG),
    ("", _ANY),
)


def advice(reason: str, job: Job) -> str:
    """The next step, in one or two lines."""
    for pattern, words in _KNOWN:
        if found := re.search(pattern, reason):
            if callable(words):
                return words(reason, job)
            return words.format(*found.groups(), name=job.name, namespace=job.namespace, label=JOB_NAME)
    raise AssertionError("the last pattern matches everything")
