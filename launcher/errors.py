"""The launcher's failures and the exit code each ends with. Light: click's group imports it on every start."""

from enum import IntEnum

import click


class LauncherExit(IntEnum):
    """Exit codes of the launcher (docs/guide.md lists them)."""

    SUCCEEDED = 0
    ERROR = 1
    USAGE = 2
    JOB_FAILED = 3
    NOT_FOUND = 4
    DOES_NOT_FIT = 5
    UNUSABLE = 6
    STOPPED = 7
    TIMEOUT = 124
    INTERRUPTED = 130


class LauncherError(click.ClickException):
    """What failed, in words for the user; click prints it to stderr and exits with ``exit_code``."""

    exit_code = int(LauncherExit.ERROR)


class InvalidJob(LauncherError):
    """The job file is wrong or contradicts itself; the message has a line for each error."""

    exit_code = int(LauncherExit.USAGE)


class JobNotFound(LauncherError):
    """No such job."""

    exit_code = int(LauncherExit.NOT_FOUND)


class DoesNotFit(LauncherError):
    """The job fits neither the stated nor the live nodes."""

    exit_code = int(LauncherExit.DOES_NOT_FIT)


class BackendUnusable(LauncherError):
    """The backend cannot run anything at present."""

    exit_code = int(LauncherExit.UNUSABLE)


class TimedOut(LauncherError):
    """A deadline given by the user passed."""

    exit_code = int(LauncherExit.TIMEOUT)
