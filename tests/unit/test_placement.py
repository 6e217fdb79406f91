import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from launcher.errors import DoesNotFit, LauncherExit
from launcher.job.load import load_job
from launcher.job.placement import Placement, plan, usage
from launcher.job.spec import JobSpec, NodeShape
from tests.unit.test_job_loading import JOB

Shapes = list[tuple[int, int]]


def job(gpus: int, gpus_per_node: int | str = "auto", processes: int | None = None) -> JobSpec:
    overrides = [("train.batch_size", "100000")]
    if processes:
        overrides.append(("processes", str(processes)))
    return load_job(JOB, filename="job.yaml", overrides=overrides, gpus=gpus, gpus_per_node=gpus_per_node)


def nodes(shapes: Shapes) -> list[NodeShape]:
    return [NodeShape(count=count, gpus=gpus) for count, gpus in shapes]


def refusal(gpus: int, shapes: Shapes, gpus_per_node: int | str = "auto") -> str:
    with pytest.raises(DoesNotFit) as caught:
        plan(job(gpus, gpus_per_node), nodes(shapes))
    assert caught.value.exit_code == LauncherExit.DOES_NOT_FIT
    return caught.value.message


@pytest.mark.parametrize(
    ("gpus", "shapes", "placement"),
    [
        (8, [(4, 8)], Placement(1, 8)),
        (16, [(4, 8)], Placement(2, 8)),
        (12, [(4, 8)], Placement(2, 6)),
        (6, [(4, 4)], Placement(2, 3)),
        (3, [(1, 2), (1, 4)], Placement(1, 3)),
        (8, [], Placement(1, 8)),
    ],
)
def test_auto_takes_the_fewest_equal_pods(gpus: int, shapes: Shapes, placement: Placement) -> None:
    assert plan(job(gpus), nodes(shapes)) == placement


def test_several_small_pods_share_a_node() -> None:
    assert plan(job(8, 2), nodes([(1, 8)])) == Placement(4, 2)


def test_an_explicit_share_holds_without_node_shapes() -> None:
    assert plan(job(8, 2), []) == Placement(4, 2)


def test_a_cpu_job_is_one_pod_on_any_nodes() -> None:
    assert plan(job(0, processes=4), nodes([(2, 8)])) == Placement(1, 4)
    assert plan(job(0), []) == Placement(1, 1)


def test_an_indivisible_total_lists_totals_and_shares_that_fit() -> None:
    assert refusal(3, [(4, 2)]).splitlines() == [
        "3 GPUs cannot be split equally over 2 pods, the fewest that nodes of 2 GPUs allow",
        "These fit:",
        "  --gpus 2           1 pod of 2",
        "  --gpus 4           2 pods of 2",
        "  --gpus-per-node 1  3 pods of 1",
    ]


def test_a_share_that_does_not_divide_the_total_lists_those_that_do() -> None:
    assert refusal(6, [(2, 4)], 4).splitlines() == [
        "6 GPUs cannot be split into equal pods of 4",
        "These fit:",
        "  --gpus 4 --gpus-per-node 4  1 pod of 4",
        "  --gpus 8 --gpus-per-node 4  2 pods of 4",
        "  --gpus-per-node 3           2 pods of 3",
        "  --gpus-per-node 2           3 pods of 2",
        "  --gpus-per-node 1           6 pods of 1",
    ]


def test_too_few_gpus_says_how_many_there_are() -> None:
    assert refusal(100, [(4, 8)]).splitlines() == [
        "100 GPUs do not fit: the nodes (4 x 8) have 32 GPUs",
        "These fit:",
        "  --gpus 32  4 pods of 8",
    ]


def test_too_few_large_nodes_suggests_smaller_pods() -> None:
    message = refusal(16, [(1, 8), (4, 4)])
    assert message.startswith(
        "16 GPUs do not fit: 2 pods of 8 needed, room for 1; the nodes (1 x 8, 4 x 4) have 24 GPUs"
    )
    assert "  --gpus-per-node 4  4 pods of 4" in message


def test_nodes_without_gpus_point_to_cpu_training() -> None:
    assert "--gpus 0" in refusal(2, [(4, 0)])


def test_usage_fills_the_tightest_nodes_first_and_counts_idle_gpus() -> None:
    spec, shapes = job(16, 4), nodes([(1, 6), (4, 4)])
    uses = usage(spec, plan(spec, shapes), shapes)
    assert [(use.pods, use.used, use.idle) for use in uses] == [(0, 0, 6), (4, 16, 0)]


def elastic(low: int, high: int, gpus_per_node: int | str = "auto") -> JobSpec:
    bounds = ("gpus", f"{{min: {low}, max: {high}}}")
    return load_job(
        JOB, filename="job.yaml", overrides=[bounds, ("train.batch_size", "1000")], gpus_per_node=gpus_per_node
    )


@pytest.mark.parametrize(
    ("bounds", "shapes", "placement"),
    [
        ((2, 8), [], Placement(4, 2, min_nodes=1)),
        ((8, 16), [(2, 4)], Placement(4, 4, min_nodes=2)),
        ((3, 8), [(8, 4)], Placement(8, 1, min_nodes=3)),
        ((12, 24), [(3, 5)], Placement(6, 4, min_nodes=3)),
    ],
)
def test_an_elastic_jobs_pods_make_up_both_bounds(
    bounds: tuple[int, int], shapes: Shapes, placement: Placement
) -> None:
    assert plan(elastic(*bounds), nodes(shapes)) == placement


def test_an_elastic_job_that_its_pods_cannot_make_up_or_the_nodes_cannot_start_is_refused() -> None:
    with pytest.raises(DoesNotFit, match=r"2 to 8 GPUs cannot be made up of equal pods of 4"):
        plan(elastic(2, 8, 4), [])
    with pytest.raises(DoesNotFit, match=r"at least 8 GPUs do not fit: 2 pods of 4 needed, room for 1"):
        plan(elastic(8, 16, 4), nodes([(1, 4)]))


_SHAPES = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 9)), min_size=1, max_size=3)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 40), st.just("auto") | st.integers(1, 10), _SHAPES)
@example(7, "auto", [(1, 4), (1, 2)])
def test_a_plan_has_a_rank_for_each_gpu_and_fits_or_its_alternatives_do(
    gpus: int, share: int | str, shapes: Shapes
) -> None:
    spec = job(gpus, share)
    try:
        placement = plan(spec, nodes(shapes))
    except DoesNotFit as error:
        for option in re.findall(r"^  (--\S.*?)  ", error.message, re.MULTILINE):
            flags = dict(zip(option.split()[::2], map(int, option.split()[1::2]), strict=True))
            plan(job(flags.get("--gpus", gpus), flags.get("--gpus-per-node", share)), nodes(shapes))
        return
    uses = usage(spec, placement, nodes(shapes))
    assert placement.ranks == spec.ranks
    assert sum(use.pods for use in uses) == placement.nodes
    assert sum(use.used for use in uses) == gpus
    for use in uses:
        assert use.pods * (placement.ranks_per_node if gpus else 0) <= use.count * use.gpus
        assert use.idle >= 0


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 24), _SHAPES)
def test_a_refusal_misses_no_equal_share_that_fits(gpus: int, shapes: Shapes) -> None:
    try:
        plan(job(gpus), nodes(shapes))
    except DoesNotFit as error:
        for share in range(1, gpus + 1):
            room = sum(count * (each // share) for count, each in shapes)
            listed = f"--gpus-per-node {share} " in error.message
            assert listed == (gpus % share == 0 and room * share >= gpus)
