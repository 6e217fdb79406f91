"""Arguments of a configuration against the signature of what is called with them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from torch import nn

from trainer.exits import ConfigError
from trainer.own_code.arguments import bound_arguments


class Net:
    def __init__(self, width: int = 16, depth: int = 2, *, input_shape: tuple[int, ...], classes: int) -> None: ...


class Anything:
    def __init__(self, size: int, **rest: object) -> None: ...


def by_position(width: int, /, depth: int = 1) -> None: ...


def typed(
    number: float = 0.5,
    text: str = "",
    flag: bool = False,
    pair: tuple[int, int] = (1, 2),
    many: Sequence[float] = (),
    path: Path | None = None,
    table: Mapping[str, int] | None = None,
    mode: Literal["a", "b"] = "a",
    module: nn.Module | None = None,
    noted: Annotated[int, "pixels"] = 1,
) -> None: ...


def postponed(width: "int" = 1, other: "NotDefinedHere" = None) -> None: ...  # type: ignore[name-defined]  # noqa: F821


SUPPLIED = {"input_shape": (1, 8, 8), "classes": 10, "unwanted": 0}


def bind(call: Callable[..., Any], args: dict[str, Any], supplied: Mapping[str, Any] = SUPPLIED) -> dict[str, Any]:
    return bound_arguments(call, args, supplied, field="train.model.args", name=call.__name__)


def problems(call: Callable[..., Any], args: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        bind(call, args)
    return str(caught.value).splitlines()


def test_what_the_signature_names_is_supplied_unless_the_configuration_says_it() -> None:
    assert bind(Net, {"width": 8}) == {"width": 8, "input_shape": (1, 8, 8), "classes": 10}
    assert bind(Net, {"classes": 3}) == {"input_shape": (1, 8, 8), "classes": 3}
    assert bind(Anything, {"size": 1, "colour": "red"}) == {"size": 1, "colour": "red"}


def test_an_unknown_argument_is_named_with_those_there_are() -> None:
    assert problems(Net, {"widht": 8}) == [
        "train.model.args.widht: Net takes no such argument; did you mean width? "
        "(it takes: width=16, depth=2, input_shape, classes)"
    ]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    lines = problems(Anything, {"siez": 1})
    assert lines == ["train.model.args.size: Anything needs it (it takes: size)"]
    lines = problems(typed, {"numbr": 1, "text": 3, "flag": 1})
    assert [line.partition(":")[0] for line in lines] == [
        f"train.model.args.{name}" for name in ("numbr", "text", "flag")
    ]


def test_an_argument_that_only_its_place_can_give_is_refused() -> None:
    assert problems(by_position, {"depth": 2}) == [
        "train.model.args: by_position takes width by position only; write a function around it"
    ]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"number": 1}, {"number": 1.0}),
        ({"pair": [3, 4]}, {"pair": (3, 4)}),
        ({"path": "/data/x"}, {"path": Path("/data/x")}),
        ({"path": None}, {"path": None}),
        ({"table": {"a": 1}}, {"table": {"a": 1}}),
        ({"module": "anything"}, {"module": "anything"}),
    ],
)
def test_values_become_what_simple_annotations_say(args: dict[str, Any], expected: dict[str, Any]) -> None:
    bound = bind(typed, args)
    assert bound == expected
    assert all(type(bound[name]) is type(value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ({"number": "1"}, 'number: typed wants float (got "1")'),
        ({"flag": 1}, "flag: typed wants bool (got 1)"),
        ({"pair": [1, "2"]}, 'pair.1: typed wants tuple[int, int] (got "2")'),
        ({"many": [1, True]}, "many.1: typed wants collections.abc.Sequence[float] (got true)"),
        ({"mode": "c"}, "mode: typed wants Literal['a', 'b'] (got \"c\")"),
        ({"noted": 1.5}, "noted: typed wants Annotated[int, 'pixels'] (got 1.5)"),
    ],
)
def test_a_value_of_another_type_is_refused(args: dict[str, Any], line: str) -> None:
    (found,) = problems(typed, args)
    assert found.replace("typing.", "") == f"train.model.args.{line}"


def test_annotations_that_cannot_be_evaluated_are_not_checked() -> None:
    assert bind(postponed, {"width": "wide"}) == {"width": "wide"}


def test_what_has_no_signature_is_called_as_it_is() -> None:
    assert bind(dict, {"a": 1}) == {"a": 1}
