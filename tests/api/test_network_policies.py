"""Who reaches whom under the network policies of k8s/namespace.

No network enforces them here, so their meaning is computed from the objects that the server returned; that a network
plug-in does what the objects say is for a cluster's test.
"""

from typing import Any

import pytest

from tests.api.rest import Object, Rest

JOB = {"training.kubeflow.org/job-name": "a"}
OTHER_JOB = {"training.kubeflow.org/job-name": "b"}
ISOLATED = {**OTHER_JOB, "pytorchjob-launcher/network": "isolated"}
PLAIN = {"app": "web"}
HERE, ELSEWHERE, DNS = "here", "elsewhere", "kube-system"


@pytest.fixture
def policies(admin: Rest, namespace: str) -> list[Object]:
    return admin.list("NetworkPolicy", namespace)


@pytest.mark.parametrize(
    ("source", "source_namespace", "target", "reached"),
    [
        pytest.param(JOB, HERE, JOB, True, id="the workers of a job reach each other"),
        pytest.param(JOB, HERE, OTHER_JOB, True, id="and those of another job in the namespace"),
        pytest.param(JOB, HERE, ISOLATED, False, id="but not those of an isolated job"),
        pytest.param(PLAIN, HERE, JOB, False, id="another pod of the namespace does not reach a worker"),
        pytest.param(JOB, ELSEWHERE, JOB, False, id="nor does a worker of another namespace"),
        pytest.param(PLAIN, ELSEWHERE, JOB, False, id="nor any other pod of it"),
        pytest.param(JOB, HERE, PLAIN, False, id="nothing reaches a pod that is no worker"),
    ],
)
def test_ingress(
    policies: list[Object], source: dict[str, str], source_namespace: str, target: dict[str, str], reached: bool
) -> None:
    assert _allowed(policies, "Ingress", target, source, source_namespace, port=23456) is reached


@pytest.mark.parametrize(
    ("source", "target", "target_namespace", "port", "reached"),
    [
        pytest.param(JOB, OTHER_JOB, HERE, 41234, True, id="a worker sends to its namespace on any port"),
        pytest.param(JOB, {"k8s-app": "kube-dns"}, DNS, 53, True, id="and asks the cluster's DNS"),
        pytest.param(ISOLATED, {"k8s-app": "kube-dns"}, DNS, 53, True, id="an isolated one asks it too"),
        pytest.param(ISOLATED, JOB, HERE, 41234, False, id="and sends to nobody else"),
        pytest.param(JOB, {"k8s-app": "kube-dns"}, DNS, 443, False, id="nothing else of that namespace is reached"),
        pytest.param(JOB, PLAIN, ELSEWHERE, 53, False, id="no other namespace, not even on the port of DNS"),
        pytest.param(PLAIN, PLAIN, ELSEWHERE, 443, False, id="and a pod that is no worker neither"),
    ],
)
def test_egress(
    policies: list[Object],
    source: dict[str, str],
    target: dict[str, str],
    target_namespace: str,
    port: int,
    reached: bool,
) -> None:
    assert _allowed(policies, "Egress", source, target, target_namespace, port=port) is reached


def _allowed(
    policies: list[Object], way: str, subject: dict[str, str], peer: dict[str, str], peer_namespace: str, *, port: int
) -> bool:
    """Whether a policy that selects ``subject`` lets the peer through; a pod that none selects is open to all."""
    selecting = [
        policy["spec"]
        for policy in policies
        if way in policy["spec"]["policyTypes"] and _selects(policy["spec"]["podSelector"], subject)
    ]
    side = "from" if way == "Ingress" else "to"
    rules = [rule for spec in selecting for rule in spec.get(way.lower(), [])]
    return not selecting or any(
        any(_is_peer(one, peer, peer_namespace) for one in rule[side])
        and port in [one["port"] for one in rule.get("ports", [{"port": port}])]
        for rule in rules
    )


def _is_peer(rule: Object, labels: dict[str, str], namespace: str) -> bool:
    if "ipBlock" in rule:
        return False
    namespace_labels = {"kubernetes.io/metadata.name": namespace}
    right_place = (
        _selects(rule["namespaceSelector"], namespace_labels) if "namespaceSelector" in rule else namespace == HERE
    )
    return right_place and _selects(rule.get("podSelector", {}), labels)


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items()
    return all(labels.get(key) == value for key, value in wanted) and all(
        _holds(expression, labels) for expression in selector.get("matchExpressions", [])
    )


def _holds(expression: dict[str, Any], labels: dict[str, str]) -> bool:
    value = labels.get(expression["key"])
    if expression["operator"] == "Exists":
        return value is not None
    assert expression["operator"] == "NotIn", "an operator that these tests do not know"
    return value not in expression["values"]
