from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from launcher.errors import InvalidJob
from launcher.job.load import MAX_BYTES, load_job
from launcher.job.spec import JobSpec
from launcher.job.wording import PATTERNS
from launcher.job.yaml_nodes import MAX_ALIASES, MAX_DEPTH, Unreadable, read

JOB = """\
name: digits
gpus: 2
train:
  task: image-classification
  epochs: 4
  batch_size: 64
  data: {kind: digits}
  model: {name: convnet}
  optimizer: {name: adamw, lr: 0.003}
"""


def errors_of(text: str) -> list[str]:
    """Lines of the message below its headline."""
    with pytest.raises(InvalidJob) as caught:
        load_job(text, filename="job.yaml")
    headline, *lines = caught.value.message.splitlines()
    assert headline == f"job.yaml: {'1 error' if len(lines) == 1 else f'{len(lines)} errors'}"
    return lines


def lines_for(text: str, *overrides: tuple[str, str]) -> list[str]:
    """Lines of the message, none when the job is valid; any other exception is the test's failure."""
    try:
        load_job(text, filename="job.yaml", overrides=overrides)
    except InvalidJob as error:
        return error.message.splitlines()
    return []


def value_of(text: str) -> object:
    return read(f"key: {text}").value["key"]


@pytest.mark.parametrize("example", sorted(Path("examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_loads(example: Path) -> None:
    assert load_job(example.read_text(), filename=str(example)).name == example.stem


def test_lists_become_tuples_while_scalars_stay_strict() -> None:
    assert load_job(JOB + "command: null\n", filename="job.yaml").volumes == ()
    assert errors_of(JOB.replace("epochs: 4", 'epochs: "4"')) == [
        'job.yaml:5:3 train.epochs: must be a whole number (got "4")'
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("1E3", 1000.0), (".5", 0.5), ("+2", 2), ("-0.5", -0.5), ("true", True), ("~", None), ("", None)],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)


@pytest.mark.parametrize(
    "text", ["no", "yes", "on", "off", "y", "0o17", "017", "0x1F", "1_000", "1:30", "2024-01-01", "=", "'1'", '"true"']
)
def test_yaml_1_1_surprises_stay_text(text: str) -> None:
    assert value_of(text) == text.strip("'\"")


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e999"])
def test_non_finite_numbers_are_refused(text: str) -> None:
    (line,) = errors_of(JOB.replace("0.003", text))
    assert line.startswith(f"job.yaml:9:28 train.optimizer.lr: must be a finite number (got {text}")


def test_a_merge_key_is_an_unknown_key() -> None:
    assert errors_of(JOB + "<<: {gpus: 4}\n")[0].startswith('job.yaml:10:1 "<<": unknown key')


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "job.yaml:1:1 a job file must be a mapping of keys such as name and train: the file is empty"),
        ("- a", "job.yaml:1:1 a job file must be a mapping of keys such as name and train: (got a list)"),
        ("a: b\n---\nc: d", "job.yaml:2:1 a second document starts here; a job file holds one"),
        ("a: *b", "job.yaml:1:4 not valid YAML: found undefined alias 'b'"),
        ("a: &a [*a]", "job.yaml:1:4 an alias refers to the value that contains it"),
        ("a: b: c", "job.yaml:1:5 not valid YAML: mapping values are not allowed here"),
        ("a: [1,\nb: }", "job.yaml:2:4 not valid YAML: expected the node content, but found '}', while parsing"),
        ("\nx: \x01", "job.yaml:2:4 not valid YAML: character U+0001 is not allowed"),
        ('a: "\\UFFFFFFFF"', "job.yaml:1:7 not valid YAML: a number in an escape or directive is out of range"),
        ("a: " + "[" * 40, f"job.yaml:1:{MAX_DEPTH + 3} nested deeper than {MAX_DEPTH} levels"),
    ],
)
def test_an_unreadable_file_says_where_and_why(text: str, line: str) -> None:
    (found,) = errors_of(text)
    assert found.startswith(line)


def test_a_file_above_the_size_limit_is_refused() -> None:
    with pytest.raises(InvalidJob, match="larger than 1 MiB"):
        load_job("#" * (MAX_BYTES + 1), filename="job.yaml")


def test_aliases_work_up_to_their_limit() -> None:
    text = "a: &a {x: 1}\nb: [" + ", ".join(["*a"] * MAX_ALIASES) + "]"
    assert read(text).value["b"] == [{"x": 1}] * MAX_ALIASES
    with pytest.raises(Unreadable, match="aliases"):
        read(text.replace("[", "[*a, "))


@pytest.mark.timeout(20)
def test_an_alias_bomb_within_the_alias_limit_is_refused_fast() -> None:
    lines = ["a0: &a0 x", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 17))]
    with pytest.raises(Unreadable, match="once aliases are expanded"):
        read("\n".join(lines))


@pytest.mark.timeout(20)
def test_a_large_flat_file_is_refused_fast() -> None:
    with pytest.raises(Unreadable, match="more than 50000 values"):
        read("a: [" + "1," * 400_000 + "]")


def test_structural_and_schema_errors_come_together_in_the_order_of_the_file() -> None:
    text = dedent("""\
        name: &n Digits
        train:
          epochs: 4
          epoch: 5
          batch_size: !!int 64
          batch_size: 32
          data: {kind: digit}
          task: image-classification
          model: {name: convnet}
          optimizer: {lr: -1, name: sgd}
    """)
    assert [line.split(" (allowed")[0] for line in errors_of(text)] == [
        "job.yaml:1:1 name: must be lower-case letters, digits and dashes, starting with a letter and not ending with "
        'a dash (got "Digits")',
        "job.yaml:4:3 train.epoch: unknown key; did you mean epochs?",
        'job.yaml:5:15 explicit tags such as "!!int" are not allowed; remove it',
        "job.yaml:6:3 train.batch_size: duplicate key (first at 5:3)",
        'job.yaml:7:10 train.data.kind: unknown value "digit"; did you mean digits?',
        "job.yaml:10:15 train.optimizer.lr: must be > 0 (got -1)",
    ]


def test_an_unknown_key_lists_the_allowed_ones() -> None:
    (line,) = errors_of(JOB + "resources: {gpu_per_node: 1}\n")
    assert line == (
        "job.yaml:10:13 resources.gpu_per_node: unknown key; did you mean gpus_per_node? "
        "(allowed gpus_per_node, cpu, memory, shm, gpu_resource)"
    )


def test_a_missing_key_points_at_the_mapping_that_lacks_it() -> None:
    assert errors_of(JOB.replace("{name: adamw, lr: 0.003}", "{name: adamw}")) == [
        "job.yaml:9:3 train.optimizer.lr: required"
    ]


def test_the_tag_of_a_union_is_no_part_of_a_field_path() -> None:
    assert errors_of(JOB.replace("{kind: digits}", "{kind: idx, idx: 1}")) == [
        "job.yaml:7:3 train.data.path: required",
        "job.yaml:7:21 train.data.idx: unknown key (allowed validation_fraction, split_seed, samples_per_class, "
        "class_shares, normalization, image_size, transform, augment, "
        "kind, path, classes)",
    ]


def test_a_missing_tag_lists_the_variants() -> None:
    assert errors_of(JOB.replace("{kind: digits}", "{}")) == [
        "job.yaml:7:3 train.data.kind: required (allowed digits, idx, image-folder, import)"
    ]


def test_a_wrong_model_name_suggests_near_ones_and_hides_what_follows_from_it() -> None:
    (line,) = errors_of(JOB.replace("{name: convnet}", "{name: resnet19, hidden: [1]}"))
    assert line.startswith("job.yaml:8:11 train.model.name: unknown model 'resnet19'; did you mean resnet1")
    assert "names in all)" in line
    assert len(line) < 250


def test_cross_field_errors_point_at_their_field() -> None:
    sgd = JOB.replace("{name: adamw, lr: 0.003}", "{name: sgd, lr: 0.1, nesterov: true, momentum: 0}")
    assert errors_of(sgd) == ["job.yaml:9:35 train.optimizer.nesterov: needs momentum > 0"]
    assert errors_of(JOB + "command: [python, x.py]\n") == ["job.yaml:3:1 train: give either train or command"]


def test_control_characters_never_reach_the_terminal() -> None:
    data = r'{kind: idx, path: "/data/\e[31mred\nline"}'
    lines = errors_of(JOB.replace("{kind: digits}", data) + '"\\e[2J": 1\n') + errors_of(
        JOB.replace("{kind: digits}", data)
    )
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


def test_every_pattern_of_the_schema_has_words() -> None:
    def patterns(schema: object) -> set[str]:
        if isinstance(schema, dict):
            own = {schema["pattern"]} if isinstance(schema.get("pattern"), str) else set()
            own |= set(schema.get("patternProperties", ()))
            return own.union(*(patterns(value) for value in schema.values()))
        return set().union(*(patterns(item) for item in schema)) if isinstance(schema, list) else set()

    assert issubclass(JobSpec, BaseModel)
    assert patterns(JobSpec.model_json_schema()) == set(PATTERNS)


_YAML_PIECES = st.sampled_from(
    [*"[]{}:,-&*!|>'\"%@`#?~\n \t", "a: ", "\n  ", "&a ", "*a", "!!int ", "---\n", "\\U", "<<"]
)


@settings(max_examples=300, deadline=None)
@given(st.text() | st.lists(_YAML_PIECES | st.text(max_size=3), max_size=40).map("".join))
def test_any_text_is_a_job_or_an_invalid_job(text: str) -> None:
    assert all(line.isprintable() for line in lines_for(text))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_job_with_any_value_anywhere_is_a_job_or_an_invalid_job(data: st.DataObject) -> None:
    lines = JOB.splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = lines[at].split(":")[0] + ": " + data.draw(st.text(max_size=20) | st.floats().map(repr))
    assert all(line.startswith("job.yaml:") for line in lines_for("\n".join(lines)))
