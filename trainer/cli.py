"""The trainer's command line: ``run`` a job, ``check`` this machine, ``predict``, and what is made of finished runs."""

import argparse
import importlib.metadata
import json
import logging
import os
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pydantic import ValidationError

from trainer.config import CommandFile, RunFile
from trainer.config.contract import LOGS_DIR, REPORT_FILE, RUN_FILE, SUMMARY_FILE, parse_run_file
from trainer.config.data import Digits, ImageFolder, ImportedImages
from trainer.config.model import TransferConfig
from trainer.config.train import TrainConfig
from trainer.exits import ConfigError, Exit, StorageError, TrainingError
from trainer.output.attempts import newest_attempt
from trainer.output.results import is_complete
from trainer.output.storage import make_directory, storage_errors, write_json
from trainer.output.termination import write_termination_message
from trainer.runtime.cpus import available_cpus
from trainer.runtime.rendezvous import Place
from trainer.runtime.signals import SignalInbox
from trainer.tracking import verb as mlflow
from trainer.tracking.beside import check_mlflow, logging_to_mlflow

if TYPE_CHECKING:
    from trainer.runtime.work import Work

log = logging.getLogger("trainer")

# The port that the training operator opens on every pod.
DEFAULT_PORT = 23456
PREDICT_EXAMPLES = """\
examples:
  python -m trainer predict results/local/digits photo.png scan-*.png
  python -m trainer predict results/local/digits/checkpoints/step-00000880 photo.png -o json
  python -m trainer predict results/local/pronunciation hello world
  cat words.txt | python -m trainer predict results/local/pronunciation -
  python -m trainer predict --import-from examples/own_model results/local/own-model photo.png

A dash reads one input a line from stdin. Exit code 3: some inputs could not be used (they say why).
A network of your own is code that its checkpoint names, with arguments from there. It runs only where --import-from or
--allow-import say so: give them for checkpoints that you trust.
"""
REPORT_EXAMPLES = """\
examples:
  python -m trainer report results/local/digits
  python -m trainer report results/local/digits results/local/digits-folds -o comparison.html
"""
VERSIONED = ("pytorchjob-launcher", "torch", "torchvision", "numpy", "pillow", "scikit-learn", "safetensors")


def main(arguments: list[str], inbox: SignalInbox | None = None) -> int:
    """Parse and run; the process's exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=_talk(options.verb))
    try:
        if options.verb == "run" and inbox:
            return run(options.run_file, options.results, place=_place(options), inbox=inbox)
        if options.verb == "check":
            return check()
        if options.verb == "predict":
            return predict(options)
        if options.verb == "mlflow":
            return mlflow.run(options)
        return report([*filter(None, [options.results]), *options.folders], options.output)
    except TrainingError as error:
        log.error("%s", error)  # noqa: TRY400 - the message is the user's answer; the traceback would bury it
        if options.verb == "run":
            end = {"code": error.code, "cause": str(error), "exception": type(error).__name__}
            write_termination_message(end, job=None, folder=options.results)
        return error.code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trainer", description="Train a PyTorch model from a run file.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    run_verb = verbs.add_parser("run", help="supervise the ranks of one job on this machine")
    run_verb.add_argument("--run-file", type=Path, required=True, help="JSON: training configuration and job identity")
    run_verb.add_argument("--results", type=Path, required=True, help="results folder of this job")
    run_verb.add_argument("--nproc", help="ranks on this machine (default: $PET_NPROC_PER_NODE, else 1)")
    run_verb.add_argument("--nnodes", help="machines of the job, or MIN:MAX (default: $PET_NNODES, else 1)")
    run_verb.add_argument("--node-rank", help="which of them this is, from 0 (default: $PET_NODE_RANK, else 0)")
    run_verb.add_argument("--master-addr", help="host of node 0 (default: $PET_MASTER_ADDR, else this machine)")
    run_verb.add_argument("--master-port", help=f"free port there (default: $PET_MASTER_PORT, else {DEFAULT_PORT})")
    verbs.add_parser("check", help="print the devices, precisions and versions that a run would use")
    predict_verb = verbs.add_parser(
        "predict",
        help="use a trained network on new images or words",
        epilog=PREDICT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict_verb.add_argument("checkpoint", type=Path, help="results folder (its best checkpoint), or a step-* folder")
    predict_verb.add_argument("inputs", nargs="+", help="image files; or words, for a network of sequences")
    predict_verb.add_argument("--top", type=int, default=3, help="how many answers each (default: 3)")
    predict_verb.add_argument(
        "--import-from", type=Path, metavar="DIR", help="a network of your own: the folder of the code that it needs"
    )
    predict_verb.add_argument(
        "--allow-import", action="append", default=[], metavar="PACKAGE", help="the same, for an installed package"
    )
    predict_verb.add_argument("-o", "--output", choices=("table", "json"), default="table", help="form of the answer")
    report_verb = verbs.add_parser(
        "report",
        help="write report.html of a finished run again, or one page that compares several",
        epilog=REPORT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    report_verb.add_argument("folders", nargs="*", type=Path, metavar="DIR", help="results folder of a job")
    report_verb.add_argument("--results", type=Path, help="the same as DIR, for one folder")
    report_verb.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="page to write (default: report.html in DIR; of several runs ./report.html)",
    )
    mlflow.add_parser(verbs)
    return parser


def _talk(verb: str) -> TextIO:
    """Where messages go: a run's log is its output; elsewhere stdout carries the answer only."""
    return sys.stdout if verb == "run" else sys.stderr


def _place(options: argparse.Namespace) -> Place:
    """Which node this is: as asked for, else as the training operator says (its PET_* variables), else the only one."""
    min_nodes, max_nodes = _node_bounds(options.nnodes or os.environ.get("PET_NNODES") or "1")
    place = Place(
        node=_whole_number("--node-rank", options.node_rank, "PET_NODE_RANK", default=0, least=0),
        ranks_per_node=_whole_number("--nproc", options.nproc, "PET_NPROC_PER_NODE", default=1, least=1),
        min_nodes=min_nodes,
        max_nodes=max_nodes,
        address=options.master_addr or os.environ.get("PET_MASTER_ADDR") or "127.0.0.1",
        port=_whole_number("--master-port", options.master_port, "PET_MASTER_PORT", default=DEFAULT_PORT, least=1),
    )
    if place.node >= place.max_nodes:
        beyond = f"--node-rank {place.node} must be less than --nnodes {place.max_nodes}"
        if place.min_nodes == place.max_nodes:
            raise ConfigError(beyond)
        # Somebody scaled the job beyond its bound: no reason to fail it.
        log.warning("%s: this node only waits for the end", beyond)
    return place


def _node_bounds(text: str) -> tuple[int, int]:
    """The fewest and the most nodes of the job: "2" or "1:4"."""
    numbers = text.split(":")
    if len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
        raise ConfigError(f"--nnodes (default: PET_NNODES): must be a whole number or MIN:MAX (got {text})")
    fewest, most = int(numbers[0]), int(numbers[-1])
    if not 1 <= fewest <= most:
        raise ConfigError(f"--nnodes (default: PET_NNODES): 1 <= MIN <= MAX must hold (got {text})")
    return fewest, most


def _whole_number(option: str, given: str | None, variable: str, *, default: int, least: int) -> int:
    text = given or os.environ.get(variable) or str(default)
    if not text.isdecimal() or int(text) < least:
        raise ConfigError(f"{option} (default: {variable}): must be a whole number >= {least} (got {text})")
    return int(text)


def run(run_file: Path, folder: Path, *, place: Place, inbox: SignalInbox) -> int:
    """Supervise one job; see trainer.exits for the codes."""
    run_spec = _read_run_file(run_file)
    check_mlflow(run_spec, folder)
    _probe(folder)
    if is_complete(run_spec, folder):
        log.info("already done: %s", folder / SUMMARY_FILE)
        write_termination_message({"code": Exit.DONE, "cause": "already done"}, job=run_spec.job, folder=folder)
        return Exit.DONE
    if place.is_first:
        _claim(run_spec, folder)
    _set_defaults_of_ranks(place)
    work = _work(run_spec, folder)
    from trainer.runtime.supervisor import Supervisor

    supervisor = Supervisor(run_spec, folder, work=work, place=place, inbox=inbox)
    if not place.is_first:
        return supervisor.supervise()
    with logging_to_mlflow(run_spec, folder):
        return supervisor.supervise()


def _work(run_spec: RunFile | CommandFile, folder: Path) -> "Work":
    if isinstance(run_spec, CommandFile):
        from trainer.runtime.script_work import ScriptWork

        return ScriptWork(run_spec, folder)
    _preload(run_spec.train)
    from trainer.runtime.train_work import TrainWork

    return TrainWork(run_spec, folder)


def _read_run_file(path: Path) -> RunFile | CommandFile:
    try:
        return parse_run_file(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read the run file {path}: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {error}") from error


def _probe(folder: Path) -> None:
    """Fail now rather than after the first epoch when the results folder cannot be written."""
    make_directory(folder / LOGS_DIR)
    probe = folder / f".tmp-probe-{uuid.uuid4().hex}"
    with storage_errors(folder):
        try:
            with probe.open("wb") as file:
                file.write(b"probe")
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)


def _claim(run_spec: RunFile | CommandFile, folder: Path) -> None:
    """Write run.json; refuse a folder that holds the results of another job."""
    path = folder / RUN_FILE
    if path.exists() and json.loads(path.read_text())["digest"] != run_spec.digest:
        raise ConfigError(f"{folder} holds the results of a job with another configuration; choose another job name")
    (folder / SUMMARY_FILE).unlink(missing_ok=True)  # of fewer epochs: true only once the run is over again
    resolved = {
        "schemaVersion": 1,
        **run_spec.model_dump(mode="json"),
        "attempt": newest_attempt(folder) + 1,
        "versions": _versions(),
    }
    write_json(path, resolved)


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split()[0]}
    for name in VERSIONED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _set_defaults_of_ranks(place: Place) -> None:
    """Thread counts and the network of ranks. Libraries read them as they load, so this comes before any import.

    All ranks together use each core of the container once.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, int(available_cpus() / place.ranks_per_node))))
    if sys.platform == "linux" and place.max_nodes == 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def _preload(train: TrainConfig) -> None:
    """Import once, before the fork, what every rank needs. No tensor operation and no CUDA call may happen here."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy would start threads here, and threads do not survive a fork
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # counting devices must not create a CUDA context
    import torch._dynamo  # the first optimizer imports it, which takes as long as torch itself
    import torch.distributed
    import torch.utils.tensorboard  # noqa: F401

    import trainer.engine.run  # noqa: F401

    if isinstance(train.data, Digits | ImageFolder | ImportedImages) or getattr(train, "validation", None):
        import sklearn.datasets
        import sklearn.model_selection  # noqa: F401
    if isinstance(train.model, TransferConfig):
        import torchvision  # noqa: F401


def check() -> int:
    """Print what a run would find here."""
    import torch

    facts: dict[str, Any] = {"versions": _versions(), "cuda_devices": []}
    if torch.cuda.is_available():
        facts["cuda_devices"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        facts["bf16"] = torch.cuda.is_bf16_supported()
    facts["device"] = "cuda" if facts["cuda_devices"] else "cpu"
    facts["backend"] = "nccl" if facts["cuda_devices"] else "gloo"
    facts["threads"] = torch.get_num_threads()
    print(json.dumps(facts, indent=2))
    return Exit.DONE


def predict(options: argparse.Namespace) -> int:
    """Print what a trained network says of new inputs."""
    from trainer.predict import load_trained, predictions_json, predictions_text

    if options.top < 1:
        raise ConfigError(f"--top: must be >= 1 (got {options.top})")
    trained = load_trained(options.checkpoint, import_from=options.import_from, packages=options.allow_import)
    inputs = options.inputs
    if inputs == ["-"]:
        inputs = [line for line in sys.stdin.read().splitlines() if line]
    predictions = trained.predictor(inputs, top=options.top)
    print(predictions_json(trained, predictions) if options.output == "json" else predictions_text(predictions))
    return Exit.DATA if any(prediction.error for prediction in predictions) else Exit.DONE


def report(folders: list[Path], output: Path | None) -> int:
    """Write report.html of one run again, or a page that compares several; its path on stdout."""
    from trainer.output.report import read_folder, write_comparison, write_report

    if not folders:
        raise ConfigError("report: give the results folder of a job, or several to compare them")
    runs = [read_folder(folder) for folder in folders]
    if len(runs) > 1:
        page = output or Path(REPORT_FILE)
        if output is None and (Path(RUN_FILE).exists() or Path(SUMMARY_FILE).exists()):
            raise ConfigError(f"./{page} is the report of the run in this folder; choose another file with -o")
        write_comparison(runs, page)
    else:
        if not runs[0].summary:
            raise StorageError(
                f"no finished run in {folders[0]}: {SUMMARY_FILE} is missing; a run that succeeds has it"
            )
        page = output or folders[0] / REPORT_FILE
        write_report(folders[0], runs[0].run, runs[0].summary, page)
    print(page)
    return Exit.DONE
