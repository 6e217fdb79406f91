"""The report: one file, escaped, with everything in it and nothing from elsewhere."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.metrics import classification_summary
from trainer.output.report import write_report

PNG = b"\x89PNG not really"
RUN: dict[str, Any] = {
    "job": "<script>alert('job')</script>",
    "namespace": "local",
    "attempt": 3,
    "image": None,
    "versions": {"torch": "2.10.0"},
    "train": {
        "epochs": 2,
        "data": {"kind": "idx", "path": "/data/<b>"},
        "optimizer": {"betas": [0.9, 0.999]},
        "empty": {},
    },
}
SUMMARY: dict[str, Any] = {
    "steps": 1234,
    "metrics": {"split": "test", "loss": 0.345678, "accuracy": 0.91234},
    "samples": {"train": {"<ant>": 1000, "bee": 2}, "test": {"<ant>": 3, "bee": 4}},
    "confusion": [[7, 7]],
    "checkpoint": {"step": 7, "value": None},
    "skipped_samples": ["bee/<img>.jpg"],
}
CLASSES = classification_summary(np.array([[9, 1], [2, 8]]), ("<ant>", "bee"))


class _Tags(HTMLParser):
    """Checks that tags are closed in order and collects them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def report(tmp_path: Path) -> str:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "learning_curves.png").write_bytes(PNG)
    write_report(tmp_path, RUN, {**SUMMARY, "report": CLASSES})
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_is_well_formed(report: str) -> None:
    tags = _Tags()
    tags.feed(report)
    assert tags.open == []
    assert tags.seen.count("h1") == 1


def test_everything_users_name_is_escaped(report: str) -> None:
    for wild in ("<script>", "<ant>", "<img>.jpg", "/data/<b>"):
        assert wild not in report
    assert "&lt;script&gt;alert(&#x27;job&#x27;)" in report
    assert "bee/&lt;img&gt;.jpg" in report


def test_plots_are_inside_the_file(report: str) -> None:
    assert f"data:image/png;base64,{base64.b64encode(PNG).decode()}" in report


def test_nothing_is_fetched_from_elsewhere(report: str) -> None:
    assert not re.search(r"(src|href)=.(?!data:)", report)
    assert "url(" not in report
    assert "http" not in report


@pytest.mark.parametrize(
    "shown",
    [
        "<b>91.23%</b><span>accuracy</span>",
        "<b>0.3457</b><span>loss</span>",
        '<td class="number">0.8182</td>',
        "<td>macro average</td>",
        "<td>data.kind</td><td>idx</td>",
        "<td>optimizer.betas</td><td>[0.9, 0.999]</td>",
        "<td>torch</td><td>2.10.0</td>",
        "<td>checkpoint.value</td><td>none</td>",
        '<td class="number">1,000</td>',
        "1 unreadable sample left out",
    ],
)
def test_the_page_shows(report: str, shown: str) -> None:
    assert shown in report


def test_a_matrix_of_numbers_is_left_to_the_picture(report: str) -> None:
    assert "[[7, 7]]" not in report


def test_a_run_without_plots_or_details_has_a_report_too(tmp_path: Path) -> None:
    write_report(tmp_path, {}, {})
    assert "<h2>Configuration</h2>" in (tmp_path / "report.html").read_text()


def test_a_task_without_classes_shows_the_sizes_of_its_splits(tmp_path: Path) -> None:
    write_report(tmp_path, RUN, {"samples": {"train": 1000, "test": 30}})
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Classes</h2>" not in page
    assert '<tr><td>all</td><td class="number">1,000</td><td class="number">30</td></tr>' in page
