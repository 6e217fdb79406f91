"""When a request is repeated, and after how long."""

from datetime import UTC, datetime

import pytest

from launcher.backends.kubernetes.retry import Policy, retry_after_seconds

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("tries", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (5, 8.0), (6, 10.0), (10_000, 10.0)])
def test_pauses_double_up_to_a_cap_and_luck_takes_any_share_of_them(tries: int, longest: float) -> None:
    policy = Policy(first_seconds=0.5, cap_seconds=10.0)
    assert policy.pause(tries, luck=0.0) == 0.0
    assert policy.pause(tries, luck=0.25) == pytest.approx(longest / 4)
    assert policy.pause(tries, luck=1.0) == longest


def test_the_servers_wish_wins_when_it_is_longer() -> None:
    policy = Policy(first_seconds=1.0, cap_seconds=10.0)
    assert policy.pause(1, luck=1.0, retry_after=30.0) == 30.0
    assert policy.pause(4, luck=1.0, retry_after=3.0) == 8.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("Tue, 01 Jan 2030 00:01:30 GMT", 90.0),
        ("Mon, 31 Dec 2029 23:59:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert retry_after_seconds({"Retry-After": header}, now=NOW) == seconds


def test_without_the_header_the_server_has_no_wish() -> None:
    assert retry_after_seconds({}) is None
