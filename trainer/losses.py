"""Loss functions. Each built loss returns the SUM over the samples of its batch.

The engine divides by the size of the global batch: with a mean over a rank's or a micro-batch's own samples, ranks that
hold fewer samples would weigh too much, and the learning curve would depend on the number of ranks.

Focal loss (Lin et al., "Focal Loss for Dense Object Detection", 2017) weighs each term -log p of cross-entropy by
alpha * (1 - p)^gamma. Label smoothing makes every class a target to some share; the loss is then the sum over classes
of share * alpha * (1 - p)^gamma * -log p, each with its own alpha and p. So at gamma 0 it is torch's cross-entropy,
weighted and smoothed.

The factor is computed as exp(gamma * log(1 - p)) without ever forming 1 - p: for a sure model that rounds to 0, where a
power below 1 has an infinite slope.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.config.imports import ImportedLoss
from trainer.config.optim import CrossEntropy, Focal, Loss
from trainer.exits import ConfigError
from trainer.own_code.loss import SummedLoss

Reduction = Literal["sum", "mean", "none"]


def softmax_focal_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma: float,
    alpha: Tensor | float | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "sum",
) -> Tensor:
    """Focal loss of classes that exclude each other (Lin et al., 2017, with the softmax in place of the sigmoid).

    Args:
        logits: [B, K], any floating type; the arithmetic is float32, or float64 where they are.
        labels: Class of each sample, int64 [B], 0 to K - 1.
        gamma: How much less sure samples count, >= 0; 0 is cross-entropy.
        alpha: Weight of each class, [K], or of all; None is 1.
        label_smoothing: Share of each target spread evenly over all K classes, 0 to 1.
        reduction: What becomes of the samples' losses. "mean" divides by their number, not by the sum of their weights
            as torch's weighted cross-entropy does: there a batch of one class would lose its weight, and the mean of
            parts of a batch would not be that of the batch.

    Returns:
        float32 (float64 for such logits): a scalar, or [B] for "none".

    Raises:
        ValueError: ``reduction`` is none of the three.
    """
    log_p = _at_least_float32(logits).log_softmax(dim=1)
    log_rest = _log_of_the_rest(log_p)
    weights = _weights(1.0 if alpha is None else alpha, log_p).expand(log_p.shape[1])
    label = labels.unsqueeze(1)
    own = _focal_term(log_p.gather(1, label), log_rest.gather(1, label), gamma).squeeze(1)
    loss = own * weights[labels]
    if label_smoothing:
        spread = (_focal_term(log_p, log_rest, gamma) * weights).mean(dim=1)
        loss = (1 - label_smoothing) * loss + label_smoothing * spread
    return _reduced(loss, reduction)


def sigmoid_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float,
    alpha: Tensor | float | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "sum",
) -> Tensor:
    """Focal loss of independent yes-or-no questions, one a logit (Lin et al., 2017, equations 4 and 5).

    Equal to ``torchvision.ops.sigmoid_focal_loss`` for targets of 0 and 1. Targets between, which label smoothing
    makes, are shares of the two answers, as in binary cross-entropy; torchvision weighs them by one mixed probability.

    Args:
        logits: Any shape, such as [B] or one-vs-rest [B, K], and any floating type; the arithmetic is float32, or
            float64 where they are.
        targets: The same shape, any type: 1 is yes, 0 no.
        gamma: How much less sure answers count, >= 0; 0 is binary cross-entropy.
        alpha: Weight of a yes, 0 to 1, for all or, as [K], for each of the last dimension; a no weighs 1 - alpha.
            None: both weigh 1.
        label_smoothing: Share of each target spread evenly over yes and no, 0 to 1.
        reduction: What becomes of the answers' losses; "mean" divides by the number of logits, as torch and torchvision
            do.

    Returns:
        float32 (float64 for such logits): a scalar, or the shape of ``logits`` for "none".

    Raises:
        ValueError: ``reduction`` is none of the three.
    """
    logits = _at_least_float32(logits)
    yes = targets.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
    no = 1 - yes
    log_p, log_rest = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    if alpha is not None:
        weights = _weights(alpha, logits)
        yes, no = yes * weights, no * (1 - weights)
    loss = yes * _focal_term(log_p, log_rest, gamma) + no * _focal_term(log_rest, log_p, gamma)
    return _reduced(loss, reduction)


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _focal_term(log_p: Tensor, log_rest: Tensor, gamma: float) -> Tensor:
    """(1 - p)^gamma * -log p from log p and log(1 - p)."""
    return -log_p * (gamma * log_rest).exp()


def _log_of_the_rest(log_p: Tensor) -> Tensor:
    """log(1 - p) of each class from log p [B, K]: exact up to rounding for any p, and finite, as is its gradient.

    log1p(-p) is well conditioned up to p = 1/2, which only the likeliest class can exceed; for that one the
    probabilities of the others are summed.
    """
    likeliest = log_p.argmax(dim=1, keepdim=True) == torch.arange(log_p.shape[1], device=log_p.device)
    # Not -inf: where there is only one class nothing is left to sum, and 0 * inf is no number.
    others = log_p.masked_fill(likeliest, torch.finfo(log_p.dtype).min).logsumexp(dim=1, keepdim=True)
    # Masked before log1p too: its slope at p = 1 is infinite, and times the 0 of torch.where's gradient no number.
    p = log_p.exp().masked_fill(likeliest, 0.0)
    return torch.where(likeliest, others, torch.log1p(-p))


def _weights(alpha: Tensor | float, like: Tensor) -> Tensor:
    """``alpha`` as a tensor on the device and of the type of ``like``."""
    return alpha.to(like) if isinstance(alpha, Tensor) else like.new_full((), alpha)


def _reduced(loss: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return loss
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    raise ValueError(f"unknown reduction {reduction!r} (allowed sum, mean, none)")


class FocalLoss(nn.Module):
    """Logits [B, K] and labels int64 [B] to the sum of the samples' focal losses.

    Args:
        config: Which focal loss.
        classes: Names of the classes in label order.

    Raises:
        ConfigError: ``config.alpha`` names a class that does not exist.
    """

    alpha: Tensor | None

    def __init__(self, config: Focal, classes: Sequence[str]) -> None:
        super().__init__()
        self._sigmoid = config.activation == "sigmoid"
        self._gamma = config.gamma
        self._label_smoothing = config.label_smoothing
        # A buffer, so that to(device) takes it along: where the engine leaves it out, every step copies it to the GPU.
        self.register_buffer("alpha", _alpha(config, classes))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The sum over samples, and over the K one-vs-rest answers of each with ``sigmoid``; a scalar."""
        focal_loss = sigmoid_focal_loss if self._sigmoid else softmax_focal_loss
        targets = functional.one_hot(labels, logits.shape[1]) if self._sigmoid else labels
        return focal_loss(logits, targets, gamma=self._gamma, alpha=self.alpha, label_smoothing=self._label_smoothing)


def _alpha(config: Focal, classes: Sequence[str]) -> Tensor | None:
    """The weights as a scalar or [K], float32."""
    if config.alpha is None:
        return None
    if not isinstance(config.alpha, dict):
        return torch.tensor(config.alpha)
    for name in config.alpha:
        if name not in classes:
            raise ConfigError(f"train.loss.alpha: unknown class {name!r} (allowed {', '.join(classes)})")
    return torch.tensor([config.alpha.get(name, 1.0) for name in classes])


def _cross_entropy(config: CrossEntropy, _classes: Sequence[str]) -> nn.Module:
    return nn.CrossEntropyLoss(reduction="sum", label_smoothing=config.label_smoothing)


def activation(config: Loss) -> Literal["softmax", "sigmoid"]:
    """What turns the logits of a network that learned by this loss into probabilities."""
    return "softmax" if isinstance(config, CrossEntropy) else config.activation


def class_probabilities(logits: Tensor, activation: Literal["softmax", "sigmoid"]) -> Tensor:
    """Probability of each class, float64 [B, K], from logits [B, K]; with "sigmoid" they do not add up to 1."""
    logits = logits.double()
    return logits.sigmoid() if activation == "sigmoid" else logits.softmax(dim=1)


def negative_log_probability(logits: Tensor, labels: Tensor, activation: Literal["softmax", "sigmoid"]) -> Tensor:
    """-log of the probability of each sample's true class, float64 [B]; finite where the probability rounds to 0.

    Args:
        logits: [B, K].
        labels: True classes, int64 [B].
        activation: What makes probabilities of the logits.
    """
    logits = logits.double()
    logarithms = functional.logsigmoid(logits) if activation == "sigmoid" else logits.log_softmax(dim=1)
    return -logarithms.gather(1, labels.unsqueeze(1)).squeeze(1)


LOSSES: dict[type, Callable[[Any, Sequence[str]], nn.Module]] = {CrossEntropy: _cross_entropy, Focal: FocalLoss}


def build_loss(config: Loss, classes: Sequence[str], counts: Sequence[int] | None = None) -> nn.Module:
    """A module that maps logits float [B, K] and labels int64 [B] to the sum of the samples' losses (a scalar).

    Args:
        config: Which loss.
        classes: Names of the classes in label order.
        counts: Training samples of each class, where they are known: a loss of the user's own may ask for them.

    Raises:
        ConfigError: ``config`` names a class that does not exist, or the loss is the user's own and not what it has to
            be.
    """
    if isinstance(config, ImportedLoss):
        return SummedLoss(config, classes, counts)
    return LOSSES[type(config)](config, classes)
