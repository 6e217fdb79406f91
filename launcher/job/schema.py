"""What is generated from the models: the editors' schema of job.yaml, its reference page, and files of the chart.

``python -m launcher.job.schema`` writes them; with ``--check`` it only says whether they are stale.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from launcher.job.chart_files import chart_files
from launcher.job.descriptions import PlainSchema
from launcher.job.reference import reference_page
from launcher.job.spec import MAX_NAME, JobSpec

ROOT = Path(__file__).parents[2]
SCHEMA_FILE = "docs/job.schema.json"
REFERENCE_FILE = "docs/job-reference.md"
CHART = "charts/pytorchjob"


def job_schema() -> dict[str, Any]:
    """JSON Schema of job.yaml, for editors; the launcher itself checks more, such as combinations of fields."""
    schema = JobSpec.model_json_schema(schema_generator=PlainSchema)
    schema["properties"]["name"]["maxLength"] = MAX_NAME
    return {
        "$schema": PlainSchema.schema_dialect,
        **schema,
        "title": "job.yaml",
        "oneOf": [{"required": ["train"]}, {"required": ["command"]}],
    }


def generated_files() -> dict[str, str]:
    """Content of each generated file by its path in the repository."""
    schema = json.dumps(job_schema(), indent=2, ensure_ascii=False) + "\n"
    chart = {f"{CHART}/{name}": content for name, content in chart_files().items()}
    return {SCHEMA_FILE: schema, REFERENCE_FILE: reference_page(), **chart}


def stale_files(root: Path = ROOT) -> list[str]:
    """Paths of the generated files below ``root`` that do not say what the models say."""

    def current(name: str) -> str | None:
        return (root / name).read_text(encoding="utf-8") if (root / name).exists() else None

    return [name for name, content in generated_files().items() if current(name) != content]


def main() -> int:
    """Write the files, or check them."""
    parser = argparse.ArgumentParser(prog="python -m launcher.job.schema", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
    check = parser.parse_args().check
    stale = stale_files()
    for name in stale:
        if check:
            print(f"{name} is stale; run: python -m launcher.job.schema", file=sys.stderr)
        else:
            (ROOT / name).write_text(generated_files()[name], encoding="utf-8")
            print(name)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
