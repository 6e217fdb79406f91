"""How a training process ends: the exit codes shared by the trainer and the launcher.

Codes below 128 are final (nobody retries them); codes from 128 up are retryable, and the supervisor bounds how often.
The split at 128 is the training operator's own under the ``ExitCode`` restart policy.
"""

from enum import IntEnum

FIRST_RETRYABLE = 128


class Exit(IntEnum):
    """The code a trainer process ends with."""

    DONE = 0
    USER_EXCEPTION = 1
    BAD_CONFIG = 2
    DATA = 3
    NON_FINITE = 4
    STORAGE = 5
    DEVICE_MEMORY = 6
    ATTEMPTS_EXHAUSTED = 7
    WATCHDOG = 134
    INFRASTRUCTURE = 138
    CRASH = 139
    PREEMPTED = 143


MEANING: dict[int, str] = {
    Exit.DONE: "done",
    Exit.USER_EXCEPTION: "uncaught exception",
    Exit.BAD_CONFIG: "bad configuration",
    Exit.DATA: "data missing or unreadable",
    Exit.NON_FINITE: "loss or gradient is not finite",
    Exit.STORAGE: "results storage unusable",
    Exit.DEVICE_MEMORY: "device out of memory",
    Exit.ATTEMPTS_EXHAUSTED: "attempts exhausted without progress",
    Exit.WATCHDOG: "a collective operation hung",
    137: "killed (SIGKILL; often the memory limit)",
    Exit.INFRASTRUCTURE: "infrastructure failure (peer lost or rendezvous timed out)",
    Exit.CRASH: "crashed (segmentation fault)",
    Exit.PREEMPTED: "preempted after saving a checkpoint",
}


def is_final(code: int) -> bool:
    """Whether a process that ended with ``code`` must not be started again (0 included)."""
    return 0 <= code < FIRST_RETRYABLE


def from_wait_status(returncode: int) -> int:
    """The shell's form of a ``subprocess`` return code: a death by signal n (given as -n) becomes 128 + n."""
    return 128 - returncode if returncode < 0 else returncode


def meaning(code: int) -> str:
    """One phrase for people; codes without an entry are named by their signal or number."""
    if code in MEANING:
        return MEANING[code]
    return f"killed by signal {code - 128}" if code > 128 else f"exit code {code}"


class TrainingError(Exception):
    """A failure whose cause is known: it carries the code its process must end with."""

    code: Exit = Exit.USER_EXCEPTION


class ConfigError(TrainingError):
    """The configuration asks for something impossible that only the running trainer can see."""

    code = Exit.BAD_CONFIG


class DataError(TrainingError):
    """The data is missing, unreadable, or not what the configuration says."""

    code = Exit.DATA


class NonFiniteError(TrainingError):
    """Loss or gradient norm stopped being a finite number."""

    code = Exit.NON_FINITE


class StorageError(TrainingError):
    """The results folder cannot be written or read back."""

    code = Exit.STORAGE


class InfrastructureError(TrainingError):
    """A peer, a rendezvous or a collective failed; running again may succeed."""

    code = Exit.INFRASTRUCTURE


class Preempted(TrainingError):
    """The process was asked to leave, and has saved its work."""

    code = Exit.PREEMPTED
