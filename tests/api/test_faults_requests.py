"""Faults between the launcher and the API server: exactly one object, few words, and no credential in them.

The proof is the scripted server's request log and what the real API server behind it holds, not a mock's call count.
"""

from collections.abc import Callable
from itertools import pairwise

import pytest

from launcher.backends.kubernetes.client import Timeouts
from launcher.backends.kubernetes.retry import Policy
from launcher.errors import LauncherError, LauncherExit
from tests.api.cluster_actor import ClusterActor
from tests.api.conftest import KubeconfigFor
from tests.api.faults import (
    answer,
    drop,
    forward,
    lose_reply,
    silence,
    status,
    too_many_requests,
    unauthorized,
    unavailable,
)
from tests.api.jobs import Jobs, bring_to, cluster
from tests.api.rest import Rest
from tests.api.scripted_server import Rule, ScriptedServer, Step, on

StartServer = Callable[..., ScriptedServer]
Connect = Callable[..., tuple[Jobs, ScriptedServer]]
JOBS = r"/apis/kubeflow.org/v1/namespaces/[^/]+/pytorchjobs"
JOB = JOBS + "/digits"
SHORT = Policy(first_seconds=0.01, cap_seconds=0.05, deadline_seconds=0.5)


@pytest.fixture
def connect(scripted_server: StartServer, kubeconfig_for: KubeconfigFor) -> Connect:
    """The backend as the submitter through a scripted server in front of the real one."""

    def start(*rules: Rule, **options: object) -> tuple[Jobs, ScriptedServer]:
        server = scripted_server(*rules, upstream=True)
        return Jobs(kubeconfig_for("submitter", server=server), **options), server

    return start


def creates(server: ScriptedServer) -> list[float]:
    """When a create that was no dry run arrived."""
    return [one.at for one in server.seen("POST", JOBS) if "dryRun" not in one.query]


def test_429_is_waited_for_as_long_as_the_server_asks(connect: Connect, admin: Rest, namespace: str) -> None:
    jobs, server = connect(on("POST", JOBS, forward(), too_many_requests(1), too_many_requests(1), forward()))
    assert jobs.submit().outcome == "created"
    assert len(admin.list("PyTorchJob", namespace)) == 1
    times = creates(server)
    assert len(times) == 3
    assert all(after - before >= 1.0 for before, after in pairwise(times))


def test_a_repeated_request_is_announced_once(connect: Connect) -> None:
    jobs, _ = connect(on("POST", JOBS, *[unavailable()] * 4, forward()))
    jobs.submit()
    assert len([line for line in jobs.said if "trying again" in line]) == 1


def test_503_of_a_load_balancer_is_repeated_and_its_page_is_not_shown(
    connect: Connect, admin: Rest, namespace: str
) -> None:
    jobs, _ = connect(on("POST", JOBS, unavailable(), forward(), unavailable(), unavailable(), forward()))
    assert jobs.submit().outcome == "created"
    assert len(admin.list("PyTorchJob", namespace)) == 1
    assert "html" not in "".join(jobs.said)
    assert any("503 Service Unavailable" in line for line in jobs.said)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((lose_reply(),), id="lost once"),
        pytest.param((lose_reply(), lose_reply(), lose_reply()), id="lost three times"),
        pytest.param((drop(), lose_reply()), id="dropped, then lost"),
        pytest.param((lose_reply(), unavailable(), drop()), id="lost, then an outage"),
    ],
)
def test_a_lost_reply_to_the_create_leaves_exactly_one_job_and_says_created(
    connect: Connect, admin: Rest, namespace: str, steps: tuple[Step, ...]
) -> None:
    jobs, server = connect(on("POST", JOBS, forward(), *steps, forward()))
    assert jobs.submit().outcome == "created"
    assert len(creates(server)) == len(steps) + 1
    assert len(admin.list("PyTorchJob", namespace)) == 1
    assert jobs.submit().outcome == "unchanged"


def test_a_lost_reply_does_not_pass_off_somebody_elses_job_as_created(
    connect: Connect, kubeconfig_for: KubeconfigFor, admin: Rest, namespace: str
) -> None:
    other = Jobs(kubeconfig_for("submitter"))

    def first_the_other(exchange: object) -> None:
        other.submit()
        drop()(exchange)  # type: ignore[arg-type]

    jobs, _ = connect(on("POST", JOBS, forward(), first_the_other, forward()))
    assert jobs.submit().outcome == "unchanged"
    assert len(admin.list("PyTorchJob", namespace)) == 1


def test_a_lost_reply_to_a_delete_still_deletes_and_recreates_once(
    connect: Connect, actor: ClusterActor, admin: Rest, namespace: str
) -> None:
    jobs, _ = connect(on("DELETE", JOB, lose_reply(), forward()))
    bring_to(actor, jobs, "failed")
    with cluster(actor):
        assert jobs.submit().outcome == "resumed"
    (job,) = admin.list("PyTorchJob", namespace)
    assert job["metadata"]["annotations"]["pytorchjob-launcher/submission"] == "2"


def test_a_lost_reply_to_a_suspend_suspends(connect: Connect, actor: ClusterActor) -> None:
    jobs, _ = connect(on("PATCH", JOB, lose_reply(), forward()))
    bring_to(actor, jobs, "cancelled")
    assert actor.job("digits")["spec"]["runPolicy"]["suspend"] is True


def test_a_refusal_is_not_repeated(connect: Connect, admin: Rest, namespace: str) -> None:
    jobs, server = connect(on("POST", JOBS, status(403, "Forbidden", "exceeded quota: jobs")))
    with pytest.raises(LauncherError, match="exceeded quota: jobs") as refused:
        jobs.submit()
    assert refused.value.exit_code == LauncherExit.DOES_NOT_FIT
    assert len(server.seen("POST", JOBS)) == 1


def test_the_fields_that_the_server_names_are_shown(connect: Connect) -> None:
    causes = [{"field": "spec.runPolicy", "message": "must not be empty"}]
    jobs, _ = connect(on("POST", JOBS, status(422, "Invalid", "PyTorchJob is invalid", causes=causes)))
    with pytest.raises(LauncherError, match=r"is invalid\n  spec.runPolicy: must not be empty") as refused:
        jobs.submit()
    assert refused.value.exit_code == LauncherExit.USAGE


def test_a_server_that_stays_down_ends_with_exit_code_6(connect: Connect) -> None:
    jobs, server = connect(on("GET", ".*", unavailable()), policy=SHORT)
    with pytest.raises(LauncherError, match="503") as refused:
        jobs.get()
    assert refused.value.exit_code == LauncherExit.UNUSABLE
    assert len(server.seen("GET", JOB)) > 1


def test_a_server_that_is_not_there_is_named_with_its_context(
    kubeconfig_for: KubeconfigFor, scripted_server: StartServer
) -> None:
    server = scripted_server()
    server.stop()
    jobs = Jobs(kubeconfig_for("submitter", server=server), policy=SHORT)
    with pytest.raises(LauncherError, match=r"connection refused\n.*context submitter"):
        jobs.get()


def test_a_wait_that_is_longer_than_the_deadline_is_not_begun(connect: Connect) -> None:
    jobs, server = connect(on("GET", ".*", too_many_requests(3600)), policy=SHORT)
    with pytest.raises(LauncherError, match="too many requests"):
        jobs.get()
    assert len(server.seen("GET", JOB)) == 1


def test_a_silent_server_is_asked_again(connect: Connect, actor: ClusterActor, kubeconfig_for: KubeconfigFor) -> None:
    bring_to(actor, Jobs(kubeconfig_for("submitter")), "running")
    jobs, server = connect(on("GET", JOB, silence(), forward()), timeouts=Timeouts(read=0.3))
    assert jobs.get().state == "Running"
    assert len(server.seen("GET", JOB)) == 2
    assert any("no answer within" in line for line in jobs.said)


def test_a_cluster_without_the_operator_says_what_to_install(connect: Connect) -> None:
    jobs, _ = connect(on("GET", JOBS + ".*", answer(404, b"404 page not found\n", {"Content-Type": "text/plain"})))
    with pytest.raises(LauncherError, match=r"no such type(.|\n)*training operator is missing") as refused:
        jobs.get()
    assert refused.value.exit_code == LauncherExit.UNUSABLE


def test_a_token_that_the_server_rejects_is_not_tried_again(connect: Connect) -> None:
    jobs, server = connect(on("GET", ".*", unauthorized()))
    with pytest.raises(LauncherError, match="log in to the cluster again") as refused:
        jobs.get()
    assert refused.value.exit_code == LauncherExit.UNUSABLE
    assert len(server.seen("GET", JOB)) == 1


def test_a_server_that_repeats_the_token_does_not_get_it_shown(connect: Connect, namespace: str) -> None:
    tokens: list[str] = []

    def repeat(exchange: object) -> None:
        token = exchange.headers["Authorization"].split()[1]  # type: ignore[attr-defined]
        tokens.append(token)
        causes = [{"field": token, "message": f"is {token}"}]
        status(403, "Forbidden", f"no access for {token}", causes=causes)(exchange)  # type: ignore[arg-type]

    jobs, _ = connect(on("GET", ".*", repeat))
    with pytest.raises(LauncherError) as refused:
        jobs.get()
    assert tokens
    assert tokens[0].startswith("canary-token-")
    assert tokens[0] not in refused.value.message
    assert "[hidden]" in refused.value.message


def test_a_warning_of_the_server_is_passed_on_once(connect: Connect) -> None:
    warned = answer(200, {"metadata": {}, "items": []}, {"Warning": '299 - "this version is old"'})
    jobs, _ = connect(on("GET", JOBS, warned))
    jobs.backend.list()
    jobs.backend.list()
    assert jobs.said == ["the cluster warns: this version is old"]
