"""The scripted server does what its steps promise: the client's tests rely on it."""

import http.client
import json
import threading
from collections.abc import Callable

import pytest
import yaml

from tests.api.conftest import KubeconfigFor
from tests.api.control_plane import ControlPlane
from tests.api.faults import (
    after,
    answer,
    bookmark,
    drop,
    event,
    forward,
    gone,
    gone_event,
    half,
    lose_reply,
    silence,
    stream,
    too_many_requests,
    unauthorized,
    unavailable,
)
from tests.api.reference_job import reference_job
from tests.api.rest import ApiError, Object, Rest
from tests.api.scripted_server import ScriptedServer, on

Start = Callable[..., ScriptedServer]


def ask(
    server: ScriptedServer, path: str = "/thing", method: str = "GET", body: Object | None = None
) -> tuple[int, bytes]:
    connection = _connection(server)
    try:
        connection.request(method, path, json.dumps(body) if body else None)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def _connection(server: ScriptedServer, seconds: float = 30) -> http.client.HTTPConnection:
    host, port = server.url.removeprefix("http://").split(":")
    return http.client.HTTPConnection(host, int(port), timeout=seconds)


def test_steps_are_taken_in_order_and_the_last_one_stays(scripted_server: Start) -> None:
    server = scripted_server(on("GET", "/thing", unavailable(), answer(200, {"n": 1})))
    assert [ask(server)[0] for _ in range(3)] == [503, 200, 200]


def test_every_request_is_remembered_with_its_time(scripted_server: Start) -> None:
    server = scripted_server(on("POST", "/things", answer(201, {})))
    ask(server, "/things?dryRun=All", "POST", {"a": 1})
    ask(server, "/things", "POST", {"a": 2})
    first, second = server.seen("POST", "/things")
    assert (first.query, first.json(), second.query, second.json()) == ({"dryRun": "All"}, {"a": 1}, {}, {"a": 2})
    assert first.at < second.at


def test_the_rule_for_a_watch_leaves_the_list_alone(scripted_server: Start) -> None:
    server = scripted_server(
        on("GET", "/jobs", stream(event("ADDED", {})), watch=True), on("GET", "/jobs", answer(200, {"items": []}))
    )
    assert ask(server, "/jobs")[1] == b'{"items": []}'
    assert ask(server, "/jobs?watch=true")[1] == b'{"type": "ADDED", "object": {}}\n'


def test_refusals_are_those_of_an_api_server(scripted_server: Start) -> None:
    server = scripted_server(on("GET", "/thing", too_many_requests(7), unauthorized(), gone()))
    connection = _connection(server)
    connection.request("GET", "/thing")
    reply = connection.getresponse()
    body = json.loads(reply.read())
    connection.close()
    assert (reply.status, reply.getheader("Retry-After"), body["details"]) == (429, "7", {"retryAfterSeconds": 7})
    assert [json.loads(ask(server)[1])["code"] for _ in range(2)] == [401, 410]


def test_a_dropped_request_gets_a_closed_connection(scripted_server: Start) -> None:
    server = scripted_server(on("GET", "/thing", drop()))
    with pytest.raises(http.client.RemoteDisconnected):
        ask(server)


def test_a_stream_can_be_cut_in_the_middle_of_a_line(scripted_server: Start) -> None:
    line = event("ADDED", {"name": "a"})
    server = scripted_server(on("GET", "/thing", stream(line, half(line), then="cut"), stream(line, then="end")))
    with pytest.raises(http.client.IncompleteRead) as cut:
        ask(server)
    assert cut.value.partial == line + line[: len(line) // 2]
    assert ask(server)[1] == line


def test_a_bookmark_and_an_expired_version_are_lines_of_a_watch(scripted_server: Start) -> None:
    server = scripted_server(on("GET", "/thing", stream(bookmark("12"), gone_event())))
    lines = [json.loads(line) for line in ask(server)[1].splitlines()]
    assert lines[0]["object"]["metadata"]["resourceVersion"] == "12"
    assert (lines[1]["type"], lines[1]["object"]["code"]) == ("ERROR", 410)


def test_silence_lasts_until_the_server_stops(scripted_server: Start) -> None:
    server = scripted_server(on("GET", "/thing", silence(), stream(b"a\n", then="silence")))
    ended: list[type[BaseException]] = []
    waiting = threading.Thread(target=lambda: ended.append(_failure(server)))
    waiting.start()
    connection = _connection(server, seconds=0.2)
    connection.request("GET", "/thing")
    with pytest.raises(TimeoutError):
        connection.getresponse().read()
    connection.close()
    assert waiting.is_alive()
    server.stop()
    waiting.join()
    assert ended


def _failure(server: ScriptedServer) -> type[BaseException]:
    try:
        ask(server)
    except (OSError, http.client.HTTPException) as failure:
        return type(failure)
    raise AssertionError("an answer came")


def test_a_step_can_wait_for_the_test(scripted_server: Start) -> None:
    ready = threading.Event()
    server = scripted_server(on("GET", "/thing", after(ready, answer(200, {}))))
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(ask(server)[0]))
    asking.start()
    assert answers == []
    ready.set()
    asking.join()
    assert answers == [200]


def test_what_the_script_does_not_foresee_is_noted(scripted_server: Start) -> None:
    server = scripted_server(on("GET", "/thing", answer(200, {})))
    assert ask(server, "/other")[0] == 500
    assert [request.path for request in server.unexpected] == ["/other"]
    server.unexpected.clear()


# --- in front of the API server --------------------------------------------------------------------------------------


@pytest.fixture
def through(control_plane: ControlPlane, scripted_server: Start) -> Callable[..., Rest]:
    """A client whose requests pass a scripted server on their way to the API server."""

    def start(*rules: object) -> Rest:
        server = scripted_server(*rules, upstream=True, tls=True)
        return Rest(server.url, control_plane.ca_file, control_plane.token("submitter"))

    return start


def test_requests_pass_as_the_user_who_sent_them(through: Callable[..., Rest], namespace: str) -> None:
    client = through()
    client.create(reference_job("passed", namespace))
    assert client.get("PyTorchJob", "passed", namespace)["metadata"]["name"] == "passed"
    with pytest.raises(ApiError) as refusal:
        client.list("Secret", namespace)
    assert refusal.value.status == 403


def test_a_lost_reply_leaves_the_object(through: Callable[..., Rest], admin: Rest, namespace: str) -> None:
    client = through(on("POST", ".*/pytorchjobs", lose_reply(), forward()))
    with pytest.raises(OSError, match="closed connection"):
        client.create(reference_job("lost", namespace))
    assert admin.get("PyTorchJob", "lost", namespace)
    with pytest.raises(ApiError) as refusal:
        client.create(reference_job("lost", namespace))
    assert refusal.value.status == 409


def test_a_dropped_request_leaves_nothing(through: Callable[..., Rest], admin: Rest, namespace: str) -> None:
    client = through(on("POST", ".*/pytorchjobs", drop()))
    with pytest.raises(OSError, match="closed connection"):
        client.create(reference_job("dropped", namespace))
    assert admin.list("PyTorchJob", namespace) == []


def test_a_watch_streams_through(through: Callable[..., Rest], admin: Rest, namespace: str) -> None:
    admin.create(reference_job("seen", namespace))
    path = f"apis/kubeflow.org/v1/namespaces/{namespace}/pytorchjobs"
    lines = through().raw("GET", path, watch="true", timeoutSeconds="1").splitlines()
    assert [json.loads(line)["object"]["metadata"]["name"] for line in lines] == ["seen"]


def test_a_kubeconfig_can_name_the_scripted_server(
    scripted_server: Start, kubeconfig_for: KubeconfigFor, control_plane: ControlPlane
) -> None:
    server = scripted_server(upstream=True, tls=True)
    expired = "a-token-of-yesterday"
    path = kubeconfig_for("submitter", server=server, token=expired)
    content = yaml.safe_load(path.read_text())
    assert content["clusters"][0]["cluster"]["server"] == server.url
    assert content["users"][0]["user"] == {"token": expired}
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(ApiError) as refusal:
        Rest(server.url, control_plane.ca_file, expired).list("PyTorchJob", "default")
    assert refusal.value.status == 401
