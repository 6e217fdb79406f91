"""Reading logs that are still being written."""

from pathlib import Path

import pytest

from launcher.backends.local import logs
from launcher.backends.local.logs import GrowingFile, LogView, read_logs
from launcher.errors import InvalidJob
from tests.unit.fake_jobs import FakeJobs


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_only_whole_lines_are_shown_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = GrowingFile(path)
    assert list(file.new_lines()) == []
    append(path, b"one\ntw")
    assert list(file.new_lines()) == ["one"]
    append(path, b"o\r\nthr\xffee")
    assert list(file.new_lines()) == ["two"]
    assert list(file.new_lines(at_end=True)) == ["thr\ufffdee"]


def test_a_character_cut_by_a_block_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "BLOCK", 3)
    path = tmp_path / "log"
    append(path, "ab\u20accd\nnext\n".encode())
    assert list(GrowingFile(path).new_lines()) == ["ab\u20accd", "next"]


@pytest.mark.parametrize("content", [b"", b"\n", b"a\n", b"a", b"a\nb\nc\n", b"a\nb\nc", b"\n\n\n", b"a\n\nb\n"])
@pytest.mark.parametrize("count", [0, 1, 2, 10])
@pytest.mark.parametrize("block", [1, 2, 64])
def test_tail_is_the_last_lines_whatever_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, count: int, block: int
) -> None:
    monkeypatch.setattr(logs, "BLOCK", block)
    path = tmp_path / "log"
    append(path, content)
    expected = b"".join(content.splitlines(keepends=True)[-count:]) if count else b""
    assert content[logs.tail_offset(path, count) :] == expected


def test_the_newest_whole_progress_line_counts(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append(path, b'@progress {"old": 1}\n')
    before = path.stat().st_size
    assert logs.newest_progress_line(path, after=before) is None
    append(path, b'@progress {"step": 1}\ntext\n@progress {"st')
    assert logs.newest_progress_line(path, after=before) == '{"step": 1}'


def test_following_switches_to_a_new_attempt_and_loses_nothing(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    append(first, b"a\nb\nc\n")
    views = iter(
        [
            LogView(is_over=False, attempt=1, rank_logs={0: first}),
            LogView(is_over=False, attempt=2, rank_logs={0: second}),
            LogView(is_over=True, attempt=2, rank_logs={0: second}),
        ]
    )
    writes = iter([(first, b"last words"), (second, b"x\ny\n")])
    lines = read_logs(lambda: next(views), lambda: append(*next(writes)), follow=True, rank=None, tail=1)
    assert [line.text for line in lines] == ["c", "last words", "x", "y"]


def test_progress_lines_are_not_shown_and_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.log"
    append(path, b'a\nb\n@progress {"step": 1}\nc\n@progress {"step": 2}\n')
    view = LogView(is_over=True, attempt=1, rank_logs={0: path})
    for tail, shown in ((None, ["a", "b", "c"]), (2, ["b", "c"]), (0, [])):
        lines = read_logs(lambda: view, lambda: None, follow=False, rank=None, tail=tail)
        assert [line.text for line in lines] == shown


def test_logs_of_all_ranks_are_merged_with_their_source(jobs: FakeJobs) -> None:
    jobs.plan("succeed")
    jobs.submit()
    jobs.wait()
    lines = list(jobs.backend.logs("digits", follow=True, rank=None, tail=None))
    assert [(line.source, line.text) for line in lines] == [
        ("rank 0", "attempt 1 rank 0"),
        ("rank 0", "caf\ufffd"),
        ("rank 1", "attempt 1 rank 1"),
        ("rank 1", "caf\ufffd"),
    ]
    assert [line.text for line in jobs.backend.logs("digits", follow=False, rank=1, tail=1)] == ["caf\ufffd"]


def test_a_rank_that_the_job_does_not_have_is_refused(jobs: FakeJobs) -> None:
    jobs.submit()
    with pytest.raises(InvalidJob, match="its ranks are 0 to 1"):
        list(jobs.backend.logs("digits", follow=False, rank=2, tail=None))


def test_a_job_that_failed_before_its_ranks_shows_what_its_supervisor_said(jobs: FakeJobs) -> None:
    jobs.plan("die early")
    jobs.submit()
    lines = list(jobs.backend.logs("digits", follow=True, rank=None, tail=None))
    assert [(line.source, line.text) for line in lines] == [
        ("supervisor", "Traceback ..."),
        ("supervisor", "ImportError: no module named torch"),
    ]


def test_what_an_earlier_submission_said_is_not_shown_again(jobs: FakeJobs) -> None:
    jobs.plan("succeed")
    jobs.submit()
    jobs.wait()
    jobs.plan("die early")
    jobs.submit(train={"epochs": 9})
    status = jobs.wait()
    assert status.progress is None
    assert status.reason == "never started: ImportError: no module named torch"
    assert len(list(jobs.backend.logs("digits", follow=False, rank=None, tail=None))) == 2
