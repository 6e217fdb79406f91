"""Loss, optimizer and learning-rate schedule."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from trainer.config.base import Config
from trainer.config.imports import ImportedLoss
from trainer.config.model import Probability

LearningRate = Annotated[float, Field(gt=0.0)]
WeightDecay = Annotated[float, Field(ge=0.0)]
Betas = tuple[Probability, Probability]


class CrossEntropy(Config):
    """Softmax cross-entropy, averaged over samples."""

    name: Literal["cross-entropy"]
    """Selects this loss."""
    label_smoothing: Probability = 0.0
    """Share of each target spread evenly over all classes (Szegedy et al., 2016)."""


class Focal(Config):
    """Cross-entropy that counts samples the less the surer the model is of their class (Lin et al., 2017)."""

    name: Literal["focal"]
    """Selects this loss."""
    gamma: Annotated[float, Field(ge=0.0, le=10.0)] = 2.0
    """How much less: a sample of probability p counts (1 - p)^gamma. 0 is cross-entropy."""
    alpha: Annotated[float, Field(gt=0.0)] | dict[str, Annotated[float, Field(gt=0.0)]] | None = None
    """Weight of all classes, or of those named, such as {"8": 4.0}; the others weigh 1. With `sigmoid`, a number is the
    weight of a class's own samples and 1 - alpha that of the others."""
    activation: Literal["softmax", "sigmoid"] = "softmax"
    """Classes exclude each other (softmax), or each is a yes or no of its own (sigmoid), as in the paper."""
    label_smoothing: Probability = 0.0
    """Share of each target spread evenly over all classes; with `sigmoid`, between yes and no."""

    @model_validator(mode="after")
    def _alpha_is_a_share(self) -> Self:
        if (
            self.activation == "sigmoid"
            and self.alpha is not None
            and not (isinstance(self.alpha, float) and self.alpha < 1.0)
        ):
            raise ValueError(f"alpha: must be a number below 1 with activation sigmoid (got {self.alpha})")
        return self


def _loss_tag(value: Any) -> Any:
    if isinstance(value, ImportedLoss) or (isinstance(value, dict) and "import" in value):
        return "import"
    return value.get("name") if isinstance(value, dict) else getattr(value, "name", None)


Loss = Annotated[
    Annotated[CrossEntropy, Tag("cross-entropy")]
    | Annotated[Focal, Tag("focal")]
    | Annotated[ImportedLoss, Tag("import")],
    Discriminator(_loss_tag),
]


class Sgd(Config):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    """Selects this optimizer."""
    lr: LearningRate
    """Peak learning rate."""
    momentum: Probability = 0.9
    """Momentum."""
    nesterov: bool = False
    """Nesterov's form of momentum (needs momentum > 0)."""
    weight_decay: WeightDecay = 0.0
    """L2 penalty."""


class Adam(Config):
    """Adam (Kingma and Ba, 2015)."""

    name: Literal["adam"]
    """Selects this optimizer."""
    lr: LearningRate
    """Peak learning rate."""
    betas: Betas = (0.9, 0.999)
    """Decay of the running mean of the gradient and of its square."""
    weight_decay: WeightDecay = 0.0
    """L2 penalty."""


class AdamW(Config):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    name: Literal["adamw"]
    """Selects this optimizer."""
    lr: LearningRate
    """Peak learning rate."""
    betas: Betas = (0.9, 0.999)
    """Decay of the running mean of the gradient and of its square."""
    weight_decay: WeightDecay = 0.01
    """Decoupled weight decay."""


Optimizer = Annotated[Sgd | Adam | AdamW, Field(discriminator="name")]


class Constant(Config):
    """The learning rate stays as the optimizer states it."""

    name: Literal["constant"]
    """Selects this schedule."""


class Step(Config):
    """Multiply the learning rate by `gamma` every `every_epochs` epochs."""

    name: Literal["step"]
    """Selects this schedule."""
    every_epochs: Annotated[int, Field(ge=1)]
    """Length of a stair (epochs)."""
    gamma: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """Factor at each stair."""


class Cosine(Config):
    """Linear warm-up, then half a cosine down to `final_factor` (Loshchilov and Hutter, 2017)."""

    name: Literal["cosine"]
    """Selects this schedule."""
    warmup_epochs: Annotated[float, Field(ge=0.0)] = 0.0
    """Length of the warm-up (epochs)."""
    final_factor: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Last learning rate as a share of the peak."""


class OneCycle(Config):
    """Up by half a cosine, down by half a cosine (Smith and Topin, 2018)."""

    name: Literal["one-cycle"]
    """Selects this schedule."""
    peak_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    """Share of all steps after which the peak is reached."""
    start_factor: Annotated[float, Field(gt=0.0, le=1.0)] = 0.04
    """First learning rate as a share of the peak."""
    final_factor: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0001
    """Last learning rate as a share of the peak."""


Schedule = Annotated[Constant | Step | Cosine | OneCycle, Field(discriminator="name")]
