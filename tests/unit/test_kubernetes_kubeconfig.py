"""Choosing cluster, user and namespace, as kubectl does, with errors that name what exists."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.backends.kubernetes import kubeconfig
from launcher.backends.kubernetes.kubeconfig import Target, choose
from launcher.errors import BackendUnusable


def config(*contexts: str, current: str | None = None, server: str = "https://one", **user: Any) -> dict[str, Any]:
    return {
        "current-context": current or (contexts[0] if contexts else ""),
        "contexts": [
            {"name": name, "context": {"cluster": "c", "user": "u", "namespace": f"ns-{name}"}} for name in contexts
        ],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "secret", **user}}],
    }


def write(path: Path, content: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def test_the_option_wins_over_the_variable_and_the_variable_over_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / ".kube" / "config", config("home"))
    by_variable = {"KUBECONFIG": write(tmp_path / "two", config("variable"))}
    option = write(tmp_path / "three", config("option"))
    assert choose(Target(), {}).context == "home"
    assert choose(Target(), by_variable).context == "variable"
    assert choose(Target(kubeconfig=option), by_variable).context == "option"


def test_of_several_files_the_first_to_name_something_wins(tmp_path: Path) -> None:
    one = write(tmp_path / "one", {**config("a", "b", current="b"), "current-context": ""})
    two = write(tmp_path / "two", config("c", "a", server="https://two"))
    environment = {"KUBECONFIG": os.pathsep.join([one, str(tmp_path / "absent"), two])}
    assert choose(Target(), environment).context == "c"
    assert choose(Target(context="a"), environment).cluster["server"] == "https://one"


def test_the_namespace_is_the_options_the_contexts_or_default(tmp_path: Path) -> None:
    content = config("lab")
    path = write(tmp_path / "config", content)
    assert choose(Target(kubeconfig=path)).namespace == "ns-lab"
    assert choose(Target(kubeconfig=path, namespace="other")).namespace == "other"
    del content["contexts"][0]["context"]["namespace"]
    assert choose(Target(kubeconfig=write(tmp_path / "config", content))).namespace == "default"


def test_paths_are_relative_to_the_file_that_holds_them(tmp_path: Path) -> None:
    content = config("lab", exec={"command": "./bin/login"})
    content["users"][0]["user"]["client-certificate"] = "certs/me.crt"
    content["clusters"][0]["cluster"]["certificate-authority"] = "ca.crt"
    access = choose(Target(kubeconfig=write(tmp_path / "sub" / "config", content)))
    assert access.cluster["certificate-authority"] == str(tmp_path / "sub" / "ca.crt")
    assert access.user["client-certificate"] == str(tmp_path / "sub" / "certs" / "me.crt")
    assert access.user["exec"]["command"] == str(tmp_path / "sub" / "bin" / "login")


def test_a_command_without_a_slash_is_looked_up_on_the_path(tmp_path: Path) -> None:
    path = write(tmp_path / "config", config("lab", exec={"command": "aws"}))
    assert choose(Target(kubeconfig=path)).user["exec"]["command"] == "aws"


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        (config("a", "b"), Target(context="z"), r"no context 'z' \(--context\); contexts there: a, b"),
        (config("a", current="gone"), Target(), r"no context 'gone' \(current-context\); contexts there: a"),
        ({**config("a"), "current-context": ""}, Target(), "no current context; contexts there: a"),
        ("", Target(), "no current context; there are no contexts there"),
        ({**config("a"), "clusters": []}, Target(), "names the cluster 'c', which is not there; clusters there: none"),
        ({**config("a"), "users": [{"name": "x", "user": {}}]}, Target(), "names the user 'u'.*users there: x"),
        ({**config("a"), "users": "u"}, Target(), "users: must be a list"),
        ("- a list", Target(), "a mapping is expected"),
    ],
)
def test_what_is_missing_is_said_with_the_file_and_what_there_is(
    tmp_path: Path, content: Any, target: Target, message: str
) -> None:
    path = write(tmp_path / "config", content)
    with pytest.raises(BackendUnusable, match=message) as refused:
        choose(Target(kubeconfig=path, context=target.context))
    assert path in refused.value.message


def test_a_file_that_is_no_yaml_is_told_by_line_and_not_by_content(tmp_path: Path) -> None:
    path = write(tmp_path / "config", "users:\n- name: u\n  user: {token: s3cret\n")
    with pytest.raises(BackendUnusable, match="not valid YAML") as refused:
        choose(Target(kubeconfig=path))
    assert f"{path}:" in refused.value.message
    assert "s3cret" not in refused.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackendUnusable, match=r"absent does not exist \(--kubeconfig\)"):
        choose(Target(kubeconfig=str(tmp_path / "absent")))
    with pytest.raises(BackendUnusable, match=r"absent, .*other does not exist \(KUBECONFIG"):
        choose(Target(), {"KUBECONFIG": f"{tmp_path}/absent{os.pathsep}{tmp_path}/other"})


def test_inside_a_pod_its_own_account_and_namespace_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", tmp_path)
    (tmp_path / "namespace").write_text("team\n")
    inside = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    access = choose(Target(), inside)
    assert (access.in_cluster, access.namespace) == (True, "team")
    assert choose(Target(namespace="other"), inside).namespace == "other"
    with pytest.raises(BackendUnusable, match="does not exist"):
        choose(Target(context="lab"), inside)
