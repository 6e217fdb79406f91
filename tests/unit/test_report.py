"""The report: one file, escaped, with everything in it and nothing from elsewhere."""

import base64
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tests.sample_results import cross_validated, results_folder, run_facts, summary_of
from trainer.exits import StorageError
from trainer.output.report import read_folder, write_comparison, write_report

WILD = "<script>alert('job')</script>"
SUMMARY = summary_of(5, absent=(3,))
VOID = ("meta", "img", "link", "br")


class Page(HTMLParser):
    """A page's tags, which must be closed in order, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(" ".join(data.split()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def after(self, words: str, count: int = 1) -> list[str]:
        """The texts that follow the first text ``words``."""
        at = self.words.index(words)
        return self.words[at + 1 : at + 1 + count]


@pytest.fixture(scope="module", autouse=True)
def quick_pictures() -> Iterator[None]:
    """Pictures are not rendered: here it matters where they are, not what they show."""

    def keep(canvas: FigureCanvasAgg, path: Path, **_options: object) -> None:
        path.write_bytes(b"picture")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FigureCanvasAgg, "print_figure", keep)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return results_folder(tmp_path_factory.mktemp("run") / "digits", run_facts(WILD))


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cross_validated(tmp_path_factory.mktemp("run") / "folds")


def report_of(folder: Path) -> str:
    results = read_folder(folder)
    write_report(folder, results.run, results.summary)
    return (folder / "report.html").read_text(encoding="utf-8")


def comparison_of(target: Path, *folders: Path) -> str:
    write_comparison([read_folder(folder) for folder in folders], target / "page.html")
    return (target / "page.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def report(folder: Path) -> str:
    return report_of(folder)


@pytest.fixture(scope="module")
def page(report: str) -> Page:
    return Page(report)


def test_the_page_has_one_title_and_a_link_to_each_part(page: Page) -> None:
    assert len(page.all("h1")) == 1
    ids = [section["id"] for section in page.all("section")]
    assert [link["href"] for link in page.all("a")] == [f"#{name}" for name in ids]
    assert ids == ["metrics", "figures", "classes", "worst", "data", "run"]


def test_everything_users_name_is_escaped(report: str, page: Page) -> None:
    assert {tag for tag, _ in page.tags} & {"script", "b", "ant", "img>"} == {"b"}
    assert len(page.all("b")) == 4, "bold are the cards alone"
    for wild in ("<script", "<b>ant", "<img>", "/data/<b>"):
        assert wild not in report
    assert page.words[0] == WILD
    for name in (WILD, "<b>ant</b>", "bee/<img>.jpg", "bee/<img>-0.png", "idx /data/<b>", "犬"):
        assert name in page.words


def test_a_name_that_breaks_out_of_an_attribute_stays_in_it(tmp_path: Path) -> None:
    results_folder(tmp_path / "run", run_facts('" onload="alert(1)'))
    images = Page(report_of(tmp_path / "run")).all("img")
    assert images
    assert not [image for image in images if "onload" in image]


def test_names_that_are_no_text_do_not_stop_the_page(tmp_path: Path) -> None:
    write_report(tmp_path, run_facts("\udcff"), {"skipped_samples": ["\udcff.png"]})
    assert "\\udcff.png" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_figures_are_inside_the_file_with_words_for_those_who_do_not_see_them(folder: Path, page: Page) -> None:
    images = page.all("img")
    files = [
        "learning_curves",
        "confusion_matrix",
        "class_scores",
        "roc_curves",
        "precision_recall_curves",
        "calibration",
    ]
    for name, image in zip(files, images, strict=False):
        data = base64.b64encode((folder / "plots" / f"{name}.png").read_bytes()).decode()
        assert image["src"] == f"data:image/png;base64,{data}", f"{name} is not the next figure"
    assert len(images) == len(files) + 3
    assert all(len(image["alt"] or "") > 20 for image in images)


def test_nothing_is_fetched_from_elsewhere(report: str) -> None:
    assert not re.search(r"(src|href)=.(?!data:|#)", report)
    assert "url(" not in report
    assert "http:" not in report
    assert "https:" not in report
    assert "default-src 'none'" in report


@pytest.mark.parametrize(
    ("name", "following"),
    [
        ("0.3457", ["Loss"]),
        ("convnet, 99,370 parameters", ["data", "idx /data/<b>"]),
        ("seed", ["7; of the splits 3"]),
        ("trained", ["3 of 3 epochs, 60 steps"]),
        ("tested checkpoint", ["step 60, by last epoch"]),
        ("ran as", ["2 ranks on 1 node; 1 attempt"]),
        ("digest of the job", ["0123456789ab"]),
        ("metric", ["test", "95% interval"]),
        ("macro average", [f"{SUMMARY['report']['macro']['precision']:.4f}"]),
        ("all", ["5,000", f"{SUMMARY['report']['support']}"]),
        ("1 unreadable sample left out", ["file", "bee/<img>.jpg"]),
        ("data.kind", ["idx"]),
        ("optimizer.betas", ["[0.9, 0.999]"]),
        ("torch", ["2.10.0"]),
        ("checkpoint.value", ["-"]),
        ("ended", ["1", "2026-01-02 03:04:05 UTC", "1 min 30 s", "2", "the beginning", "done"]),
    ],
)
def test_the_page_shows(page: Page, name: str, following: list[str]) -> None:
    assert page.after(name, len(following)) == following


def test_metrics_come_with_their_intervals(page: Page) -> None:
    accuracy = SUMMARY["metrics"]["accuracy"]
    assert f"{accuracy - 0.02:.2%} to {accuracy + 0.01:.2%}" in page.words
    assert page.after("accuracy", 2) == [f"{accuracy:.4f}", f"{accuracy - 0.02:.4f} to {accuracy + 0.01:.4f}"]
    assert "Intervals: bootstrap, 1,000 resamples of the test samples." in page.words


def test_classes_show_their_areas_and_those_without_samples_are_named(page: Page) -> None:
    assert page.after("class", 6) == ["precision", "recall", "F1", "AUC", "samples", "<b>ant</b>"]
    absent = SUMMARY["classes"][3]
    assert page.after(absent, 4)[-1] == "-"
    assert f"Without test samples: {absent}." in page.words


def test_what_is_mixed_up_most_often_comes_first(tmp_path: Path) -> None:
    confusion = [[5, 0, 1], [4, 6, 0], [0, 0, 9]]
    write_report(tmp_path, {}, {**summary_of(3), "confusion": confusion, "classes": ["a", "b", "c"]})
    page = Page((tmp_path / "report.html").read_text())
    assert page.after("share of the true class", 8) == ["b", "a", "4", "40.0%", "a", "c", "1", "16.7%"]


def test_the_worst_samples_are_shown_with_what_was_said_of_them(page: Page) -> None:
    first = page.words.index("bee/<img>-0.png")
    assert page.words[first - 4 : first] == ["said 犬", ", is <b>ant</b>", "90.0% sure", "loss 5"]
    assert page.all("img")[-3]["alt"] == "sample bee/<img>-0.png: <b>ant</b>, taken for 犬"
    assert page.all("img")[-3]["width"] == "96"


def test_long_tables_are_closed_and_short_ones_open(page: Page) -> None:
    assert [("open" in details) for details in page.all("details")] == [
        True,
        True,
        False,
        False,
        True,
        False,
        False,
        False,
    ]


def test_many_classes_are_behind_a_click(tmp_path: Path) -> None:
    write_report(tmp_path, {}, summary_of(40))
    assert "open" not in Page((tmp_path / "report.html").read_text()).all("details")[0]


def test_a_cross_validation_shows_every_fold_with_mean_and_deviation(folds: Path) -> None:
    page = Page(report_of(folds))
    assert page.after("92.00%", 2) == ["Accuracy", "± 2.83% over 2 folds"]
    assert page.after("fold 0", 3) == ["0.9000", "fold 1", "0.9400"]
    assert page.after("mean", 3) == ["0.9200", "standard deviation", "0.0283"]
    assert len(page.all("img")) == 2 + 6, "the matrix and scores of all, and the worst samples of both folds"


def test_a_fold_says_which_it_is(folds: Path) -> None:
    (folds / "attempts").mkdir(exist_ok=True)
    (folds / "attempts" / "0001.json").write_bytes((folds / "folds/1/attempts/0001.json").read_bytes())
    page = Page(report_of(folds / "folds" / "1"))
    assert page.words[0] == "folds, fold 1"
    assert page.after("ran as") == ["2 ranks on 1 node; 1 attempt"], "the attempts are those of the job"


def test_records_of_attempts_that_say_little_do_not_stop_the_page(tmp_path: Path) -> None:
    (tmp_path / "attempts").mkdir()
    (tmp_path / "attempts" / "0001.json").write_text('{"attempt": 1, "resumed_from": null, "end": null}')
    write_report(tmp_path, {}, {})
    assert Page((tmp_path / "report.html").read_text()).after("ended", 6) == ["1", "-", "-", "-", "the beginning", "-"]


def test_a_run_without_plots_or_details_has_a_report_too(tmp_path: Path) -> None:
    write_report(tmp_path, {}, {})
    assert Page((tmp_path / "report.html").read_text()).after("Configuration") == ["none"]


def test_a_task_without_classes_shows_the_sizes_of_its_splits(tmp_path: Path) -> None:
    write_report(tmp_path, run_facts(task="sequence-to-sequence"), {"samples": {"train": 1000, "test": 30}})
    page = Page((tmp_path / "report.html").read_text())
    assert "Classes" not in page.words
    assert page.after("samples", 5) == ["train", "test", "all", "1,000", "30"]


def test_a_scripts_numbers_are_shown_as_they_are(tmp_path: Path) -> None:
    write_report(tmp_path, {"job": "own"}, {"metrics": {"perplexity": 34.25, "mean_squared_error": 0.5}, "steps": 40})
    page = Page((tmp_path / "report.html").read_text())
    assert page.after("34.2500") == ["Perplexity"]
    assert page.after("0.5000") == ["Mean squared error"]


def test_a_scripts_own_summary_may_hold_anything(tmp_path: Path) -> None:
    own = {
        "samples": 1000,
        "folds": [1],
        "report": "see below",
        "checkpoint": "last.pt",
        "epochs": "many",
        "confusion": 1,
    }
    own |= {"classes": 7, "intervals": {"accuracy": [1, 2]}, "skipped_samples": 3, "parameters": "11M"}
    write_report(tmp_path, {"job": "own", "command": ["train.py"]}, {"metrics": {"accuracy": 0.5}, **own})
    page = Page((tmp_path / "report.html").read_text())
    assert page.after("50.00%") == ["Accuracy"]
    assert page.after("checkpoint") == ["last.pt"]
    assert page.after("samples") == ["1000"]
    (tmp_path / "run.json").write_text('{"job": "own", "command": ["train.py"]}')
    (tmp_path / "summary.json").write_text(json.dumps({"metrics": {"accuracy": 0.5}, **own}))
    assert "2 runs compared" in comparison_of(tmp_path, tmp_path, tmp_path)


def test_lines_of_a_script_are_taken_for_steps_and_what_cannot_be_drawn_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"job": "own", "command": ["train.py"]}')
    lines = ['{"step": 1, "loss": 2.5}', '{"step": 2, "loss": NaN, "note": "hot", "kind": "step"}', '"text"', "[1]"]
    lines += [
        '{"kind": "epoch", "step": 2, "epoch": 0, "split": "test"}',
        '{"kind": "epoch", "step": 2}',
        '{"loss": 1}',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 3, "lo']))
    assert read_folder(tmp_path).trainings() == [
        [{"kind": "step", "step": 1, "loss": 2.5}, {"kind": "step", "step": 2}]
    ]
    assert "Learning curves" in Page(comparison_of(tmp_path, tmp_path, tmp_path)).words


def test_a_folder_without_a_run_is_an_error_that_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"neither run.json nor summary.json; give the results folder of a job"):
        read_folder(tmp_path)
    with pytest.raises(StorageError, match="there is no such folder"):
        read_folder(tmp_path / "digts")
    (tmp_path / "run.json").write_text('{"job":')
    with pytest.raises(StorageError, match=r"run.json: is not JSON .*; was it cut short\?"):
        read_folder(tmp_path)


def test_two_runs_are_shown_side_by_side_with_the_difference(tmp_path: Path, folder: Path, folds: Path) -> None:
    page = Page(comparison_of(tmp_path, folder, folds))
    assert page.words[0] == "2 runs compared"
    accuracy = SUMMARY["metrics"]["accuracy"]
    cells = page.after("accuracy", 2)
    assert cells == [
        f"{accuracy:.4f} {accuracy - 0.02:.4f} to {accuracy + 0.01:.4f}",
        f"0.9200 ± 0.0283 {0.92 - accuracy:+.4f} to the first",
    ]
    assert page.after("loss", 2) == ["0.3457", "-"], "a mean over folds has no loss here"
    assert [image["alt"][:30] for image in page.all("img") if image["alt"]] == [
        f"Learning curves of {WILD}"[:30],
        f"Confusion matrix of {WILD}"[:30],
        "Confusion matrix of folds: sam",
    ]
    assert "The runs were not tested on the same samples, so their metrics differ by that as well." in page.words


def test_only_settings_that_differ_are_listed(tmp_path: Path) -> None:
    first = results_folder(tmp_path / "a", run_facts("a"))
    second = results_folder(tmp_path / "b", run_facts("b", batch_size=32, model={"name": "convnet", "dropout": 0.5}))
    page = Page(comparison_of(tmp_path, first, second))
    assert page.after("setting", 2) == ["a", "b"]
    rows = page.words[page.words.index("setting") + 3 :][:9]
    assert rows == [
        *("train.batch_size", "64", "32"),
        *("train.model.hidden", "[128]", "-"),
        *("train.model.dropout", "-", "0.5"),
    ]
    same = Page(comparison_of(tmp_path, first, first))
    assert "Nothing: configuration, image and versions are the same." in same.words


def test_classes_are_listed_by_how_much_their_f1_differs(tmp_path: Path) -> None:
    def run(name: str, *scores: float) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rows = [{"class": f"c{at}", "f1": score} for at, score in enumerate(scores)]
        summary = {"metrics": {"accuracy": 0.5}, "report": {"classes": rows}}
        (folder / "run.json").write_text(json.dumps(run_facts(name)))
        (folder / "summary.json").write_text(json.dumps(summary))
        return folder

    page = Page(comparison_of(tmp_path, run("a", 0.9, 0.5, 0.8), run("b", 0.91, 0.75, 0.6)))
    rows = page.words[page.words.index("class") + 3 :][:9]
    assert rows == [
        "c1",
        "0.5000",
        "0.7500 +0.2500",
        "c2",
        "0.8000",
        "0.6000 -0.2000",
        "c0",
        "0.9000",
        "0.9100 +0.0100",
    ]


def test_other_tasks_and_missing_files_are_said_in_words(tmp_path: Path, folder: Path) -> None:
    other = tmp_path / "words"
    other.mkdir()
    (other / "run.json").write_text(json.dumps(run_facts("words", task="sequence-to-sequence")))
    words = Page(comparison_of(tmp_path, folder, other)).words
    tasks = "image classification, sequence to sequence"
    assert f"The runs are of different tasks ({tasks}): a loss, above all, is not comparable between them." in words
    assert "words has no summary.json, so it has not succeeded (yet): its final metrics are missing." in words
    assert "words has no metrics.jsonl: it has no learning curves." in words
    assert f"{WILD} has no metrics.jsonl: it has no learning curves." not in words


def test_only_runs_of_one_task_or_of_a_script_get_a_difference(tmp_path: Path, folder: Path) -> None:
    facts = {"words": run_facts("words", task="sequence-to-sequence"), "own": {"job": "own", "command": ["train.py"]}}
    for name, run in facts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(run))
        (tmp_path / name / "summary.json").write_text('{"metrics": {"loss": 0.5}}')
    page = Page(comparison_of(tmp_path, folder, tmp_path / "words", tmp_path / "own"))
    assert page.after("loss", 3) == ["0.3457", "0.5000", "0.5000 +0.1543 to the first"]
    assert "F1 of each class" not in page.words, "only one of them has classes"


def test_runs_of_the_same_job_are_told_apart_by_their_folders(tmp_path: Path, folder: Path) -> None:
    copy = results_folder(tmp_path / "again", run_facts(WILD))
    words = Page(comparison_of(tmp_path, folder, copy)).words
    assert f"{WILD} ({folder})" in words
    assert f"{WILD} ({copy})" in words
    assert f"{WILD} ({copy}, no. 2)" in Page(comparison_of(tmp_path, copy, copy)).words


def test_the_same_folders_give_the_same_page(tmp_path: Path, folder: Path, folds: Path) -> None:
    assert comparison_of(tmp_path, folder, folds) == comparison_of(tmp_path, folder, folds)
    assert report_of(folder) == report_of(folder)


def test_a_comparison_is_escaped_and_alone_too(tmp_path: Path, folder: Path, folds: Path) -> None:
    text = comparison_of(tmp_path, folder, folds)
    assert "<script" not in text
    assert "<b>" not in text
    assert not re.search(r"(src|href)=.(?!data:|#)", text)
