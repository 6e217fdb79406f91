"""Results read through the reader pod: a real API server takes the pod, and its script runs on a local folder."""

import json
from pathlib import Path

import pytest

from launcher.errors import BackendUnusable, LauncherError
from tests.api.cluster_actor import ClusterActor
from tests.api.conftest import KubeconfigFor
from tests.api.fake_kubelet import FakeKubelet
from tests.api.jobs import Jobs, bring_to, cluster
from tests.api.reader_kubelet import READER, Damage, reader_kubelet, unpullable_reader
from tests.api.rest import Rest

SUMMARY = {"epochs": 2, "steps": 40, "metrics": {"accuracy": 0.97}}


@pytest.fixture
def jobs(kubeconfig_for: KubeconfigFor) -> Jobs:
    return Jobs(kubeconfig_for("submitter"))


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.backends.kubernetes.results.POLL_SECONDS", 0.05)


@pytest.fixture
def claim(tmp_path: Path, namespace: str) -> Path:
    """What lies on the results claim."""
    root = tmp_path / "claim"
    folder = root / namespace / "digits"
    (folder / "checkpoints" / "step-00000040").mkdir(parents=True)
    (folder / "checkpoints" / ".tmp-half").mkdir()
    (folder / "checkpoints" / ".tmp-half" / "model").write_bytes(b"unfinished")
    (folder / "checkpoints" / "step-00000040" / "model").write_bytes(bytes(range(256)) * 200)
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    (folder / "empty").touch()
    (folder / "ümlaut name").write_text("text")
    (folder / "outside").symlink_to("/etc/hostname")
    return root


FILES = ["checkpoints/step-00000040/model", "empty", "summary.json", "ümlaut name"]


def reader_pods(admin: Rest, namespace: str) -> list[str]:
    return [pod["metadata"]["name"] for pod in admin.list("Pod", namespace, labels=READER)]


def test_the_summary_and_the_files_of_a_job_that_succeeded(
    jobs: Jobs, actor: ClusterActor, fake_kubelet: FakeKubelet, admin: Rest, namespace: str, claim: Path
) -> None:
    bring_to(actor, jobs, "succeeded")
    with reader_kubelet(actor, fake_kubelet, claim) as ran:
        results = jobs.backend.results("digits")
    assert results.summary == SUMMARY
    assert list(results.files) == FILES
    assert results.path == f"pvc/results/{namespace}/digits"
    assert len(ran) == 1
    assert ran[0]["spec"]["containers"][0]["volumeMounts"] == [
        {"name": "results", "mountPath": "/results", "readOnly": True}
    ]
    assert reader_pods(admin, namespace) == []


def test_a_job_that_is_not_over_has_files_and_no_summary(
    jobs: Jobs, actor: ClusterActor, fake_kubelet: FakeKubelet, claim: Path
) -> None:
    bring_to(actor, jobs, "running")
    with reader_kubelet(actor, fake_kubelet, claim):
        results = jobs.backend.results("digits")
    assert results.summary is None
    assert list(results.files) == FILES


def test_fetch_copies_every_file_whole_and_no_link(
    jobs: Jobs, actor: ClusterActor, fake_kubelet: FakeKubelet, claim: Path, tmp_path: Path, namespace: str
) -> None:
    bring_to(actor, jobs, "running")
    target = tmp_path / "copy"
    target.mkdir()
    (target / "empty").write_text("older content")
    with reader_kubelet(actor, fake_kubelet, claim):
        copied = jobs.backend.fetch("digits", target)
    assert copied.files == len(FILES)
    found = sorted(str(path.relative_to(target)) for path in target.rglob("*") if not path.is_dir())
    assert found == FILES
    for name in FILES:
        assert (target / name).read_bytes() == (claim / namespace / "digits" / name).read_bytes()


def cut_after(text: bytes) -> Damage:
    """The output ends in the middle of the line after ``text``."""
    return lambda output: output[: output.index(text) + len(text) + 3]


def lose_lines(start: int, end: int) -> Damage:
    """Lines are missing, as where a log was rotated away."""
    return lambda output: b"".join(line for at, line in enumerate(output.splitlines(True)) if not start <= at < end)


def garble(output: bytes) -> bytes:
    """One character of the first piece differs."""
    at = output.index(b"@data 0 ") + 40
    return output[:at] + (b"A" if output[at : at + 1] != b"A" else b"B") + output[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(cut_after(b"@data 9000 "), id="cut in a piece"),
        pytest.param(cut_after(b"@done "), id="cut in a checksum"),
        pytest.param(cut_after(b"@file "), id="cut in the first head"),
        pytest.param(lose_lines(3, 4), id="a piece lost"),
        pytest.param(lose_lines(8, 9), id="a checksum lost"),
        pytest.param(lose_lines(9, 11), id="a whole small file lost"),
        pytest.param(garble, id="a piece garbled"),
    ],
)
def test_an_interrupted_copy_goes_on_where_it_was_and_ends_equal(
    jobs: Jobs,
    actor: ClusterActor,
    fake_kubelet: FakeKubelet,
    claim: Path,
    tmp_path: Path,
    namespace: str,
    damage: Damage,
) -> None:
    bring_to(actor, jobs, "running")
    with reader_kubelet(actor, fake_kubelet, claim, damage) as ran:
        jobs.backend.fetch("digits", tmp_path / "copy")
    assert len(ran) == 2
    for name in FILES:
        assert (tmp_path / "copy" / name).read_bytes() == (claim / namespace / "digits" / name).read_bytes()


def test_a_copy_that_never_gets_further_is_given_up(
    jobs: Jobs, actor: ClusterActor, fake_kubelet: FakeKubelet, admin: Rest, namespace: str, claim: Path, tmp_path: Path
) -> None:
    bring_to(actor, jobs, "running")
    nothing: list[Damage] = [lambda _: b""] * 9
    with reader_kubelet(actor, fake_kubelet, claim, *nothing), pytest.raises(BackendUnusable, match="interrupted"):
        jobs.backend.fetch("digits", tmp_path / "copy")
    assert reader_pods(admin, namespace) == []


@pytest.mark.parametrize("path", ["../escaped", "/etc/escaped", "a/../../escaped", "a\\..\\b", "nul\x00", ""])
def test_a_path_that_leads_out_of_the_folder_is_refused(
    jobs: Jobs, actor: ClusterActor, fake_kubelet: FakeKubelet, claim: Path, tmp_path: Path, path: str
) -> None:
    bring_to(actor, jobs, "running")
    head = json.dumps({"path": path, "size": 0, "offset": 0})
    lines = f'0 @begin {{"files": 1, "bytes": 0}}\n1 @file {head}\n2 @end\n'
    with (
        reader_kubelet(actor, fake_kubelet, claim, lambda _: lines.encode()),
        pytest.raises(LauncherError, match=r"refused|elsewhere"),
    ):
        jobs.backend.fetch("digits", tmp_path / "in" / "copy")
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_link_in_the_target_folder_is_not_followed(
    jobs: Jobs, actor: ClusterActor, fake_kubelet: FakeKubelet, claim: Path, tmp_path: Path
) -> None:
    bring_to(actor, jobs, "running")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with reader_kubelet(actor, fake_kubelet, claim), pytest.raises(LauncherError, match="is a link"):
        jobs.backend.fetch("digits", tmp_path / "copy")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_one_file_is_copied_to_the_users_cache_anew_each_time(
    jobs: Jobs,
    actor: ClusterActor,
    fake_kubelet: FakeKubelet,
    claim: Path,
    tmp_path: Path,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bring_to(actor, jobs, "succeeded")
    there = claim / namespace / "digits" / "report.html"
    copies = []
    with reader_kubelet(actor, fake_kubelet, claim, cut_after(b"@done ")):
        for text in ("first" * 5000, "second", None):
            if text is None:
                there.unlink()
            else:
                there.write_text(text)
            copy = jobs.backend.local_copy("digits", "report.html")
            copies.append(copy and (copy, copy.read_text()))
    path = tmp_path / "cache" / "pytorchjob-launcher" / "results" / namespace / "digits" / "report.html"
    assert copies == [(path, "first" * 5000), (path, "second"), None]
    assert list(path.parent.iterdir()) == [path], "nothing else was fetched"


def test_without_the_right_to_start_a_pod_the_last_message_gives_the_metrics(
    kubeconfig_for: KubeconfigFor, actor: ClusterActor
) -> None:
    jobs = Jobs(kubeconfig_for("submitter-only"))
    bring_to(actor, jobs, "succeeded")
    assert jobs.backend.results("digits").summary == {"metrics": {"accuracy": 0.97}}
    assert any("you may not create pods" in line for line in jobs.said)


def test_a_reader_whose_image_cannot_be_pulled_says_so(
    jobs: Jobs, actor: ClusterActor, fake_kubelet: FakeKubelet, admin: Rest, namespace: str, claim: Path
) -> None:
    bring_to(actor, jobs, "running")
    with unpullable_reader(actor), pytest.raises(BackendUnusable, match="does not start: ErrImagePull: not found"):
        jobs.backend.results("digits")
    assert reader_pods(admin, namespace) == []


def test_fresh_sets_the_old_results_aside_and_starts_anew(
    jobs: Jobs, actor: ClusterActor, fake_kubelet: FakeKubelet, claim: Path, namespace: str
) -> None:
    bring_to(actor, jobs, "failed")
    with reader_kubelet(actor, fake_kubelet, claim), cluster(actor):
        assert jobs.submit(fresh=True, train={"batch_size": 128}).outcome == "created"
    assert sorted(path.name for path in (claim / namespace).iterdir()) == ["digits.old-1"]
    assert f"moved the earlier results to pvc/results/{namespace}/digits.old-1" in jobs.said
    assert actor.job("digits")["metadata"]["annotations"]["pytorchjob-launcher/submission"] == "2"


def test_fresh_without_earlier_results_just_creates(
    jobs: Jobs, actor: ClusterActor, fake_kubelet: FakeKubelet, tmp_path: Path
) -> None:
    with reader_kubelet(actor, fake_kubelet, tmp_path):
        assert jobs.submit(fresh=True).outcome == "created"


def test_fresh_is_refused_while_the_job_runs(jobs: Jobs, actor: ClusterActor) -> None:
    bring_to(actor, jobs, "running")
    with pytest.raises(LauncherError, match="launcher cancel digits"):
        jobs.submit(fresh=True)
