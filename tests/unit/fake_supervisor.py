"""A stand-in for `python -m trainer run` that does what a plan file says, and writes what the trainer would.

Plan: {"do": "run" | "succeed" | "fail" | "die early" | "ignore SIGTERM", "code": 3, ...}. The files follow the
contract between launcher and trainer; tests/local runs the real trainer against the same expectations.
"""

import json
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil


def now() -> str:
    return datetime.now(UTC).isoformat()


class Fake:
    def __init__(self, plan: dict[str, Any], options: dict[str, str]) -> None:
        self.plan = plan
        self.folder = Path(options["--results"])
        self.ranks = int(options["--nproc"])
        self.run = json.loads(Path(options["--run-file"]).read_text())
        self.facts: dict[str, Any] = {}

    def begin(self) -> None:
        attempts = self.folder / "attempts"
        attempts.mkdir(exist_ok=True)
        number = len(list(attempts.glob("*.json"))) + 1
        self.facts = {
            "attempt": number,
            "pid": os.getpid(),
            "started": now(),
            "process_started": psutil.Process().create_time(),
            "ranks": self.ranks,
            "nodes": 1,
            "resumed_from": None if number == 1 else "step-00000010",
            "restart_of": None,
            "end": None,
        }
        logs = self.folder / "logs" / f"attempt-{number}"
        logs.mkdir(parents=True)
        for rank in range(self.ranks):
            (logs / f"rank-{rank}.log").write_bytes(f"attempt {number} rank {rank}\n".encode() + b"caf\xe9\n")
        self.write_attempt()
        (self.folder / "run.json").write_text(json.dumps(self.run))
        progress = {"step": 10, "steps": 20, "epoch": 1, "epochs": 2, "loss": 0.5, "samples_per_second": 99.0}
        print("@progress", json.dumps({**progress, "eta_seconds": 1.5}), flush=True)

    def write_attempt(self) -> None:
        path = self.folder / "attempts" / f"{self.facts['attempt']:04d}.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.facts))
        temporary.replace(path)

    def end(self, code: int, **details: Any) -> None:
        ended = {"code": code, "cause": "", "rank": None, "exception": None, "lines": [], "ended": now()}
        self.facts["end"] = {**ended, **details}
        self.write_attempt()
        sys.exit(code)

    def succeed(self) -> None:
        epochs = self.run["train"]["epochs"]
        summary = {"job": self.run["job"], "epochs": epochs, "steps": 20, "train_samples": 1437}
        metrics = {"split": "test", "loss": 0.25, "accuracy": 0.975, "macro_f1": 0.97}
        (self.folder / "summary.json").write_text(json.dumps({**summary, "metrics": metrics}))
        self.end(0, cause="done")


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    options = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
    fake = Fake(plan, options)
    if plan["do"] == "die early":
        print("Traceback ...\nImportError: no module named torch", file=sys.stderr)
        sys.exit(1)
    if plan["do"] == "ignore SIGTERM":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: fake.end(143, cause="preempted"))
    fake.begin()
    if plan["do"] == "fail":
        words = {"cause": "data missing", "exception": "DataError: no such file", "lines": ["a", "b"]}
        fake.end(plan["code"], rank=1, **{**words, **plan.get("words", {})})
    if plan["do"] == "succeed":
        fake.succeed()
    while True:
        time.sleep(0.05)


if __name__ == "__main__":
    main()
