"""Tables of a report about classes."""

from collections.abc import Mapping
from typing import Any

from trainer.output.report.reading import Facts, ResultsFolder
from trainer.output.report.tables import Table
from trainer.output.wording import score, words

MAX_CONFUSED = 10
_ALWAYS = ("precision", "recall", "f1")
_SOMETIMES = ("auc", "average_precision")


def class_table(results: ResultsFolder) -> Table:
    """Precision, recall, F1 and, where they were computed, the areas of each class, with their averages."""
    report, rows = results.summary["report"], results.classes
    columns = [*_ALWAYS, *(name for name in _SOMETIMES if any(name in row for row in rows))]
    areas = {name: results.metrics.get(f"macro_{name}") for name in _SOMETIMES}
    averages = []
    for kind in ("macro", "weighted"):
        values = {**report[kind], **(areas if kind == "macro" else {})}
        cells = (score(values[name]) if values.get(name) is not None else "" for name in columns)
        averages.append((f"{kind} average", *cells, f"{report['support']:,}"))
    return Table(
        ("class", *map(words, columns), "samples"),
        [(row["class"], *(score(row.get(name)) for name in columns), f"{row['support']:,}") for row in rows],
        averages,
        notes=_class_notes(report),
    )


def _class_notes(report: Facts) -> list[str]:
    notes = []
    if absent := report.get("absent_classes"):
        notes.append(f"Without test samples: {', '.join(absent)}.")
    if (bound := report.get("auc_error_bound")) is not None:
        notes.append(f"AUC comes from histograms of the scores and is right to within {bound:.2g}.")
    return notes


def confused_table(summary: Facts) -> Table:
    """The pairs of classes that are mixed up most often."""
    confusion, names = summary.get("confusion", ()), summary.get("classes", ())
    pairs = [
        (count, true, predicted)
        for true, row in enumerate(confusion)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    pairs.sort(key=lambda pair: -pair[0])
    rows = [
        (names[true], names[predicted], f"{count:,}", f"{count / sum(confusion[true]):.1%}")
        for count, true, predicted in pairs[:MAX_CONFUSED]
    ]
    return Table(("true class", "taken for", "samples", "share of the true class"), rows)


def sample_tables(samples: Mapping[str, Any]) -> tuple[Table, Table]:
    """Sizes of the splits, and of each class in them where the task has classes."""
    by_class = {split: counts for split, counts in samples.items() if isinstance(counts, Mapping)}
    sizes = {split: sum(counts.values()) if split in by_class else counts for split, counts in samples.items()}
    classes = list(next(iter(by_class.values()), ()))
    rows = [(name, *(f"{counts.get(name, 0):,}" for counts in by_class.values())) for name in classes]
    totals = [("all", *(f"{size:,}" for size in sizes.values()))] if sizes else []
    return Table(("samples", *sizes), totals), Table(("class", *by_class), rows)
