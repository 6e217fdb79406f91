"""What a user or a site sets once for all jobs, in the environment."""

import os
from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from launcher.errors import InvalidJob
from launcher.job.field_types import ImageName

IMAGE_VARIABLE = "LAUNCHER_IMAGE"


def default_image(environment: Mapping[str, str] = os.environ) -> str | None:
    """The image of jobs that name none.

    Raises:
        InvalidJob: The variable holds something that is no image.
    """
    image = environment.get(IMAGE_VARIABLE)
    if not image:
        return None
    try:
        return TypeAdapter[str](ImageName).validate_python(image)
    except ValidationError:
        raise InvalidJob(f"{IMAGE_VARIABLE}: must be an image without spaces (got {image!r})") from None
