"""Every bad file: exit 2, nothing on stdout, all mistakes at once with line and column."""

from pathlib import Path

import pytest

from tests.command_line import run_launcher

GOOD = """\
name: digits
gpus: 2
train:
  task: image-classification
  epochs: 4
  batch_size: 64
  data: {kind: digits}
  model: {name: convnet}
  optimizer: {name: adamw, lr: 0.003}
  seed: 1
"""
ALIAS_BOMB = "\n".join(
    ["a0: &a0 x", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10))],
)

BAD = {
    "unknown key": (GOOD.replace("seed: 1", "sed: 1"), ["10:3 train.sed: unknown key; did you mean seed?"]),
    "wrong type": (GOOD.replace("64", "many"), ['6:3 train.batch_size: must be a whole number (got "many")']),
    "negative GPUs": (GOOD.replace("gpus: 2", "gpus: -2"), ["2:1 gpus: must be >= 0 (got -2)"]),
    "data without its path": (GOOD.replace("kind: digits", "kind: idx"), ["7:3 train.data.path: required"]),
    "upper-case name": (GOOD.replace("digits\ng", "Digits\ng"), ["1:1 name: must be lower-case letters"]),
    "name of 64 characters": (GOOD.replace("digits\ng", "a" * 64 + "\ng"), ["1:1 name: must be at most 50 characters"]),
    "duplicate key": (GOOD + "gpus: 4\n", ["11:1 gpus: duplicate key (first at 2:1)"]),
    "alias bomb": (ALIAS_BOMB, ["5:35 more than 32 aliases"]),
    "python object": (
        GOOD.replace("gpus: 2", "gpus: !!python/object/apply:os.system [exit]"),
        ['2:7 explicit tags such as "!!python/object/apply:os.system" are not allowed', "2:1 gpus: must be a whole"],
    ),
    "an import path without a name": (
        GOOD.replace("{name: convnet}", "{import: my_nets, args: {width: 3}, depth: 2}"),
        [
            "8:11 train.model.import: must be a module, a colon and a name in it, such as my_package.nets:SmallNet "
            '(got "my_nets")',
            "8:46 train.model.depth: unknown key (allowed import, args)",
        ],
    ),
    "both a name and an import": (
        GOOD.replace("{name: convnet}", "{name: convnet, import: 'my_nets:Net'}"),
        ["8:11 train.model.name: unknown key (allowed import, args)"],
    ),
    "a loss that does not exist": (
        GOOD.replace("  seed: 1", "  loss: {name: focla}"),
        [
            '10:10 train.loss.name: unknown value "focla"; did you mean focal? (allowed cross-entropy, focal); '
            "or give import in its place",
        ],
    ),
    "a loss of one's own that does not say what it returns": (
        GOOD.replace("  seed: 1", "  loss: {import: 'my_losses:Poly', args: [3]}"),
        ["10:3 train.loss.returns: required", "10:36 train.loss.args: must be a mapping (got a list)"],
    ),
    "a folder to import from that no volume holds": (
        GOOD.replace("  seed: 1", "  model: {import: 'my_nets:Net'}\n  import_from: /code").replace(
            "  model: {name: convnet}\n", ""
        ),
        ["10:3 train.import_from: /code is not under a mount (mounts: none: add a volume)"],
    ),
    "a folder from which nothing is imported": (
        GOOD.replace("  seed: 1", "  import_from: /code"),
        ["10:3 train.import_from: nothing is imported"],
    ),
    "several mistakes": (
        GOOD.replace("gpus: 2", "gpus: two").replace("0.003", "0").replace("digits}", "digit}") + "name: again\n",
        [
            '2:1 gpus: must be a whole number (got "two")',
            '7:10 train.data.kind: unknown value "digit"; did you mean digits?',
            "9:28 train.optimizer.lr: must be > 0 (got 0)",
            "11:1 name: duplicate key (first at 1:1)",
        ],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_ends_with_2_and_a_line_for_each_mistake(case: str, tmp_path: Path) -> None:
    text, expected = BAD[case]
    (tmp_path / "job.yaml").write_text(text)
    result = run_launcher("validate", "job.yaml", cwd=tmp_path)
    headline, *lines = result.stderr.splitlines()
    assert result.returncode == 2
    assert result.stdout == ""
    assert headline == f"Error: job.yaml: {len(expected)} error{'s' * (len(expected) > 1)}"
    assert len(lines) == len(expected)
    for line in expected:
        assert any(found.startswith(f"job.yaml:{line}") for found in lines), (line, lines)


@pytest.mark.parametrize("verb", ["plan", "submit"])
def test_plan_and_submit_refuse_a_bad_file_in_the_same_words(verb: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(BAD["several mistakes"][0])
    validate = run_launcher("validate", "job.yaml", cwd=tmp_path)
    result = run_launcher(verb, "job.yaml", cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", validate.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["job.yaml"]


def test_a_bad_file_on_stdin_is_called_stdin() -> None:
    result = run_launcher("validate", "-", stdin="name: [")
    assert (result.returncode, result.stdout) == (2, "")
    assert "\nstdin:1:8 not valid YAML" in result.stderr


def test_a_bad_option_is_named_instead_of_a_line() -> None:
    result = run_launcher("validate", "-", "--gpus", "-1", "--set", "train.epochs=0", stdin=GOOD)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[1:] == [
        "--gpus: must be >= 0 (got -1)",
        "--set train.epochs: must be >= 1 (got 0)",
    ]


def test_a_missing_file_says_how_to_get_one() -> None:
    result = run_launcher("validate", "nowhere.yaml")
    assert (result.returncode, result.stdout) == (2, "")
    assert "nowhere.yaml: no such file; `launcher init nowhere.yaml` writes one" in result.stderr


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"name: \xff\xfe")
    result = run_launcher("validate", "job.yaml", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "job.yaml: not a UTF-8 text file (byte 6)" in result.stderr


def test_three_gpus_on_nodes_of_two_end_with_5_and_alternatives() -> None:
    result = run_launcher("plan", "-", "--gpus", "3", "--nodes", "4x2", stdin=GOOD)
    assert (result.returncode, result.stdout) == (5, "")
    for alternative in ("--gpus 2 ", "--gpus 4 ", "--gpus-per-node 1 "):
        assert f"  {alternative}" in result.stderr
