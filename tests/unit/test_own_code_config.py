"""`import` in the configuration: what is accepted, how it is written out again, and which paths follow a mount."""

import json
from pathlib import Path
from typing import Any

import pytest

from launcher.backends.local.volumes import localize, with_folders_from
from launcher.errors import InvalidJob
from launcher.job.digest import digest, identity
from launcher.job.spec import JobSpec
from tests.trainer_runs import tiny
from trainer.config import ImageClassification

OWN: dict[str, Any] = {
    "import_from": "/code",
    "data": {
        "kind": "import",
        "import": "data:Blobs",
        "args": {"root": "/code/images", "deep": [{"path": "/code"}], "name": "/elsewhere"},
        "test_args": {"root": "/code/test"},
        "transform": {"import": "transforms:Cutout", "args": {"size": 3}},
    },
    "model": {"import": "my_pkg.nets:Nets.Small"},
    "loss": {"import": "losses:Poly", "returns": "each"},
}


def spec_of(local: str | None = None, **train: Any) -> JobSpec:
    volume = {"name": "code", "mount": "/code", "local": local}
    job = {"name": "own", "train": tiny(**{**OWN, **train}), "volumes": [volume]}
    return JobSpec.model_validate_json(json.dumps(job))


def train_of(spec: JobSpec) -> ImageClassification:
    assert isinstance(spec.train, ImageClassification)
    return spec.train


def test_everything_that_is_imported_is_known_by_its_field() -> None:
    imported = train_of(spec_of()).imported
    assert {field: part.name for field, part in imported.items()} == {
        "data": "data:Blobs",
        "data.transform": "transforms:Cutout",
        "model": "my_pkg.nets:Nets.Small",
        "loss": "losses:Poly",
    }


def test_what_is_written_out_is_read_back() -> None:
    spec = spec_of()
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec
    assert spec.model_dump(mode="json")["train"]["model"] == {"import": "my_pkg.nets:Nets.Small", "args": {}}
    assert identity(spec)["train"]["loss"] == OWN["loss"]


def test_other_arguments_are_another_run() -> None:
    assert digest(spec_of()) != digest(spec_of(model={**OWN["model"], "args": {"width": 3}}))


def test_paths_and_arguments_below_a_mount_become_those_of_this_machine(tmp_path: Path) -> None:
    spec = spec_of(str(tmp_path))
    here = localize(spec, train_of(spec))
    assert isinstance(here, ImageClassification)
    assert here.import_from == str(tmp_path)
    assert here.imported["data"].args == {
        "root": f"{tmp_path}/images",
        "deep": [{"path": str(tmp_path)}],
        "name": "/elsewhere",
    }
    assert getattr(here.data, "test_args") == {"root": f"{tmp_path}/test"}  # noqa: B009 - only some data sets have them


def test_a_relative_folder_begins_where_the_job_was_submitted(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    spec = with_folders_from(spec_of("code"), tmp_path)
    assert localize(spec, train_of(spec)).paths["import_from"] == str(tmp_path / "code")


def test_a_folder_of_code_that_is_not_there_is_refused(tmp_path: Path) -> None:
    spec = spec_of(str(tmp_path / "nowhere"))
    with pytest.raises(InvalidJob, match=r"train\.import_from: /code is .* no such folder exists"):
        localize(spec, train_of(spec))
