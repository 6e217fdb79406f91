"""JobSpec and Placement to the chart's values."""

import json
from typing import Any

import pytest

from launcher.errors import InvalidJob, LauncherExit
from launcher.job.chart_model import DEFAULT_ENV, ChartValues, SecretKeyValue
from launcher.job.digest import digest
from launcher.job.load import load_job
from launcher.job.placement import Placement, plan
from launcher.job.profile import default_image
from launcher.job.render import values_document
from launcher.job.spec import JobSpec, NodeShape
from launcher.job.values import DIGEST_ANNOTATION, NO_GPUS, SPEC_ANNOTATION, chart_values
from tests.unit.test_job_loading import JOB
from trainer.config import CommandFile, RunFile
from trainer.config.contract import parse_run_file

COMMAND = "name: mine\nimage: mine:1\ngpus: 4\ncommand: [train.py, --lr, '0.1']\n"
TORCHRUN = f"{COMMAND}runner: torchrun\n"


def load(*overrides: tuple[str, str], text: str = JOB, **flags: Any) -> JobSpec:
    return load_job(text, filename="job.yaml", overrides=overrides, **{"image": "trainer:1", **flags})


def values(*overrides: tuple[str, str], nodes: tuple[NodeShape, ...] = (), **flags: Any) -> ChartValues:
    spec = load(*overrides, **flags)
    return chart_values(spec, plan(spec, nodes), namespace="training")


def refusal(*overrides: tuple[str, str], **flags: Any) -> str:
    with pytest.raises(InvalidJob) as caught:
        values(*overrides, **flags)
    assert caught.value.exit_code == LauncherExit.USAGE
    return caught.value.message


def test_pods_and_processes_are_the_placements() -> None:
    shapes = (NodeShape(count=2, gpus=4),)
    made = values(("train.batch_size", "512"), gpus=8, nodes=shapes)
    assert (made.replicas, made.nproc_per_node, made.backoff_limit) == (2, 4, 200)
    assert made.resources.limits == {"nvidia.com/gpu": "4"} == made.resources.requests


def test_cpu_and_memory_are_requested_and_limited_alike() -> None:
    made = values(("resources", "{cpu: 8, memory: 32Gi, gpu_resource: amd.com/gpu}"))
    assert made.resources.requests == {"cpu": "8", "memory": "32Gi", "amd.com/gpu": "2"} == made.resources.limits


@pytest.mark.parametrize(
    ("resources", "size"),
    [("{}", "1Gi"), ("{memory: 32Gi}", "16384Mi"), ("{memory: 1M}", "1Mi"), ("{memory: 32Gi, shm: 20Gi}", "20Gi")],
)
def test_shared_memory_is_as_asked_for_or_half_of_the_memory(resources: str, size: str) -> None:
    assert values(("resources", resources)).shm_size == size


def test_the_run_file_is_what_the_trainer_reads_in_plain_ascii() -> None:
    spec = load(("train.data", "{kind: idx, path: /data, classes: [Übung, ß\U0001f600]}"), text=JOB + VOLUME)
    made = chart_values(spec, plan(spec, []), namespace="training")
    assert made.run_file is not None
    assert made.run_file.isascii()
    run = RunFile.model_validate_json(made.run_file)
    assert (run.job, run.namespace, run.digest, run.image) == ("digits", "training", digest(spec), "trainer:1")
    assert run.train == spec.train
    assert JobSpec.model_validate_json(json.dumps(run.spec)) == spec


VOLUME = "volumes: [{name: data, claim: datasets, mount: /data}]\n"


def test_a_command_runs_under_the_supervisor_by_a_run_file_of_its_own() -> None:
    text = f"{COMMAND}restarts: {{max_without_progress: 7, deadline_seconds: 60}}\n"
    made = values(("command.2", '"$(HOME) {{ x }} \\"\\u00dc"'), text=text)
    assert (made.command, set(made.annotations)) == ((), {DIGEST_ANNOTATION})
    run = parse_run_file(made.run_file or "")
    assert isinstance(run, CommandFile)
    assert run.command == ("train.py", "--lr", '$(HOME) {{ x }} "\u00dc')
    assert (run.job, run.namespace, run.image) == ("mine", "training", "trainer:1")
    assert run.restarts.max_without_progress == 7
    assert run.spec["command"] == list(run.command)
    assert made.active_deadline_seconds == 660


def test_a_command_under_torchrun_has_its_spec_in_an_annotation_and_no_run_file() -> None:
    made = values(text=TORCHRUN)
    assert (made.run_file, made.command) == (None, ("train.py", "--lr", "0.1"))
    assert json.loads(made.annotations[SPEC_ANNOTATION])["command"] == ["train.py", "--lr", "0.1"]
    assert made.annotations[DIGEST_ANNOTATION] == digest(load(text=TORCHRUN))


def test_how_a_command_is_run_is_not_what_it_computes() -> None:
    other = f"{COMMAND}restarts: {{max_without_progress: 7}}\n"
    assert digest(load(text=COMMAND)) == digest(load(text=TORCHRUN)) == digest(load(text=other))


def test_a_training_job_is_known_by_its_digest() -> None:
    assert values().annotations == {DIGEST_ANNOTATION: digest(load())}


def test_a_missing_image_is_a_usage_error_that_names_every_place_for_it() -> None:
    message = refusal(image=None)
    assert message.startswith("image: required on a cluster")
    for place in ("`image:`", "--image", "LAUNCHER_IMAGE"):
        assert place in message


def test_the_files_image_wins_over_the_profiles() -> None:
    spec = load(image=None)
    made = chart_values(spec, plan(spec, []), namespace="n", default_image="profile:1")
    assert made.image == "profile:1"
    assert json.loads(made.run_file or "")["image"] == "profile:1"
    assert chart_values(load(), plan(spec, []), namespace="n", default_image="profile:1").image == "trainer:1"


def test_the_profiles_image_is_read_from_the_environment_and_checked() -> None:
    assert default_image({"LAUNCHER_IMAGE": "a:1"}) == "a:1"
    assert default_image({"LAUNCHER_IMAGE": ""}) is None
    assert default_image({}) is None
    with pytest.raises(InvalidJob, match="LAUNCHER_IMAGE: must be an image without spaces"):
        default_image({"LAUNCHER_IMAGE": "a b"})


def test_a_volume_without_a_claim_is_refused_by_name() -> None:
    assert refusal(("volumes", "[{name: data, mount: /data, local: ~/d}]")).startswith("volumes.data: no `claim:`")


def test_the_results_claim_is_called_results_unless_the_file_says_otherwise() -> None:
    assert (values().results.claim, values().results.path) == ("results", "/results")
    made = values(("results", "{claim: mine, path: /out, create: {size: 1Gi, storage_class: fast}}")).results
    assert (made.claim, made.path) == ("mine", "/out")
    assert made.create is not None
    assert (made.create.size, made.create.storage_class, made.create.access_mode) == ("1Gi", "fast", "ReadWriteMany")


def test_a_claim_for_one_pod_does_not_serve_several() -> None:
    create = ("results.create", "{size: 1Gi, access_mode: ReadWriteOnce}")
    assert values(create).results.create is not None
    assert refusal(create, ("resources.gpus_per_node", "1")).startswith("results.create.access_mode: ReadWriteOnce")


def test_an_elastic_job_is_bounded_by_pods() -> None:
    made = values(("gpus", "{min: 2, max: 8}"), ("resources.gpus_per_node", "2"))
    assert made.elastic is not None
    assert (made.replicas, made.elastic.min_replicas, made.elastic.max_replicas) == (4, 1, 4)
    assert values().elastic is None


def test_a_cpu_job_sees_no_gpu_and_tolerates_no_gpu_taint() -> None:
    made = values(("gpus", "0"), ("processes", "2"))
    assert made.nproc_per_node == 2
    assert made.resources.limits == {}
    assert made.tolerations == ()
    assert made.env == {**DEFAULT_ENV, **NO_GPUS}


def test_a_gpu_job_tolerates_the_taint_of_gpu_nodes_besides_its_own() -> None:
    made = values(("tolerations", "[{key: team, value: a, effect: NoExecute, seconds: 5}, {operator: Exists}]"))
    written = [one.model_dump(exclude_defaults=True, by_alias=True) for one in made.tolerations]
    assert written == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "operator": "Equal", "value": "a", "effect": "NoExecute", "tolerationSeconds": 5},
        {"operator": "Exists"},
    ]


def test_variables_are_merged_over_the_charts_and_secrets_stay_references() -> None:
    made = values(("env", "{HOME: /data/home, TOKEN: {secret: keys, key: token}}"))
    expected = {**DEFAULT_ENV, "HOME": "/data/home", "TOKEN": SecretKeyValue(secret="keys", key="token")}  # noqa: S106
    assert made.env == expected


@pytest.mark.parametrize(
    ("overrides", "seconds"),
    [
        ([], None),
        ([("deadline_seconds", "60")], 60),
        ([("train.restarts.deadline_seconds", "60")], 660),
        ([("train.restarts.deadline_seconds", "60"), ("deadline_seconds", "90")], 90),
    ],
)
def test_the_cluster_ends_a_job_later_than_the_supervisor_would(
    overrides: list[tuple[str, str]], seconds: int | None
) -> None:
    assert values(*overrides).active_deadline_seconds == seconds


def test_placement_options_are_passed_on() -> None:
    made = values(
        ("queue", "team-a"),
        ("priority_class", "high"),
        ("node_selector", "{gpu: h100}"),
        ("image_pull_secrets", "[registry]"),
        ("run_as", "null"),
        ("isolated_network", "true"),
    )
    assert (made.queue_name, made.priority_class_name, made.node_selector) == ("team-a", "high", {"gpu": "h100"})
    assert [secret.name for secret in made.image_pull_secrets] == ["registry"]
    assert (made.run_as_user, made.run_as_group, made.fs_group, made.isolated_network) == (None, None, None, True)


def test_a_configuration_that_no_annotation_holds_is_refused() -> None:
    many = json.dumps([f"class-{number}" for number in range(30_000)])
    message = refusal(("train.data", f"{{kind: idx, path: /data, classes: {many}}}"), text=JOB + VOLUME)
    assert message.startswith("train: the configuration takes")


def test_only_what_differs_from_the_charts_defaults_is_written() -> None:
    spec = load(("gpus", "1"), ("run_as", "null"))
    document = values_document(chart_values(spec, Placement(1, 1), namespace="n"))
    assert "replicas" not in document
    assert "env" not in document
    assert document["runAsUser"] is None
