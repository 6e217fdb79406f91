"""Checkpoints: tensors in safetensors files, everything else in JSON, whole or absent.

A checkpoint is a folder ``step-00000123`` with ``model.safetensors``, ``optimizer.safetensors``, ``state.json`` and
``COMPLETE``, which lists the size and CRC-32 of each file. It is written under a temporary name, flushed, and renamed;
a checkpoint once there is never rewritten. No pickle is ever read.
"""

import json
import logging
import os
import shutil
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer.config.contract import BEST_FILE, CHECKPOINTS_DIR, FOLDS_DIR
from trainer.exits import StorageError
from trainer.output.storage import (
    TEMPORARY_PREFIX,
    make_directory,
    remove_temporaries,
    storage_errors,
    sync_directory,
    write_json,
)

COMPLETE = "COMPLETE"
STATE = "state.json"
_CHUNK_BYTES = 4 * 2**20

log = logging.getLogger(__name__)

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """What was saved after one optimizer step."""

    step: int
    tensors: dict[str, Tensors]
    """File stem ("model", "optimizer") -> tensor name -> tensor on the CPU."""
    state: dict[str, Any]
    """JSON-ready state of the run."""


class Checkpointer:
    """Writes, finds, verifies and expires the checkpoints of one results folder."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        self._root = folder
        self._folder = folder / CHECKPOINTS_DIR
        self._best_file = folder / BEST_FILE
        self._keep = keep

    def prepare(self) -> None:
        """Create the folder and remove what a killed writer left behind."""
        make_directory(self._folder)
        remove_temporaries(self._folder)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write ``checkpoint`` durably. Does nothing where that step is already there."""
        final = self._path(checkpoint.step)
        if final.exists():
            return
        temporary = self._folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
        with storage_errors(final):
            try:
                temporary.mkdir()
                self._write_files(temporary, checkpoint)
                temporary.rename(final)
                sync_directory(self._folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def _write_files(self, folder: Path, checkpoint: Checkpoint) -> None:
        for stem, tensors in checkpoint.tensors.items():
            try:
                save_file(_apart(tensors), folder / f"{stem}.safetensors")
            except SafetensorError as error:  # how the library reports a full disk
                raise OSError(str(error)) from error
        (folder / STATE).write_text(json.dumps({"step": checkpoint.step, **checkpoint.state}, allow_nan=False))
        marks = {path.name: _mark(path) for path in sorted(folder.iterdir())}
        (folder / COMPLETE).write_text(json.dumps(marks))
        for path in folder.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(folder)

    def mark_best(self, entry: dict[str, Any]) -> None:
        """Point best.json at a saved checkpoint; ``entry`` has at least its "step"."""
        write_json(self._best_file, {"checkpoint": self._path(entry["step"]).name, **entry})

    def steps(self) -> list[int]:
        """Steps that have a checkpoint folder, ascending; not verified."""
        return sorted(int(path.name.removeprefix("step-")) for path in self._folder.glob("step-[0-9]*"))

    def latest_valid_step(self) -> int | None:
        """The newest step whose files verify. A broken newer one is skipped with a warning that names what is wrong."""
        for step in reversed(self.steps()):
            fault = _fault(self._path(step))
            if fault is None:
                return step
            log.warning("checkpoint %s is not used: %s", self._path(step).name, fault)
        return None

    def load(self, step: int) -> Checkpoint:
        """Read a step. Verify it first (``latest_valid_step``)."""
        return _read(self._path(step))

    @staticmethod
    def read(folder: Path) -> Checkpoint:
        """Verify and read the checkpoint in ``folder``, wherever it lies.

        Raises:
            StorageError: It is not whole, or not readable.
        """
        if fault := _fault(folder):
            raise StorageError(f"checkpoint {folder} is damaged: {fault}")
        return _read(folder)

    def expire(self, *, best_step: int | None) -> None:
        """Delete all but the newest ``keep`` and the best. A failed delete only warns: the run is worth more."""
        for step in self.steps()[: -self._keep]:
            if step == best_step:
                continue
            # Renamed first, so that a crash in the middle leaves no half checkpoint under a good name.
            doomed = self._folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
            try:
                self._path(step).rename(doomed)
                shutil.rmtree(doomed)
            except OSError as error:
                log.warning("cannot delete the expired checkpoint %s: %s", self._path(step).name, error)

    def remove_after(self, step: int) -> None:
        """Delete checkpoints newer than ``step``: broken ones, which a resumed run will write again."""
        for newer in [other for other in self.steps() if other > step]:
            with storage_errors(self._path(newer)):
                shutil.rmtree(self._path(newer))

    def newest_name(self) -> str | None:
        """Name of the newest checkpoint's folder, of the last fold that has one in cross-validation; not verified."""
        if steps := self.steps():
            return self._path(steps[-1]).name
        folds = sorted(self._root.glob(f"{FOLDS_DIR}/[0-9]*"), key=lambda path: int(path.name), reverse=True)
        names = ((fold, Checkpointer(fold, keep=self._keep).newest_name()) for fold in folds)
        return next((f"{FOLDS_DIR}/{fold.name}/{name}" for fold, name in names if name), None)

    def _path(self, step: int) -> Path:
        return self._folder / f"step-{step:08d}"


def _fault(folder: Path) -> str | None:
    """What is wrong with the files of a checkpoint; None where they are what was written."""
    try:
        marks = json.loads((folder / COMPLETE).read_text())
        needed = {STATE, *(path.name for path in folder.glob("*.safetensors"))}
        if unlisted := sorted(needed - set(marks)):
            return f"{unlisted[0]} is not listed in {COMPLETE}"
        for name, mark in marks.items():
            if _mark(folder / name) != mark:
                return f"{name} differs from what was written"
    except (OSError, ValueError, TypeError) as error:
        return str(error)
    return None


def _read(folder: Path) -> Checkpoint:
    try:
        state = json.loads((folder / STATE).read_text())
        tensors = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
        return Checkpoint(int(state["step"]), tensors, state)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise StorageError(f"cannot read checkpoint {folder}: {error}") from error


def _apart(tensors: Tensors) -> Tensors:
    """``tensors``, contiguous and without shared memory, which the format has none of: tied weights are saved twice."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone(memory_format=torch.contiguous_format) if memory in seen else tensor.contiguous()
        seen.add(memory)
    return apart


def _mark(path: Path) -> dict[str, int]:
    """Size and CRC-32 of a file: guards against torn and rotten files, not against an attacker."""
    checksum = size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
            size += len(chunk)
    return {"bytes": size, "crc32": checksum}
