"""Any text in any field of job.yaml arrives as it was written, or is refused with its place; nothing else changes."""

import json
import re
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from launcher.errors import InvalidJob
from launcher.job.digest import digest
from launcher.job.load import load_job
from launcher.job.manifest_yaml import to_yaml
from launcher.job.placement import plan
from launcher.job.problems import dotted
from launcher.job.render import Engine, job_manifests
from launcher.job.spec import JobSpec
from launcher.job.values import DIGEST_ANNOTATION, RUN_FILE_ANNOTATION, SPEC_ANNOTATION

Path = tuple[str | int, ...]

JOB: dict[str, Any] = {
    "name": "job",
    "image": "registry.example/trainer:1",
    "gpus": 2,
    "resources": {"cpu": 4, "memory": "8Gi", "shm": "1Gi", "gpu_resource": "example.com/gpu"},
    "results": {"claim": "out", "path": "/out", "create": {"size": "5Gi", "storage_class": "fast"}},
    "volumes": [{"name": "data", "claim": "datasets", "mount": "/data", "local": "~/data"}],
    "env": {"TEXT": "text", "KEY": {"secret": "keys", "key": "entry"}},
    "image_pull_secrets": ["registry"],
    "queue": "queue",
    "priority_class": "high",
    "node_selector": {"example.com/type": "large"},
    "tolerations": [{"key": "example.com/taint", "value": "yes", "effect": "NoSchedule"}],
    "isolated_network": True,
}
TRAIN: dict[str, Any] = {
    "task": "image-classification",
    "epochs": 1,
    "batch_size": 64,
    "data": {"kind": "idx", "path": "/data/set", "classes": ["first", "second"]},
    "model": {"name": "convnet"},
    "optimizer": {"name": "adamw", "lr": 0.003},
}
KINDS: dict[str, dict[str, Any]] = {
    "train": {**JOB, "train": TRAIN},
    "command": {**JOB, "command": ["train.py", "argument"], "runner": "torchrun"},
}

# Two trees are compared with the text replaced by this one, which is valid in every field.
MARKS: dict[Path, str] = {
    ("name",): "mark",
    ("image",): "mark",
    ("results", "claim"): "mark",
    ("results", "path"): "/mark",
    ("results", "create", "storage_class"): "mark",
    ("resources", "gpu_resource"): "mark.example/gpu",
    ("volumes", 0, "name"): "mark",
    ("volumes", 0, "claim"): "mark",
    ("volumes", 0, "local"): "mark",
    ("env", "TEXT"): "mark",
    ("env", "KEY", "secret"): "mark",
    ("env", "KEY", "key"): "mark",
    ("image_pull_secrets", 0): "mark",
    ("queue",): "mark",
    ("priority_class",): "mark",
    ("node_selector", "example.com/type"): "mark",
    ("tolerations", 0, "key"): "mark",
    ("tolerations", 0, "value"): "mark",
    ("train", "data", "path"): "/data/mark",
    ("train", "data", "classes", 0): "mark",
    ("command", 0): "mark",
    ("command", 1): "mark",
}
# Prefixes that make a wild text more often a valid one.
PREFIX: dict[Path, str] = {
    ("results", "path"): "/",
    ("train", "data", "path"): "/data/",
    ("resources", "gpu_resource"): "a.example/",
}
NASTY = [
    "",
    " ",
    "{{ .Release.Name }}",
    '{{ fail "x" }}',
    "\"'`\\",
    "a\nb\r\n\tc",
    "---\nkind: Secret",
    "#&*!|>%@?-:,[]{}",
    "$(HOME) $$ ${X} `id`",
    *("null", "~", "yes", "y", "1e3", "0o17", "0x1F", "1_000", "12:30:45", "2024-01-01", "!!python/object"),
    "\u0000\u001b[31m",
    "\u007f",
    "\u0085\u2028\u2029",
    "\ufeff\ufffe\uffff",
    "\U0001f600 <b>&amp;</b>",
]


def with_text(path: Path, text: str) -> JobSpec:
    """The job with one field replaced, read as a file is."""
    tree = json.loads(json.dumps(KINDS["command" if path[0] == "command" else "train"]))
    here = tree
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = text
    return loaded(tree)


def loaded(tree: dict[str, Any]) -> JobSpec:
    """The tree by way of YAML, with whatever is not plain ASCII escaped."""
    text = json.dumps(tree, ensure_ascii=False)
    return load_job(
        "".join(c if c.isascii() and c != "\x7f" else f"\\U{ord(c):08x}" for c in text), filename="job.yaml"
    )


def manifests(spec: JobSpec, engine: Engine = "library") -> Any:
    """The manifests, with texts that hold JSON opened."""
    return opened(job_manifests(spec, plan(spec, []), namespace="training", engine=engine), digest(spec))


def opened(tree: Any, known_digest: str) -> Any:
    if isinstance(tree, list):
        return [opened(item, known_digest) for item in tree]
    if not isinstance(tree, dict):
        return "DIGEST" if tree == known_digest else tree
    result = {key: opened(value, known_digest) for key, value in tree.items()}
    for key in (RUN_FILE_ANNOTATION, SPEC_ANNOTATION):
        if isinstance(result.get(key), str):
            result[key] = opened(json.loads(result[key]), known_digest)
    return result


def replaced(tree: Any, mark: str, text: str) -> Any:
    """The tree with ``mark`` replaced in every text, keys included."""
    if isinstance(tree, list):
        return [replaced(item, mark, text) for item in tree]
    if isinstance(tree, dict):
        return {replaced(key, mark, text): replaced(value, mark, text) for key, value in tree.items()}
    return tree.replace(mark, text) if isinstance(tree, str) else tree


@cache
def marked(path: Path) -> Any:
    return manifests(with_text(path, MARKS[path]))


def check_place(error: InvalidJob, path: Path) -> None:
    assert re.search(rf"^job\.yaml:\d+:\d+ {re.escape(dotted(path))}[.: ]", error.message, re.MULTILINE), error.message


def check(path: Path, text: str) -> None:
    try:
        spec = with_text(path, text)
    except InvalidJob as error:
        check_place(error, path)
        return
    assert manifests(spec) == replaced(marked(path), MARKS[path], text)


@pytest.mark.parametrize("path", MARKS, ids=dotted)
def test_the_mark_is_in_the_manifest(path: Path) -> None:
    assert MARKS[path] in json.dumps(marked(path))


@pytest.mark.parametrize("path", MARKS, ids=dotted)
def test_nasty_text_arrives_as_written_or_is_refused_with_its_place(path: Path) -> None:
    for text in NASTY:
        check(path, text)
        check(path, PREFIX.get(path, "") + text)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(list(MARKS)), st.booleans(), st.text() | st.text("aZ09-_./:", max_size=70))
@example(("env", "TEXT"), False, "\u0085")
def test_any_text_arrives_as_written_or_is_refused_with_its_place(path: Path, prefixed: bool, text: str) -> None:
    check(path, PREFIX.get(path, "") * prefixed + text)


@settings(max_examples=200, deadline=None)
# YAML takes keys of up to 1,024 characters, and JSON writes some characters with twelve.
@given(st.sampled_from(["TEXT", "KEY"]), st.text(max_size=80) | st.text("aZ09_", max_size=10))
@example("TEXT", "[key]")
@example("KEY", "text")
def test_any_name_of_a_variable_arrives_or_is_refused_with_its_place(old: str, name: str) -> None:
    tree = json.loads(json.dumps(KINDS["train"]))
    value = tree["env"].pop(old)
    tree["env"][name] = value
    try:
        spec = loaded(tree)
    except InvalidJob as error:
        check_place(error, ("env", name))
        return
    container = manifests(spec)[-1]["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]
    assert [variable["name"] for variable in container["env"]].count(name) == 1


@pytest.mark.usefixtures("helm_on_path")
def test_the_helm_program_passes_the_same_text_on() -> None:
    accepted = 0
    for text in NASTY:
        try:
            spec = with_text(("env", "TEXT"), text)
        except InvalidJob:
            continue
        accepted += 1
        assert manifests(spec, "helm") == manifests(spec, "library")
    assert accepted > 15


@settings(max_examples=300, deadline=None)
@given(st.text() | st.sampled_from(NASTY))
def test_the_printed_yaml_says_what_the_manifest_says(text: str) -> None:
    import yaml

    try:
        spec = with_text(("env", "TEXT"), text)
    except InvalidJob:
        return
    documents = job_manifests(spec, plan(spec, []), namespace="training")
    assert list(yaml.safe_load_all(to_yaml(documents))) == documents


@pytest.mark.parametrize(
    "word", ["y", "N", "on", "1e3", "0o17", "0x1F", "12:30:45", "1_000", ".5", "~", "", "null", "="]
)
def test_words_that_some_yaml_reader_takes_for_something_else_are_quoted(word: str) -> None:
    assert to_yaml([{"key": word}]) == f"key: '{word}'\n"


def test_the_digest_annotation_is_the_specs_digest() -> None:
    spec = with_text(("image",), "other")
    job = job_manifests(spec, plan(spec, []), namespace="training")[-1]
    assert job["metadata"]["annotations"][DIGEST_ANNOTATION] == digest(spec)
