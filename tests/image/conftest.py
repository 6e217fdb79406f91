"""The image under test, and where it is built and run."""

import pytest

from tests.image import build
from tests.image import engine as engines
from tests.image.engine import Engine


@pytest.fixture(scope="session")
def engine() -> Engine:
    """Skips, with the remedy, where images cannot be built."""
    if reason := engines.missing():
        pytest.skip(f"the image is not built and not run here: {reason}")
    return Engine.at_cache()


@pytest.fixture(scope="session")
def pip_settings() -> dict[str, str]:
    return build.pip_settings()


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    return build.build_image(engine)
