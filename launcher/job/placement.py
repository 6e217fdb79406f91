"""Planning: how many pods of how many ranks. Pure arithmetic on stated node shapes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd

from launcher.errors import DoesNotFit
from launcher.job.spec import GpuRange, JobSpec, NodeShape

# Alternatives are looked for among pods of up to this many GPUs; no machine holds more.
_LARGEST_SHARE = 1024
_MOST_SHARES = 6


@dataclass(frozen=True)
class Placement:
    """``nodes`` equal pods of ``ranks_per_node`` processes each."""

    nodes: int
    ranks_per_node: int
    min_nodes: int | None = None
    """Pods that an elastic job needs at least; None for a job of a fixed size."""
    gpus_per_rank: int = 1
    """GPUs of each process of a GPU job."""

    @property
    def ranks(self) -> int:
        """Processes over the whole job."""
        return self.nodes * self.ranks_per_node

    @property
    def gpus_per_node(self) -> int:
        """GPUs of each pod of a GPU job."""
        return self.ranks_per_node * self.gpus_per_rank


@dataclass(frozen=True)
class NodeUse:
    """What a plan takes of one group of equal nodes."""

    count: int
    """Nodes in the group."""
    gpus: int
    """GPUs on each."""
    pods: int
    """Pods placed in the group."""
    used: int
    """GPUs taken by them."""

    @property
    def idle(self) -> int:
        """GPUs of the group that the job leaves alone."""
        return self.count * self.gpus - self.used


def plan(spec: JobSpec, nodes: Sequence[NodeShape]) -> Placement:
    """Split the job into equal pods, as few as can hold it unless ``resources.gpus_per_node`` says otherwise.

    Args:
        spec: The job.
        nodes: The nodes it may use; none when they are unknown, and then everything fits.

    Raises:
        DoesNotFit: There is no such split, or the nodes cannot hold it; the message lists splits that fit.
    """
    explicit = spec.resources.gpus_per_node
    fixed = None if explicit == "auto" else explicit
    total = spec.total_gpus
    if not total:
        return Placement(nodes=1, ranks_per_node=spec.ranks)
    present = sum(shape.count * shape.gpus for shape in nodes)
    if nodes and not present:
        raise DoesNotFit(f"{_gpus(total)} asked for, but the nodes have none\nTo train on CPUs: --gpus 0")
    if isinstance(spec.gpus, GpuRange):
        return _plan_elastic(spec.gpus, fixed, nodes)
    if spec.is_one_process:
        return _plan_one_process(total, nodes)
    if nodes and total > present:
        raise _no_fit(f"{_gpus(total)} do not fit: {_stated(nodes)}", total, nodes, fixed)
    share = _equal_share(total, nodes) if fixed is None else fixed
    pods, rest = divmod(total, share)
    if rest:
        raise _no_fit(f"{_gpus(total)} cannot be split into equal pods of {share}", total, nodes, fixed)
    if not _holds(pods, share, nodes):
        lack = f"{_pods(pods, share)} needed, room for {_capacity(share, nodes)}; {_stated(nodes)}"
        raise _no_fit(f"{_gpus(total)} do not fit: {lack}", total, nodes, fixed)
    return Placement(nodes=pods, ranks_per_node=share)


def _plan_elastic(gpus: GpuRange, fixed: int | None, nodes: Sequence[NodeShape]) -> Placement:
    """Pods of a size that makes up both bounds; the nodes must hold the lower one, the upper one may come later."""
    common = gcd(gpus.min, gpus.max)
    largest = max((shape.gpus for shape in nodes), default=common)
    share = fixed or max(size for size in range(1, min(common, largest) + 1) if common % size == 0)
    if common % share:
        raise DoesNotFit(f"{gpus.min} to {_gpus(gpus.max)} cannot be made up of equal pods of {share}")
    if not _holds(gpus.min // share, share, nodes):
        needed = f"{_pods(gpus.min // share, share)} needed, room for {_capacity(share, nodes)}"
        raise DoesNotFit(f"at least {_gpus(gpus.min)} do not fit: {needed}; {_stated(nodes)}")
    return Placement(nodes=gpus.max // share, ranks_per_node=share, min_nodes=gpus.min // share)


def _plan_one_process(total: int, nodes: Sequence[NodeShape]) -> Placement:
    """One pod of one rank that has all GPUs."""
    if not _holds(1, total, nodes):
        largest = max(shape.gpus for shape in nodes)
        raise DoesNotFit(
            f"{_gpus(total)} do not fit: data-parallel needs them on one node, and the largest has {largest}\n"
            f"use --gpus {largest}, or --set train.parallel.strategy=ddp, which spreads over nodes"
        )
    return Placement(nodes=1, ranks_per_node=1, gpus_per_rank=total)


def usage(spec: JobSpec, placement: Placement, nodes: Sequence[NodeShape]) -> tuple[NodeUse, ...]:
    """Which group of nodes takes how many pods: tightest fit first, as a scheduler that packs would place them."""
    share = placement.gpus_per_node if spec.total_gpus else 0
    left = placement.nodes
    pods = dict.fromkeys(range(len(nodes)), 0)
    for index in sorted(pods, key=lambda i: (nodes[i].gpus % share if share else nodes[i].gpus, nodes[i].gpus)):
        shape = nodes[index]
        pods[index] = min(left, shape.count * (shape.gpus // share) if share else left)
        left -= pods[index]
    return tuple(NodeUse(shape.count, shape.gpus, pods[i], pods[i] * share) for i, shape in enumerate(nodes))


def _equal_share(total: int, nodes: Sequence[NodeShape]) -> int:
    """GPUs of each pod when there are as few pods as the largest node allows; one pod when nodes are unknown."""
    largest = max((shape.gpus for shape in nodes), default=total)
    pods = -(-total // largest)
    if total % pods:
        split = f"split equally over {pods} pods, the fewest that nodes of {_gpus(largest)} allow"
        raise _no_fit(f"{_gpus(total)} cannot be {split}", total, nodes)
    return total // pods


def _no_fit(reason: str, total: int, nodes: Sequence[NodeShape], share: int | None = None) -> DoesNotFit:
    """The error, with the nearest splits that do fit: other totals, and this total in other shares."""
    ways = [
        (f"--gpus {pods * size}" if share is None else f"--gpus {pods * size} --gpus-per-node {size}", pods, size)
        for pods, size in _other_totals(total, nodes, share)
    ]
    ways += [(f"--gpus-per-node {size}", total // size, size) for size in _equal_shares(total, nodes)]
    if not ways:
        return DoesNotFit(reason)
    width = max(len(option) for option, _, _ in ways)
    lines = [f"  {option:<{width}}  {_pods(pods, size)}" for option, pods, size in ways]
    return DoesNotFit("\n".join([reason, "These fit:", *lines]))


def _equal_shares(total: int, nodes: Sequence[NodeShape]) -> list[int]:
    """GPUs per pod that divide the total and that the nodes can hold, largest first."""
    sizes = range(min(total, _LARGEST_SHARE), 0, -1)
    fitting = [size for size in sizes if not total % size and _holds(total // size, size, nodes)]
    return fitting[:_MOST_SHARES]


def _other_totals(total: int, nodes: Sequence[NodeShape], share: int | None) -> list[tuple[int, int]]:
    """The nearest smaller and the nearest larger total that fit, each as pods and GPUs per pod."""
    splits = _splits_near(total, nodes) if share is None else _multiples_near(total, share, nodes)
    fitting = sorted((pods * size, pods, size) for pods, size in splits if pods and _holds(pods, size, nodes))
    smaller = [(pods, size) for gpus, pods, size in fitting if gpus < total]
    larger = [(pods, size) for gpus, pods, size in fitting if gpus > total]
    return [*smaller[-1:], *larger[:1]]


def _multiples_near(total: int, share: int, nodes: Sequence[NodeShape]) -> Iterator[tuple[int, int]]:
    """The splits into pods of ``share`` that are closest to the total."""
    below = (total - 1) // share
    yield min(below, _capacity(share, nodes)) if nodes else below, share
    yield total // share + 1, share


def _splits_near(total: int, nodes: Sequence[NodeShape]) -> Iterator[tuple[int, int]]:
    """For each share, the splits closest to the total that ``auto`` would choose: it takes the fewest pods."""
    largest = max((shape.gpus for shape in nodes), default=0)
    for size in range(1, min(largest, _LARGEST_SHARE) + 1):
        most = _capacity(size, nodes)
        if size < largest:  # more pods than this, and fewer would hold the same total
            most = min(most, (largest - 1) // (largest - size))
        yield min(most, (total - 1) // size), size
        if total // size + 1 <= most:
            yield total // size + 1, size


def _holds(pods: int, share: int, nodes: Sequence[NodeShape]) -> bool:
    return not nodes or pods <= _capacity(share, nodes)


def _capacity(share: int, nodes: Sequence[NodeShape]) -> int:
    """Pods of ``share`` GPUs that the nodes hold; several may share a node."""
    return sum(shape.count * (shape.gpus // share) for shape in nodes)


def _stated(nodes: Sequence[NodeShape]) -> str:
    shapes = ", ".join(f"{shape.count} x {shape.gpus}" for shape in nodes)
    return f"the nodes ({shapes}) have {_gpus(sum(shape.count * shape.gpus for shape in nodes))}"


def _gpus(count: int) -> str:
    return f"{count} GPU" if count == 1 else f"{count} GPUs"


def _pods(count: int, share: int) -> str:
    return f"{count} pod of {share}" if count == 1 else f"{count} pods of {share}"
