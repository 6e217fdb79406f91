"""report.html of one run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.config.contract import PLOTS_DIR, REPORT_FILE
from trainer.output.report.class_tables import class_table, confused_table, sample_tables
from trainer.output.report.reading import Facts, ResultsFolder
from trainer.output.report.rendering import write_page
from trainer.output.report.tables import Picture, Table, embedded
from trainer.output.wording import (
    NOTHING,
    bounds,
    counted,
    duration,
    headline,
    moment,
    plain,
    score,
    sentence,
    settings,
    words,
)
from trainer.output.worst import read_worst

# Parts of summary.json that the page shows in a form of their own, or that are too long for it.
_SHOWN_ELSEWHERE = frozenset(
    {"report", "confusion", "classes", "metrics", "intervals", "folds", "samples", "skipped_samples"}
)
_MAX_SKIPPED = 100


@dataclass(frozen=True)
class _Card:
    name: str
    value: str
    detail: str


@dataclass(frozen=True)
class _Figure:
    """What the page says of a picture that the trainer draws."""

    title: str
    caption: str
    is_wide: bool = False


# In the order of the page, by the names of their files.
_FIGURES = {
    "learning_curves": _Figure("Learning curves", "Loss, scores, learning rate and gradient norm over epochs.", True),
    "confusion_matrix": _Figure("Confusion matrix", "Samples by true class (row) and predicted class (column)."),
    "class_scores": _Figure("Scores of each class", "Precision, recall and F1, their harmonic mean."),
    "roc_curves": _Figure(
        "ROC curves",
        "For each class against the rest: the share found over the share of false alarms, at every threshold.",
        True,
    ),
    "precision_recall_curves": _Figure(
        "Precision and recall", "For each class against the rest: how many finds are right, over the share found.", True
    ),
    "calibration": _Figure(
        "Calibration", "How often predictions of a given confidence are right. Above the diagonal: too modest."
    ),
}


def write_report(folder: Path, run: Facts, summary: Facts, path: Path | None = None) -> None:
    """Write the page about one run from what its results folder holds.

    Args:
        folder: Results folder; its plots and worst samples are embedded.
        run: Content of run.json.
        summary: Content of summary.json; a classifier's has its ``report`` by class.
        path: Where to, by default report.html in ``folder``.
    """
    results = ResultsFolder(folder, run, summary)
    told = results.told
    skipped = _skipped(told)
    attempts = results.attempts()
    splits, split_classes = sample_tables(told.get("samples", {}))
    figures, worst = list(_figures(folder / PLOTS_DIR, results)), [_worst(row) for row in read_worst(folder)]
    metrics = _folds_table(results) if results.folds else _metrics_table(results)
    sections = [
        ("metrics", "Metrics", metrics),
        ("figures", "Figures", figures),
        ("classes", "Classes", results.classes),
        ("worst", "Worst samples", worst),
        ("data", "Data", splits.rows or skipped.rows),
        ("run", "Run", True),
    ]
    write_page(
        path or folder / REPORT_FILE,
        "run.html",
        title=results.title,
        subtitle=_subtitle(results),
        sections=[(place, name) for place, name, content in sections if content],
        cards=_cards(results),
        facts=list(_facts(results, attempts)),
        metrics=metrics,
        metrics_title="Folds" if results.folds else "Final metrics",
        figures=figures,
        classes=class_table(results) if results.classes else None,
        classes_count=counted(len(results.classes), "class", "classes"),
        confused=confused_table(told),
        worst=worst,
        splits=splits,
        split_classes=split_classes,
        skipped=skipped,
        skipped_title=f"{counted(len(told.get('skipped_samples', ())), 'unreadable sample')} left out",
        attempts=_attempts_table(attempts),
        details=_settings_table(_details(results)),
        configuration=_settings_table(results.config or _command(run)),
        versions=_settings_table({**run.get("versions", {}), "image": run.get("image")}),
    )


def _subtitle(results: ResultsFolder) -> str:
    parts = [words(results.task), f"namespace {results.run.get('namespace', NOTHING)}"]
    if "attempt" in results.run:
        parts.append(f"attempt {results.run['attempt']}")
    return " · ".join(parts)


def _cards(results: ResultsFolder) -> list[_Card]:
    return [
        _Card(sentence(words(name)), headline(name, value), _uncertainty(results, name))
        for name, value in results.metrics.items()
    ]


def _uncertainty(results: ResultsFolder, name: str) -> str:
    """How sure a metric is: its spread over folds, or its confidence interval."""
    deviation = results.folds.get("std", {}).get(name)
    if deviation is not None:
        return f"± {headline(name, deviation)} over {results.folds['count']} folds"
    return bounds(results.interval(name), name)


def _facts(results: ResultsFolder, attempts: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """What was run, in a few words each."""
    config, summary, run = results.config, results.told, results.run
    if config:
        model, data = config.get("model", {}), config.get("data", {})
        parameters = summary.get("parameters")
        size = f", {counted(parameters, 'parameter')}" if parameters is not None else ""
        yield "model", f"{model.get('name', NOTHING)}{size}"
        yield "data", " ".join(str(data[name]) for name in ("kind", "path") if data.get(name)) or NOTHING
        optimizer = config.get("optimizer", {})
        yield "optimizer", f"{optimizer.get('name', NOTHING)}, learning rate {plain(optimizer.get('lr'))}"
        yield "batch size", f"{plain(config.get('batch_size'))} over all ranks"
        yield "seed", f"{config.get('seed', NOTHING)}; of the splits {data.get('split_seed', NOTHING)}"
    if "epochs" in summary:
        done = summary.get("epochs_done", summary["epochs"])
        yield "trained", f"{done} of {counted(summary['epochs'], 'epoch')}, {counted(summary.get('steps', 0), 'step')}"
    if "checkpoint" in summary:
        yield "tested checkpoint", f"step {summary['checkpoint']['step']}, by {summary['checkpoint']['selected_by']}"
    if attempts:
        last = attempts[-1]
        ranks, nodes = counted(last.get("ranks", 0), "rank"), counted(last.get("nodes", 1), "node")
        yield "ran as", f"{ranks} on {nodes}; {counted(len(attempts), 'attempt')}"
        yield "started", moment(attempts[0].get("started"))
    yield "image", str(run.get("image") or "none: ran outside a container image")
    if "digest" in run:
        yield "digest of the job", str(run["digest"])[:12]


def _metrics_table(results: ResultsFolder) -> Table | None:
    if not results.metrics:
        return None
    intervals = results.told.get("intervals") or {}
    rows = [[words(name), score(value)] for name, value in results.metrics.items()]
    if not intervals:
        return Table(("metric", _split(results)), rows)
    share = f"{intervals['confidence']:.0%} interval"
    for row, name in zip(rows, results.metrics, strict=True):
        low_high = results.interval(name)
        row.append(" to ".join(map(score, low_high)) if low_high else "")
    how = f"Intervals: bootstrap, {counted(intervals['resamples'], 'resample')} of the test samples."
    return Table(("metric", _split(results), share), rows, notes=(how,))


def _split(results: ResultsFolder) -> str:
    return str(results.summary["metrics"].get("split", "value"))


def _command(run: Facts) -> dict[str, Any]:
    return {"command": run["command"]} if "command" in run else {}


def _details(results: ResultsFolder) -> dict[str, Any]:
    elsewhere = _SHOWN_ELSEWHERE if results.told else {"metrics"}
    return {name: value for name, value in results.summary.items() if name not in elsewhere}


def _folds_table(results: ResultsFolder) -> Table:
    folds = results.folds
    names = list(folds["mean"])
    rows = [[f"fold {row['fold']}", *(score(row[name]) for name in names)] for row in folds["metrics"]]
    averages = [
        ["mean", *(score(folds["mean"][name]) for name in names)],
        ["standard deviation", *(score(folds["std"][name]) for name in names)],
    ]
    note = "Each fold tests samples that it was not trained on; folds/0 and so on hold a report each."
    return Table(("", *map(words, names)), rows, averages, notes=(note,))


def _figures(folder: Path, results: ResultsFolder) -> Iterator[Picture]:
    paths = {path.stem: path for path in sorted(folder.glob("*.png"))}
    for name in (*(name for name in _FIGURES if name in paths), *(name for name in paths if name not in _FIGURES)):
        about = _FIGURES.get(name) or _Figure(sentence(words(name)), "")
        alt = f"{about.title} of {results.title}. {about.caption}".strip()
        yield Picture(about.title, alt, embedded(paths[name]), about.caption, about.is_wide)


def _worst(row: dict[str, Any]) -> dict[str, Any]:
    """A sample as the gallery shows it."""
    is_right = row["label"] == row["predicted"]
    said = "rightly taken for it" if is_right else f"taken for {row['predicted']}"
    return {
        "data": embedded(row["image"]),
        "alt": f"sample {row['name']}: {row['label']}, {said}",
        "width": row["width"],
        "height": row["height"],
        "is_right": is_right,
        "predicted": row["predicted"],
        "label": row["label"],
        "confidence": f"{row['confidence']:.1%}",
        "loss": f"{row['loss']:.3g}",
        "name": row["name"],
    }


def _skipped(summary: Facts) -> Table:
    files = summary.get("skipped_samples", ())
    more = (f"and {len(files) - _MAX_SKIPPED:,} more",) if len(files) > _MAX_SKIPPED else ()
    return Table(("file",), [(name,) for name in files[:_MAX_SKIPPED]], is_text=True, notes=more)


def _attempts_table(attempts: list[dict[str, Any]]) -> Table:
    rows = []
    for record in attempts:
        end = record.get("end") or {}
        rows.append(
            (
                plain(record.get("attempt")),
                moment(record.get("started")),
                duration(record.get("started"), end.get("ended")),
                plain(record.get("ranks")),
                plain(record.get("resumed_from") or "the beginning"),
                plain(end.get("cause")),
            )
        )
    return Table(("attempt", "started", "took", "ranks", "from", "ended"), rows, is_text=True)


def _settings_table(values: Mapping[str, Any]) -> Table:
    return Table(("name", "value"), list(settings(values)), is_text=True)
