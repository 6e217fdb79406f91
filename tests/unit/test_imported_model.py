"""A network of one's own: it is built, or the message says what it does instead."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from tests.own_code import own_imports, write_modules
from trainer.config.model import ImageModel
from trainer.exits import ConfigError
from trainer.models import build_model, required_channels
from trainer.own_code.imports import allow_imports

NETS = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, width: int = 4, classes: int = 10, input_shape=None):
            super().__init__()
            layers = nn.Flatten(), nn.LazyLinear(width), nn.BatchNorm1d(width), nn.Linear(width, classes)
            self.layers = nn.Sequential(*layers)
            self.layers[2].eval()
            self.input_shape = input_shape

        def forward(self, images):
            return self.layers(images)

    class Pair(Net):
        def forward(self, images):
            return super().forward(images), 0

    class Stateful(Net):
        def get_extra_state(self):
            return {"seen": 3}

    def factory(width: int):
        return Net(width, classes=5)

    def labels():
        return lambda images: images

    class Failing(Net):
        def forward(self, images):
            raise RuntimeError("in the user's code")
"""

Build = Callable[..., nn.Module]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    """Builds what `unit_model:NAME` is for images [1, 6, 6] and five classes."""
    with own_imports():
        allow_imports(write_modules(tmp_path, unit_model=NETS))

        def call(name: str, **args: object) -> nn.Module:
            config = TypeAdapter(ImageModel).validate_python({"import": f"unit_model:{name}", "args": args})
            assert required_channels(config) is None
            return build_model(config, input_shape=(1, 6, 6), classes=5)

        yield call


def test_shape_and_classes_are_passed_and_everything_is_in_training_mode(build: Build) -> None:
    model = build("Net", width=3)
    assert getattr(model, "input_shape") == (1, 6, 6)  # noqa: B009 - of the user's class
    assert model.eval()(torch.rand(4, 1, 6, 6)).shape == (4, 5)
    assert all(module.training for module in build("Net").modules())


def test_trying_it_out_moves_no_statistics_and_sizes_what_waits_for_an_input(build: Build) -> None:
    model = build("Net")
    norm = model.get_submodule("layers.2")
    assert torch.equal(norm.running_mean, torch.zeros(4))  # type: ignore[arg-type]
    assert norm.num_batches_tracked == 0
    assert model.get_parameter("layers.1.weight").shape == (4, 36)


def test_weights_follow_from_the_global_generator(build: Build) -> None:
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        weights.append(build("Net").get_parameter("layers.1.weight"))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_function_that_builds_the_network_will_do(build: Build) -> None:
    assert build("factory", width=2).get_parameter("layers.1.weight").shape == (2, 36)


@pytest.mark.parametrize(
    ("name", "args", "reason"),
    [
        ("Net", {"classes": 7}, "gave float32 [2, 7] for images float32 [2, 1, 6, 6]; expected logits float [2, 5]"),
        ("Pair", {}, "gave a tuple of 2 for images"),
        ("labels", {}, "gave a value of type function; expected a torch.nn.Module"),
        ("Stateful", {}, "the state of unit_model:Stateful holds _extra_state, a value of type dict"),
        ("Net", {"width": "3"}, 'train.model.args.width: Net wants int (got "3")'),
    ],
)
def test_a_network_that_is_none_is_refused(build: Build, name: str, args: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(name, **args)
    assert reason in str(caught.value)


def test_an_exception_of_the_users_code_stays_as_it_is(build: Build) -> None:
    with pytest.raises(RuntimeError, match="in the user's code"):
        build("Failing")
