"""JobSpec and Placement to the chart's values: pure, so that `render`, `submit` and tests see the same."""

import json
from typing import Any

from launcher.errors import InvalidJob
from launcher.job.chart_model import (
    DEFAULT_ENV,
    LIMIT_OF_ANNOTATIONS,
    ChartValues,
    CreateClaim,
    DataVolume,
    Elastic,
    Environment,
    PullSecret,
    ResourceLists,
    ResultsVolume,
    SecretKeyValue,
    TaintToleration,
)
from launcher.job.cluster_options import SecretKey
from launcher.job.digest import digest
from launcher.job.field_types import quantity
from launcher.job.placement import Placement
from launcher.job.profile import IMAGE_VARIABLE
from launcher.job.spec import JobSpec, Volume
from trainer.config import CommandFile, RunFile

MANAGER = "pytorchjob-launcher"
DIGEST_ANNOTATION = "pytorchjob-launcher/spec-digest"
"""On the PyTorchJob: the spec's digest, by which a second submit knows the first (launcher.job.digest)."""
SPEC_ANNOTATION = "pytorchjob-launcher/spec"
"""On the PyTorchJob of a script under torchrun: the spec as JSON, for field diffs; others have it in their run file."""
RUN_FILE_ANNOTATION = "pytorchjob-launcher/run"
"""On the pods: the trainer's run file. The chart sets it."""

# In-place restarts are bounded by the supervisor, in terms of progress; the operator's own bound only has to stop a
# container that dies before its supervisor can count. It sums the restarts of all pods, so it grows with them.
RESTARTS_PER_POD = 100
# The supervisor keeps `train.restarts.deadline_seconds` itself and says why; the cluster steps in when it could not.
DEADLINE_MARGIN_SECONDS = 600
DEFAULT_SHM = "1Gi"
# Images built on CUDA's set this to "all", which shows every GPU of the node where the NVIDIA runtime is the default.
NO_GPUS: Environment = {"CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": "void"}


def chart_values(
    spec: JobSpec,
    placement: Placement,
    *,
    namespace: str,
    default_image: str | None = None,
    restart_rules: bool = False,
    suspend: bool = False,
) -> ChartValues:
    """All that the chart needs to know of one job.

    Args:
        spec: The job.
        placement: How it is split over pods.
        namespace: Where it will run; the trainer records it, and it is part of the results folder.
        default_image: The profile's image, for a job that names none.
        restart_rules: Whether the server restarts containers in place by exit code (Kubernetes 1.35 or newer).
        suspend: Create the job without pods.

    Raises:
        InvalidJob: Something is missing that a cluster needs; the message names the field.
    """
    image = spec.image or default_image
    if image is None:
        raise InvalidJob(
            "image: required on a cluster\n"
            f"set `image:` in the job file, give --image IMAGE, or set {IMAGE_VARIABLE} for all your jobs"
        )
    return ChartValues(
        image=image,
        image_pull_secrets=tuple(PullSecret(name=name) for name in spec.image_pull_secrets),
        run_file=_run_file(spec, namespace, image),
        command=(spec.command or ()) if spec.runner == "torchrun" else (),
        env=_env(spec),
        replicas=placement.nodes,
        nproc_per_node=placement.ranks_per_node,
        elastic=_elastic(placement),
        resources=_resources(spec, placement),
        shm_size=_shm_size(spec),
        results=_results(spec, placement),
        volumes=tuple(_data_volume(volume) for volume in spec.volumes),
        run_as_user=spec.run_as,
        run_as_group=spec.run_as,
        fs_group=spec.run_as,
        restart_rules=restart_rules,
        backoff_limit=RESTARTS_PER_POD * placement.nodes,
        active_deadline_seconds=_deadline(spec),
        suspend=suspend,
        queue_name=spec.queue,
        priority_class_name=spec.priority_class,
        node_selector=spec.node_selector,
        tolerations=_tolerations(spec),
        isolated_network=spec.isolated_network,
        labels={"app.kubernetes.io/managed-by": MANAGER},
        annotations=_annotations(spec),
    )


def _annotations(spec: JobSpec) -> dict[str, str]:
    known = {DIGEST_ANNOTATION: digest(spec)}
    return {**known, SPEC_ANNOTATION: _json(_dump(spec))} if spec.runner == "torchrun" else known


def _run_file(spec: JobSpec, namespace: str, image: str) -> str | None:
    """The trainer's one file, as ASCII, which no YAML writer on the way can change."""
    if spec.runner == "torchrun":
        return None
    text = _json(_run(spec, namespace, image).model_dump(mode="json"))
    if len(text) > LIMIT_OF_ANNOTATIONS:
        what = "train: the configuration" if spec.train else "command: it"
        raise InvalidJob(
            f"{what} takes {len(text):,} characters in the manifest, and at most "
            f"{LIMIT_OF_ANNOTATIONS:,} fit into an annotation\nshorten the longest lists of it"
        )
    return text


def _run(spec: JobSpec, namespace: str, image: str) -> RunFile | CommandFile:
    known: dict[str, Any] = {
        "job": spec.name,
        "namespace": namespace,
        "digest": digest(spec),
        "spec": _dump(spec),
        "image": image,
    }
    if spec.train:
        return RunFile(**known, train=spec.train)
    return CommandFile(**known, command=spec.command or (), restarts=spec.restarts)


def _dump(spec: JobSpec) -> dict[str, Any]:
    """The spec as it was written: what is left at its default would triple the size of the object."""
    return spec.model_dump(mode="json", exclude_defaults=True)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _env(spec: JobSpec) -> Environment:
    given = {name: _secret(value) if isinstance(value, SecretKey) else value for name, value in spec.env.items()}
    return {**DEFAULT_ENV, **({} if spec.total_gpus else NO_GPUS), **given}


def _elastic(placement: Placement) -> Elastic | None:
    if placement.min_nodes is None:
        return None
    return Elastic(min_replicas=placement.min_nodes, max_replicas=placement.nodes)


def _secret(value: SecretKey) -> SecretKeyValue:
    return SecretKeyValue(secret=value.secret, key=value.key)


def _resources(spec: JobSpec, placement: Placement) -> ResourceLists:
    """Requests that equal the limits: what is asked for is there, and a pod never takes more of a shared node."""
    wanted = {
        "cpu": spec.resources.cpu and str(spec.resources.cpu),
        "memory": spec.resources.memory,
        spec.resources.gpu_resource: str(placement.gpus_per_node) if spec.total_gpus else None,
    }
    given = {name: amount for name, amount in wanted.items() if amount}
    return ResourceLists(requests=given, limits=given)


def _shm_size(spec: JobSpec) -> str:
    """As given, else half of the memory, which is what the kernel's own default is."""
    if spec.resources.shm:
        return spec.resources.shm
    if spec.resources.memory is None:
        return DEFAULT_SHM
    return f"{max(1, int(quantity(spec.resources.memory) / 2) >> 20)}Mi"


def _results(spec: JobSpec, placement: Placement) -> ResultsVolume:
    create = spec.results.create
    if create and create.access_mode != "ReadWriteMany" and placement.nodes > 1:
        raise InvalidJob(
            f"results.create.access_mode: {create.access_mode} serves one pod, and this job has {placement.nodes}\n"
            "use ReadWriteMany, or let one pod hold all ranks"
        )
    claim = None
    if create:
        claim = CreateClaim(size=create.size, storage_class=create.storage_class, access_mode=create.access_mode)
    return ResultsVolume(claim=spec.results.claim, path=spec.results.path, create=claim)


def _data_volume(volume: Volume) -> DataVolume:
    if volume.claim is None:
        raise InvalidJob(
            f"volumes.{volume.name}: no `claim:`, so a cluster has no data for {volume.mount}\n"
            f"add one, for example\n  - {{name: {volume.name}, claim: datasets, mount: {volume.mount}}}"
        )
    return DataVolume(name=volume.name, claim=volume.claim, mount=volume.mount, read_only=volume.read_only)


def _deadline(spec: JobSpec) -> int | None:
    own = (spec.train or spec).restarts.deadline_seconds
    return spec.deadline_seconds or (int(own) + DEADLINE_MARGIN_SECONDS if own else None)


def _tolerations(spec: JobSpec) -> tuple[TaintToleration, ...]:
    """The job's own, and for GPU jobs the taint that keeps others off GPU nodes."""
    gpu_nodes = TaintToleration(key=spec.resources.gpu_resource, operator="Exists", effect="NoSchedule")
    given = (
        TaintToleration(
            key=one.key,
            operator=one.operator,
            value=one.value,
            effect=one.effect,
            toleration_seconds=one.seconds,
        )
        for one in spec.tolerations
    )
    return (*([gpu_nodes] if spec.total_gpus else []), *given)
