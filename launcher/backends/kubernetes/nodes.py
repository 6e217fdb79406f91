"""Where a job could run: the shape of the cluster's nodes decides how it is split; what is free now only warns.

A cluster may add nodes, and a queue may hold a job back, so nothing is refused here but what no split can mend.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

from launcher.backends.kubernetes.api import Api
from launcher.backends.kubernetes.errors import QUOTA_HINT, ApiError, Forbidden
from launcher.backends.kubernetes.kinds import NODE, POD, QUOTA, Object, labels_of
from launcher.backends.kubernetes.pods import is_active
from launcher.backends.kubernetes.record import Job
from launcher.errors import DoesNotFit
from launcher.job.placement import Placement, plan
from launcher.job.spec import JobSpec, NodeShape

# With more nodes than this, counting what is free means reading too many pods.
MOST_NODES = 100
_ANY_COUNT = 10**6
_SUFFIXES = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1)} | {
    suffix: Fraction(base) ** power
    for base, names in ((1000, "k M G T P E"), (1024, "Ki Mi Gi Ti Pi Ei"))
    for power, suffix in enumerate(names.split(), start=1)
}


class Nodes:
    """Plans jobs for one cluster."""

    def __init__(self, api: Api, say: Callable[[str], None]) -> None:
        self._api = api
        self._say = say

    def place(self, spec: JobSpec) -> Placement:
        """Split the job by the nodes that its file states, or else by those of the cluster.

        Raises:
            DoesNotFit: It cannot be split, or the stated nodes cannot hold it.
        """
        if spec.nodes or not spec.total_gpus:
            return plan(spec, spec.nodes)
        try:
            nodes = self._api.list(NODE).items
        except Forbidden:
            self._say("the cluster's nodes may not be listed, so the plan assumes that the job fits (see `nodes:`)")
            return plan(spec, ())
        usable = [node for node in nodes if labels_of(node).items() >= spec.node_selector.items()]
        shapes = shapes_of(usable, spec.resources.gpu_resource)
        if not shapes:
            self._say(f"no node has {spec.resources.gpu_resource} now: the job waits until one is added")
            return plan(spec, ())
        return self._by_shape(spec, shapes, usable)

    def _by_shape(self, spec: JobSpec, shapes: Sequence[NodeShape], nodes: Sequence[Object]) -> Placement:
        try:
            placement = plan(spec, shapes)
        except DoesNotFit as too_few:
            placement = _as_if_there_were_more(spec, shapes)
            self._say(f"{too_few.message.splitlines()[0]}\nthe job waits until nodes are added")
            return placement
        self._warn_if_busy(spec, placement, nodes)
        return placement

    def _warn_if_busy(self, spec: JobSpec, placement: Placement, nodes: Sequence[Object]) -> None:
        if len(nodes) > MOST_NODES:
            return
        try:
            pods = self._api.list(POD, fields="status.phase!=Succeeded,status.phase!=Failed").items
        except ApiError:
            return  # only a courtesy
        free = free_shares(nodes, pods, spec.resources.gpu_resource, placement.gpus_per_node)
        if free < placement.nodes:
            self._say(
                f"there is room for {free} of {placement.nodes} pods of {placement.gpus_per_node} GPUs now: "
                f"the job waits for the rest"
            )


def _as_if_there_were_more(spec: JobSpec, shapes: Sequence[NodeShape]) -> Placement:
    """The split that any number of such nodes allows; of a share that was asked for, whatever the nodes are."""
    try:
        return plan(spec, [NodeShape(count=_ANY_COUNT, gpus=shape.gpus) for shape in shapes])
    except DoesNotFit:
        if spec.resources.gpus_per_node == "auto":
            raise
        return plan(spec, ())


def shapes_of(nodes: Iterable[Object], resource: str) -> tuple[NodeShape, ...]:
    """Groups of equal nodes that have GPUs, largest first."""
    counts = Counter(_gpus(node, resource) for node in nodes)
    return tuple(NodeShape(count=count, gpus=gpus) for gpus, count in sorted(counts.items(), reverse=True) if gpus)


def free_shares(nodes: Iterable[Object], pods: Iterable[Object], resource: str, share: int) -> int:
    """How many pods of ``share`` GPUs the nodes could take at once."""
    used: Counter[str] = Counter()
    for pod in pods:
        if is_active(pod) and (node := pod.get("spec", {}).get("nodeName")):
            used[node] += int(requested(pod["spec"]).get(resource, 0))
    free = (
        _gpus(node, resource) - used[node["metadata"]["name"]]
        for node in nodes
        if not node.get("spec", {}).get("unschedulable")
    )
    return sum(max(0, gpus) // share for gpus in free)


def _gpus(node: Object, resource: str) -> int:
    return int(quantity((node.get("status", {}).get("allocatable") or {}).get(resource, "0")))


def requested(pod_spec: Object) -> dict[str, Fraction]:
    """What a pod asks for: requests, and limits where there is no request."""
    total: dict[str, Fraction] = {}
    for container in pod_spec.get("containers") or []:
        resources = container.get("resources") or {}
        for name, text in {**(resources.get("limits") or {}), **(resources.get("requests") or {})}.items():
            total[name] = total.get(name, Fraction(0)) + quantity(text)
    return total


def quantity(text: str | int) -> Fraction:
    """A quantity of the API, such as 500m, 2Ti or 1e3."""
    plain = str(text)
    suffix = next((name for name in sorted(_SUFFIXES, key=len, reverse=True) if name and plain.endswith(name)), "")
    return Fraction(plain.removesuffix(suffix)) * _SUFFIXES[suffix]


def check_quota(api: Api, job: Job, say: Callable[[str], None]) -> None:
    """Compare a job with the quotas of its namespace: the server would do so only when the operator makes the pods.

    Raises:
        DoesNotFit: It is more than a quota would ever allow.
    """
    try:
        quotas = api.list(QUOTA, job.namespace).items
    except ApiError:
        return  # the server enforces it anyway
    asked = _asked_of_quota(job)
    for quota in quotas:
        if quota.get("spec", {}).get("scopes") or quota.get("spec", {}).get("scopeSelector"):
            continue
        status = quota.get("status", {})
        for name, text in (status.get("hard") or quota.get("spec", {}).get("hard") or {}).items():
            wanted, hard = asked.get(name, Fraction(0)), quantity(text)
            used = quantity((status.get("used") or {}).get(name, "0"))
            about = f"quota {quota['metadata']['name']} of namespace {job.namespace}"
            if wanted > hard:
                raise DoesNotFit(
                    f"{about} allows {text} of {name}, and the job asks for {_shown(wanted)}\n{QUOTA_HINT}"
                )
            if wanted > hard - used:
                say(
                    f"{about} has {_shown(max(hard - used, Fraction(0)))} of {name} left, and the job asks for "
                    f"{_shown(wanted)}: it waits for others to end"
                )


def _asked_of_quota(job: Job) -> dict[str, Fraction]:
    spec = job.template.get("spec", {})
    asked = {"pods": Fraction(job.nodes), "count/pods": Fraction(job.nodes)}
    for name, amount in requested(spec).items():
        asked[f"requests.{name}"] = amount * job.nodes
        if name in ("cpu", "memory"):
            asked[name] = amount * job.nodes
    return asked


def _shown(amount: Fraction) -> str:
    for suffix in ("Ti", "Gi", "Mi"):
        if amount >= _SUFFIXES[suffix]:
            return f"{float(amount / _SUFFIXES[suffix]):g}{suffix}"
    return f"{float(amount):g}"
