"""What each role of k8s/ may do, asked of the server itself, and nothing else."""

from itertools import product

import pytest

from tests.api.control_plane import USERS, ControlPlane
from tests.api.reference_job import reference_job
from tests.api.rest import ApiError, Rest

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
READ = ("get", "list", "watch")

# group/resource/subresource of everything that is asked for; what a role's table does not name is forbidden
RESOURCES = (
    "kubeflow.org/pytorchjobs",
    "kubeflow.org/pytorchjobs/status",
    "kubeflow.org/pytorchjobs/scale",
    "kubeflow.org/tfjobs",
    "/pods",
    "/pods/log",
    "/pods/exec",
    "/pods/attach",
    "/pods/portforward",
    "/pods/ephemeralcontainers",
    "/pods/eviction",
    "/events",
    "/resourcequotas",
    "/limitranges",
    "/persistentvolumeclaims",
    "/configmaps",
    "/secrets",
    "/services",
    "/serviceaccounts",
    "/serviceaccounts/token",
    "/namespaces",
    "/nodes",
    "/nodes/proxy",
    "/persistentvolumes",
    "networking.k8s.io/networkpolicies",
    "rbac.authorization.k8s.io/roles",
    "rbac.authorization.k8s.io/rolebindings",
    "rbac.authorization.k8s.io/clusterroles",
    "rbac.authorization.k8s.io/clusterrolebindings",
    "apps/deployments",
    "batch/jobs",
    "kueue.x-k8s.io/localqueues",
    "kueue.x-k8s.io/clusterqueues",
    "scheduling.volcano.sh/queues",
    "apiextensions.k8s.io/customresourcedefinitions",
)

SUBMITTER: dict[str, tuple[str, ...]] = {
    "kubeflow.org/pytorchjobs": ("create", "get", "list", "watch", "patch", "delete"),
    "kubeflow.org/pytorchjobs/scale": ("get", "patch"),
    "/pods": READ,
    "/events": READ,
    "/resourcequotas": READ,
    "/persistentvolumeclaims": READ,
    "/pods/log": ("get",),
    "/configmaps": ("create", "delete"),
}
RESULTS_READER: dict[str, tuple[str, ...]] = {"/pods": ("create", "delete", "get"), "/pods/log": ("get",)}
VIEWER: dict[str, tuple[str, ...]] = {
    "/nodes": ("get", "list"),
    "/pods": ("get", "list"),
    "kueue.x-k8s.io/localqueues": ("get", "list"),
    "kueue.x-k8s.io/clusterqueues": ("get", "list"),
    "scheduling.volcano.sh/queues": ("get", "list"),
}
TABLE: dict[str, dict[str, tuple[str, ...]]] = {
    "submitter-only": SUBMITTER,
    "results-reader": RESULTS_READER,
    "viewer": VIEWER,
    "outsider": {},
}


@pytest.mark.parametrize("user", TABLE)
def test_the_role_allows_what_the_table_says_and_nothing_else(
    admin: Rest, control_plane: ControlPlane, namespace: str, user: str
) -> None:
    assert _allowed(admin, user, namespace) == _pairs(TABLE[user])


@pytest.mark.parametrize("user", ["submitter", "submitter-only", "results-reader"])
def test_a_role_ends_at_the_border_of_its_namespace(admin: Rest, namespace: str, user: str) -> None:
    for resource, verb in product(("kubeflow.org/pytorchjobs", "/pods", "/pods/log"), VERBS):
        assert not _may(admin, user, verb, resource, "default")
        assert not _may(admin, user, verb, resource, "")


def test_the_example_group_has_both_roles_of_the_namespace(admin: Rest, namespace: str) -> None:
    assert _allowed(admin, "ml-engineers", namespace) == _pairs(SUBMITTER) | _pairs(RESULTS_READER)


def test_the_server_itself_refuses_an_outsider_and_lets_the_submitter_in(
    control_plane: ControlPlane, namespace: str
) -> None:
    job = reference_job("mine", namespace)
    control_plane.rest("submitter").create(job)
    with pytest.raises(ApiError) as refusal:
        control_plane.rest("outsider").get("PyTorchJob", "mine", namespace)
    assert refusal.value.status == 403


def _pairs(table: dict[str, tuple[str, ...]]) -> set[tuple[str, str]]:
    return {(resource, verb) for resource, verbs in table.items() for verb in verbs}


def _allowed(admin: Rest, subject: str, namespace: str) -> set[tuple[str, str]]:
    return {pair for pair in product(RESOURCES, VERBS) if _may(admin, subject, pair[1], pair[0], namespace)}


def _may(admin: Rest, subject: str, verb: str, resource: str, namespace: str) -> bool:
    """Ask as the administrator what a user, or the group ml-engineers, may do; no namespace means all of them."""
    group, name, subresource = [*resource.split("/"), ""][:3]
    wish = {"group": group, "resource": name, "subresource": subresource, "verb": verb, "namespace": namespace}
    who = {"user": "a-member", "groups": [subject]} if subject == "ml-engineers" else _user(subject)
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"resourceAttributes": wish, **who},
    }
    return bool(admin.create(review)["status"]["allowed"])


def _user(name: str) -> dict[str, object]:
    return {"user": name, "groups": USERS[name]}
