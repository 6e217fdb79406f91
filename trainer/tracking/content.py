"""What of a results folder is sent, by the names that MLflow shows: metrics, parameters and tags. Pure functions."""

import json
import re
from collections.abc import Iterator
from typing import Any

from trainer.exits import Exit

_NOT_SCORES = frozenset({"kind", "step", "epoch", "split", "train_loss"})
# Parameters of a run never change, and these may from one attempt to the next. Epochs are a tag.
_NOT_PARAMETERS = frozenset({"epochs", "logging"})
_STATUS: dict[int, str] = {Exit.DONE: "FINISHED", Exit.PREEMPTED: "KILLED"}


def points(line: dict[str, Any]) -> dict[str, float]:
    """The metrics of a line of metrics.jsonl, by the names that TensorBoard has for them."""
    if line["kind"] == "step":
        return _numbers({f"train/{name}": line[name] for name in ("loss", "lr", "grad_norm")})
    scores = {f"{line['split']}/{name}": value for name, value in line.items() if name not in _NOT_SCORES}
    return _numbers({"train/epoch_loss": line["train_loss"], **scores})


def final_points(summary: dict[str, Any]) -> dict[str, float]:
    """The final metrics in summary.json; apart from those of an epoch, which may be of another checkpoint."""
    return _numbers({f"final/{name}": value for name, value in summary["metrics"].items()})


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def parameters(train: dict[str, Any]) -> dict[str, str]:
    """What the configuration sets, by dotted name."""
    return dict(_leaves({name: value for name, value in train.items() if name not in _NOT_PARAMETERS}))


def _leaves(mapping: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in mapping.items():
        if isinstance(value, dict) and value and all(re.fullmatch(r"\w+", key) for key in value):
            yield from _leaves(value, f"{prefix}{name}.")
        elif value is not None:  # keys that are names of classes, say, stay inside one value
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)


def tags(run: dict[str, Any], attempt: dict[str, Any]) -> dict[str, str]:
    """Whose run it is and what it runs on; these may change.

    Args:
        run: run.json.
        attempt: Record of the newest attempt.
    """
    facts = {name: run.get(name) for name in ("job", "namespace", "digest", "image")}
    place = {name: attempt[name] for name in ("attempt", "ranks")}
    versions = {f"version.{name}": version for name, version in run["versions"].items()}
    named = {**facts, **place, "epochs": run["train"]["epochs"], **versions}
    return {
        "mlflow.source.name": f"{run['namespace']}/{run['job']}",
        "mlflow.source.type": "JOB",
        **{f"pytorchjob.{name}": str(value) for name, value in named.items() if value is not None},
    }


def status(end: int | None) -> str:
    """MLflow's word for how an attempt ended; None for one that left no record of its end."""
    return "FAILED" if end is None else _STATUS.get(end, "FAILED")
