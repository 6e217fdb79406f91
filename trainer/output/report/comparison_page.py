"""One page about several runs, side by side."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from trainer.output.plots import RunCurves, confusion_matrix, overlaid_curves
from trainer.output.report.reading import ResultsFolder
from trainer.output.report.rendering import write_page
from trainer.output.report.tables import Picture, Table, embedded
from trainer.output.wording import NOTHING, bounds, counted, difference, plain, score, settings, words

# Of more classes, those whose F1 differs most are listed.
MAX_CLASSES = 200


def write_comparison(folders: Sequence[ResultsFolder], path: Path) -> None:
    """Write the page at ``path``: final metrics, what was set differently, curves, confusion matrices and classes.

    Args:
        folders: Two or more runs; differences are to the first. Any of them may lack files or be of another task.
        path: Where to.
    """
    names = distinct_names(folders)
    figures = list(_figures(folders, names))
    classes = _class_table(folders, names)
    shown = [
        ("runs", "Runs", True),
        ("metrics", "Final metrics", True),
        ("configuration", "What differs", True),
        ("figures", "Figures", figures),
        ("classes", "Classes", classes),
    ]
    write_page(
        path,
        "comparison.html",
        title=f"{len(folders)} runs compared",
        subtitle=" · ".join(names),
        sections=[(place, name) for place, name, content in shown if content],
        remarks=list(remarks(folders, names)),
        runs=_runs_table(folders, names),
        metrics=_metrics_table(folders, names),
        configuration=_differing_settings(folders, names),
        figures=figures,
        classes=classes,
        classes_count=counted(len(classes.rows), "class", "classes") if classes else "",
    )


def distinct_names(folders: Sequence[ResultsFolder]) -> list[str]:
    """What to call each run: its job, and its folder or its place in the list where that is not enough."""
    forms: tuple[Callable[[int, ResultsFolder], str], ...] = (
        lambda _, folder: folder.title,
        lambda _, folder: f"{folder.title} ({folder.path})",
        lambda number, folder: f"{folder.title} ({folder.path}, no. {number})",
    )
    for form in forms:
        names = [form(number, folder) for number, folder in enumerate(folders, start=1)]
        if len(set(names)) == len(names):
            break
    return names


def remarks(folders: Sequence[ResultsFolder], names: Sequence[str]) -> Iterator[str]:
    """What keeps the runs from being compared, in sentences."""
    tasks = list(dict.fromkeys(folder.task for folder in folders))
    if len(tasks) > 1:
        yield (
            f"The runs are of different tasks ({', '.join(map(words, tasks))}): a loss, above all, is not comparable "
            "between them."
        )
    for folder, name in zip(folders, names, strict=True):
        if not folder.summary:
            yield f"{name} has no summary.json, so it has not succeeded (yet): its final metrics are missing."
        if not folder.trainings():
            yield f"{name} has no metrics.jsonl: it has no learning curves."
    tested = [folder for folder in folders if folder.told]  # of a script nobody but its author knows
    if len(tested) > 1 and len({_tested_on(folder) for folder in tested}) > 1:
        yield "The runs were not tested on the same samples, so their metrics differ by that as well."


def _tested_on(folder: ResultsFolder) -> str:
    """What must agree for two runs to have the same test samples."""
    data = folder.config.get("data", {})
    keys = ("kind", "path", "test_path", "test_fraction", "split_seed")
    folds = (folder.config.get("validation") or {}).get("folds")
    return repr([*(data.get(key) for key in keys), folds, folder.summary.get("classes")])


def _runs_table(folders: Sequence[ResultsFolder], names: Sequence[str]) -> Table:
    rows = []
    for folder, name in zip(folders, names, strict=True):
        model = folder.config.get("model", {}).get("name")
        summary = folder.summary
        folds = f"{folder.folds['count']} folds" if folder.folds else "one split"
        facts = (words(folder.task), plain(model), _count(summary.get("parameters")), plain(summary.get("epochs")))
        rows.append((name, *facts, folds if folder.told else NOTHING, str(folder.path)))
    return Table(("run", "task", "model", "parameters", "epochs", "tested on", "folder"), rows, is_text=True)


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else plain(value)


def _metrics_table(folders: Sequence[ResultsFolder], names: Sequence[str]) -> Table:
    """A row a metric; in each run's column its value, how sure it is, and the difference to the first run."""
    first = folders[0].metrics
    metrics = list(dict.fromkeys(name for folder in folders for name in folder.metrics))
    rows = []
    for metric in metrics:
        cells = [_metric_cell(folder, metric) for folder in folders]
        changes = [
            difference(folder.metrics.get(metric), first.get(metric)) if _is_alike(folder, folders[0]) else ""
            for folder in folders[1:]
        ]
        cells[1:] = [
            f"{cell}\n{change} to the first" if change else cell
            for cell, change in zip(cells[1:], changes, strict=True)
        ]
        rows.append((words(metric), *cells))
    notes = ["A difference that is smaller than the intervals or deviations may be chance."] if rows else []
    return Table(("metric", *names), rows, notes=notes)


def _is_alike(folder: ResultsFolder, other: ResultsFolder) -> bool:
    """Whether metrics of the same name mean the same; of a script nobody but its author knows."""
    return folder.task == other.task or "command" in (folder.task, other.task)


def _metric_cell(folder: ResultsFolder, metric: str) -> str:
    if metric not in folder.metrics:
        return NOTHING
    deviation = folder.folds.get("std", {}).get(metric)
    value = score(folder.metrics[metric]) + (f" ± {score(deviation)}" if deviation is not None else "")
    low_high = bounds(folder.interval(metric))
    return f"{value}\n{low_high}" if low_high else value


def _differing_settings(folders: Sequence[ResultsFolder], names: Sequence[str]) -> Table:
    flat = [dict(settings(_compared(folder))) for folder in folders]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    rows = [
        (key, *(one.get(key, NOTHING) for one in flat))
        for key in keys
        if len({one.get(key, NOTHING) for one in flat}) > 1
    ]
    notes = [] if rows else ["Nothing: configuration, image and versions are the same."]
    return Table(("setting", *names), rows, is_text=True, notes=notes)


def _compared(folder: ResultsFolder) -> dict[str, Any]:
    run = folder.run
    return {"train": folder.config, "image": run.get("image"), "versions": run.get("versions", {})}


def _figures(folders: Sequence[ResultsFolder], names: Sequence[str]) -> Iterator[Picture]:
    with TemporaryDirectory() as place:
        path = Path(place) / "picture.png"
        curves = [RunCurves(name, folder.trainings()) for folder, name in zip(folders, names, strict=True)]
        if any(run.trainings for run in curves):
            overlaid_curves(curves, path)
            caption = "A colour for each run; every fold of a cross-validation has a line of its own."
            alt = f"Learning curves of {', '.join(names)}, overlaid. {caption}"
            yield Picture("Learning curves", alt, embedded(path), caption, is_wide=True)
        for folder, name in zip(folders, names, strict=True):
            if "confusion" in folder.told:
                confusion = np.array(folder.told["confusion"], dtype=np.int64)
                confusion_matrix(confusion, folder.told["classes"], path)
                title = f"Confusion matrix of {name}"
                yield Picture(title, f"{title}: samples by true class (row) and predicted class", embedded(path))


def _class_table(folders: Sequence[ResultsFolder], names: Sequence[str]) -> Table | None:
    """F1 of each class in each run, those first that differ most."""
    having = [(name, folder) for folder, name in zip(folders, names, strict=True) if folder.classes]
    if len(having) < 2:
        return None
    scores = [{row["class"]: row["f1"] for row in folder.classes} for _, folder in having]
    classes = list(dict.fromkeys(name for one in scores for name in one))
    first = scores[0]
    classes.sort(key=lambda name: -max(abs(one.get(name, 0.0) - first.get(name, 0.0)) for one in scores))
    rows = []
    for name in classes[:MAX_CLASSES]:
        cells = [score(one[name]) if name in one else NOTHING for one in scores]
        for at, one in enumerate(scores[1:], start=1):
            if change := difference(one.get(name), first.get(name)):
                cells[at] += f"  {change}"
        rows.append((name, *cells))
    notes = [f"The classes that differ most from {having[0][0]} come first."]
    if len(classes) > MAX_CLASSES:
        notes.append(f"{len(classes) - MAX_CLASSES:,} more classes differ less.")
    return Table(("class", *(name for name, _ in having)), rows, notes=notes)
