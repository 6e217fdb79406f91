"""Near misses: "did you mean", and lists of allowed names that stay short."""

from collections.abc import Sequence

MOST_LISTED = 24
_LONGEST_COMPARED = 80  # similarity costs the square of the length


def nearest(word: str, allowed: Sequence[str], *, count: int = 1, cutoff: float = 0.7) -> list[str]:
    """The names most like ``word``, best first; none when nothing is like it."""
    import difflib

    if len(word) > _LONGEST_COMPARED:
        return []
    return difflib.get_close_matches(word, allowed, n=count, cutoff=cutoff)


def did_you_mean(word: str, allowed: Sequence[str]) -> str:
    """A clause to append to a message: ``; did you mean epochs?``, or nothing."""
    best = nearest(word, allowed)
    return f"; did you mean {best[0]}?" if best else ""


def listing(allowed: Sequence[str], *, near: str = "") -> str:
    """``(allowed a, b, c)``; of a long list only the names nearest to ``near``, and how many there are."""
    if len(allowed) <= MOST_LISTED:
        return f"(allowed {', '.join(allowed)})"
    shown = nearest(near, allowed, count=5, cutoff=0.3) or list(allowed[:5])
    return f"(allowed {', '.join(shown)}, ... {len(allowed)} names in all)"
