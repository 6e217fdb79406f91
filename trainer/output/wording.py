"""Names and numbers as a reader wants them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

NOTHING = "-"
_SPELLINGS = {"f1": "F1", "auc": "AUC", "lr": "learning rate"}
# Endings of metrics that are shares, which people read as percentages.
_SHARES = ("accuracy", "f1", "recall", "precision", "error_rate", "calibration_error")


def words(name: str) -> str:
    """A metric's or file's name as words: ``macro_f1`` is "macro F1"."""
    return " ".join(_SPELLINGS.get(word, word) for word in name.replace("-", "_").split("_"))


def sentence(text: str) -> str:
    """With a capital first letter, and the others as they are."""
    return text[:1].upper() + text[1:]


def headline(name: str, value: object) -> str:
    """A metric in large type: a share as a percentage, another number with four digits."""
    if isinstance(value, float) and name.endswith(_SHARES) and "average_precision" not in name:
        return f"{value:.2%}"
    return score(value)


def score(value: object) -> str:
    """A number with four decimals, or six where four would make a 1 of what is less; anything else as it is."""
    if not isinstance(value, float):
        return plain(value)
    if abs(value) >= 1000:
        return f"{value:,.1f}"
    return f"{value:.6f}" if 0.99995 <= value < 1 else f"{value:.4f}"


def bounds(low_high: Sequence[float] | None, name: str = "") -> str:
    """An interval: "97.2% to 99.4%" for a metric that ``name`` says is a share."""
    if low_high is None:
        return ""
    low, high = (headline(name, float(value)) for value in low_high)
    return f"{low} to {high}"


def difference(value: object, first: object) -> str:
    """How far a number is from that of the first run, with its sign; empty where one of them is none."""
    if not _is_number(value) or not _is_number(first):
        return ""
    return f"{value - first:+.4f}"  # type: ignore[operator]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def plain(value: object) -> str:
    """Any value of a JSON file as text."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bool | list | tuple | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def settings(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as (dotted name, value)."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", plain(value)


def moment(time: str | None) -> str:
    """A recorded time, to the second."""
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M:%S} UTC" if time else NOTHING


def duration(start: str | None, end: str | None) -> str:
    """Between two recorded times: "1 h 02 min", "3 min 20 s" or "4.2 s"."""
    if not start or not end:
        return NOTHING
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 sample" or "2 samples"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
