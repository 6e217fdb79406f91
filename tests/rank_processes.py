"""Ranks without a supervisor: a function run once a rank, in processes forked from the test, joined over gloo."""

import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import torch

from trainer.runtime.distributed import Ranks, joined

SECONDS = 120


def on_ranks(world_size: int, main: Callable[[Ranks], Any], *, device: str = "cpu") -> list[Any]:
    """What ``main`` returns on each rank, in their order; it must be picklable. Fails where ``main`` does."""
    # A fork of a process that computed with several OpenMP threads waits for them for ever: they are not copied.
    assert torch.get_num_threads() == 1, "run tests with OMP_NUM_THREADS=1"
    context = multiprocessing.get_context("fork")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        pipes, processes = [], []
        for rank in range(world_size):
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_run, args=(rank, world_size, listener, there, main, device))
            process.start()
            there.close()
            pipes.append(here)
            processes.append(process)
        try:
            results = [_received(rank, pipe) for rank, pipe in enumerate(pipes)]
        finally:
            for process in processes:
                process.kill()
                process.join()
            for pipe in pipes:
                pipe.close()
    return results


def _received(rank: int, pipe: Connection) -> Any:
    assert pipe.poll(SECONDS), f"rank {rank} gave no answer in {SECONDS} s"
    fine, value = pickle.loads(pipe.recv_bytes())  # noqa: S301 - our own child's
    assert fine, f"rank {rank} failed:\n{value}"
    return value


def _run(
    rank: int, world_size: int, listener: socket.socket, answer: Connection, main: Callable[[Ranks], Any], device: str
) -> None:
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(listener.getsockname()[1]),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    try:
        with joined(device, listener=listener, timeout=timedelta(seconds=SECONDS)) as ranks:
            answer.send_bytes(pickle.dumps((True, main(ranks))))
    except BaseException:  # noqa: BLE001 - told to the test
        answer.send_bytes(pickle.dumps((False, traceback.format_exc())))
    finally:
        answer.close()
        os._exit(0)
