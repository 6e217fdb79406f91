"""Code of the user's own, named by the path that Python imports it by."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from trainer.config.base import Config

_NAMES = r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*"

ImportPath = Annotated[str, Field(pattern=f"^{_NAMES}:{_NAMES}$")]


class Imported(Config):
    """A class or function of the user's own, and what it is called with."""

    model_config = ConfigDict(serialize_by_alias=True)  # `import` is no name that Python lets a field have

    import_: Annotated[ImportPath, Field(alias="import")]
    """The class or function, such as my_package.nets:SmallNet: of a module in the folder `train.import_from`, or of an
    installed package."""
    args: dict[str, Any] = Field({})
    """What it is called with, by name. Checked against its signature before anything is trained. On a laptop, a path
    below a mount becomes that of the volume's `local` folder."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self.import_


class ImportedModel(Imported):
    """A network of your own: a class or function that gives a torch.nn.Module.

    It takes images, float [B, C, H, W], and gives logits, float [B, classes]. The class or function is also passed
    `input_shape` (C, H, W) and `classes` (how many) where its signature has these names.
    """


class ImportedLoss(Imported):
    """A loss of your own: a class or function that gives a callable.

    That takes logits, float32 [B, classes], and labels, int64 [B]. The class or function is also passed `classes` (how
    many), `class_names`, and `class_counts` (training samples of each) where its signature has these names.
    """

    returns: Literal["mean", "sum", "each"]
    """What the callable returns: the mean over the samples, their sum (both scalars), or each sample's loss [B]. Of a
    mean every sample must weigh the same; return each where they do not."""
    activation: Literal["softmax", "sigmoid"] = "softmax"
    """What turns logits into probabilities: classes exclude each other, or each is a yes or no of its own."""


class ImportedTransform(Imported):
    """A variation of training images of your own: a class or function that gives a callable.

    That takes an image, a tensor uint8 [C, H, W], and gives one of the same type and shape.
    """


class Source(Config):
    """A file of the user's own code, as it was when it was used."""

    file: str
    """Where it lies."""
    sha256: str
    """SHA-256 of its content, in hexadecimal."""
