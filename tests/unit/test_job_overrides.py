import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.errors import InvalidJob
from launcher.job.load import load_job
from launcher.job.spec import JobSpec, NodeShape
from tests.unit.test_job_loading import JOB, lines_for


def load(*overrides: tuple[str, str], text: str = JOB) -> JobSpec:
    return load_job(text, filename="job.yaml", overrides=overrides)


def errors_of(*overrides: tuple[str, str], text: str = JOB) -> list[str]:
    with pytest.raises(InvalidJob) as caught:
        load(*overrides, text=text)
    return caught.value.message.splitlines()[1:]


def test_set_replaces_a_scalar_read_by_the_rules_of_the_file() -> None:
    spec = load(("train.epochs", "7"), ("train.clip_grad_norm", "1e-1"), ("train.channels_last", "true"))
    assert spec.train is not None
    assert (spec.train.epochs, spec.train.clip_grad_norm, spec.train.channels_last) == (7, 0.1, True)


def test_set_replaces_a_whole_mapping() -> None:
    spec = load(("train.optimizer", "{name: sgd, lr: 0.5}"))
    assert spec.train is not None
    assert spec.train.optimizer.model_dump()["name"] == "sgd"


def test_set_creates_what_is_missing_on_the_way() -> None:
    spec = load(
        ("resources.cpu", "4"), ("nodes.0.count", "2"), ("nodes.0.gpus", "8"), ("nodes.1", "{count: 1, gpus: 4}")
    )
    assert spec.resources.cpu == 4
    assert spec.nodes == (NodeShape(count=2, gpus=8), NodeShape(count=1, gpus=4))


def test_set_fills_a_key_that_the_file_leaves_empty() -> None:
    assert load(("resources.cpu", "4"), text=JOB + "resources:\n").resources.cpu == 4


def test_the_last_set_wins_and_flags_win_over_set() -> None:
    spec = load_job(
        JOB, filename="job.yaml", overrides=[("gpus", "4"), ("gpus", "8"), ("name", "x")], name="y", image="i"
    )
    assert (spec.gpus, spec.name, spec.image) == (8, "y", "i")


def test_an_error_at_an_overridden_field_names_the_option() -> None:
    assert errors_of(("train.epochs", "0")) == ["--set train.epochs: must be >= 1 (got 0)"]
    assert errors_of(("train.optimizer", "{name: sgd, lr: -1}")) == [
        "--set train.optimizer: train.optimizer.lr: must be > 0 (got -1)"
    ]
    assert errors_of(("nodes.0.count", "1")) == ["--set nodes.0.count: nodes.0.gpus: required"]


def test_an_error_of_a_flag_names_the_flag_after_those_of_the_file() -> None:
    with pytest.raises(InvalidJob) as caught:
        load_job(JOB + "x: 1\n", filename="job.yaml", gpus=-1, gpus_per_node="many", name="No", image="")
    assert [line.split(": ")[0] for line in caught.value.message.splitlines()[1:]] == [
        "job.yaml:10:1 x",
        "--name",
        "--image",
        "--gpus",
        "--gpus-per-node",
    ]


def test_a_flag_that_contradicts_the_file_points_at_the_file() -> None:
    assert errors_of(("gpus", "100")) == [
        "job.yaml:6:3 train.batch_size: must be >= ranks x accumulate (100 x 1; got 64)"
    ]


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("", "1", '--set : "" is not a key; write names joined by dots, such as train.epochs'),
        ("a..b", "1", '--set a..b: "a..b" is not a key; write names joined by dots, such as train.epochs'),
        ("train.epochs.x", "1", "--set train.epochs.x: train.epochs is 4, which has no x"),
        (
            "nodes.1.count",
            "1",
            "--set nodes.1.count: nodes is a list; its index must be 0 to append, it is empty (got 1)",
        ),
        ("name", "[", "--set name: not valid YAML: expected the node content, but found '<stream end>'"),
        ("name", "!!str x", '--set name: explicit tags such as "!!str" are not allowed; remove it'),
        ("train.epoch", "1", "--set train.epoch: unknown key; did you mean epochs?"),
    ],
)
def test_a_bad_override_says_what_is_wrong_with_it(key: str, value: str, line: str) -> None:
    (found,) = errors_of((key, value), text=JOB + "nodes: []\n")
    assert found.startswith(line)


def test_errors_of_the_file_and_of_overrides_are_reported_together() -> None:
    assert errors_of(("train.seed", "-1"), ("a.", "1"), text=JOB.replace("0.003", "0")) == [
        "job.yaml:9:28 train.optimizer.lr: must be > 0 (got 0)",
        '--set a.: "a." is not a key; write names joined by dots, such as train.epochs',
        "--set train.seed: must be >= 0 (got -1)",
    ]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="name.train0123-", max_size=15) | st.text(max_size=8), st.text(max_size=12))
def test_any_override_gives_a_job_or_an_invalid_job(key: str, value: str) -> None:
    assert all(line.isprintable() for line in lines_for(JOB, (key, value)))
