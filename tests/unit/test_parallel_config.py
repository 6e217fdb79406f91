"""What of `train.parallel` and `train.compile` fits together, and how such a job is placed."""

import json
from typing import Any

import psutil
import pytest

from launcher.backends.local import devices, submission
from launcher.errors import DoesNotFit, InvalidJob
from launcher.job.digest import digest
from launcher.job.load import load_job
from launcher.job.placement import Placement, plan, usage
from launcher.job.spec import JobSpec, NodeShape
from launcher.job.values import chart_values
from tests.unit.fake_jobs import FakeJobs
from tests.unit.test_job_loading import JOB

ONE_PROCESS = ("train.parallel", "{strategy: data-parallel}")
PAIRS = (
    "{task: sequence-to-sequence, epochs: 1, batch_size: 8, data: {kind: pairs, path: /d/p.tsv}, "
    "model: {name: lstm-seq2seq}, optimizer: {name: sgd, lr: 0.1}, %s}"
)


def load(*overrides: tuple[str, str], **flags: Any) -> JobSpec:
    return load_job(JOB, filename="job.yaml", overrides=overrides, **{"image": "trainer:1", **flags})


def test_one_process_gets_all_gpus_of_one_pod() -> None:
    spec = load(ONE_PROCESS, gpus=4)
    shapes = [NodeShape(count=2, gpus=8)]
    placement = plan(spec, shapes)
    assert placement == Placement(nodes=1, ranks_per_node=1, gpus_per_rank=4)
    assert (spec.ranks, spec.total_gpus) == (1, 4)
    made = chart_values(spec, placement, namespace="training")
    assert (made.replicas, made.nproc_per_node) == (1, 1)
    assert made.resources.limits == {"nvidia.com/gpu": "4"} == made.resources.requests
    [use] = usage(spec, placement, shapes)
    assert (use.pods, use.used, use.idle) == (1, 4, 12)
    assert plan(load(ONE_PROCESS, gpus=4), []) == placement


def test_gpus_that_no_node_has_together_do_not_fit_and_ddp_is_named() -> None:
    with pytest.raises(DoesNotFit) as caught:
        plan(load(ONE_PROCESS, gpus=8), [NodeShape(count=4, gpus=4)])
    assert caught.value.message.splitlines() == [
        "8 GPUs do not fit: data-parallel needs them on one node, and the largest has 4",
        "use --gpus 4, or --set train.parallel.strategy=ddp, which spreads over nodes",
    ]
    plan(load(ONE_PROCESS, gpus=4), [NodeShape(count=4, gpus=4)])
    plan(load(("train.parallel.strategy", "ddp"), gpus=8), [NodeShape(count=4, gpus=4)])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([ONE_PROCESS, ("gpus", "{min: 1, max: 2}")], "gpus: must be a whole number, not a range"),
        ([ONE_PROCESS, ("gpus", "0"), ("processes", "2")], "processes: must be 1 (got 2)"),
        (
            [ONE_PROCESS, ("gpus", "4"), ("resources.gpus_per_node", "2")],
            "gpus_per_node: must be auto or gpus (4; got 2)",
        ),
        ([("train.parallel", "{strategy: dp}")], 'train.parallel.strategy: unknown value "dp"'),
        (
            [("train.parallel", "{strategy: data-parallel, sync_batch_norm: true}")],
            "train.parallel.sync_batch_norm: needs strategy ddp",
        ),
        ([ONE_PROCESS, ("train.compile", "true")], "train.compile: needs parallel.strategy ddp"),
        (
            [("train.parallel.sync_batch_norm", "true"), ("train.compile", "true")],
            "train.compile: not with parallel.sync_batch_norm",
        ),
        ([("train.compile", "fast")], 'train.compile: must be true or false (got "fast")'),
        (
            [("train", PAIRS % "parallel: {strategy: data-parallel}")],
            "train.parallel.strategy: only ddp fits this task",
        ),
        ([("train", PAIRS % "compile: true")], "train.compile: not for this task"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_its_place(overrides: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        load(*overrides)
    assert message in caught.value.message


def test_jobs_of_before_keep_their_digest() -> None:
    assert digest(load(("train.parallel", "{strategy: ddp, sync_batch_norm: false}"), ("train.compile", "false"))) == (
        digest(load())
    )
    assert digest(load(ONE_PROCESS)) != digest(load())


@pytest.mark.parametrize(
    ("present", "gpus", "said", "visible"),
    [
        (0, 4, ["no CUDA device here: training on 1 CPU rank instead"], ""),
        (1, 4, ["one CUDA device here: data-parallel runs on that one instead of 4"], "0"),
        (8, 4, [], "0,1,2,3"),
    ],
)
def test_one_process_on_this_machine_sees_as_many_devices_as_it_wants(
    jobs: FakeJobs, monkeypatch: pytest.MonkeyPatch, present: int, gpus: int, said: list[str], visible: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(submission, "cuda_devices", lambda: present)
    jobs.submit(processes=None, gpus=gpus, train={"parallel": {"strategy": "data-parallel"}})
    assert jobs.said == said
    assert jobs.running().ranks == 1
    attempt = json.loads((jobs.root / "local" / "digits" / "attempts" / "0001.json").read_text())
    assert psutil.Process(attempt["pid"]).environ()["CUDA_VISIBLE_DEVICES"] == visible


def test_some_devices_but_too_few_do_not_fit(jobs: FakeJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "cuda_devices", lambda: 2)
    with pytest.raises(DoesNotFit, match="wants 4, this machine shows 2"):
        jobs.submit(processes=None, gpus=4, train={"parallel": {"strategy": "data-parallel"}})


def test_the_first_devices_are_those_that_were_visible() -> None:
    assert devices.first_devices(2, {}) == "0,1"
    assert devices.first_devices(2, {"CUDA_VISIBLE_DEVICES": "3, 5,GPU-a"}) == "3,5"
