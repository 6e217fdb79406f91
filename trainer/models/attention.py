"""Attention: mixtures of values, weighted by how well queries match keys (Vaswani et al., 2017)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each over its own share of the width ("Attention Is All You Need", 2017).

    Args:
        width: Length of the vectors in and out.
        heads: How many attentions share the width.
        dropout: Chance of leaving a key out of a mixture, in training mode.

    Raises:
        ValueError: ``heads`` does not divide ``width``.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads must divide width ({width}; got {heads})")
        self.heads = heads
        self.dropout = dropout
        self.inward = nn.Linear(width, 3 * width)
        """Projections to queries, keys and values, in this order: one product where all three are of one sequence."""
        self.outward = nn.Linear(width, width)

    def forward(
        self,
        queries: Tensor,
        keys: Tensor | None = None,
        values: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Give each query its mixture of the values.

        Args:
            queries: [B, T, width].
            keys: [B, S, width]. Default: the queries (self-attention).
            values: [B, S, width]. Default: the keys.
            mask: Who may attend to whom (True: may), bool, broadcastable to [B, heads, T, S]; see `attend`.
            need_weights: Also return the weights. That takes memory for all of them, and is slower.

        Returns:
            The mixtures [B, T, width], and the weights [B, heads, T, S] or None, as of `attend`.

        Raises:
            TypeError: ``mask`` is not bool.
        """
        mixed, weights = attend(
            *self._project(queries, keys, values),
            mask=mask,
            dropout=self.dropout if self.training else 0.0,
            need_weights=need_weights,
        )
        output: Tensor = self.outward(mixed.transpose(1, 2).flatten(2))
        return output, weights

    def _project(self, queries: Tensor, keys: Tensor | None, values: Tensor | None) -> list[Tensor]:
        """Queries [B, heads, T, width / heads], and keys and values with S in place of T."""
        if keys is None and values is None:
            projected = self.inward(queries).chunk(3, dim=-1)
        else:
            keys = queries if keys is None else keys
            inputs = (queries, keys, keys if values is None else values)
            layers = zip(inputs, self.inward.weight.chunk(3), self.inward.bias.chunk(3), strict=True)
            projected = tuple(functional.linear(*layer) for layer in layers)
        return [tensor.unflatten(-1, (self.heads, -1)).transpose(1, 2) for tensor in projected]


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    need_weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Scaled dot-product attention: softmax(queries @ keys^T / sqrt(D)) @ values (Vaswani et al., 2017).

    Without the weights, torch's fused kernel runs, which never holds all scores at once. Keys that a mask rules out
    have no influence, as long as they and their values are finite. A query with no key left gets zeros.

    Args:
        queries: [B, heads, T, D].
        keys: [B, heads, S, D].
        values: [B, heads, S, V].
        mask: Who may attend to whom (True: may), bool, broadcastable to [B, heads, T, S]. Where sequences are padded,
            pass ``real[:, None, None, :]`` with ``real`` [B, S]; to look back only, ``torch.ones(T, T).tril().bool()``;
            for both, the two combined by ``&``.
        dropout: Chance of leaving a key out of a mixture; those kept are scaled up in turn.
        need_weights: Also return the weights.

    Returns:
        The mixtures [B, heads, T, V] in the type of ``values``, and the weights [B, heads, T, S] or None. Weights are
        at least float32, add up to 1 (or 0 with no key left), and are those before dropout.

    Raises:
        TypeError: ``mask`` is not bool.
    """
    run = _explicit if need_weights else _fused
    if mask is None:
        return run(queries, keys, values, None, dropout)
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be bool, True where attention may go (got {mask.dtype})")
    # Kernels differ in what they make of a query with no key left, NaN included. So none of them is shown one: it sees
    # all keys, and what comes of it is replaced by zeros, which also stops the gradient.
    mask = mask if mask.ndim >= 2 else mask.expand(1, -1)  # the fused kernel insists on two dimensions
    empty = ~mask.any(dim=-1, keepdim=True)
    mixed, weights = run(queries, keys, values, mask | empty, dropout)
    return mixed.masked_fill(empty, 0.0), None if weights is None else weights.masked_fill(empty, 0.0)


def _fused(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, dropout: float
) -> tuple[Tensor, Tensor | None]:
    return functional.scaled_dot_product_attention(queries, keys, values, mask, dropout), None


def _explicit(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, dropout: float
) -> tuple[Tensor, Tensor | None]:
    """The formula as it stands, in float32 from the scores on: in fp16 they overflow, in bf16 they keep two digits."""
    wide = torch.promote_types(queries.dtype, torch.float32)
    with torch.autocast(queries.device.type, enabled=False):  # it would turn the products back into half precision
        scores = queries.to(wide) @ keys.to(wide).transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        weights = scores.softmax(dim=-1)
        mixed = functional.dropout(weights, dropout) @ values.to(wide)
    return mixed.to(values.dtype), weights
