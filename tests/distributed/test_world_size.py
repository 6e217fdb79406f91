"""The same job gives the same gradients and the same losses on 1, 2 and 4 ranks."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer_runs import metrics, tiny, train_to_end

WORLD_SIZES = (1, 2, 4)
# 1,437 training digits: 143 samples a step give 10 steps an epoch, and no number of ranks above divides 143.
FORTY_STEPS = tiny(epochs=4, batch_size=143, model={"name": "convnet", "blocks": [[8], [16]], "batch_norm": False})
ONE_STEP = tiny(
    epochs=1,
    batch_size=143,
    model={"name": "convnet", "blocks": [[8], [16]], "batch_norm": False},
    data={"kind": "digits", "augment": {"mirror": True, "pad_crop": 1}},
    checkpoint={"every_steps": 1, "keep": 20},
)


@pytest.fixture(scope="module")
def forty_steps(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    return {n: train_to_end(tmp_path_factory.mktemp(f"ranks-{n}"), FORTY_STEPS, ranks=n) for n in WORLD_SIZES}


def _losses(folder: Path) -> torch.Tensor:
    return torch.tensor([line["loss"] for line in metrics(folder) if line["kind"] == "step"], dtype=torch.float64)


@pytest.mark.parametrize("ranks", WORLD_SIZES[1:])
def test_losses_of_forty_steps_do_not_depend_on_the_number_of_ranks(forty_steps: dict[int, Path], ranks: int) -> None:
    alone = _losses(forty_steps[1])
    assert len(alone) == 40
    assert alone[-1] < 0.7 * alone[0], "a run that does not learn proves nothing"
    difference = (_losses(forty_steps[ranks]) - alone).abs().max().item()
    print(f"{ranks} ranks: largest difference of a loss over 40 steps {difference:.2e}")
    assert difference <= 1e-5


@pytest.mark.parametrize("ranks", WORLD_SIZES[1:])
def test_every_test_sample_is_counted_once_on_uneven_shards(forty_steps: dict[int, Path], ranks: int) -> None:
    rows = (forty_steps[ranks] / "predictions" / "test.csv").read_text().splitlines()[1:]
    assert len(rows) == 360
    alone = (forty_steps[1] / "predictions" / "test.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == [row.split(",")[0] for row in alone]


def _first_gradient(folder: Path, *, ranks: int, **changes: object) -> dict[str, torch.Tensor]:
    """The gradient of the first step: after it, SGD's momentum buffer is the gradient itself."""
    train_to_end(folder, {**ONE_STEP, **changes}, ranks=ranks)
    return load_file(folder / "checkpoints" / "step-00000001" / "optimizer.safetensors")


def _relative_difference(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """Norm of the difference of two whole gradients over the norm of the second.

    Of the whole, not of each tensor: a bias of a convolution sums thousands of terms that nearly cancel, and in fp32
    the order of that sum alone moves it by some 1e-6 of itself.
    """
    mine, other = (torch.cat([part.double().flatten() for part in parts.values()]) for parts in (ours, theirs))
    return float((mine - other).norm() / other.norm())


def test_one_step_gradients_do_not_depend_on_the_number_of_ranks(tmp_path: Path) -> None:
    gradients = {ranks: _first_gradient(tmp_path / str(ranks), ranks=ranks) for ranks in WORLD_SIZES}
    for ranks in WORLD_SIZES[1:]:
        difference = _relative_difference(gradients[ranks], gradients[1])
        print(f"{ranks} ranks: relative difference of the gradient {difference:.2e}")
        assert difference <= 1e-6


@pytest.mark.slow
def test_accumulation_gives_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    whole = _first_gradient(tmp_path / "1", ranks=2)
    parts = _first_gradient(tmp_path / "5", ranks=2, accumulate=5)
    assert _relative_difference(parts, whole) <= 1e-6
