import copy
from typing import Any

import pytest
import torch
from torch import nn

from trainer.config.model import FeedForward
from trainer.config.optim import AdamW, Optimizer, Sgd
from trainer.engine.state import RunningLoss, TrainState, load_optimizer
from trainer.models.freezing import Freezing
from trainer.optim import build_optimizer


def _network() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 4))
    return network.to(memory_format=torch.channels_last)


def _state(optimizer: str) -> TrainState:
    network = _network()
    made: torch.optim.Optimizer = (
        torch.optim.AdamW(network.parameters(), fused=True)
        if optimizer == "adamw"
        else torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9, fused=True)
    )
    return TrainState(
        network,
        Freezing.of(FeedForward(name="feed-forward"), network),
        made,
        torch.amp.GradScaler("cpu", enabled=False),
        RunningLoss.on(torch.device("cpu")),
    )


def _step(state: TrainState, seed: int) -> None:
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    state.optimizer.zero_grad()
    state.model(images.contiguous(memory_format=torch.channels_last)).square().mean().backward()
    state.optimizer.step()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_restored_state_takes_the_same_next_steps(optimizer: str) -> None:
    straight = _state(optimizer)
    for seed in range(3):
        _step(straight, seed)
    tensors = {
        stem: {name: tensor.contiguous().clone() for name, tensor in file.items()}
        for stem, file in straight.tensors().items()
    }
    values = copy.deepcopy(straight.values([straight.loss.to_list()]))
    restored = _state(optimizer)
    restored.load(tensors, values, rank=0, world_size=1)
    for seed in range(3, 6):
        _step(straight, seed)
        _step(restored, seed)
    for stem, file in straight.tensors().items():
        for name, tensor in file.items():
            assert torch.equal(tensor, restored.tensors()[stem][name]), f"{stem} {name}"


@pytest.mark.parametrize("resumed", [False, True], ids=["straight", "resumed"])
@pytest.mark.parametrize("config", [Sgd(name="sgd", lr=0.1), AdamW(name="adamw", lr=0.01)], ids=["sgd", "adamw"])
def test_the_optimizer_goes_on_when_more_layers_learn(config: Optimizer, resumed: bool) -> None:
    state = _state("sgd")
    first: Any = state.model.get_submodule("0")
    last: Any = state.model.get_submodule("3")
    first.requires_grad_(False)
    state.optimizer = build_optimizer(config, state.model)
    _step(state, 0)
    tensors = {stem: {name: tensor.clone() for name, tensor in file.items()} for stem, file in state.tensors().items()}
    first.requires_grad_(True)
    if resumed:  # exactly between the two stages
        state.optimizer = build_optimizer(config, state.model)
        load_optimizer(state.optimizer, state.model, tensors["optimizer"])
    else:
        state.replace_optimizer(build_optimizer(config, state.model))
    before = {name: parameter.detach().clone() for name, parameter in state.model.named_parameters()}
    key = "momentum_buffer" if config.name == "sgd" else "exp_avg"
    kept = state.optimizer.state[last.weight][key].clone()
    assert torch.equal(kept, tensors["optimizer"][f"3.weight.{key}"])
    _step(state, 1)
    assert not torch.equal(first.weight, before["0.weight"]), "what was unfrozen learns"
    if config.name == "sgd":
        for layer, momentum in ((first, 0.0), (last, 0.9 * kept)):
            torch.testing.assert_close(state.optimizer.state[layer.weight][key], layer.weight.grad + momentum)


def test_moments_come_back_in_the_memory_layout_of_their_parameter() -> None:
    state = _state("adamw")
    weight = next(iter(state.model.parameters()))
    load_optimizer(state.optimizer, state.model, {"0.weight.exp_avg": torch.randn(8, 3, 3, 3)})
    assert state.optimizer.state[weight]["exp_avg"].stride() == weight.stride()


def test_running_sums_come_back_to_their_rank_or_as_a_total() -> None:
    rows = [[1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]]
    same, first, second = (RunningLoss.on(torch.device("cpu")) for _ in range(3))
    same.load(rows, rank=1, world_size=2)
    assert same.to_list() == rows[1]
    first.load(rows, rank=0, world_size=3)
    second.load(rows, rank=1, world_size=3)
    assert first.to_list() == [11.0, 22.0, 33.0, 44.0]
    assert second.to_list() == [0.0] * 4
