"""Submitting into a results folder: start, go on, or find that there is nothing to do."""

import contextlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from launcher.backends.base import State
from launcher.backends.local import files, process
from launcher.backends.local.command import localize_command
from launcher.backends.local.devices import cuda_devices, first_devices
from launcher.backends.local.record import JobFolder, JobRecord
from launcher.backends.local.view import epochs_done, is_alive, status_of
from launcher.backends.local.volumes import localize, with_folders_from
from launcher.errors import BackendUnusable, DoesNotFit, InvalidJob, LauncherError
from launcher.job.digest import diff, digest
from launcher.job.placement import Placement
from launcher.job.spec import JobSpec
from trainer.config import CommandFile, RunFile
from trainer.config.contract import LOCAL_NAMESPACE, LOGS_DIR

Outcome = Literal["created", "resumed", "unchanged", "already done"]

# On CPUs the ranks must not see a device: `device: auto` would take it.
NO_DEVICES = {"CUDA_VISIBLE_DEVICES": ""}


class Submitter:
    """One submit into one folder. The caller holds the lock on all of the folder's siblings."""

    def __init__(
        self,
        folder: JobFolder,
        spec: JobSpec,
        *,
        directory: Path,
        start_command: Sequence[str],
        say: Callable[[str], None],
    ) -> None:
        """``directory`` is where relative paths of the job start, and where a script of the user's own runs."""
        self._folder = folder
        self._spec = spec
        self._directory = directory
        self._digest = digest(spec)
        self._start_command = start_command
        self._say = say

    def submit(self, placement: Placement, *, fresh: bool) -> Outcome:
        """Do what is left to do for the job."""
        record = self._folder.record() or self._folder.rebuilt_record()
        running = record is not None and is_alive(record)
        if fresh:
            self._set_aside(running=running)
            record, running = None, False
        known = self._check_same_run(running=running)
        if record is not None and running:
            self._check_not_stopping(record)
            self._keep(record)
            self._say_if_epochs_differ(record)
            return "unchanged"
        if record is not None and self._is_done(record):
            self._keep(record)
            return "already done"
        self._start(placement)
        return "resumed" if known else "created"

    def _set_aside(self, *, running: bool) -> None:
        name, path = self._spec.name, self._folder.path
        if running:
            raise InvalidJob(
                f"job {name} is running, and --fresh moves its folder away\n"
                f"stop it with `launcher cancel {name}`, then submit again"
            )
        if not path.exists():
            return
        number = 1
        while (aside := path.with_name(f"{name}.old-{number}")).exists():
            number += 1
        path.rename(aside)
        self._say(f"moved the earlier results to {aside}")

    def _check_same_run(self, *, running: bool) -> bool:
        """Whether the folder already belongs to this run; another run's folder is refused."""
        origin = self._folder.origin()
        if origin is None or origin.digest == self._digest:
            return origin is not None
        name = self._spec.name
        changes = diff(origin.spec, self._spec.model_dump(mode="json"))
        fresh = f"--fresh (after `launcher cancel {name}`)" if running else "--fresh"
        raise InvalidJob(
            "\n".join(
                [
                    f"job {name} exists with another specification ({self._folder.path}):",
                    *(f"  {change}" for change in changes or ["(written by another version of the launcher)"]),
                    f"give this one a name of its own with --name NEW, or set the old results aside with {fresh}",
                ]
            )
        )

    def _check_not_stopping(self, record: JobRecord) -> None:
        if record.cancelled or record.suspended:
            how = "cancelled" if record.cancelled else "suspended"
            raise LauncherError(
                f"job {record.name} was {how} and is still saving its checkpoint\n"
                f"wait for that with `launcher wait {record.name}`, then submit again"
            )

    def _keep(self, record: JobRecord) -> None:
        """Write a record that was rebuilt from a deleted job's results, so that the other verbs find the job."""
        if self._folder.record() is None:
            self._folder.write_record(record)

    def _say_if_epochs_differ(self, record: JobRecord) -> None:
        planned = (record.spec.get("train") or {}).get("epochs")
        wanted = self._spec.train.epochs if self._spec.train else 0
        if planned is not None and wanted > planned:
            self._say(f"it runs to epoch {planned}; submit again when it is over to go on to {wanted}")

    def _is_done(self, record: JobRecord) -> bool:
        succeeded = status_of(self._folder, record).state is State.SUCCEEDED
        return succeeded and (self._spec.train is None or self._spec.train.epochs <= epochs_done(self._folder))

    def _start(self, placement: Placement) -> None:
        if self._spec.train and importlib.util.find_spec("torch") is None:
            raise BackendUnusable(
                "PyTorch is not installed here, and the local backend trains with it\n"
                "install it with: pip install 'pytorchjob-launcher[trainer]'"
            )
        if self._spec.train and self._spec.train.logging.mlflow and importlib.util.find_spec("mlflow") is None:
            raise InvalidJob(
                "train.logging.mlflow: MLflow is not installed here\n"
                "install it with: pip install 'pytorchjob-launcher[mlflow]'"
            )
        environment = {**self._variables(), **self._devices()}
        run_file = self._run_file()
        folder = self._folder
        (folder.path / LOGS_DIR).mkdir(parents=True, exist_ok=True)
        files.write_text(folder.submitted_file, run_file.model_dump_json(indent=2) + "\n")
        before = folder.newest_attempt()
        log_before = folder.supervisor_log.stat().st_size if folder.supervisor_log.exists() else 0
        arguments = ["--run-file", folder.submitted_file, "--results", folder.path, "--nproc", placement.ranks]
        started = process.spawn(
            [*self._start_command, *map(str, arguments)],
            folder=folder.path if self._spec.train else self._directory,
            log=folder.supervisor_log,
            environment=environment,
        )
        record = JobRecord(
            name=self._spec.name,
            digest=self._digest,
            spec=run_file.spec,
            ranks=placement.ranks,
            pid=started.pid,
            process_started=started.created,
            submitted=datetime.now(UTC),
            directory=str(self._directory),
            attempts_before=before,
            log_before=log_before,
        )
        self._record_or_stop(record, started)

    def _record_or_stop(self, record: JobRecord, started: process.Identity) -> None:
        """A supervisor that nobody knows of would train on unseen, so it ends with a failed submit."""
        with contextlib.ExitStack() as undo:
            undo.callback(process.terminate, started, grace_seconds=0)
            self._folder.write_record(record)
            undo.pop_all()

    def _variables(self) -> dict[str, str]:
        """The job's own variables; those of a cluster's Secrets are inherited from the launcher, if it has them."""
        for name, value in self._spec.env.items():
            if not isinstance(value, str) and name not in os.environ:
                self._say(f"env.{name}: a Secret on a cluster; set {name} here to pass it on (it is not set)")
        return {name: value for name, value in self._spec.env.items() if isinstance(value, str)}

    def _devices(self) -> dict[str, str]:
        """The environment that gives the ranks their devices, or none."""
        wanted = self._spec.total_gpus
        device = self._spec.train.device if self._spec.train else "auto"
        if wanted == 0 and device == "cuda":
            raise InvalidJob("train.device: cuda needs gpus >= 1; set `gpus:`, or `device: auto`")
        if wanted == 0:
            return NO_DEVICES
        present = cuda_devices()
        if present == 0 and device != "cuda":
            ranks = self._spec.ranks
            self._say(f"no CUDA device here: training on {ranks} CPU {'rank' if ranks == 1 else 'ranks'} instead")
            return NO_DEVICES
        if present == 1 and self._spec.is_one_process and wanted > 1:
            self._say(f"one CUDA device here: data-parallel runs on that one instead of {wanted}")
            wanted = 1
        if present < wanted:
            raise DoesNotFit(
                f"gpus: the job wants {wanted}, this machine shows {present} (nvidia-smi, CUDA_VISIBLE_DEVICES)\n"
                f"use --gpus {present}" + (", or --gpus 0 to train on CPUs" if device != "cuda" else "")
            )
        # Ranks take a device each; one process for all takes every device that it sees.
        return {"CUDA_VISIBLE_DEVICES": first_devices(wanted)} if self._spec.is_one_process else {}

    def _run_file(self) -> RunFile | CommandFile:
        known: dict[str, Any] = {
            "job": self._spec.name,
            "namespace": LOCAL_NAMESPACE,
            "digest": self._digest,
            "spec": self._spec.model_dump(mode="json"),
        }
        spec = with_folders_from(self._spec, self._directory)
        if spec.train:
            return RunFile(**known, train=localize(spec, spec.train))
        command = localize_command(spec, self._directory, {**os.environ, **self._variables()})
        return CommandFile(**known, command=command, restarts=self._spec.restarts)
