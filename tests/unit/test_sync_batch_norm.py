"""BatchNorm over several ranks is BatchNorm over their samples together."""

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.rank_processes import on_ranks
from trainer.models.sync_batch_norm import synchronize_batch_norm
from trainer.runtime.distributed import Ranks

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A layer and how many samples each rank has."""

    layer: Any
    shape: tuple[int, ...]
    """Of a sample, channels first."""
    shares: tuple[int, ...]
    memory_format: torch.memory_format = torch.contiguous_format


CASES = {
    "2d on uneven shards": Case(nn.BatchNorm2d(3), (3, 4, 5), (5, 2)),
    "1d without space": Case(nn.BatchNorm1d(3), (3,), (4, 3)),
    "1d over a sequence": Case(nn.BatchNorm1d(3), (3, 6), (1, 2)),
    "3d on three ranks": Case(nn.BatchNorm3d(2), (2, 3, 2, 2), (2, 1, 3)),
    "a rank without samples": Case(nn.BatchNorm2d(3), (3, 4, 5), (4, 0)),
    "a rank with a single value": Case(nn.BatchNorm1d(3), (3,), (1, 4)),
    "channels last": Case(nn.BatchNorm2d(4), (4, 3, 5), (3, 2), torch.channels_last),
    "without weights": Case(nn.BatchNorm2d(3, affine=False), (3, 4, 5), (3, 2)),
    "cumulative statistics": Case(nn.BatchNorm2d(3, momentum=None), (3, 4, 5), (3, 2)),
    "without statistics": Case(nn.BatchNorm2d(3, track_running_stats=False), (3, 4, 5), (3, 2)),
    "other settings": Case(nn.BatchNorm2d(3, eps=1e-3, momentum=0.01), (3, 4, 5), (3, 2)),
}


def _network(case: Case) -> nn.Sequential:
    network = nn.Sequential(nn.Identity(), copy.deepcopy(case.layer))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(0.5, 1.5)
    return network


def _batches(case: Case) -> list[Tensor]:
    """Two whole batches; float64, in which the same mathematics gives the same numbers to many digits."""
    generator = torch.Generator().manual_seed(3)
    shape = (sum(case.shares), *case.shape)
    return [
        (torch.randn(shape, generator=generator, dtype=torch.float64) + 3).contiguous(memory_format=case.memory_format)
        for _ in range(2)
    ]


def _share(batch: Tensor, case: Case, ranks: Ranks) -> Tensor:
    """The rank's samples of a whole batch."""
    return torch.split(batch, list(case.shares))[ranks.rank]


def _passes(network: nn.Module, batches: list[Tensor], weights: list[Tensor]) -> dict[str, Tensor]:
    """Outputs and gradients of one pass a batch, and what the network is then."""
    found: dict[str, Tensor] = {}
    for index, (batch, weight) in enumerate(zip(batches, weights, strict=True)):
        batch = batch.clone().requires_grad_()  # clone() keeps the memory format
        output = network(batch)
        (output * weight).sum().backward()
        assert batch.grad is not None
        found |= {f"output {index}": output.detach(), f"input gradient {index}": batch.grad}
    found |= {name: tensor.clone() for name, tensor in network.state_dict().items()}
    gradients = {f"gradient of {name}": p.grad for name, p in network.named_parameters() if p.grad is not None}
    return {**found, **gradients}


@pytest.mark.parametrize("name", CASES)
def test_ranks_together_do_what_one_rank_does_with_all_samples(name: str) -> None:
    case = CASES[name]
    network, batches = _network(case).double(), _batches(case)
    weights = [batch.flip(0).sin() for batch in batches]

    def share(ranks: Ranks) -> dict[str, Tensor]:
        own = copy.deepcopy(network)
        assert synchronize_batch_norm(own, CPU) == 1
        mine = [_share(batch, case, ranks) for batch in batches]
        return _passes(own, mine, [_share(weight, case, ranks) for weight in weights])

    alone = _passes(copy.deepcopy(network), batches, weights)
    shares = on_ranks(len(case.shares), share)
    for key, expected in alone.items():
        parts = [part[key] for part in shares]
        if key.startswith("gradient of"):  # DistributedDataParallel would sum them
            together = torch.stack(parts).sum(0)
        elif key.startswith(("output", "input gradient")):
            together = torch.cat(parts)
            assert parts[0].is_contiguous(memory_format=case.memory_format)
        else:
            assert all(torch.equal(part, parts[0]) for part in parts), f"{key} differs between ranks"
            together = parts[0]
        torch.testing.assert_close(together, expected, rtol=1e-9, atol=1e-9, msg=f"{name}: {key} differs")


def test_statistics_keep_their_digits_where_the_mean_is_large() -> None:
    case = Case(nn.BatchNorm2d(3, momentum=1.0), (3, 8, 8), (5, 4))
    network, batch = _network(case), _batches(case)[0].float() + 1000

    def share(ranks: Ranks) -> tuple[Tensor, Tensor]:
        own = copy.deepcopy(network)
        synchronize_batch_norm(own, CPU)
        own(_share(batch, case, ranks))
        layer: Any = own[1]
        return layer.running_mean, layer.running_var

    mean, variance = on_ranks(2, share)[0]
    exact = batch.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean.double(), exact.mean(1), rtol=1e-6, atol=0.0)
    torch.testing.assert_close(variance.double(), exact.var(1), rtol=1e-5, atol=0.0)  # sums of squares: 1e-1


def test_half_precision_keeps_its_statistics_in_float32() -> None:
    case = Case(nn.BatchNorm2d(3), (3, 8, 8), (5, 4))
    network, [batch, _] = _network(case), _batches(case)

    def share(ranks: Ranks) -> tuple[Tensor, Tensor, Tensor]:
        own = copy.deepcopy(network)
        synchronize_batch_norm(own, CPU)
        with torch.autocast("cpu", torch.bfloat16):
            output = own(_share(batch.bfloat16(), case, ranks).requires_grad_())
        output.float().square().sum().backward()
        layer: Any = own[1]
        return output.detach(), layer.running_mean, layer.weight.grad

    shares = on_ranks(2, share)
    with torch.autocast("cpu", torch.bfloat16):
        expected = network(batch.bfloat16())
    output = torch.cat([part[0] for part in shares])
    assert output.dtype == torch.bfloat16
    layer: Any = network[1]
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(shares[0][1], layer.running_mean, rtol=1e-6, atol=1e-6)
    assert shares[0][2].dtype == torch.float32


def test_a_frozen_layer_uses_its_statistics_and_asks_no_other_rank() -> None:
    network = _network(CASES["2d on uneven shards"])
    expected = copy.deepcopy(network).eval()

    def only_rank_0(ranks: Ranks) -> tuple[Tensor, Tensor] | None:
        own = copy.deepcopy(network)
        synchronize_batch_norm(own, CPU)
        own.train()
        own[1].eval()  # as Freezing.hold does
        batch = torch.ones(2, 3, 4, 5)
        layer: Any = own[1]
        return (own(batch).detach(), layer.running_mean) if ranks.is_first else None

    output, mean = on_ranks(2, only_rank_0)[0]  # an exchange would wait for rank 1 in vain
    torch.testing.assert_close(output, expected(torch.ones(2, 3, 4, 5)).detach())
    assert torch.equal(mean, torch.zeros(3))


def test_layers_are_replaced_in_place_and_keep_parameters_names_and_mode() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.BatchNorm2d(2), nn.GroupNorm(1, 2)), nn.BatchNorm2d(2))
    network[2].eval()
    before = dict(network.named_parameters())
    names = list(network.state_dict())
    assert synchronize_batch_norm(network, CPU) == 2
    assert synchronize_batch_norm(network, CPU) == 2, "a second time changes nothing"
    assert list(network.state_dict()) == names
    assert all(parameter is before[name] for name, parameter in network.named_parameters())
    assert [network[1].training, network[2].training] == [True, False]
    plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.BatchNorm2d(2), nn.GroupNorm(1, 2)), nn.BatchNorm2d(2))
    plain.load_state_dict(network.state_dict())
    torch.testing.assert_close(plain.eval()(torch.ones(1, 1, 5, 5)), network.eval()(torch.ones(1, 1, 5, 5)))


def test_one_value_a_channel_over_all_ranks_is_an_error() -> None:
    def share(ranks: Ranks) -> str:
        network = nn.Sequential(nn.BatchNorm1d(3))
        synchronize_batch_norm(network, CPU)
        with pytest.raises(ValueError, match="more than one value a channel over all ranks"):
            network(torch.ones(1 if ranks.is_first else 0, 3))
        return "refused"

    assert on_ranks(2, share) == ["refused", "refused"]
