"""Reports in a real browser, without a network: they fit a phone, show every picture and ask for nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import MISSING, Browser, headless, program
from tests.sample_results import cross_validated, results_folder, run_facts
from trainer.output.report import read_folder, write_comparison, write_report

PAGE_FACTS = """({
    overflow: document.scrollingElement.scrollWidth - innerWidth,
    pictures: [...document.images].map(image => image.complete && image.naturalWidth > 0),
    hidden: [...document.images].filter(image => !image.checkVisibility()).length,
    title: document.title,
})"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = program()
    if found is None:
        pytest.skip(f"reports are not opened: {MISSING}")
    with headless(found, tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report with long names and markup in them, that of a cross-validation, and a comparison of the two."""
    root = tmp_path_factory.mktemp("runs")
    job = "a-job-whose-name-takes-all-the-63-characters-that-kubernetes-al"
    run = results_folder(root / "run", run_facts(job, weights="/" + "x" * 200), count=14)
    folds = cross_validated(root / "folds", count=14)
    for folder in (run, folds):
        results = read_folder(folder)
        write_report(folder, results.run, results.summary)
    write_comparison([read_folder(run), read_folder(folds)], root / "comparison.html")
    return {"run": run / "report.html", "folds": folds / "report.html", "comparison": root / "comparison.html"}


@pytest.mark.parametrize(("name", "pictures"), [("run", 6 + 3), ("folds", 2 + 6), ("comparison", 3)])
@pytest.mark.parametrize("width", [375, 1280])
def test_a_page_fits_and_shows_all_pictures_without_a_network(
    browser: Browser, pages: dict[str, Path], name: str, pictures: int, width: int
) -> None:
    opened = browser.open(pages[name], width=width, expression=PAGE_FACTS)
    assert opened.facts["overflow"] <= 0, "the page itself scrolls sideways"
    assert opened.facts["pictures"] == [True] * pictures
    assert opened.facts["hidden"] == 0
    assert opened.requests == [pages[name].as_uri()]
    assert opened.errors == []


def test_the_browser_would_notice_what_the_reports_must_not_do(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text('<p style="width: 900px">wide</p><img src="elsewhere.png"><script>console.error("no")</script>')
    opened = browser.open(page, width=375, expression=PAGE_FACTS)
    assert opened.facts["overflow"] > 0
    assert opened.facts["pictures"] == [False]
    assert opened.requests == [page.as_uri(), (tmp_path / "elsewhere.png").as_uri()]
    assert len(opened.errors) == 2
