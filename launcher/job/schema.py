"""What is generated from the models: the editors' schema of job.yaml and its reference page.

``python -m launcher.job.schema`` writes both into docs/; with ``--check`` it only says whether they are stale.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from launcher.job.reference import reference_page
from launcher.job.spec import MAX_NAME, JobSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DOCS = Path(__file__).parents[2] / "docs"
SCHEMA_FILE = "job.schema.json"
REFERENCE_FILE = "job-reference.md"


class _WithoutTitles(GenerateJsonSchema):
    """A title that repeats the key says nothing in an editor."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def job_schema() -> dict[str, Any]:
    """JSON Schema of job.yaml, for editors; the launcher itself checks more, such as combinations of fields."""
    schema = JobSpec.model_json_schema(schema_generator=_WithoutTitles)
    schema["properties"]["name"]["maxLength"] = MAX_NAME
    return {
        "$schema": DIALECT,
        **schema,
        "title": "job.yaml",
        "oneOf": [{"required": ["train"]}, {"required": ["command"]}],
    }


def generated_files() -> dict[str, str]:
    """Content of each generated file by its name in docs/."""
    schema = json.dumps(job_schema(), indent=2, ensure_ascii=False) + "\n"
    return {SCHEMA_FILE: schema, REFERENCE_FILE: reference_page()}


def stale_files(docs: Path = DOCS) -> list[str]:
    """Names of the generated files in ``docs`` that do not say what the models say."""

    def current(name: str) -> str | None:
        return (docs / name).read_text(encoding="utf-8") if (docs / name).exists() else None

    return [name for name, content in generated_files().items() if current(name) != content]


def main() -> int:
    """Write the files, or check them."""
    parser = argparse.ArgumentParser(prog="python -m launcher.job.schema", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
    check = parser.parse_args().check
    stale = stale_files()
    for name in stale:
        if check:
            print(f"docs/{name} is stale; run: python -m launcher.job.schema", file=sys.stderr)
        else:
            (DOCS / name).write_text(generated_files()[name], encoding="utf-8")
            print(f"docs/{name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
