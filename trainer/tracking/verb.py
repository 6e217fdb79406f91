"""``python -m trainer mlflow``: log a run to MLflow, beside its training or later."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.exits import Exit
from trainer.tracking import beside
from trainer.tracking.follow import Follower, configured
from trainer.tracking.mlflow_store import store_of

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]

EXAMPLES = """\
examples:
  python -m trainer mlflow results/local/digits
  python -m trainer mlflow results/local/digits --tracking-uri https://mlflow.example.com --experiment digits

Sends what the store lacks, each step once. A run whose job says `train.logging.mlflow` is logged while it trains; this
is for what could not be sent then, and for other runs. Settings default to the job's.
"""


def add_parser(verbs: "Verbs") -> None:
    """Add the verb to the trainer's."""
    verb = verbs.add_parser(
        "mlflow",
        help="log a run that has ended to MLflow, as far as it is not there yet",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("folder", type=Path, metavar="DIR", help="results folder of a job")
    verb.add_argument("--tracking-uri", metavar="URI", help="store, as in train.logging.mlflow")
    verb.add_argument("--experiment", metavar="NAME", help="experiment that the run belongs to")
    verb.add_argument("--follow", action="store_true", help=argparse.SUPPRESS)  # beside a training, until it ends


def run(options: argparse.Namespace) -> int:
    """Log the run of a results folder; where to is the answer on stdout. See trainer.exits for the codes."""
    config = configured(options.folder, tracking_uri=options.tracking_uri, experiment=options.experiment)
    beside.check_installed(store_of(config, options.folder))
    follower = Follower(config, options.folder, training=options.follow)
    if options.follow:
        beside.begin()
        beside.answer(sent=follower.follow(beside.job_ended))
        return Exit.DONE
    if not follower.send(finish=True):
        return Exit.STORAGE
    print(follower.store)
    return Exit.DONE
