"""job.yaml to JobSpec: every error at once, each with its place."""

import json
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from launcher.errors import InvalidJob
from launcher.job import wording, yaml_nodes
from launcher.job.overrides import Override, Rejected, apply_all, from_assignment
from launcher.job.problems import Path, Places, Problem, got, invalid, one_line
from launcher.job.spec import JobSpec

MAX_BYTES = 1 << 20


def load_job(
    text: str,
    *,
    filename: str,
    overrides: Sequence[tuple[str, str]] = (),
    gpus: int | None = None,
    gpus_per_node: int | str | None = None,
    name: str | None = None,
    image: str | None = None,
) -> JobSpec:
    """Read a job file and check it.

    Args:
        text: Content of the file.
        filename: What messages call it.
        overrides: Key and YAML text of each ``--set``, applied in order.
        gpus: Value of ``--gpus``; like the other flags it wins over the file and over ``--set``.
        gpus_per_node: Value of ``--gpus-per-node``.
        name: Value of ``--name``.
        image: Value of ``--image``.

    Raises:
        InvalidJob: With a line for each error.
    """
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise InvalidJob(f"{filename}: larger than {MAX_BYTES >> 20} MiB")
    flags = {
        ("--gpus", ("gpus",)): gpus,
        ("--gpus-per-node", ("resources", "gpus_per_node")): gpus_per_node,
        ("--name", ("name",)): name,
        ("--image", ("image",)): image,
    }
    given = [Override(option, path, value) for (option, path), value in flags.items() if value is not None]
    document, places = _read(text, filename)
    wanted, problems = _parse(overrides, places)
    problems += document.problems
    problems += apply_all(document.value, [*wanted, *given], places)
    return _validate(document, places, problems)


def _read(text: str, filename: str) -> tuple[yaml_nodes.Document, Places]:
    try:
        document = yaml_nodes.read(text)
    except yaml_nodes.Unreadable as error:
        raise invalid(error.problems, Places(filename, {})) from None
    places = Places(filename, document.marks)
    if not isinstance(document.value, dict):
        kind = "the file is empty" if document.value is None else got(document.value)
        message = f"a job file must be a mapping of keys such as name and train: {kind}"
        raise invalid([*document.problems, Problem((), message)], places)
    return document, places


def _parse(assignments: Iterable[tuple[str, str]], places: Places) -> tuple[list[Override], list[Problem]]:
    overrides, problems = [], []
    for key, text in assignments:
        try:
            overrides.append(from_assignment(key, text))
        except Rejected as error:
            path: Path = (f"--set {key}",)  # not a field, so nothing else can point there
            places.options[path] = (f"--set {one_line(key)}", path)
            problems.append(Problem(path, str(error)))
    return overrides, problems


def _validate(document: yaml_nodes.Document, places: Places, problems: list[Problem]) -> JobSpec:
    """Validate as JSON: strict about scalars, while a list still makes a tuple."""
    spec = None
    try:
        spec = JobSpec.model_validate_json(json.dumps(document.value, allow_nan=False))
    except ValidationError as error:
        found = wording.problems(JobSpec, error.errors(include_url=False))
        spoiled = {problem.path for problem in problems if problem.spoils}
        problems = problems + [problem for problem in found if not _is_under(problem.path, spoiled)]
    if problems or spec is None:
        raise invalid(problems, places)
    return spec


def _is_under(path: Path, roots: set[Path]) -> bool:
    return any(path[:length] in roots for length in range(len(path) + 1))
