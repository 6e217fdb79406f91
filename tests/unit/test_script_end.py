"""How a script's end is understood: exit code, what Python printed last, and the file of torch's ``@record``."""

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.exits import Exit
from trainer.runtime.script_end import explain

TRACEBACK = """\
Traceback (most recent call last):
  File "train.py", line 9, in <module>
    main()
  File "train.py", line 6, in main
    raise ValueError("sample 17 has no label")
ValueError: sample 17 has no label
"""
LOST_PEER = """\
Traceback (most recent call last):
  File "train.py", line 6, in <module>
    dist.barrier()
RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1234
"""


def end(folder: Path, code: int, log: str = "", recorded: str | None = None) -> tuple[int, dict[str, Any]]:
    (folder / "rank-0.log").write_text(log)
    if recorded is not None:
        (folder / "error.json").write_text(recorded)
    return explain(code, log_file=folder / "rank-0.log", error_file=folder / "error.json")


def of_torch(traceback: str) -> str:
    """As torch prints an uncaught exception once the process group is there."""
    return "".join(f"[rank0]: {line}" for line in traceback.splitlines(keepends=True))


@pytest.mark.parametrize(
    "log",
    [
        TRACEBACK,
        of_torch(TRACEBACK),
        f"{TRACEBACK.replace('17', '3')}caught, going on\n{TRACEBACK}",
        f"epoch 1\n\r 10%|#   |\r 20%|##  |{TRACEBACK}[W1125 ProcessGroup.cpp:1] destroy_process_group() is missing\n",
    ],
    ids=["plain", "tagged by torch", "the last of two", "behind a progress bar, before a warning"],
)
def test_an_uncaught_exception_is_named_with_its_text_and_line(tmp_path: Path, log: str) -> None:
    code, words = end(tmp_path, 1, log)
    assert (code, words["exception"], words["message"]) == (1, "ValueError", "sample 17 has no label")
    assert '    raise ValueError("sample 17 has no label")' in words["lines"]
    assert words["lines"][-1] == "ValueError: sample 17 has no label"


def test_of_chained_exceptions_the_last_one_ended_the_script(tmp_path: Path) -> None:
    first = TRACEBACK.replace("ValueError", "KeyError")
    log = f"{first}\nDuring handling of the above exception, another exception occurred:\n\n{TRACEBACK}"
    assert end(tmp_path, 1, log)[1]["exception"] == "ValueError"


def test_a_syntax_error_has_no_traceback_and_is_named_too(tmp_path: Path) -> None:
    log = 'starting\n  File "train.py", line 1\n    def\n       ^\nSyntaxError: invalid syntax\n'
    _, words = end(tmp_path, 1, log)
    assert (words["exception"], words["message"]) == ("SyntaxError", "invalid syntax")
    assert words["lines"][0] == '  File "train.py", line 1'


def test_an_exception_without_text_is_its_own_message(tmp_path: Path) -> None:
    _, words = end(
        tmp_path, 1, 'Traceback (most recent call last):\n  File "t.py", line 1, in f\n    1\nAssertionError\n'
    )
    assert (words["exception"], words["message"]) == ("AssertionError", "AssertionError")


def test_a_lost_peer_is_infrastructure_and_a_full_gpu_is_device_memory(tmp_path: Path) -> None:
    assert end(tmp_path, 1, of_torch(LOST_PEER))[0] == Exit.INFRASTRUCTURE
    refused = LOST_PEER.replace("RuntimeError", "torch.distributed.DistNetworkError")
    assert end(tmp_path, 1, refused)[0] == Exit.INFRASTRUCTURE
    full = TRACEBACK.replace("ValueError: sample", "torch.OutOfMemoryError: CUDA out of memory. sample")
    assert end(tmp_path, 1, full)[0] == Exit.DEVICE_MEMORY
    assert end(tmp_path, 1, LOST_PEER.replace("RuntimeError", "ValueError"))[0] == Exit.USER_EXCEPTION


def test_what_record_wrote_counts_more_than_the_log(tmp_path: Path) -> None:
    words = {"message": "KeyError: 'label'", "extraInfo": {"py_callstack": TRACEBACK, "timestamp": "0"}}
    code, found = end(tmp_path, 1, "no traceback here", json.dumps({"message": words}))
    assert (code, found["exception"], found["message"]) == (1, "KeyError", "'label'")
    assert found["lines"] == TRACEBACK.splitlines()


@pytest.mark.parametrize("recorded", ["", "[]", '{"message": "text"}', '{"message": {"message": 3}}'])
def test_an_error_file_of_another_form_is_left_out(tmp_path: Path, recorded: str) -> None:
    assert end(tmp_path, 1, TRACEBACK, recorded)[1]["exception"] == "ValueError"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (1, "the script ended: exit code 1"),
        (2, "the script ended: bad configuration"),
        (42, "the script ended: exit code 42"),
        (137, None),
    ],
)
def test_without_an_exception_the_code_and_the_last_lines_must_do(
    tmp_path: Path, code: int, message: str | None
) -> None:
    found, words = end(tmp_path, code, "usage: train.py\n\ntrain.py: error: no such option: --lrr\n")
    assert (found, words.get("message"), words.get("exception")) == (code, message, None)
    assert words["lines"][-1] == "train.py: error: no such option: --lrr"


def test_a_traceback_that_was_only_printed_is_not_the_cause_of_another_exit_code(tmp_path: Path) -> None:
    assert "exception" not in end(tmp_path, 3, TRACEBACK)[1]


def test_a_log_without_end_or_none_at_all_is_no_obstacle(tmp_path: Path) -> None:
    assert end(tmp_path, 1, "x" * 200_000 + "\n" + TRACEBACK)[1]["exception"] == "ValueError"
    nowhere = tmp_path / "nothing"
    assert explain(139, log_file=nowhere, error_file=nowhere) == (139, {"lines": []})
