"""Small readers of the Kubernetes backend: log positions, redaction, quantities, progress, shapes of nodes."""

from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.backends.kubernetes.kinds import JOB, NODE, POD, kind_of
from launcher.backends.kubernetes.logs import Choice, Line, Position, parse
from launcher.backends.kubernetes.nodes import free_shares, quantity, requested, shapes_of
from launcher.backends.kubernetes.redaction import HIDDEN, Secrets, redact
from launcher.backends.kubernetes.view import newest_progress
from launcher.job.spec import NodeShape


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"1970-01-01T00:00:01Z text", Line(10**9, "text")),
        (b"1970-01-01T00:00:01.5Z a b", Line(1_500_000_000, "a b")),
        (b"1970-01-01T00:00:01.000000001Z ", Line(1_000_000_001, "")),
        (b"1970-01-01T02:00:01.25+02:00 x\r", Line(1_250_000_000, "x")),
        (b"failed to open the log", Line(7, "failed to open the log")),
        (b"1970-01-01T00:00:01Z \xff", Line(10**9, "\ufffd")),
    ],
)
def test_a_line_bears_its_time_in_nanoseconds(raw: bytes, line: Line) -> None:
    found = parse(raw, previous=7)
    assert (found.time, found.text) == (line.time, line.text)


@given(
    times=st.lists(st.integers(min_value=1, max_value=5).map(lambda second: second * 10**9), min_size=1, max_size=20),
    cut=st.integers(min_value=0, max_value=20),
)
def test_reading_on_after_a_cut_repeats_and_skips_nothing(times: list[int], cut: int) -> None:
    written = [Line(time, str(number)) for number, time in enumerate(sorted(times))]
    position = Position()

    def from_server() -> Iterator[Line]:
        """As a kubelet: everything from the second that the position names."""
        return iter([line for line in written if line.time >= position.time // 10**9 * 10**9])

    read = [line for _, line in zip(range(cut), position.advance(from_server()), strict=False)]
    # A generator that was not exhausted has counted what it gave, and nothing more.
    read += list(position.advance(from_server()))
    assert [line.text for line in read] == [line.text for line in written]


def test_lines_are_chosen_by_rank_and_named_by_rank_or_pod() -> None:
    def shown(choice: Choice, text: str) -> str | None:
        line = choice.shown("job", "job-worker-1", text)
        return f"{line.source}|{line.text}" if line else None

    assert shown(Choice(), "[rank 3] a") == "rank 3|a"
    assert shown(Choice(), "plain") == "worker-1|plain"
    assert shown(Choice(), '@progress {"step": 1}') is None
    assert shown(Choice(rank=3), "[rank 3] a") == "rank 3|a"
    assert shown(Choice(rank=3), "[rank 30] a") is None
    assert shown(Choice(rank=3), "plain") is None
    assert shown(Choice(rank=3, tagged=False), "plain") == "worker-1|plain"
    assert [Choice(rank=3, ranks_per_node=2).wants_pod(index) for index in (0, 1, 2)] == [False, True, False]


SECRET = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl"  # noqa: S105


@pytest.mark.parametrize(
    "text",
    [f"got {SECRET}", f"token: {SECRET}", f"Authorization=Bearer {SECRET}", f'"{SECRET}"', "password = hunter2",
     "Bearer abc", "key AKIA0123456789ABCDEF used", "api_key: abc123"],
)  # fmt: skip
def test_what_looks_like_a_credential_is_hidden(text: str) -> None:
    shown = redact(text)
    assert HIDDEN in shown
    for part in (SECRET, "hunter2", "abc", "AKIA0123456789ABCDEF"):
        assert part not in shown


@pytest.mark.parametrize(
    "text",
    ["Unable to locate credentials. Run aws configure.", "exec: /usr/local/bin/aws-iam-authenticator-0.5.9 not found",
     "dial tcp 10.0.0.1:443: i/o timeout", "https://login.example/device?user=abc", "token expired"],
)  # fmt: skip
def test_ordinary_words_stay(text: str) -> None:
    assert redact(text) == text


def test_known_credentials_are_hidden_wherever_they_stand_and_very_short_ones_are_not_known() -> None:
    secrets = Secrets()
    secrets.add("hunter2!", "hunter2!longer", "abc", None, "")
    assert secrets.hide("xhunter2!longerx abc hunter2!") == f"x{HIDDEN}x abc {HIDDEN}"


@pytest.mark.parametrize(
    ("text", "number"),
    [("500m", Fraction(1, 2)), ("2Ti", 2 * 1024**4), ("16", 16), ("1.5Gi", 3 * 2**29), ("1e3", 1000), ("3k", 3000),
     ("100n", Fraction(1, 10**7)), ("7E", 7 * 10**18), (4, 4)],
)  # fmt: skip
def test_quantities_of_the_api(text: str | int, number: Fraction) -> None:
    assert quantity(text) == number


def test_a_pod_asks_for_its_requests_and_for_limits_without_one() -> None:
    containers = [
        {"resources": {"limits": {"gpu": "2", "cpu": "4"}, "requests": {"cpu": "1"}}},
        {"resources": {"requests": {"cpu": "500m"}}},
        {},
    ]
    assert requested({"containers": containers}) == {"gpu": 2, "cpu": Fraction(3, 2)}


def node(name: str, gpus: int, **spec: bool) -> dict[str, object]:
    return {"metadata": {"name": name}, "spec": spec, "status": {"allocatable": {"gpu": str(gpus)} if gpus else {}}}


def test_nodes_are_grouped_by_their_gpus_and_those_without_are_left_out() -> None:
    nodes = [node("a", 4), node("b", 8), node("c", 4), node("d", 0)]
    assert shapes_of(nodes, "gpu") == (NodeShape(count=1, gpus=8), NodeShape(count=2, gpus=4))


def test_what_is_free_is_counted_in_whole_pods_on_nodes_that_take_some() -> None:
    nodes = [node("a", 8), node("b", 8), node("c", 8, unschedulable=True)]
    pods = [
        {"spec": {"nodeName": "a", "containers": [{"resources": {"limits": {"gpu": "3"}}}]}, "status": {"phase": phase}}
        for phase in ("Running", "Succeeded")
    ]
    assert free_shares(nodes, pods, "gpu", 4) == 1 + 2


def test_the_newest_progress_line_counts_and_a_broken_one_is_none() -> None:
    line = b'@progress {"step": %d, "steps": 9, "epoch": 1, "epochs": 2, "samples_per_second": 3.0}'
    progress = newest_progress([line % 1, b"noise", line % 2, b"noise"])
    assert progress is not None
    assert progress.step == 2
    assert newest_progress([line % 1, b"@progress {broken"]) is None
    assert newest_progress([]) is None


def test_paths_of_objects() -> None:
    assert JOB.path("team", "digits") == "/apis/kubeflow.org/v1/namespaces/team/pytorchjobs/digits"
    assert POD.path("team") == "/api/v1/namespaces/team/pods"
    assert POD.path() == "/api/v1/pods"
    assert NODE.path("team") == "/api/v1/nodes"


def test_a_kind_that_the_chart_may_not_make_is_refused() -> None:
    with pytest.raises(ValueError, match="Secret"):
        kind_of({"apiVersion": "v1", "kind": "Secret"})
