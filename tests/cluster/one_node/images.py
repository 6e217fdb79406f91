"""The images of the cluster, pushed to its registry under the names that pods use."""

import shutil
import tempfile
from pathlib import Path

from tests.cluster.one_node.node import PAUSE_IMAGE, REGISTRY
from tests.image.build import build_if_changed
from tests.image.engine import Engine
from tests.tools.build import tool

TRAINER_IMAGE = "library/pytorchjob-trainer:latest"
"""What ``pytorchjob-trainer:latest``, the name in examples/, stands for."""


def push_all(engine: Engine, operator_image: str) -> None:
    """Build what is missing, and push it; layers that the registry has already are skipped."""
    push(engine, _program(engine, "pause", "/pause"), PAUSE_IMAGE.partition("/")[2])
    push(engine, _program(engine, "training-operator.v1", "/manager"), operator_image)
    push(engine, build_if_changed(engine), TRAINER_IMAGE)


def push(engine: Engine, image: str, name: str) -> None:
    """Push an image. ``name`` has no host, since the node pulls the images of every host from this registry."""
    destination = f"docker://{REGISTRY}/{name}"
    engine.podman("push", "--quiet", "--tls-verify=false", "--compression-format=zstd", image, destination)


def _program(engine: Engine, program: str, path: str) -> str:
    """An image with nothing but one static program of the pinned Go modules."""
    tag = f"localhost/{program}:latest"
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(tool(program), Path(folder) / "program")
        lines = ("FROM scratch", f"COPY program {path}", "USER 65532:65532", f'ENTRYPOINT ["{path}"]')
        (Path(folder) / "Dockerfile").write_text("\n".join(lines) + "\n")
        engine.podman("build", "--quiet", "--isolation=chroot", "--tag", tag, folder)
    return tag
