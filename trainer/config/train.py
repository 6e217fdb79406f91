"""Everything that decides what a training run computes: TrainConfig, and its form for each task."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trainer.config.base import Config
from trainer.config.data import DataSet, ImageFolder, Images, Pairs
from trainer.config.imports import Imported
from trainer.config.metrics import Metrics
from trainer.config.model import ImageModel, SequenceModel
from trainer.config.optim import Constant, Cosine, CrossEntropy, Loss, Optimizer, Schedule, Sgd
from trainer.config.parallel import Parallel
from trainer.config.tracking import MLflow
from trainer.config.validation import KFold

_PATHS = (("data", "path"), ("data", "test_path"), ("model", "weights"))


def _path_or_none(weights: str | None) -> str | None:
    """Weights are a path or a name of torchvision's."""
    return weights if weights and weights.startswith("/") else None


class Checkpoints(Config):
    """When the state is saved and how much of it is kept."""

    every_epochs: Annotated[int, Field(ge=1)] = 1
    """Save at the end of every so many epochs; the last epoch is always saved."""
    every_steps: Annotated[int, Field(ge=1)] | None = None
    """Also save every so many optimizer steps."""
    keep: Annotated[int, Field(ge=1)] = 2
    """How many of the newest checkpoints are kept, besides the best one."""


class Logging(Config):
    """How often numbers are written, and where else they go."""

    every_steps: Annotated[int, Field(ge=1)] = 10
    """A line of metrics.jsonl every so many optimizer steps."""
    progress_seconds: Annotated[float, Field(gt=0.0)] = 2.0
    """A line of progress on stdout at most this often (seconds)."""
    mlflow: MLflow | None = None
    """Also log to MLflow. `{}` takes the defaults. Default: do not."""


class Restarts(Config):
    """How often a crashed run is tried again from its last checkpoint."""

    max_without_progress: Annotated[int, Field(ge=0)] = 3
    """Restarts allowed in a row without a new complete checkpoint; a preemption does not count."""
    backoff_seconds: Annotated[float, Field(ge=0.0)] = 0.5
    """Wait before the first restart (seconds); doubled for each further one without progress, 60 at most."""
    deadline_seconds: Annotated[float, Field(gt=0.0)] | None = None
    """The supervisor ends the run as failed after this long (seconds). Default: no limit."""


class TeacherForcing(Config):
    """Which tokens the decoder reads as it learns: the true ones, or more and more of its own (Bengio et al., 2015)."""

    final_share: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """Share of true tokens in the last step; it falls evenly from 1, which it is up to the end of `constant_epochs`."""
    constant_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs with true tokens only, before the share falls."""


class Decoding(Config):
    """How the output sequence is searched."""

    beam: Annotated[int, Field(ge=1, le=100)] = 5
    """Beams kept for the test and for predictions; 1 is greedy. Evaluations between epochs are greedy."""
    length_penalty: Annotated[float, Field(ge=0.0, le=5.0)] = 1.0
    """Power of the length (tokens and end) that a beam's log-probability is divided by; 0 compares probabilities."""
    max_tokens: Annotated[int, Field(ge=1, le=4096)] = 64
    """Longest output (tokens); it is ended there."""


class EarlyStop(Config):
    """End before the last epoch when the validation split no longer gains."""

    patience: Annotated[int, Field(ge=1)] = 5
    """Evaluations in a row without a gain after which training ends."""
    min_gain: Annotated[float, Field(ge=0.0)] = 0.0
    """A gain must be more than this, in the unit of the metric that chooses the best checkpoint."""


class TrainConfig(Config):
    """What every task has in common; `task` decides which of its forms it is."""

    task: str
    """What kind of problem this is."""
    epochs: Annotated[int, Field(ge=1)]
    """Passes over the training data. More epochs continue a finished job."""
    batch_size: Annotated[int, Field(ge=1)]
    """Samples per optimizer step over all ranks, accumulation included."""
    data: DataSet
    """Data set and its splits."""
    model: Config
    """Network."""
    loss: Config
    """Loss function."""
    optimizer: Optimizer
    """Optimizer."""
    schedule: Schedule = Constant(name="constant")
    """Learning rate over time."""
    clip_grad_norm: Annotated[float, Field(gt=0.0)] | None = None
    """Scale gradients down to this global L2 norm."""
    clip_grad_value: Annotated[float, Field(gt=0.0)] | None = None
    """Clamp each gradient to plus or minus this value (after the norm, where both are given)."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Micro-batches per optimizer step, to fit a large batch into memory."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the forward and backward pass; fp16 uses a loss scaler and needs a GPU."""
    channels_last: bool = False
    """Keep images and convolutions in NHWC memory order; faster for convolutions."""
    deterministic: bool = False
    """On GPUs: use deterministic kernels only, so that a resumed run is byte-equal. CPUs always are."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to run: auto takes a GPU where there is one."""
    parallel: Parallel = Parallel()
    """How the samples of a step are shared between devices."""
    compile: bool = False
    """Compile the network for training with torch.compile: the first step takes up to minutes, later ones are faster.
    Needs a C++ compiler and Python's headers where it runs. Evaluation and what is saved stay as they are."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of initial weights, sample order, augmentation and dropout."""
    evaluate_every_epochs: Annotated[int, Field(ge=1)] = 1
    """Evaluate after every so many epochs; the last epoch is always evaluated."""
    early_stop: EarlyStop | None = None
    """End early; needs data.validation_fraction. Default: train all epochs."""
    checkpoint: Checkpoints = Checkpoints()
    """When the state is saved."""
    logging: Logging = Logging()
    """How often numbers are written, and where else they go. Not part of a job's identity."""
    restarts: Restarts = Restarts()
    """How often a crashed run is tried again."""

    @property
    def paths(self) -> dict[str, str]:
        """Files and folders that the run reads, as the pod sees them, by the field that names them."""
        named = {f"{part}.{name}": getattr(getattr(self, part), name, None) for part, name in _PATHS}
        named["model.weights"] = _path_or_none(named["model.weights"])
        return {field: path for field, path in named.items() if path is not None}

    @model_validator(mode="after")
    def _combinations(self) -> Self:
        if self.batch_size < self.accumulate:
            raise ValueError(f"accumulate: must be <= batch_size ({self.batch_size}; got {self.accumulate})")
        if isinstance(self.schedule, Cosine) and self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(f"schedule.warmup_epochs: must be < epochs ({self.epochs})")
        if isinstance(self.optimizer, Sgd) and self.optimizer.nesterov and self.optimizer.momentum == 0:
            raise ValueError("optimizer.nesterov: needs momentum > 0")
        if self.precision == "fp16" and self.device == "cpu":
            raise ValueError("precision: fp16 needs a GPU (allowed on device cpu: fp32, bf16)")
        if self.early_stop and self.data.validation_fraction == 0 and not isinstance(self.data, ImageFolder):
            raise ValueError("early_stop: needs a validation split; set data.validation_fraction")
        if self.compile and self.parallel.strategy != "ddp":
            raise ValueError("compile: needs parallel.strategy ddp; torch.compile does not see into DataParallel")
        if self.compile and self.parallel.sync_batch_norm:
            raise ValueError(
                "compile: not with parallel.sync_batch_norm; its exchanges would leave the network uncompiled"
            )
        return self


class ImageClassification(TrainConfig):
    """Tell which of several classes an image shows."""

    task: Literal["image-classification"]
    """What kind of problem this is."""
    data: Images
    """Data set, splits and augmentation."""
    model: ImageModel
    """Network."""
    loss: Loss = CrossEntropy(name="cross-entropy")
    """Loss function."""
    validation: KFold | None = None
    """Cross-validate: train and test on every fold in turn. Default: one run, tested on the test split."""
    metrics: Metrics = Metrics()
    """What is measured at the end."""
    import_from: Annotated[str, Field(min_length=1)] | None = None
    """Folder of your own modules, as the pod sees it, in which what `import` names is looked for. Default: among the
    installed packages only; their names win, so yours must differ."""

    @property
    def paths(self) -> dict[str, str]:
        """Files and folders that the run reads, as the pod sees them, by the field that names them."""
        return {**super().paths, **({"import_from": self.import_from} if self.import_from else {})}

    @property
    def imported(self) -> dict[str, Imported]:
        """Code of the user's own, by the field that names it."""
        parts = {"data": self.data, "data.transform": self.data.transform, "model": self.model, "loss": self.loss}
        return {field: part for field, part in parts.items() if isinstance(part, Imported)}

    @model_validator(mode="after")
    def _imports_something(self) -> Self:
        if self.import_from and not self.imported:
            raise ValueError("import_from: nothing is imported; give model, loss, data or data.transform an import")
        return self


class SequenceToSequence(TrainConfig):
    """Turn one sequence of tokens into another, such as a word into its pronunciation."""

    task: Literal["sequence-to-sequence"]
    """What kind of problem this is."""
    data: Pairs
    """Pairs of sequences, and their splits."""
    model: SequenceModel
    """Network."""
    loss: CrossEntropy = CrossEntropy(name="cross-entropy")
    """Loss of each token of the target, averaged over tokens."""
    teacher_forcing: TeacherForcing = TeacherForcing()
    """What the decoder reads while it is trained."""
    decoding: Decoding = Decoding()
    """How outputs are found once it is trained."""

    @model_validator(mode="after")
    def _fits_recurrence(self) -> Self:
        if self.parallel.strategy != "ddp":
            raise ValueError(
                "parallel.strategy: only ddp fits this task (DataParallel takes an LSTM's weights out of the one block "
                "that cuDNN wants them in)"
            )
        if self.compile:
            raise ValueError("compile: not for this task; torch.compile leaves LSTMs as they are")
        return self


Train = Annotated[ImageClassification | SequenceToSequence, Field(discriminator="task")]
