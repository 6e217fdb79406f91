"""When a request is sent again, and after how long: the launcher's one retry policy."""

import email.utils
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

RETRYABLE = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Policy:
    """Exponential back-off with full jitter, up to a deadline over all tries of one request."""

    first_seconds: float = 0.5
    cap_seconds: float = 10.0
    deadline_seconds: float = 60.0

    def pause(self, tries: int, luck: float, retry_after: float | None = None) -> float:
        """Seconds to wait after ``tries`` failures.

        Args:
            tries: Failures so far, at least 1.
            luck: A random number in [0, 1): clients that failed together must not come back together.
            retry_after: What the server asked for; it wins when it is longer.
        """
        longest = min(self.cap_seconds, self.first_seconds * 2.0 ** min(tries - 1, 30))
        return max(luck * longest, retry_after or 0.0)


def retry_after_seconds(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """The Retry-After header, seconds or a date, as seconds from now."""
    header = headers.get("Retry-After")
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        moment = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
