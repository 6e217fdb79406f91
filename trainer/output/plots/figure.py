"""What every picture shares: size, colours, style, and how it becomes a file."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from trainer.output.storage import replacing

DPI = 120
INK, FAINT = "#333333", "#999999"
# Colours that the common kinds of colour blindness can tell apart (Okabe and Ito, 2008), the darker ones first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
LINE_STYLES = ("-", "--", ":")
MAX_NAME_LENGTH = 16


def line_style(index: int) -> dict[str, Any]:
    """Colour and dashes of the line at ``index``, from 0: 18 of them differ, and any six by colour alone."""
    dashes = LINE_STYLES[index // len(COLOURS) % len(LINE_STYLES)]
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": dashes}


@contextmanager
def drawn(path: Path, *, width: float, height: float) -> Iterator[Figure]:
    """A figure (inches) that becomes the PNG at ``path``, whole or not at all."""
    figure = Figure(figsize=(width, height), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    yield figure
    with replacing(path) as temporary, warnings.catch_warnings():
        # Names are the users', in any script; one that the font lacks is drawn as boxes, and the tables show it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        canvas.print_figure(temporary, dpi=DPI, format="png", bbox_inches="tight", pad_inches=0.15)


def style(axes: Axes, *, title: str = "", legend: bool = True) -> None:
    """A light grid, two spines, and a legend where something has a label."""
    if title:
        axes.set_title(title, fontsize=11, color=INK, parse_math=False)
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9)
    if legend and axes.get_legend_handles_labels()[0]:
        plain_legend(axes)


def plain_legend(axes: Axes, **options: Any) -> None:
    """A legend without a frame. Names in it are the users': a dollar sign must not start a formula."""
    legend = axes.legend(**{"frameon": False, "fontsize": 9, **options})
    for text in legend.get_texts():
        text.set_parse_math(False)


def say_nothing_to_draw(axes: Axes, words: str) -> None:
    """Say so in the middle of an empty panel."""
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=FAINT)


def shortened(name: str, length: int = MAX_NAME_LENGTH) -> str:
    """``name`` on one line, and cut where it would push the picture aside."""
    plain = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    return plain if len(plain) <= length else plain[: length - 1] + "…"


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names with commas, and how many more there are."""
    shown = ", ".join(map(shortened, names[:most]))
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown
