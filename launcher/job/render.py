"""Values to manifests. The one module that knows Helm: its library in process, or a ``helm`` on PATH."""

import functools
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import yaml

from launcher.errors import BackendUnusable, LauncherError
from launcher.job.chart_model import ChartValues
from launcher.job.manifest_yaml import to_yaml
from launcher.job.placement import Placement
from launcher.job.profile import default_image
from launcher.job.spec import JobSpec
from launcher.job.values import chart_values

Manifest = dict[str, Any]
Engine = Literal["auto", "library", "helm"]

# Inside an installed package, and in a checkout.
CHART_FOLDERS = (
    Path(__file__).parents[1] / "charts" / "pytorchjob",
    Path(__file__).parents[2] / "charts" / "pytorchjob",
)
MINIMUM_HELM = (3, 18, 6)
"""The first helm that reads JSON Schema 2020-12 and bounds the memory that a schema may take."""
HELM_SECONDS = 60.0
JOB_KIND = ("kubeflow.org/v1", "PyTorchJob")
CLAIM_KIND = ("v1", "PersistentVolumeClaim")
POLICY_KIND = ("networking.k8s.io/v1", "NetworkPolicy")

# The C loader is ten times as fast, where PyYAML was built with it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def job_manifests(
    spec: JobSpec,
    placement: Placement,
    *,
    namespace: str,
    engine: Engine = "auto",
    restart_rules: bool = False,
) -> list[Manifest]:
    """What a submit creates, in this order: the PyTorchJob is the last.

    Args:
        spec: The job.
        placement: How it is split over pods.
        namespace: Where it will run.
        engine: See `render`.
        restart_rules: Whether the server restarts containers in place by exit code (Kubernetes 1.35 or newer).

    Raises:
        InvalidJob: Something is missing that a cluster needs.
        BackendUnusable: There is no Helm engine here.
    """
    values = job_values(spec, placement, namespace=namespace, restart_rules=restart_rules)
    return render(values, name=spec.name, namespace=namespace, engine=engine)


def job_values(spec: JobSpec, placement: Placement, *, namespace: str, restart_rules: bool = False) -> ChartValues:
    """The chart's values for a job, with what the user's profile adds; the arguments are those of `job_manifests`."""
    return chart_values(
        spec, placement, namespace=namespace, default_image=default_image(), restart_rules=restart_rules
    )


def render(values: ChartValues, *, name: str, namespace: str, engine: Engine = "auto") -> list[Manifest]:
    """The manifests that the chart makes of ``values``, checked, the PyTorchJob last.

    Args:
        values: The chart's values.
        name: Name of the release, which is the job's.
        namespace: Namespace of every object.
        engine: library renders in process; helm starts the ``helm`` on PATH; auto takes the library where there is
            one for this platform, else helm. Both give the same manifests.

    Raises:
        BackendUnusable: The engine is not here, or too old.
        LauncherError: The chart refused the values, or made something that it must not.
    """
    given = values_document(values)
    if engine == "library" or (engine == "auto" and _library_chart(required=False)):
        texts = _by_library(given, name, namespace)
    else:
        texts = [_by_helm(given, name, namespace)]
    manifests = [manifest for text in texts for manifest in _parsed(text)]
    _check(manifests, values, name, namespace)
    return sorted(manifests, key=lambda manifest: _kind(manifest) == JOB_KIND)


def values_document(values: ChartValues) -> dict[str, Any]:
    """The values as a values file has them, without those that the chart has by default."""
    return values.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def chart_folder() -> Path:
    """Where the chart lies.

    Raises:
        LauncherError: This installation lost it.
    """
    for folder in CHART_FOLDERS:
        if (folder / "Chart.yaml").is_file():
            return folder
    raise LauncherError("the chart is missing from this installation of the launcher; install it again")


@functools.cache
def _library_chart(*, required: bool) -> Any:
    """The chart, parsed once for all renders of this process; None where there is no library and none is required."""
    try:
        import helm_python
    except Exception as error:  # noqa: BLE001 - a library that cannot be loaded raises its own kinds
        if not required:
            return None
        raise BackendUnusable(
            f"the Helm library cannot be loaded: {error}\ninstall helm-python-sdk, or use --engine helm"
        ) from None
    return helm_python.Chart.load_archive(_chart_archive())


def _chart_archive() -> bytes:
    """The chart without its schema: compiling that takes five times as long as a render, each time anew.

    Nothing is lost: these values come from the model that the schema is generated from.
    """
    folder = chart_folder()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as files:
        for path in (folder / "Chart.yaml", folder / "values.yaml", *sorted((folder / "templates").iterdir())):
            files.add(path, arcname=f"{folder.name}/{path.relative_to(folder).as_posix()}")
    return archive.getvalue()


def _by_library(values: dict[str, Any], name: str, namespace: str) -> list[str]:
    chart = _library_chart(required=True)
    import helm_python

    try:
        texts = chart.render(values, name=name, namespace=namespace)
    except helm_python.HelmError as error:
        raise _refused(str(error)) from None
    return [text for file, text in sorted(texts.items()) if file.endswith(".yaml")]


def _by_helm(values: dict[str, Any], name: str, namespace: str) -> str:
    helm = _helm_on_path()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", prefix="values-", encoding="utf-8") as file:
        file.write(to_yaml([values]))
        file.flush()
        arguments = ["template", name, str(chart_folder()), "--namespace", namespace, "--values", file.name]
        done = _run_helm(helm, arguments)
    if done.returncode:
        raise _refused(done.stderr)
    return done.stdout


@functools.cache
def _helm_on_path() -> str:
    """The helm to start, found and checked once."""
    needed = ".".join(map(str, MINIMUM_HELM))
    helm = shutil.which("helm")
    if helm is None:
        raise BackendUnusable(
            f"no Helm engine here: install helm {needed} or newer on PATH, or the Python package helm-python-sdk"
        )
    answer = _run_helm(helm, ["version", "--template", "{{.Version}}"]).stdout.strip()
    numbers = re.match(r"v?(\d+)\.(\d+)\.(\d+)", answer)
    if numbers is None or tuple(map(int, numbers.groups())) < MINIMUM_HELM:
        raise BackendUnusable(f"{helm} is version {answer or 'unknown'}, and the chart needs {needed} or newer")
    return helm


def forget_engines() -> None:
    """Look for the engines again at the next render: PATH, or what is installed, has changed."""
    _library_chart.cache_clear()
    _helm_on_path.cache_clear()


def _run_helm(helm: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    # HELM_DEBUG and its like would change what is printed; nothing else of them matters to a local render.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HELM_")}
    try:
        return subprocess.run(
            [helm, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=HELM_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendUnusable(f"{helm} cannot be run: {error}") from None


def _refused(message: str) -> LauncherError:
    return LauncherError(f"the chart cannot be rendered: {message.strip().removeprefix('Error: ')}")


def _parsed(text: str) -> list[Manifest]:
    """The objects in a rendered text."""
    try:
        found = [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.YAMLError as error:
        raise LauncherError(f"the chart made no YAML: {error}") from None
    for document in found:
        if not isinstance(document, dict) or not isinstance(document.get("metadata"), dict):
            raise LauncherError(f"the chart made something that is no Kubernetes object: {str(document)[:80]}")
    return found


def _check(manifests: Iterable[Manifest], values: ChartValues, name: str, namespace: str) -> None:
    """Nothing but what was asked for, where it was asked for."""
    expected = [
        *([(*CLAIM_KIND, values.results.claim)] if values.results.create else []),
        *([(*POLICY_KIND, name)] if values.isolated_network else []),
        (*JOB_KIND, name),
    ]
    found = []
    for manifest in manifests:
        metadata = manifest["metadata"]
        if metadata.get("namespace") != namespace:
            raise LauncherError(f"the chart made an object outside of the namespace {namespace}: {metadata}")
        found.append((*_kind(manifest), str(metadata.get("name"))))
    if sorted(found) != sorted(expected):
        raise LauncherError(f"the chart made other objects than it must: {found}, expected {expected}")


def _kind(manifest: Manifest) -> tuple[str, str]:
    return str(manifest.get("apiVersion")), str(manifest.get("kind"))
