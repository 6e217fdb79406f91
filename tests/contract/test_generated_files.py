import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from launcher.job.schema import REFERENCE_FILE, ROOT, generated_files, job_schema, stale_files
from tests.command_line import EXAMPLES

BAD: dict[str, dict[str, Any]] = {
    "unknown key": {"gpu": 2},
    "negative GPUs": {"gpus": -1},
    "upper-case name": {"name": "Digits"},
    "long name": {"name": "a" * 64},
    "both train and command": {"command": ["python", "train.py"]},
    "unknown model": {"train": {"model": {"name": "resnet19"}}},
    "data without its path": {"train": {"data": {"kind": "idx"}}},
    "zero learning rate": {"train": {"optimizer": {"name": "sgd", "lr": 0}}},
}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    Draft202012Validator.check_schema(job_schema())
    return Draft202012Validator(job_schema())


def test_the_generated_files_say_what_the_models_say() -> None:
    assert stale_files() == [], "run: python -m launcher.job.schema"


def test_a_missing_or_changed_file_is_stale(tmp_path: Path) -> None:
    assert stale_files(tmp_path) == list(generated_files())
    for name, content in generated_files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert stale_files(tmp_path) == []
    (tmp_path / REFERENCE_FILE).write_text("old")
    assert stale_files(tmp_path) == [REFERENCE_FILE]


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_editor_schema_accepts_the_examples(example: Path, validator: Draft202012Validator) -> None:
    assert list(validator.iter_errors(yaml.safe_load(example.read_text()))) == []


@pytest.mark.parametrize("case", BAD)
def test_the_editor_schema_rejects_a_bad_file(case: str, validator: Draft202012Validator) -> None:
    job = yaml.safe_load((EXAMPLES / "digits.yaml").read_text())
    for key, value in BAD[case].items():
        job[key] = {**job[key], **value} if isinstance(value, dict) else value
    assert list(validator.iter_errors(job))


def test_every_link_of_the_reference_leads_to_one_of_its_headings() -> None:
    page = (ROOT / REFERENCE_FILE).read_text()
    headings = [re.sub(r"[^a-z0-9 _-]", "", title.lower()).strip() for title in re.findall(r"^#+ (.*)$", page, re.M)]
    links = set(re.findall(r"\]\(#([^)]*)\)", page))
    assert links
    assert links <= set(headings)


def test_every_field_of_the_reference_is_described() -> None:
    page = (ROOT / REFERENCE_FILE).read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert [row for row in rows if row.endswith("|  |")] == []
