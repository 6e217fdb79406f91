"""Refusals of the API server in words: its own, the field, and the next step."""

import json
from typing import Any

import pytest

from launcher.backends.kubernetes import errors
from launcher.backends.kubernetes.errors import Answer, Request, error_of, read_answer
from launcher.errors import LauncherExit

REQUEST = Request("create", "pytorchjobs", "digits", "team", "context lab")


def refused(code: int, message: str = "no", **details: Any) -> errors.ApiError:
    status = {"kind": "Status", "message": message, "reason": "Because", "details": details, "code": code}
    return error_of(read_answer(code, json.dumps(status).encode()), REQUEST)


@pytest.mark.parametrize(
    ("code", "kind", "exit_code", "retryable"),
    [
        (400, errors.Invalid, LauncherExit.USAGE, False),
        (401, errors.Unauthorized, LauncherExit.UNUSABLE, False),
        (403, errors.Forbidden, LauncherExit.UNUSABLE, False),
        (404, errors.NotFound, LauncherExit.NOT_FOUND, False),
        (409, errors.Conflict, LauncherExit.ERROR, False),
        (410, errors.Gone, LauncherExit.ERROR, False),
        (413, errors.Invalid, LauncherExit.USAGE, False),
        (418, errors.ApiError, LauncherExit.ERROR, False),
        (422, errors.Invalid, LauncherExit.USAGE, False),
        (429, errors.TooManyRequests, LauncherExit.UNUSABLE, True),
        (500, errors.ServerError, LauncherExit.UNUSABLE, True),
        (501, errors.ServerError, LauncherExit.UNUSABLE, False),
        (502, errors.ServerError, LauncherExit.UNUSABLE, True),
        (503, errors.ServerError, LauncherExit.UNUSABLE, True),
        (504, errors.ServerError, LauncherExit.UNUSABLE, True),
    ],
)
def test_each_status_has_its_kind_and_exit_code(
    code: int, kind: type[errors.ApiError], exit_code: LauncherExit, retryable: bool
) -> None:
    error = refused(code)
    assert type(error) is kind
    assert (error.status, error.exit_code, error.retryable) == (code, exit_code, retryable)
    assert error.message.startswith("cannot create pytorchjobs digits in namespace team: no")


@pytest.mark.parametrize(
    ("message", "exit_code", "hint"),
    [
        ("exceeded quota: training, requested: pods=1", LauncherExit.DOES_NOT_FIT, "launcher list"),
        ('violates PodSecurity "restricted:latest"', LauncherExit.UNUSABLE, "Pod Security level"),
        ('admission webhook "rules.lab" denied the request: no', LauncherExit.USAGE, "a rule of this cluster"),
        ('failed calling webhook "validator": connection refused', LauncherExit.UNUSABLE, "operator"),
        ("something new", LauncherExit.UNUSABLE, "ask an administrator for the right to create pytorchjobs"),
    ],
)
def test_known_texts_have_a_next_step(message: str, exit_code: LauncherExit, hint: str) -> None:
    error = refused(403, message)
    assert message in error.message
    assert hint in error.message
    assert error.exit_code == exit_code


def test_each_field_that_the_server_names_has_a_line() -> None:
    causes = [
        {"field": "spec.a", "message": "must be positive", "reason": "FieldValueInvalid"},
        {"field": "spec.b", "message": "Required value"},
        {"message": "of no field"},
    ]
    lines = refused(422, "is invalid", causes=causes).message.splitlines()
    assert lines[1:] == ["  spec.a: must be positive", "  spec.b: Required value"]


def test_a_path_that_the_server_does_not_know_means_that_the_operator_is_missing() -> None:
    error = error_of(read_answer(404, b"404 page not found\n"), REQUEST)
    assert type(error) is errors.TypeMissing
    assert error.exit_code == LauncherExit.UNUSABLE
    assert "training operator" in error.message


def test_a_missing_namespace_is_not_a_missing_job() -> None:
    error = refused(404, 'namespaces "team" not found', kind="namespaces", name="team")
    assert isinstance(error, errors.NamespaceMissing)
    assert error.exit_code == LauncherExit.UNUSABLE


@pytest.mark.parametrize("body", [b"<html>secret</html>", b'{"secret": 1}', b'["secret"]', b"\xff\xfe secret", b""])
def test_a_body_that_is_no_status_stays_unread(body: bytes) -> None:
    error = error_of(read_answer(502, body), REQUEST)
    assert "502 Bad Gateway" in error.message
    assert "secret" not in error.message


def test_control_characters_and_endless_text_of_a_server_do_not_reach_the_terminal() -> None:
    message = refused(403, "red \x1b[31m" + "x" * 5000).message
    assert "\x1b" not in message
    assert len(message) < 2500


@pytest.mark.parametrize(
    ("details", "header", "seconds"), [({"retryAfterSeconds": 5}, None, 5.0), ({"retryAfterSeconds": 5}, 9.0, 9.0)]
)
def test_the_wish_of_the_body_is_used_where_there_is_no_header(
    details: dict[str, Any], header: float | None, seconds: float
) -> None:
    body = json.dumps({"kind": "Status", "details": details}).encode()
    assert error_of(read_answer(429, body, header), REQUEST).retry_after == seconds


def test_a_failure_that_trying_again_cannot_mend_is_not_retryable() -> None:
    assert error_of(Answer(0, "connection refused"), REQUEST).retryable
    assert not error_of(Answer(0, "TLS: self-signed", is_final=True), REQUEST).retryable
