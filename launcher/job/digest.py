"""What makes two submissions the same run, and how two differ."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from launcher.job.problems import dotted
from launcher.job.spec import JobSpec

# Where a job runs, how long, and how much it writes may change from one attempt to the next.
NOT_IDENTITY: tuple[tuple[str, ...], ...] = (
    ("gpus",),
    ("processes",),
    ("resources",),
    ("nodes",),
    ("image_pull_secrets",),
    ("queue",),
    ("priority_class",),
    ("node_selector",),
    ("tolerations",),
    ("deadline_seconds",),
    ("restarts",),
    ("runner",),
    ("isolated_network",),
    ("run_as",),
    ("results", "create"),
    ("train", "epochs"),
    ("train", "logging"),
)
_ABSENT = object()


def identity(spec: JobSpec) -> dict[str, Any]:
    """The part of a spec that decides what a run computes and where its results lie.

    Fields at their default are left out, so that a later version with new fields keeps the digest of an old file.
    """
    return _without_placement(spec.model_dump(mode="json", exclude_defaults=True))


def digest(spec: JobSpec) -> str:
    """SHA-256 of the identity, in hexadecimal."""
    canonical = json.dumps(identity(spec), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def diff(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Lines such as ``train.batch_size: 64 -> 128`` for the fields that make two specs different runs.

    Args:
        old: A spec as `identity` or ``model_dump(mode="json")`` gives it, possibly written by an older version.
        new: The same, of the newer spec.
    """
    return list(_differences((), _comparable(old), _comparable(new)))


def _without_placement(dump: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for key, value in dump.items():
        if (key,) in NOT_IDENTITY:
            continue
        if isinstance(value, dict):
            inner = {name: item for name, item in value.items() if (key, name) not in NOT_IDENTITY}
            if value and not inner:
                continue  # as if it had been left out, which the same spec with only defaults in it is
            value = inner
        kept[key] = value
    return kept


def _comparable(dump: dict[str, Any]) -> dict[str, Any]:
    """The dump with every default written out, where this version can read it."""
    stand_in = {**dump, "train": {"epochs": 1, **dump["train"]}} if isinstance(dump.get("train"), dict) else dump
    try:
        spec = JobSpec.model_validate_json(json.dumps(stand_in))
    except ValidationError:
        return _without_placement(dump)
    return _without_placement(spec.model_dump(mode="json"))


def _differences(path: tuple[str | int, ...], old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        # Of two variants only what they share is compared: the rest follows from the change of variant.
        same_variant = all(old.get(tag) == new.get(tag) for tag in ("kind", "name")) or not path
        for key in [*old, *(key for key in new if key not in old)]:
            if same_variant or (key in old and key in new):
                yield from _differences((*path, key), old.get(key, _ABSENT), new.get(key, _ABSENT))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differences((*path, index), before, after)
    elif old != new:
        yield f"{dotted(path)}: {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "(absent)"
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value)
