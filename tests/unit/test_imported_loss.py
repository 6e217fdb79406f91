"""A loss of one's own becomes the sum over the samples, whatever it returns."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.own_code import own_imports, write_modules
from trainer.config.imports import ImportedLoss
from trainer.exits import ConfigError
from trainer.losses import activation, build_loss
from trainer.own_code.imports import allow_imports

LOSSES = """
    import torch
    from torch import nn
    from torch.nn import functional

    def cross_entropy(reduction, weight=None):
        return lambda logits, labels: functional.cross_entropy(logits, labels, weight, reduction=reduction)

    def weighted(class_counts, classes, class_names, alpha=1.0):
        assert classes == len(class_names) == len(class_counts)
        weight = alpha / class_counts
        return lambda logits, labels: functional.cross_entropy(logits, labels, weight, reduction="sum")

    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

    def right():
        return lambda logits, labels: (logits.argmax(1) == labels).sum()

    def hinge():
        return lambda logits, labels: (logits.float().std() * len(labels))
"""
CLASSES = ("cat", "dog", "eel")
LOGITS = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(7) % 3

Build = Callable[..., nn.Module]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    """Builds `unit_loss:NAME`."""
    with own_imports():
        allow_imports(write_modules(tmp_path, unit_loss=LOSSES))

        def call(name: str, returns: str, counts: list[int] | None = None, **args: Any) -> nn.Module:
            config = ImportedLoss.model_validate({"import": f"unit_loss:{name}", "returns": returns, "args": args})
            return build_loss(config, CLASSES, counts)

        yield call


@pytest.mark.parametrize(("returns", "reduction"), [("mean", "mean"), ("sum", "sum"), ("each", "none")])
def test_mean_sum_and_each_give_the_same_sum(build: Build, returns: str, reduction: str) -> None:
    loss = build("cross_entropy", returns, reduction=reduction)
    logits = LOGITS.clone().requires_grad_()
    value = loss(logits, LABELS)
    torch.testing.assert_close(value, functional.cross_entropy(LOGITS, LABELS, reduction="sum"))
    value.backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, LOGITS.softmax(1) - functional.one_hot(LABELS, 3))


def test_classes_their_names_and_their_training_samples_are_passed(build: Build) -> None:
    loss = build("weighted", "sum", [10, 20, 40], alpha=10.0)
    weight = torch.tensor([1.0, 0.5, 0.25])
    torch.testing.assert_close(loss(LOGITS, LABELS), functional.cross_entropy(LOGITS, LABELS, weight, reduction="sum"))


def test_half_precision_logits_reach_it_as_float32(build: Build) -> None:
    loss = build("cross_entropy", "each", reduction="none")
    assert loss(LOGITS.bfloat16(), LABELS).dtype == torch.float32


def test_a_class_of_torch_will_do() -> None:
    with own_imports():
        allow_imports(None)
        config = ImportedLoss.model_validate(
            {"import": "torch.nn:CrossEntropyLoss", "args": {"label_smoothing": 0.1}, "returns": "mean"}
        )
        value = build_loss(config, CLASSES)(LOGITS, LABELS)
    torch.testing.assert_close(value, functional.cross_entropy(LOGITS, LABELS, reduction="sum", label_smoothing=0.1))


@pytest.mark.parametrize(
    ("name", "returns", "args", "reason"),
    [
        ("cross_entropy", "mean", {"reduction": "none"}, "returned float32 [4] for 4 samples; expected float []"),
        ("cross_entropy", "each", {"reduction": "sum"}, "returned float32 [] for 4 samples; expected float [4]"),
        ("right", "sum", {}, "returned int64 []"),
        ("Learned", "mean", {}, "has parameters, which nobody trains or saves there"),
        ("cross_entropy", "mean", {"reduce": "none"}, "train.loss.args.reduce: cross_entropy takes no such argument"),
    ],
)
def test_what_is_no_such_loss_is_refused(
    build: Build, name: str, returns: str, args: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build(name, returns, **args)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("name", "returns", "args"),
    [("cross_entropy", "sum", {"reduction": "mean"}), ("hinge", "sum", {})],
)
def test_a_loss_that_is_no_sum_over_samples_is_warned_of(
    build: Build, name: str, returns: str, args: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    build(name, returns, **args)
    assert "the learning curve on the number of ranks" in caplog.text


def test_a_loss_that_is_one_is_not(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    build("cross_entropy", "mean", reduction="mean")
    assert not caplog.text


def test_probabilities_follow_from_what_the_configuration_says() -> None:
    known = {"import": "unit_loss:hinge", "returns": "sum"}
    assert activation(ImportedLoss.model_validate(known)) == "softmax"
    assert activation(ImportedLoss.model_validate({**known, "activation": "sigmoid"})) == "sigmoid"
