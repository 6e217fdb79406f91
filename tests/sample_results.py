"""Results folders as the trainer leaves them, without training: for the tests of what is made of them."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from trainer.metrics import classification_summary
from trainer.output.plots import classifier_plots, learning_curves
from trainer.output.worst import Verdict, write_worst

# Names as users may choose them: markup, a formula, another script, one that is long.
WILD_NAMES = ("<b>ant</b>", "$\\frac{", "犬", "a-class-with-a-name-that-is-longer-than-any-column-of-a-table-should-be")
POINTS = np.linspace(0, 1, 51)


def metrics_lines(epochs: int = 3, *, splits: tuple[str, ...] = ("validation",)) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl: 20 steps an epoch."""
    lines: list[dict[str, Any]] = []
    for step in range(1, 20 * max(epochs, 1) + 1):
        line = {"kind": "step", "step": step, "epoch": (step - 1) // 20 + 1}
        lines.append({**line, "loss": 2 / step, "lr": 0.001, "grad_norm": None if step == 3 else 1.0 + step % 3})
        if epochs and step % 20 == 0:
            scores = {"train_loss": 0.5, "loss": 3 / step, "accuracy": 1 - 2 / step, "macro_f1": 1 - 3 / step}
            lines += [
                {"kind": "epoch", "step": step, "epoch": step // 20, "split": split, **scores} for split in splits
            ]
    return lines


def class_names(count: int) -> tuple[str, ...]:
    """Wild names first."""
    return (*WILD_NAMES, *(f"class {number}" for number in range(len(WILD_NAMES), count)))[:count]


def confusion_of(count: int, *, absent: Sequence[int] = (), seed: int = 0) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A confusion matrix, int64 [count, count], in which nobody is of the ``absent`` classes."""
    confusion = np.random.default_rng(seed).integers(0, 3, (count, count)) + 30 * np.eye(count, dtype=np.int64)
    confusion[list(absent)] = 0
    return confusion


def evaluation_of(count: int, *, absent: Sequence[int] = ()) -> dict[str, Any]:
    """evaluation.json: the n-th class's ROC curve is x ** (1 / (n + 2)), its area (n + 2) / (n + 3)."""
    roc, precision_recall = [], []
    for number, name in enumerate(class_names(count)):
        there = number not in absent
        power = 1 / (number + 2)
        roc.append(
            {
                "class": name,
                "auc": 1 / (1 + power) if there else None,
                "false_positive_rate": POINTS.tolist() if there else [],
                "true_positive_rate": (POINTS**power).tolist() if there else [],
            }
        )
        precision_recall.append(
            {
                "class": name,
                "average_precision": 1 - 1 / (number + 2) if there else None,
                "recall": POINTS[::-1].tolist() if there else [],
                "precision": (1 - POINTS[::-1] / (number + 2)).tolist() if there else [],
            }
        )
    filled = {"count": 40, "confidence": 0.95, "accuracy": 0.9}
    empty = {"count": 0, "confidence": None, "accuracy": None}
    bins = [{"lower": at / 10, "upper": (at + 1) / 10, **(filled if at == 9 else empty)} for at in range(10)]
    return {
        "schemaVersion": 1,
        "roc": {"classes": roc},
        "precision_recall": {"classes": precision_recall},
        "calibration": {"bins": bins, "error": 0.05, "max_error": 0.05},
    }


def run_facts(job: str = "digits", **train: Any) -> dict[str, Any]:
    """run.json."""
    return {
        "job": job,
        "namespace": "local",
        "digest": "0123456789abcdef",
        "attempt": 2,
        "image": None,
        "versions": {"torch": "2.10.0"},
        "train": {
            "task": "image-classification",
            "epochs": 3,
            "batch_size": 64,
            "seed": 7,
            "data": {"kind": "idx", "path": "/data/<b>", "split_seed": 3},
            "model": {"name": "convnet", "hidden": [128]},
            "optimizer": {"name": "adamw", "lr": 0.003, "betas": [0.9, 0.999]},
            **train,
        },
    }


def summary_of(count: int, *, absent: Sequence[int] = (), seed: int = 0) -> dict[str, Any]:
    """summary.json of a classifier."""
    names, confusion = class_names(count), confusion_of(count, absent=absent, seed=seed)
    report = classification_summary(confusion, names)
    curves = evaluation_of(count, absent=absent)["roc"]["classes"]
    for row, curve in zip(report["classes"], curves, strict=True):
        row["auc"] = curve["auc"]
    report["absent_classes"] = [names[number] for number in absent]
    accuracy, f1 = report["accuracy"], report["macro"]["f1"]
    return {
        "epochs": 3,
        "epochs_done": 3,
        "steps": 60,
        "parameters": 99370,
        "checkpoint": {"step": 60, "selected_by": "last epoch", "value": None},
        "metrics": {"split": "test", "loss": 0.345678, "accuracy": accuracy, "macro_f1": f1, "macro_auc": 0.98765},
        "intervals": {"confidence": 0.95, "resamples": 1000, "accuracy": [accuracy - 0.02, accuracy + 0.01]},
        "samples": {
            "train": dict.fromkeys(names, 1000),
            "test": dict(zip(names, confusion.sum(axis=1).tolist(), strict=True)),
        },
        "classes": list(names),
        "report": report,
        "confusion": confusion.tolist(),
        "skipped_samples": ["bee/<img>.jpg"],
    }


@cache
def pictures(count: int) -> dict[str, bytes]:
    """The plots of such a run, by the names of their files; drawn once, since that takes seconds."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        learning_curves(metrics_lines(), folder / "learning_curves.png")
        classifier_plots(folder, summary_of(count, absent=(count - 2,)), evaluation_of(count, absent=(count - 2,)))
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def results_folder(folder: Path, run: dict[str, Any] | None = None, *, count: int = 5, seed: int = 0) -> Path:
    """A classifier's results folder with all that a report shows; the last but one class has no samples."""
    (folder / "attempts").mkdir(parents=True)
    (folder / "plots").mkdir()
    summary = summary_of(count, absent=(count - 2,), seed=seed)
    (folder / "run.json").write_text(json.dumps(run or run_facts()))
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics_lines()))
    attempt = {"attempt": 1, "ranks": 2, "nodes": 1, "started": "2026-01-02T03:04:05.678+00:00", "resumed_from": None}
    end = {"code": 0, "cause": "done", "ended": "2026-01-02T03:05:35.678+00:00"}
    (folder / "attempts" / "0001.json").write_text(json.dumps({**attempt, "end": end}))
    for name, content in pictures(count).items():
        (folder / "plots" / name).write_bytes(content)
    verdicts = [
        Verdict(name=f"bee/<img>-{number}.png", label="<b>ant</b>", predicted="犬", confidence=0.9, loss=5.0 - number)
        for number in range(3)
    ]
    write_worst(folder, torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8), verdicts)
    return folder


def cross_validated(folder: Path, *, count: int = 5) -> Path:
    """A cross-validation of two folds."""
    folds = [
        results_folder(folder / "folds" / str(fold), {**run_facts("folds"), "fold": fold}, count=count, seed=fold)
        for fold in range(2)
    ]
    summary = summary_of(count)
    (folder / "plots").mkdir()
    for name in ("confusion_matrix.png", "class_scores.png"):
        (folder / "plots" / name).write_bytes(pictures(count)[name])
    rows = [{"fold": fold, "accuracy": 0.9 + 0.04 * fold} for fold in range(len(folds))]
    across = {"count": 2, "metrics": rows, "mean": {"accuracy": 0.92}, "std": {"accuracy": 0.0283}}
    del summary["intervals"]
    summary |= {"metrics": {"split": "cross-validation", "accuracy": 0.92}, "folds": across}
    (folder / "run.json").write_text(json.dumps(run_facts("folds", validation={"folds": 2})))
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder
