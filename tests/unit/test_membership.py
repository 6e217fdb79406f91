"""Which nodes begin a generation, and when."""

import pytest

from trainer.runtime.membership import LAST_CALL_SECONDS, SILENT_SECONDS, Sighting, choose_members
from trainer.runtime.rendezvous import Generation

NOW = 1000.0
OVER = LAST_CALL_SECONDS
"""Long enough ago that the last call is over."""


def choose(
    bounds: tuple[int, int], came: dict[int, float], *, opened: float = 60, silent: dict[int, float] | None = None
) -> tuple[int, ...] | None:
    """Members, where each node came and was last seen so many seconds ago."""
    seen = {node: Sighting(5, first=NOW - ago, last=NOW - (silent or {}).get(node, 0)) for node, ago in came.items()}
    return choose_members(min_nodes=bounds[0], max_nodes=bounds[1], opened=NOW - opened, sightings=seen, now=NOW)


@pytest.mark.parametrize("opened", [0, 3600])
def test_a_job_of_a_fixed_size_waits_for_all_and_then_for_nothing(opened: float) -> None:
    assert choose((3, 3), {1: 0}, opened=opened) is None
    assert choose((3, 3), {2: 0, 1: 0}, opened=opened) == (0, 1, 2)


@pytest.mark.parametrize(
    ("bounds", "came", "members"),
    [
        ((1, 2), {}, (0,)),
        ((2, 4), {}, None),
        ((2, 4), {3: OVER}, (0, 3)),
        ((2, 4), {3: OVER - 0.1}, None),
        ((1, 4), {3: OVER, 1: OVER - 0.1}, None),
        ((1, 4), {3: OVER + 1, 1: OVER}, (0, 1, 3)),
        ((1, 3), {2: 0, 1: 0}, (0, 1, 2)),
    ],
)
def test_an_elastic_job_begins_when_it_is_full_or_the_last_call_is_over(
    bounds: tuple[int, int], came: dict[int, float], members: tuple[int, ...] | None
) -> None:
    assert choose(bounds, came) == members


def test_the_last_call_lasts_as_long_for_node_0_alone() -> None:
    assert choose((1, 2), {}, opened=OVER - 0.1) is None
    assert choose((1, 2), {}, opened=OVER) == (0,)


def test_a_node_that_fell_silent_is_not_counted_on() -> None:
    gone = {1: SILENT_SECONDS + 0.1}
    assert choose((2, 2), {1: 60}, silent=gone) is None
    assert choose((1, 3), {1: 60, 2: 60}, silent=gone) == (0, 2)
    assert choose((1, 3), {1: 60, 2: 60}, silent={1: SILENT_SECONDS}) == (0, 1, 2)


def test_a_node_is_alive_as_long_as_its_count_grows() -> None:
    seen = Sighting(3, first=10.0, last=11.0)
    assert seen.updated(3, 12.0) == seen
    assert seen.updated(4, 12.0) == Sighting(4, first=10.0, last=12.0)


def test_ranks_follow_the_order_of_the_nodes_through_gaps() -> None:
    generation = Generation(1, 1, (0, 2, 3), ranks_per_node=4, address="", port=0, listener=None)
    assert generation.world_size == 12
    assert [generation.first_rank(node) for node in generation.nodes] == [0, 4, 8]
