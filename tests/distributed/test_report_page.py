"""Reports of real runs in a real browser."""

from pathlib import Path

import pytest

from tests.browser import MISSING, headless, program
from tests.trainer_runs import tiny, train_to_end
from trainer import cli

WIDTH = 375
FACTS = """({
    overflow: document.scrollingElement.scrollWidth - innerWidth,
    pictures: [...document.images].map(image => image.complete && image.naturalWidth > 0),
    sections: [...document.querySelectorAll("section")].map(section => section.id),
})"""


@pytest.mark.slow
def test_reports_of_a_run_a_cross_validation_and_both_show_everything_on_a_phone(tmp_path: Path) -> None:
    found = program()
    if found is None:
        pytest.skip(f"reports are not opened: {MISSING}")
    run = train_to_end(tmp_path / "run", tiny())
    folds = train_to_end(tmp_path / "folds", tiny(validation={"folds": 3}))
    comparison = tmp_path / "comparison.html"
    assert cli.main(["report", str(run), str(folds), "-o", str(comparison)]) == 0
    plots = len(list((run / "plots").glob("*.png")))
    everything = ["metrics", "figures", "classes", "worst", "data", "run"]
    with headless(found, tmp_path / "profile") as browser:
        for page, pictures, sections in (
            (run / "report.html", plots + 24, everything),
            (folds / "report.html", 2 + 24, everything),
            (folds / "folds" / "2" / "report.html", plots + 24, everything),
            (comparison, 3, ["runs", "metrics", "configuration", "figures", "classes"]),
        ):
            opened = browser.open(page, width=WIDTH, expression=FACTS)
            assert opened.facts["overflow"] <= 0, f"{page} scrolls sideways"
            assert opened.facts["pictures"] == [True] * pictures, page
            assert opened.facts["sections"] == sections
            assert (opened.requests, opened.errors) == ([page.as_uri()], [])
