"""Who may not do something is told so in the server's words, and still gets what is allowed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.backends.base import Backend, State
from launcher.errors import LauncherError, LauncherExit
from tests.api.cluster_actor import ClusterActor
from tests.api.conftest import KubeconfigFor
from tests.api.jobs import Jobs, bring_to
from tests.api.rest import Rest

VERBS: dict[str, Callable[[Backend], Any]] = {
    "get": lambda backend: backend.get("digits"),
    "list": lambda backend: backend.list(),
    "list -A": lambda backend: backend.list(all_namespaces=True),
    "watch": lambda backend: next(backend.watch("digits")),
    "logs": lambda backend: list(backend.logs("digits", follow=False, rank=None, tail=None)),
    "cancel": lambda backend: backend.cancel("digits", grace_seconds=0),
    "suspend": lambda backend: backend.suspend("digits", grace_seconds=0),
    "resume": lambda backend: backend.resume("digits"),
    "delete": lambda backend: backend.delete("digits", grace_seconds=0),
    "results": lambda backend: backend.results("digits"),
    "fetch": lambda backend: backend.fetch("digits", Path("nowhere")),
}


def grant(admin: Rest, namespace: str, user: str, **verbs: list[str]) -> None:
    """Let ``user`` do ``verbs`` with each resource; ``pods_log`` is pods/log."""
    rules = [
        {
            "apiGroups": ["kubeflow.org" if name == "pytorchjobs" else ""],
            "resources": [name.replace("_", "/")],
            "verbs": given,
        }
        for name, given in verbs.items()
    ]
    rbac = "rbac.authorization.k8s.io"
    metadata = {"name": f"only-{user}", "namespace": namespace}
    admin.create({"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": rules})
    role = {"apiGroup": rbac, "kind": "Role", "name": metadata["name"]}
    subjects = [{"apiGroup": rbac, "kind": "User", "name": user}]
    binding = {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "metadata": metadata}
    admin.create({**binding, "roleRef": role, "subjects": subjects})


@pytest.mark.parametrize("verb", VERBS)
def test_an_outsider_is_told_what_is_forbidden_where_and_what_to_do(
    kubeconfig_for: KubeconfigFor, namespace: str, verb: str
) -> None:
    jobs = Jobs(kubeconfig_for("outsider"))
    with pytest.raises(LauncherError) as refused:
        VERBS[verb](jobs.backend)
    message = refused.value.message
    assert 'User "outsider" cannot' in message
    assert "ask an administrator" in message
    assert refused.value.exit_code == LauncherExit.UNUSABLE
    assert "canary" not in message + "".join(jobs.said)


def test_an_outsider_cannot_submit_and_nothing_is_created(
    kubeconfig_for: KubeconfigFor, admin: Rest, namespace: str
) -> None:
    with pytest.raises(LauncherError, match='User "outsider" cannot get resource "pytorchjobs"'):
        Jobs(kubeconfig_for("outsider")).submit()
    assert admin.list("PyTorchJob", namespace) == []


def test_who_sees_only_the_job_gets_its_state_and_hears_what_is_missing(
    kubeconfig_for: KubeconfigFor, actor: ClusterActor, admin: Rest, namespace: str
) -> None:
    bring_to(actor, Jobs(kubeconfig_for("submitter")), "failed")
    grant(admin, namespace, "outsider", pytorchjobs=["get", "list", "watch"])
    jobs = Jobs(kubeconfig_for("outsider"))
    status = jobs.get()
    assert status.state is State.FAILED
    assert status.reason == 'job "digits" is failing because "Worker" replica(s) failed.'
    assert [one.state for one in jobs.backend.list()] == [State.FAILED]
    assert [one.state for one in jobs.backend.watch("digits")] == [State.FAILED]
    assert len([line for line in jobs.said if "you may not list pods" in line]) == 1


def test_who_sees_the_job_and_may_not_change_it_is_told_which_right_is_missing(
    kubeconfig_for: KubeconfigFor, actor: ClusterActor, admin: Rest, namespace: str
) -> None:
    bring_to(actor, Jobs(kubeconfig_for("submitter")), "running")
    grant(admin, namespace, "outsider", pytorchjobs=["get", "list", "watch"], pods=["list"], events=["list"])
    backend = Jobs(kubeconfig_for("outsider")).backend
    for verb, right in (("cancel", "patch"), ("delete", "delete")):
        with pytest.raises(LauncherError, match=f'cannot {right} resource "pytorchjobs"'):
            VERBS[verb](backend)
    assert (
        "suspend" not in actor.job("digits")["spec"]["runPolicy"]
        or not actor.job("digits")["spec"]["runPolicy"]["suspend"]
    )


def test_without_the_right_to_events_a_pending_job_is_still_shown(
    kubeconfig_for: KubeconfigFor, actor: ClusterActor, admin: Rest, namespace: str
) -> None:
    bring_to(actor, Jobs(kubeconfig_for("submitter")), "created")
    grant(admin, namespace, "outsider", pytorchjobs=["get"], pods=["list"])
    jobs = Jobs(kubeconfig_for("outsider"))
    assert jobs.get().state is State.PENDING
    assert any("you may not list events" in line for line in jobs.said)


def test_an_option_that_needs_more_rights_is_refused_before_anything_is_created(
    kubeconfig_for: KubeconfigFor, admin: Rest, namespace: str
) -> None:
    jobs = Jobs(kubeconfig_for("submitter"))
    with pytest.raises(LauncherError, match='cannot create resource "networkpolicies"'):
        jobs.submit(isolated_network=True)
    assert admin.list("PyTorchJob", namespace) == []


def test_a_namespace_that_does_not_exist_is_named(kubeconfig_for: KubeconfigFor, admin: Rest) -> None:
    jobs = Jobs(kubeconfig_for("admin", namespace="no-such"))
    with pytest.raises(LauncherError, match=r'namespaces "no-such" not found(.|\n)*-n') as refused:
        jobs.submit()
    assert refused.value.exit_code == LauncherExit.UNUSABLE
