"""Templates to a page: escaped, in one file, nothing fetched from elsewhere."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from trainer.output.storage import write_text


def write_page(path: Path, template: str, **values: Any) -> None:
    """Fill ``template`` and write the page at ``path``, whole or not at all."""
    environment = Environment(
        loader=PackageLoader("trainer.output.report"),
        autoescape=True,  # names of classes, files and jobs come from users
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template).render(**values)
    # Names of files may hold bytes that are no text.
    write_text(path, page.encode("utf-8", "backslashreplace").decode("utf-8"))
