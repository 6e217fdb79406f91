"""The termination message: how a container ended, in the few bytes that Kubernetes keeps in the pod's status.

The launcher reads it there when the pod's log and the results volume are out of reach.
"""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.config.contract import SUMMARY_FILE
from trainer.exits import Exit

PATH_VARIABLE = "TERMINATION_LOG"
# The kubelet mounts this file into every container; elsewhere it does not exist.
KUBELET_PATH = Path("/dev/termination-log")
# Of the 4,096 bytes that Kubernetes keeps; an outer process may want to add to it.
MAX_BYTES = 3500
# Names are cut to this, causes only as far as is needed and no further than this (characters).
SHORTEST = 100

log = logging.getLogger(__name__)


def write_termination_message(
    end: Mapping[str, Any], *, job: str | None, attempt: int | None = None, folder: Path
) -> None:
    """Tell the kubelet how this process ends; does nothing where nobody asked for it.

    Never fails: a message that cannot be written must not change how the run ended.

    Args:
        end: The end as attempts record it: code, cause, and where known rank, exception, lines.
        job: Name of the job, where the run file could be read.
        attempt: The last attempt, where there was one.
        folder: Results folder; the metrics of a finished run are read from its summary.
    """
    path = _path()
    if path is None:
        return
    try:
        metrics = _final_metrics(folder) if end["code"] == Exit.DONE else None
        path.write_bytes(termination_message(end, job=job, attempt=attempt, metrics=metrics))
    except (OSError, ValueError) as error:
        log.warning("cannot write the termination message to %s: %s", path, error)


def _path() -> Path | None:
    if named := os.environ.get(PATH_VARIABLE):
        return Path(named)
    return KUBELET_PATH if KUBELET_PATH.exists() else None


def _final_metrics(folder: Path) -> dict[str, Any] | None:
    """Those of the summary; a script of the user's own may have written one without."""
    metrics = json.loads((folder / SUMMARY_FILE).read_bytes()).get("metrics")
    return metrics if isinstance(metrics, dict) else None


def termination_message(
    end: Mapping[str, Any], *, job: str | None, attempt: int | None, metrics: Mapping[str, Any] | None
) -> bytes:
    """The message as JSON, at most MAX_BYTES long.

    What matters least goes first: the oldest lines of the traceback, the end of a long cause, the last metrics.
    """
    exception = end.get("exception")
    facts: dict[str, Any] = {
        "job": job and job[:SHORTEST],
        "attempt": attempt,
        "code": int(end["code"]),
        "cause": str(end["cause"]),
        "rank": end.get("rank"),
        "exception": exception and exception[:SHORTEST],
        "lines": list(end.get("lines") or []),
        "metrics": None if metrics is None else dict(metrics),
    }
    while len(message := _encode(facts)) > MAX_BYTES:
        if facts["lines"]:
            del facts["lines"][0]
        elif len(facts["cause"]) > SHORTEST:
            facts["cause"] = facts["cause"][: max(SHORTEST, len(facts["cause"]) * 9 // 10)]
        else:
            facts["metrics"].popitem()
    return message


def _encode(facts: Mapping[str, Any]) -> bytes:
    # Half of a surrogate pair (an odd byte in a file name) has no UTF-8 form; as a backslash escape it is valid JSON.
    return json.dumps(facts, ensure_ascii=False).encode("utf-8", "backslashreplace")
