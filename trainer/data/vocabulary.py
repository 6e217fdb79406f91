"""Tokens as numbers: the vocabulary of one side of sequence-to-sequence data."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, repeat

import numpy as np
import torch
from torch import Tensor

PAD, BEGIN, END, UNKNOWN = range(4)
"""Ids that mean the same in every vocabulary: filler, before the first token, after the last, unseen in training."""
SPECIAL_IDS = 4
UNKNOWN_TEXT = "<unknown>"


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that training pairs hold; the id of ``tokens[i]`` is i + 4, below are the special ids."""

    tokens: tuple[str, ...]
    """Distinct tokens, special ones left out, so no text can be mistaken for one of those."""
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ids = {token: number for number, token in enumerate(self.tokens, SPECIAL_IDS)}
        if len(ids) != len(self.tokens):
            raise ValueError("a vocabulary holds each token once")
        object.__setattr__(self, "_ids", ids)

    @classmethod
    def of(cls, sequences: Iterable[Iterable[str]]) -> "Vocabulary":
        """Every token of ``sequences``, sorted by code point, so that the order of the sequences does not matter."""
        return cls(tuple(sorted(set(chain.from_iterable(sequences)))))

    def __len__(self) -> int:
        """Number of ids, the special ones included."""
        return SPECIAL_IDS + len(self.tokens)

    def encode(self, tokens: Iterable[str]) -> Tensor:
        """Ids int32 [N] of ``tokens``; UNKNOWN for those that are not in the vocabulary."""
        # One pass in C: millions of tokens a second.
        ids = np.fromiter(map(self._ids.get, tokens, repeat(UNKNOWN)), dtype=np.int32)
        return torch.from_numpy(ids)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Tokens of ``ids`` up to the first END; PAD and BEGIN are left out, and UNKNOWN reads ``<unknown>``."""
        tokens = []
        for number in ids:
            if number == END:
                break
            if number not in (PAD, BEGIN):
                tokens.append(UNKNOWN_TEXT if number == UNKNOWN else self.tokens[number - SPECIAL_IDS])
        return tokens
