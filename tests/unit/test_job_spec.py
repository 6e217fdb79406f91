import pytest

from launcher.errors import InvalidJob
from launcher.job.field_types import quantity
from launcher.job.load import load_job
from launcher.job.spec import JobSpec, is_under
from tests.unit.test_job_loading import JOB


def load(*overrides: tuple[str, str], text: str = JOB) -> JobSpec:
    return load_job(text, filename="job.yaml", overrides=overrides)


@pytest.mark.parametrize(
    ("path", "mount", "under"),
    [
        ("/data", "/data", True),
        ("/data", "/data/", True),
        ("/data/fashion", "/data/", True),
        ("/data/fashion", "/", True),
        ("/database", "/data", False),
        ("/dat", "/data", False),
    ],
)
def test_a_path_is_under_a_mount_by_whole_names(path: str, mount: str, under: bool) -> None:
    assert is_under(path, mount) is under


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("500m", 0.5), ("1.5k", 1500), ("2M", 2_000_000), ("1Ki", 1024), ("0.5Gi", 1 << 29), ("1Ti", 1 << 40)],
)
def test_a_quantity_is_the_number_that_kubernetes_reads(text: str, number: float) -> None:
    assert quantity(text) == number


def test_a_range_of_gpus_makes_an_elastic_job_of_as_many_ranks_as_its_maximum() -> None:
    spec = load(("gpus", "{min: 2, max: 8}"))
    assert (spec.total_gpus, spec.ranks) == (8, 8)
    assert load_job(JOB, filename="j", overrides=[("gpus", "{min: 2, max: 8}")], gpus=4).total_gpus == 4


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("gpus", "{min: 4, max: 2}", "gpus.min: must be <= max (2; got 4)"),
        ("gpus", "{min: 0, max: 2}", "gpus: gpus.min: must be >= 1 (got 0)"),
        ("gpus", "{min: 1}", "gpus: gpus.max: required"),
        ("gpus", "many", 'gpus: must be a whole number (got "many")'),
        ("resources", "{memory: 1Gi, shm: 1Gi}", "resources.shm: must be less than memory (1Gi; got 1Gi)"),
        ("env", "{PET_NNODES: '2'}", "env.PET_NNODES: is set by the launcher"),
        ("env", "{NVIDIA_VISIBLE_DEVICES: all}", "env.NVIDIA_VISIBLE_DEVICES: is set by the launcher"),
        ("env", "{A: 1}", "env.A: must be text (got 1); put it in quotes"),
        ("env", "{A: {secret: s}}", "env.A.key: required"),
        ("env", "{1A: x}", "env.1A: must be the name of a variable"),
        ("env", '{A: "\\x07"}', "env.A: must not hold control characters (got U+0007)"),
        ("volumes", "[{name: tmp, mount: /d}]", "volumes.0.name: tmp is taken"),
        ("volumes", "[{name: a, mount: /dev//shm/}]", "volumes.0.mount: /dev//shm/ is taken"),
        ("volumes", "[{name: a, mount: /}]", "volumes.0.mount: / is taken"),
        ("volumes", "[{name: a, mount: /d}, {name: b, mount: /d/}]", "volumes.1.mount: /d/ is taken"),
        ("volumes", "[{name: a, mount: /d}, {name: a, mount: /e}]", "volumes.1.name: a is taken"),
        ("results.path", "/tmp", "results.path: /tmp is taken"),
        ("tolerations", "[{value: a}]", "tolerations.0.key: required unless operator is Exists"),
        ("tolerations", "[{key: a, seconds: 1}]", "tolerations.0.seconds: only with effect: NoExecute"),
        ("tolerations", "[{key: a, operator: Exists, value: b}]", "tolerations.0.value: only with operator: Equal"),
        ("image", "two words", "image: must be text without spaces"),
        ("node_selector", "{a b: c}", 'node_selector."a b": must be the key of a label'),
    ],
)
def test_what_a_cluster_could_not_run_is_refused_with_its_place(key: str, value: str, message: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        load((key, value))
    [line] = caught.value.message.splitlines()[1:]
    assert message in line


@pytest.mark.parametrize("program", ["python", "python3", "torchrun"])
def test_a_command_starts_with_the_script_since_python_is_started_for_it(program: str) -> None:
    with pytest.raises(InvalidJob, match=r"command\.0: give the script itself"):
        load(text=f"name: a\ncommand: [{program}, train.py]\n")
    assert load(text="name: a\ncommand: [-m, my.module]\n").command == ("-m", "my.module")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("command: [-m]", "command.0: -m needs the name of a module"),
        ("command: [-c, 'x = 1']", "command.0: must be a script, or -m and a module (got '-c')"),
        ("command: ['']", "command.0: must be a script, or -m and a module (got '')"),
        ("command: [a.py]\nrunner: torchrun\nrestarts: {backoff_seconds: 9}", "restarts: torchrun does not know them"),
        ("command: [a.py]\nrunner: bash", 'runner: unknown value "bash"'),
        ("command: [a.py]\nenv: {TORCHELASTIC_RUN_ID: a}", "env.TORCHELASTIC_RUN_ID: is set by the launcher"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        load(text=f"name: a\n{text}\n")
    assert message in caught.value.message


def test_torchruns_own_options_may_stand_before_the_script() -> None:
    spec = load(text="name: a\ncommand: [--max-restarts=3, a.py]\nrunner: torchrun\n")
    assert spec.command == ("--max-restarts=3", "a.py")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("restarts.max_without_progress", "9", "restarts: is for a command; a train job has train.restarts"),
        ("runner", "torchrun", "runner: is for a command"),
    ],
)
def test_a_training_job_has_no_settings_of_commands(key: str, value: str, message: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        load((key, value))
    assert message in caught.value.message
