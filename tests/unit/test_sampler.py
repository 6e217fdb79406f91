import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.sampler import epoch_order, evaluation_shard, micro_batches, steps_per_epoch


def test_the_order_is_a_permutation_that_depends_on_seed_and_epoch_alone() -> None:
    order = epoch_order(seed=1, epoch=2, samples=1000)
    assert torch.equal(order.sort().values, torch.arange(1000))
    assert torch.equal(order, epoch_order(seed=1, epoch=2, samples=1000))
    assert not torch.equal(order, epoch_order(seed=1, epoch=3, samples=1000))
    assert not torch.equal(order, epoch_order(seed=2, epoch=2, samples=1000))


@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 60), st.integers(0, 50))
def test_every_split_of_a_step_covers_the_same_samples_once(world: int, parts: int, extra: int, step: int) -> None:
    batch_size = world * parts + extra
    order = epoch_order(seed=0, epoch=0, samples=batch_size * 51)
    shares = [
        micro_batches(order, step=step, batch_size=batch_size, rank=rank, world_size=world, parts=parts)
        for rank in range(world)
    ]
    assert all(len(part) > 0 for share in shares for part in share)
    sizes = [sum(len(part) for part in share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    together = torch.cat([part for share in shares for part in share])
    assert torch.equal(together, order[step * batch_size : (step + 1) * batch_size])


@given(st.integers(0, 100), st.integers(1, 9))
def test_evaluation_counts_every_sample_once_at_any_number_of_ranks(samples: int, world: int) -> None:
    shards = [evaluation_shard(samples=samples, rank=rank, world_size=world) for rank in range(world)]
    assert torch.equal(torch.cat(shards).sort().values, torch.arange(samples))


def test_the_rest_that_does_not_fill_a_batch_is_left_out() -> None:
    assert steps_per_epoch(samples=1437, batch_size=64) == 22
    assert steps_per_epoch(samples=63, batch_size=64) == 0
