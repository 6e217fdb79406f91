"""Credential plug-ins that are slow, wrong or talkative, and tokens that expire: no secret in any output."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from launcher.backends.kubernetes.client import Timeouts
from launcher.errors import LauncherError, LauncherExit
from tests.api.conftest import KubeconfigFor
from tests.api.control_plane import ControlPlane
from tests.api.faults import unauthorized
from tests.api.jobs import Jobs, eventually
from tests.api.scripted_server import ScriptedServer, on
from tests.command_line import environment, run_launcher

API_VERSION = "client.authentication.k8s.io/v1"
StartServer = Callable[..., ScriptedServer]


class Plugin:
    """A kubeconfig whose user has a plug-in: a Python script that a test writes."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self.kubeconfig = kubeconfig
        self.script = folder / "plugin.py"
        self.calls = folder / "calls"
        config = yaml.safe_load(kubeconfig.read_text())
        command = {"apiVersion": API_VERSION, "command": sys.executable, "args": [str(self.script)]}
        config["users"][0]["user"] = {"exec": {**command, "interactiveMode": "Never"}}
        kubeconfig.write_text(yaml.safe_dump(config))

    def answers(self, *tokens: str, **status: Any) -> None:
        """The first call answers the first token, and so on; the last one repeats."""
        self.does(
            f"tokens = {list(tokens)!r}\n"
            f"token = tokens[min(calls, len(tokens) - 1)]\n"
            f"status = {{'token': token, **{status!r}}}\n"
            f"print(json.dumps({{'apiVersion': {API_VERSION!r}, 'kind': 'ExecCredential', 'status': status}}))\n"
        )

    def does(self, code: str) -> None:
        head = f"import json, os, subprocess, sys, time\nlog = open({str(self.calls)!r}, 'a+')\nlog.seek(0)\n"
        count = "calls = len(log.readlines())\nlog.write(f'{os.getpid()}\\n')\nlog.close()\n"
        self.script.write_text(head + count + code)

    @property
    def pids(self) -> list[int]:
        return [int(line) for line in self.calls.read_text().split()] if self.calls.exists() else []


@pytest.fixture
def plugin(kubeconfig_for: KubeconfigFor, tmp_path: Path) -> Plugin:
    return Plugin(kubeconfig_for("submitter"), tmp_path)


def refusal(jobs: Jobs) -> str:
    """The whole message of a request that must fail for want of a credential."""
    with pytest.raises(LauncherError) as refused:
        jobs.backend.list()
    assert refused.value.exit_code == LauncherExit.UNUSABLE
    return refused.value.message + "\n".join(jobs.said)


def test_a_plugins_token_is_used_and_asked_for_once(plugin: Plugin, control_plane: ControlPlane) -> None:
    plugin.answers(control_plane.token("submitter"))
    jobs = Jobs(plugin.kubeconfig)
    assert jobs.backend.list() == ()
    assert jobs.submit().outcome == "created"
    assert len(plugin.pids) == 1


def test_a_token_that_the_server_rejects_is_renewed_once(plugin: Plugin, control_plane: ControlPlane) -> None:
    plugin.answers("canary-token-expired", control_plane.token("submitter"))
    jobs = Jobs(plugin.kubeconfig)
    assert jobs.submit().outcome == "created"
    assert len(plugin.pids) == 2
    assert jobs.said == []


def test_a_token_that_expires_is_renewed_before_it_is_rejected(plugin: Plugin, control_plane: ControlPlane) -> None:
    plugin.answers(control_plane.token("submitter"), expirationTimestamp="2020-01-01T00:00:00Z")
    jobs = Jobs(plugin.kubeconfig)
    jobs.backend.list()
    jobs.backend.list()
    assert len(plugin.pids) == 2


def test_tokens_that_stay_wrong_end_after_one_renewal(
    plugin: Plugin, kubeconfig_for: KubeconfigFor, scripted_server: StartServer, tmp_path: Path
) -> None:
    server = scripted_server(on("GET", ".*", unauthorized()))
    plugin = Plugin(kubeconfig_for("submitter", server=server), tmp_path)
    plugin.answers("canary-token-one", "canary-token-two")
    message = refusal(Jobs(plugin.kubeconfig))
    assert "log in to the cluster again" in message
    assert "canary" not in message
    assert [one.headers["Authorization"] for one in server.requests] == [
        "Bearer canary-token-one",
        "Bearer canary-token-two",
    ]


def test_a_hanging_plugin_is_ended_with_all_that_it_started(plugin: Plugin, tmp_path: Path) -> None:
    plugin.does("child = subprocess.Popen(['sleep', '600'])\nprint(child.pid, file=open('PID', 'w'))\ntime.sleep(600)")
    plugin.script.write_text(plugin.script.read_text().replace("PID", str(tmp_path / "child")))
    message = refusal(Jobs(plugin.kubeconfig, timeouts=Timeouts(plugin=1.0)))
    assert "did not answer within 1 s" in message
    child = int((tmp_path / "child").read_text())
    eventually(lambda: not any(_runs(pid) for pid in (*plugin.pids, child)))


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


SPILLED = "canary-token-0123456789abcdef"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (f"print('token={SPILLED}', file=sys.stderr); sys.exit(7)", "failed with exit code 7"),
        (f"print('rejected {SPILLED} by issuer', file=sys.stderr); sys.exit(1)", "rejected [hidden] by issuer"),
        (f"print('{SPILLED}'); print('got {SPILLED}', file=sys.stderr); sys.exit(1)", "got [hidden]"),
        (f"print('{SPILLED}')", "answered no ExecCredential"),
        (f"print(json.dumps(dict(apiVersion='v9', status=dict(token='{SPILLED}'))))", "another apiVersion"),
        (f"print(json.dumps(dict(apiVersion='{API_VERSION}', status=dict())))", "neither a token nor a certificate"),
        ("print('run: aws sso login', file=sys.stderr); sys.exit(255)", "it said: run: aws sso login"),
    ],
)
def test_a_plugin_that_fails_is_named_and_its_words_are_shown_without_secrets(
    plugin: Plugin, code: str, expected: str
) -> None:
    plugin.does(code)
    message = refusal(Jobs(plugin.kubeconfig))
    assert expected in message
    assert SPILLED not in message
    assert os.path.basename(sys.executable) in message


def test_a_plugin_that_is_not_installed_is_said_with_how_to_install_it(plugin: Plugin) -> None:
    config = yaml.safe_load(plugin.kubeconfig.read_text())
    config["users"][0]["user"]["exec"].update(command="no-such-plugin", installHint="install it from the lab's wiki")
    plugin.kubeconfig.write_text(yaml.safe_dump(config))
    assert "no-such-plugin" in (message := refusal(Jobs(plugin.kubeconfig)))
    assert "is not installed: install it from the lab's wiki" in message


def test_a_secret_of_the_plugins_environment_is_hidden_and_reaches_the_plugin(
    plugin: Plugin, control_plane: ControlPlane
) -> None:
    config = yaml.safe_load(plugin.kubeconfig.read_text())
    config["users"][0]["user"]["exec"]["env"] = [{"name": "LAB_SECRET", "value": "hush hush"}]
    plugin.kubeconfig.write_text(yaml.safe_dump(config))
    plugin.does("print(os.environ['LAB_SECRET'], 'was wrong', file=sys.stderr); sys.exit(1)")
    message = refusal(Jobs(plugin.kubeconfig))
    assert "it said: [hidden] was wrong" in message


def test_the_plugin_is_told_the_cluster_where_it_asks_for_it(plugin: Plugin, tmp_path: Path) -> None:
    config = yaml.safe_load(plugin.kubeconfig.read_text())
    config["users"][0]["user"]["exec"]["provideClusterInfo"] = True
    plugin.kubeconfig.write_text(yaml.safe_dump(config))
    told = tmp_path / "told"
    plugin.does(f"open({str(told)!r}, 'w').write(os.environ['KUBERNETES_EXEC_INFO']); sys.exit(1)")
    refusal(Jobs(plugin.kubeconfig))
    info = json.loads(told.read_text())
    assert info["spec"]["cluster"]["server"] == config["clusters"][0]["cluster"]["server"]
    assert info["spec"]["interactive"] is False


def test_a_certificate_that_nobody_vouches_for_ends_at_once(
    scripted_server: StartServer, kubeconfig_for: KubeconfigFor
) -> None:
    server = scripted_server(tls=True)
    kubeconfig = kubeconfig_for("submitter", server=server)
    config = yaml.safe_load(kubeconfig.read_text())
    del config["clusters"][0]["cluster"]["certificate-authority-data"]
    kubeconfig.write_text(yaml.safe_dump(config))
    assert "CERTIFICATE_VERIFY_FAILED" in refusal(Jobs(kubeconfig))
    assert server.requests == []


def test_a_server_that_is_not_checked_is_warned_about_once(kubeconfig_for: KubeconfigFor) -> None:
    kubeconfig = kubeconfig_for("submitter")
    config = yaml.safe_load(kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    config["clusters"][0]["cluster"] = {"server": cluster["server"], "insecure-skip-tls-verify": True}
    kubeconfig.write_text(yaml.safe_dump(config))
    jobs = Jobs(kubeconfig)
    jobs.backend.list()
    jobs.backend.list()
    assert len(jobs.said) == 1
    assert "insecure-skip-tls-verify" in jobs.said[0]


@pytest.mark.parametrize("verb", [("list",), ("status", "digits"), ("submit", "examples/digits.yaml")])
def test_no_output_of_the_program_holds_the_token(plugin: Plugin, verb: tuple[str, ...]) -> None:
    plugin.answers(SPILLED)
    result = run_launcher(
        *verb, env=environment(KUBECONFIG=str(plugin.kubeconfig), LAUNCHER_IMAGE="registry.example/a:1")
    )
    assert result.returncode == LauncherExit.UNUSABLE
    assert "log in to the cluster again" in result.stderr
    assert SPILLED not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_a_plugins_certificate_is_used(plugin: Plugin, control_plane: ControlPlane) -> None:
    issued = control_plane.ca.issue_cert("me@lab.example", common_name="me", organization_name="system:masters")
    certificate, key = issued.cert_chain_pems[0].bytes().decode(), issued.private_key_pem.bytes().decode()
    answered = {"clientCertificateData": certificate, "clientKeyData": key}
    plugin.does(
        f"print(json.dumps({{'apiVersion': {API_VERSION!r}, 'kind': 'ExecCredential', 'status': {answered!r}}}))"
    )
    assert Jobs(plugin.kubeconfig).backend.list(all_namespaces=True) is not None


def test_inside_a_pod_its_own_account_is_used_and_its_token_is_read_again(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kubernetes.config import incluster_config

    token = tmp_path / "token"
    token.write_text("canary-token-expired")
    (tmp_path / "namespace").write_text(namespace)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(control_plane.ca_file))
    monkeypatch.setattr("launcher.backends.kubernetes.kubeconfig.SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(control_plane.port))
    jobs = Jobs(None)
    assert "log in to the cluster again" in refusal(jobs)
    token.write_text(control_plane.token("submitter"))
    assert jobs.submit().outcome == "created"
    assert jobs.get().namespace == namespace
