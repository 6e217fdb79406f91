"""The job's own environment variables on this machine."""

import json

import psutil
import pytest

from tests.unit.fake_jobs import FakeJobs


def environment_of(jobs: FakeJobs) -> dict[str, str]:
    jobs.running()
    attempt = json.loads((jobs.root / "local" / "digits" / "attempts" / "0001.json").read_text())
    return dict(psutil.Process(attempt["pid"]).environ())


def test_text_is_set_and_what_the_launcher_must_decide_is_not_overridden(jobs: FakeJobs) -> None:
    jobs.submit(env={"NCCL_DEBUG": "INFO", "CUDA_VISIBLE_DEVICES": "7"})
    environment = environment_of(jobs)
    assert environment["NCCL_DEBUG"] == "INFO"
    assert environment["CUDA_VISIBLE_DEVICES"] == ""


def test_an_entry_of_a_secret_is_taken_from_here_or_missed_in_words(
    jobs: FakeJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERE", "canary-1")
    monkeypatch.delenv("ABSENT", raising=False)
    secret = {"secret": "keys", "key": "entry"}
    jobs.submit(env={"HERE": secret, "ABSENT": secret})
    environment = environment_of(jobs)
    assert environment["HERE"] == "canary-1"
    assert "ABSENT" not in environment
    assert [line for line in jobs.said if "ABSENT" in line]
    assert not [line for line in jobs.said if "HERE" in line or "canary" in line]
    written = [path.read_text(errors="replace") for path in jobs.root.rglob("*") if path.is_file()]
    assert not [text for text in written if "canary-1" in text]
