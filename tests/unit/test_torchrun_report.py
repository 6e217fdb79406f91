"""torchrun's report of a failed script, as torch 2.14 printed it."""

from dataclasses import replace
from datetime import UTC, datetime

from launcher.backends.kubernetes.pods import End
from launcher.backends.kubernetes.torchrun import explain

REPORT = """\
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
------------------------------------------------------------
Failures:
[1]:
  time      : 2026-11-24_22:20:10
  host      : localhost
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 29259)  (SIGTERM)
  error_file: <N/A>
  traceback : Signal 15 (SIGTERM) received by PID 29259
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-24_22:20:10
  host      : localhost
  rank      : 3 (local_rank: 3)
  exitcode  : 1 (pid: 29262)
  error_file: <N/A>
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
============================================================
""".splitlines()
LOG = [
    "[rank 3] Traceback (most recent call last):",
    '[rank 3]   File "train.py", line 2, in <module>',
    "[rank 3] ValueError: an earlier one, which was caught",
    "[rank 0] hello",
    "[rank 3] [rank3]: Traceback (most recent call last):",
    '[rank 3] [rank3]:   File "train.py", line 6, in <module>',
    '[rank 3] [rank3]:     raise ValueError("sample 17 has no label")',
    "[rank 3] [rank3]: ValueError: sample 17 has no label",
    "W1124 api.py:1028] Sending process 29259 closing signal SIGTERM",
    *REPORT,
]
END = End(pod="job-worker-0", index=0, when=datetime.now(UTC), code=1, lines=tuple(REPORT[-9:]))


def test_rank_exception_and_line_are_named() -> None:
    end = explain(END, LOG)
    assert (end.rank, end.exception, end.cause) == (3, "ValueError", "ValueError: sample 17 has no label")
    assert end.lines[1] == '  File "train.py", line 6, in <module>'


def test_without_the_log_the_message_still_names_the_rank() -> None:
    end = explain(END, ())
    assert (end.rank, end.exception) == (3, None)
    assert end.lines == END.lines


def test_a_killed_rank_is_named_with_its_signal() -> None:
    killed = [line.replace("exitcode  : 1", "exitcode  : -9") for line in REPORT]
    assert "SIGKILL" in explain(replace(END, lines=tuple(killed)), ()).cause


def test_what_is_not_of_torchrun_stays_as_it_is() -> None:
    end = replace(END, lines=("sh: torchrun: not found",))
    assert explain(end, ["sh: torchrun: not found"]) == end


def test_a_rank_that_lost_its_peer_is_not_to_blame() -> None:
    lost = [
        line.replace("ValueError: sample 17 has no label", "RuntimeError: Connection closed by peer") for line in LOG
    ]
    assert explain(END, lost).is_consequence
    assert not explain(END, LOG).is_consequence
