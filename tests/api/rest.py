"""A plain REST client for staging and checking, so that no test relies on the client that it tests."""

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

# The operator's types are megabytes of YAML: libyaml reads them ten times faster, where it is.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# kind -> (path of the API version, plural, namespaced)
KINDS = {
    "Namespace": ("api/v1", "namespaces", False),
    "Node": ("api/v1", "nodes", False),
    "PersistentVolume": ("api/v1", "persistentvolumes", False),
    "Pod": ("api/v1", "pods", True),
    "Service": ("api/v1", "services", True),
    "Event": ("api/v1", "events", True),
    "ConfigMap": ("api/v1", "configmaps", True),
    "Secret": ("api/v1", "secrets", True),
    "ServiceAccount": ("api/v1", "serviceaccounts", True),
    "PersistentVolumeClaim": ("api/v1", "persistentvolumeclaims", True),
    "ResourceQuota": ("api/v1", "resourcequotas", True),
    "LimitRange": ("api/v1", "limitranges", True),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies", True),
    "PriorityClass": ("apis/scheduling.k8s.io/v1", "priorityclasses", False),
    "PyTorchJob": ("apis/kubeflow.org/v1", "pytorchjobs", True),
    "Deployment": ("apis/apps/v1", "deployments", True),
    "Role": ("apis/rbac.authorization.k8s.io/v1", "roles", True),
    "RoleBinding": ("apis/rbac.authorization.k8s.io/v1", "rolebindings", True),
    "ClusterRole": ("apis/rbac.authorization.k8s.io/v1", "clusterroles", False),
    "ClusterRoleBinding": ("apis/rbac.authorization.k8s.io/v1", "clusterrolebindings", False),
    "CustomResourceDefinition": ("apis/apiextensions.k8s.io/v1", "customresourcedefinitions", False),
    "SubjectAccessReview": ("apis/authorization.k8s.io/v1", "subjectaccessreviews", False),
    "ValidatingWebhookConfiguration": (
        "apis/admissionregistration.k8s.io/v1",
        "validatingwebhookconfigurations",
        False,
    ),
}


class ApiError(Exception):
    """The server's refusal, with the fields of its Status object."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message = status, reason, message


@dataclass(frozen=True)
class Rest:
    """Requests to one API server as one user."""

    url: str
    ca_file: Path
    token: str

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object:
        """One object."""
        return self.request("GET", path_of(kind, namespace, name))

    def list(self, kind: str, namespace: str | None = None, labels: str = "") -> list[Object]:
        """The objects of a kind, all or those with the labels."""
        found = self.request("GET", path_of(kind, namespace), labelSelector=labels)
        return [{"apiVersion": found["apiVersion"], "kind": kind, **item} for item in found["items"]]

    def create(self, obj: Object, *, dry_run: bool = False, strict: bool = True) -> Object:
        """Create an object in the namespace that it names."""
        path = path_of(obj["kind"], obj["metadata"].get("namespace")) if "metadata" in obj else path_of(obj["kind"])
        return self.request("POST", path, obj, **_options(dry_run, strict))

    def apply(self, obj: Object, *, dry_run: bool = False, strict: bool = True) -> Object:
        """Server-side apply, taking over fields that others manage."""
        options = {**_options(dry_run, strict), "fieldManager": "tests", "force": "true"}
        path = path_of(obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"])
        return self.request("PATCH", path, obj, content="application/apply-patch+yaml", **options)

    def patch(self, kind: str, name: str, namespace: str | None, change: Object, *, subresource: str = "") -> Object:
        """Merge ``change`` into an object."""
        path = path_of(kind, namespace, name) + subresource
        return self.request("PATCH", path, change, content="application/merge-patch+json")

    def patch_status(self, kind: str, name: str, namespace: str | None, status: Object) -> Object:
        """Merge into an object's status."""
        return self.patch(kind, name, namespace, {"status": status}, subresource="/status")

    def delete(self, kind: str, name: str, namespace: str | None = None, *, grace_seconds: int | None = None) -> None:
        """Delete an object; nothing happens where it is gone already."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": grace_seconds}
        try:
            self.request("DELETE", path_of(kind, namespace, name), options)
        except ApiError as refusal:
            if refusal.status != 404:
                raise

    def request(
        self, method: str, path: str, body: Object | None = None, /, *, content: str = "application/json", **query: str
    ) -> Object:
        """Any request; the decoded answer.

        Raises:
            ApiError: The server refused.
        """
        answer: Object = json.loads(self.raw(method, path, body, content=content, **query) or b"{}")
        return answer

    def raw(
        self, method: str, path: str, body: Object | None = None, /, *, content: str = "application/json", **query: str
    ) -> bytes:
        """Any request; the bytes of the answer."""
        request = urllib.request.Request(  # noqa: S310 (the URL is a test's own server)
            f"{self.url}/{path}?{urllib.parse.urlencode(query)}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": content},
        )
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._tls()) as reply:  # noqa: S310
                answer: bytes = reply.read()
                return answer
        except urllib.error.HTTPError as refusal:
            raise _error(refusal.code, refusal.read()) from None

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_file))


def load_objects(text: str) -> list[Object]:
    """The objects of a YAML stream."""
    return list(yaml.load_all(text, Loader=_LOADER))


def path_of(kind: str, namespace: str | None = None, name: str | None = None) -> str:
    """The path of an object, or of a kind's list."""
    version, plural, namespaced = KINDS[kind]
    place = f"{version}/namespaces/{namespace}/{plural}" if namespaced and namespace else f"{version}/{plural}"
    return f"{place}/{name}" if name else place


def _options(dry_run: bool, strict: bool) -> dict[str, str]:
    return {"fieldValidation": "Strict" if strict else "Ignore"} | ({"dryRun": "All"} if dry_run else {})


def _error(code: int, body: bytes) -> ApiError:
    try:
        status = json.loads(body)
    except ValueError:
        return ApiError(code, "", body.decode(errors="replace"))
    return ApiError(code, status.get("reason", ""), status.get("message", ""))
