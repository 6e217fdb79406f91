import hashlib
import json
from typing import Any

import pytest

from launcher.job.digest import diff, digest, identity
from launcher.job.load import load_job
from launcher.job.spec import JobSpec
from tests.unit.test_job_loading import JOB


def load(*overrides: tuple[str, str], **flags: Any) -> JobSpec:
    return load_job(JOB, filename="job.yaml", overrides=overrides, **flags)


@pytest.mark.parametrize(
    "override",
    [
        ("gpus", "4"),
        ("resources", "{gpus_per_node: 2, cpu: 8, memory: 32Gi}"),
        ("nodes", "[{count: 4, gpus: 8}]"),
        ("train.epochs", "40"),
        ("train.logging.every_steps", "1"),
    ],
)
def test_placement_epochs_and_logging_leave_the_digest_alone(override: tuple[str, str]) -> None:
    assert digest(load(override)) == digest(load())


@pytest.mark.parametrize(
    "override",
    [
        ("name", "other"),
        ("image", "trainer:2"),
        ("train.batch_size", "128"),
        ("train.seed", "1"),
        ("train.model.name", "resnet18"),
        ("train.optimizer.lr", "0.1"),
        ("results.path", "/out"),
    ],
)
def test_everything_else_changes_the_digest(override: tuple[str, str]) -> None:
    assert digest(load(override)) != digest(load())


def test_a_default_written_out_has_the_digest_of_a_default_left_out() -> None:
    written = load(("train.accumulate", "1"), ("train.loss", "{name: cross-entropy}"), ("train.model.dropout", "0.0"))
    assert digest(written) == digest(load())


def test_the_digest_is_that_of_the_canonical_json_so_other_versions_can_compute_it() -> None:
    expected = {
        "name": "digits",
        "train": {
            "batch_size": 64,
            "data": {"kind": "digits"},
            "model": {"name": "convnet"},
            "optimizer": {"lr": 0.003, "name": "adamw"},
            "task": "image-classification",
        },
    }
    assert identity(load()) == expected
    canonical = json.dumps(expected, sort_keys=True, separators=(",", ":"))
    assert digest(load()) == hashlib.sha256(canonical.encode()).hexdigest()


def test_a_diff_names_fields_with_both_values_and_defaults_filled_in() -> None:
    new = load(("train.batch_size", "128"), ("train.accumulate", "2"), ("image", "trainer:2"))
    assert diff(identity(load()), identity(new)) == [
        "image: null -> trainer:2",
        "train.batch_size: 64 -> 128",
        "train.accumulate: 1 -> 2",
    ]


def test_a_diff_takes_full_dumps_and_ignores_what_is_no_identity() -> None:
    new = load(("train.epochs", "9"), ("train.logging.every_steps", "3"), gpus=8)
    assert diff(load().model_dump(mode="json"), new.model_dump(mode="json")) == []
    assert diff(load().model_dump(mode="json"), identity(new)) == []


def test_another_variant_shows_the_tag_and_the_shared_fields_only() -> None:
    new = load(("train.optimizer", "{name: sgd, lr: 0.1}"))
    assert diff(identity(load()), identity(new)) == [
        "train.optimizer.name: adamw -> sgd",
        "train.optimizer.lr: 0.003 -> 0.1",
        "train.optimizer.weight_decay: 0.01 -> 0.0",
    ]


def test_entries_of_a_list_are_compared_one_by_one() -> None:
    volumes = "[{name: data, mount: /data}]"
    old, new = load(("volumes", volumes)), load(("volumes", volumes.replace("/data", "/d")))
    assert diff(identity(old), identity(new)) == ["volumes.0.mount: /data -> /d"]


def test_a_spec_of_another_version_is_compared_as_it_stands() -> None:
    old = {**identity(load()), "cohort": "a", "gpus": 1}
    assert "cohort: a -> (absent)" in diff(old, identity(load()))
