"""Pairs of token sequences from TSV files, such as words and their pronunciations."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from trainer.config.data import Pairs
from trainer.data.images import PackedStrings
from trainer.data.vocabulary import BEGIN, END, PAD, UNKNOWN, Vocabulary
from trainer.exits import DataError
from trainer.runtime.determinism import derive_seed

SEPARATORS: dict[Literal["characters", "words"], str] = {"characters": "", "words": " "}
"""What stands between two tokens of each kind when they are written as text."""

_SEED_RANGE = 2**63
_TRAIN, _VALIDATION, _TEST = range(3)

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PackedTokens:
    """Many sequences end to end: a list for each of a million sequences would take hundreds of bytes apiece."""

    ids: Tensor
    """Ids of all sequences, int32 [total]."""
    offsets: Tensor
    """Sequence i is ``ids[offsets[i] : offsets[i + 1]]``; int64 [N + 1]."""

    @classmethod
    def of(cls, sequences: Sequence[Sequence[str]], vocabulary: Vocabulary) -> "PackedTokens":
        """Encode and pack ``sequences``."""
        offsets = torch.tensor([0, *map(len, sequences)], dtype=torch.int64).cumsum(0)
        return cls(vocabulary.encode(chain.from_iterable(sequences)), offsets)

    def lengths(self, rows: Tensor) -> Tensor:
        """Tokens of each of the sequences ``rows`` (int64 [B]); int64 [B]."""
        return self.offsets[rows + 1] - self.offsets[rows]

    def padded(self, rows: Tensor) -> Tensor:
        """The sequences ``rows`` (int64 [B]) as int64 [B, longest of them], PAD behind each."""
        lengths = self.lengths(rows)
        place = torch.arange(int(lengths.max()) if len(rows) else 0)
        inside = place < lengths.unsqueeze(1)
        where = self.offsets[rows].unsqueeze(1) + place
        return self.ids[where.where(inside, 0)].long().where(inside, PAD)

    def lists(self, rows: Tensor) -> list[list[int]]:
        """The sequences ``rows`` (int64 [B]), each as long as it is."""
        bounds = zip(self.offsets[rows].tolist(), self.offsets[rows + 1].tolist(), strict=True)
        return [self.ids[begin:end].tolist() for begin, end in bounds]

    def count(self, rows: Tensor, token: int) -> int:
        """How often ``token`` occurs in the sequences ``rows`` (int64 [B])."""
        before = torch.cat((torch.zeros(1, dtype=torch.int64), (self.ids == token).cumsum(0)))
        return int((before[self.offsets[rows + 1]] - before[self.offsets[rows]]).sum())


@dataclass(frozen=True, eq=False)
class PairBatch:
    """Some pairs, padded to the longest of them."""

    source: Tensor
    """int64 [B, S], PAD behind the last token."""
    source_lengths: Tensor
    """int64 [B], at least 1; stays on the CPU, where packing needs it."""
    target: Tensor
    """What the decoder reads: BEGIN, the tokens, PAD; int64 [B, T + 1]."""
    expected: Tensor
    """What it should say at each of these places: the tokens, END, PAD; int64 [B, T + 1]."""

    def __len__(self) -> int:
        return len(self.source)

    def to(self, device: torch.device) -> "PairBatch":
        """The same on ``device``, copied without waiting for it."""
        if device.type == "cpu":
            return self
        source, target, expected = (
            tensor.pin_memory().to(device, non_blocking=True) for tensor in (self.source, self.target, self.expected)
        )
        return PairBatch(source, self.source_lengths, target, expected)


@dataclass(frozen=True, eq=False)
class PairSet:
    """One split: which pairs of a file belong to it. Everything is on the CPU."""

    source: PackedTokens
    """Sources of the whole file, shared with the other splits that come from it."""
    target: PackedTokens
    """Their targets, without BEGIN and END."""
    source_names: Sequence[str]
    """Text of every source of the file."""
    indices: Tensor
    """Rows of the file that belong to this split, in the order of the file; int64 [N]."""

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, positions: Tensor) -> PairBatch:
        """The pairs at ``positions`` (int64 [B])."""
        rows = self.indices[positions]
        tokens = self.target.padded(rows)
        expected = functional.pad(tokens, (0, 1), value=PAD)
        return PairBatch(
            source=self.source.padded(rows),
            source_lengths=self.source.lengths(rows),
            target=functional.pad(tokens, (1, 0), value=BEGIN),
            expected=expected.scatter_(1, self.target.lengths(rows).unsqueeze(1), END),
        )

    def target_tokens(self, positions: Tensor) -> int:
        """Tokens that the pairs at ``positions`` (int64 [B]) expect, an END each included; no tokens are read."""
        return int(self.target.lengths(self.indices[positions]).sum()) + len(positions)

    def names(self, positions: Tensor) -> list[str]:
        """Text of each source at ``positions`` (int64 [B]), for a table of predictions."""
        return [self.source_names[row] for row in self.indices[positions].tolist()]

    def references(self, positions: Tensor) -> list[list[int]]:
        """True target ids of each pair at ``positions`` (int64 [B]), without BEGIN, END and PAD."""
        return self.target.lists(self.indices[positions])

    def unknown(self) -> dict[str, int]:
        """Tokens of each side that no training pair holds."""
        sides = {"source": self.source, "target": self.target}
        return {side: tokens.count(self.indices, UNKNOWN) for side, tokens in sides.items()}


@dataclass(frozen=True, eq=False)
class PairSplits:
    """A data set ready to train on."""

    train: PairSet
    validation: PairSet | None
    test: PairSet
    source_vocabulary: Vocabulary
    """Tokens of the training sources."""
    target_vocabulary: Vocabulary
    """Tokens of the training targets."""

    def counts(self) -> dict[str, int]:
        """Pairs of each split that exists."""
        return {name: len(split) for name, split in self._splits().items()}

    def unknown(self) -> dict[str, dict[str, int]]:
        """Tokens of each split and side that no training pair holds; they were read as UNKNOWN."""
        return {name: split.unknown() for name, split in self._splits().items()}

    def _splits(self) -> dict[str, PairSet]:
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}


def load_pairs(config: Pairs) -> PairSplits:
    """Read and split the pairs of ``config``; every process gets the same.

    Which split a pair belongs to is a function of ``split_seed`` and its source alone: equal sources stay together, and
    lines that are added, removed or reordered move no other line. Vocabularies know the training pairs only.

    Raises:
        DataError: A file is missing or not UTF-8, a line is not a pair or too long (named as file:line), or a split is
            empty.
    """
    table = _read(Path(config.path), config)
    places = _places(table.names, config)
    train = places == _TRAIN
    sources = Vocabulary.of(compress(table.sources, train))
    targets = Vocabulary.of(compress(table.targets, train))
    whole = _whole(table, sources, targets)
    if config.test_path is None:
        test = _part(whole, places, _TEST, config)
    else:
        held_out = _read(Path(config.test_path), config)
        _warn_of_repeated_sources(held_out, compress(table.names, train))
        test = _whole(held_out, sources, targets)
    return PairSplits(
        train=_part(whole, places, _TRAIN, config),
        validation=_part(whole, places, _VALIDATION, config) if config.validation_fraction else None,
        test=test,
        source_vocabulary=sources,
        target_vocabulary=targets,
    )


@dataclass(frozen=True)
class _Table:
    """A file's pairs in the order of its lines."""

    path: Path
    names: list[str]
    sources: list[Sequence[str]]
    targets: list[Sequence[str]]


def _read(path: Path, config: Pairs) -> _Table:
    table = _Table(path, [], [], [])
    # Not splitlines(): it also ends lines at characters such as U+2028, and editors would count other line numbers.
    for number, line in enumerate(_text(path).split("\n"), 1):
        line = line.removesuffix("\r")
        if line.startswith("#") or not line.strip(" "):
            continue
        source, target = _pair(line, config, where=f"{path}:{number}")
        table.names.append(SEPARATORS[config.source_tokens].join(source))
        table.sources.append(source)
        table.targets.append(target)
    if not table.names:
        raise DataError(f"{path}: holds no pairs; expected lines of a source and a target with a tab between them")
    return table


def _pair(line: str, config: Pairs, *, where: str) -> tuple[Sequence[str], Sequence[str]]:
    """Tokens of a line's source and target."""
    columns = line.split("\t")
    if len(columns) != 2:
        raise DataError(f"{where}: expected 2 columns, a source and a target with a tab between; got {len(columns)}")
    text = columns[0].lower() if config.lowercase else columns[0]
    source, target = _tokens(text, config.source_tokens), _tokens(columns[1], config.target_tokens)
    for side, tokens in (("source", source), ("target", target)):
        if not tokens:
            raise DataError(f"{where}: the {side} is empty")
        if len(tokens) > config.max_tokens:
            raise DataError(
                f"{where}: the {side} has {len(tokens)} tokens; "
                f"expected at most train.data.max_tokens = {config.max_tokens}"
            )
    return source, target


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file (expected lines of a source and a target with a tab between)") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        return content.decode("utf-8-sig")  # some editors mark the beginning of UTF-8
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: is not UTF-8 (byte 0x{content[error.start]:02x}); convert the file") from error


def _tokens(text: str, kind: Literal["characters", "words"]) -> Sequence[str]:
    return text.strip() if kind == "characters" else text.split()


def _places(names: Iterable[str], config: Pairs) -> npt.NDArray[np.int8]:
    """The split of each source. Validation is drawn from what the test leaves, by another salt."""
    test_share = 0.0 if config.test_path else config.test_fraction
    seed = config.split_seed

    def place(name: str) -> int:
        if derive_seed("test", seed, name) < test_share * _SEED_RANGE:
            return _TEST
        if derive_seed("validation", seed, name) < config.validation_fraction * _SEED_RANGE:
            return _VALIDATION
        return _TRAIN

    return np.fromiter(map(place, names), dtype=np.int8)


def _whole(table: _Table, sources: Vocabulary, targets: Vocabulary) -> PairSet:
    return PairSet(
        source=PackedTokens.of(table.sources, sources),
        target=PackedTokens.of(table.targets, targets),
        source_names=PackedStrings(table.names),
        indices=torch.arange(len(table.names)),
    )


def _part(whole: PairSet, places: npt.NDArray[np.int8], place: int, config: Pairs) -> PairSet:
    indices = torch.from_numpy(np.flatnonzero(places == place))
    if not len(indices):
        name = ("train", "validation", "test")[place]
        raise DataError(
            f"{config.path}: none of its {len(places)} pairs fell into the {name} split; "
            "change train.data.test_fraction or validation_fraction, or bring more pairs"
        )
    return PairSet(whole.source, whole.target, whole.source_names, indices)


def _warn_of_repeated_sources(test: _Table, train: Iterable[str]) -> None:
    repeated = len(set(test.names).intersection(train))
    if repeated:
        log.warning("%s: %d of its sources are in the training pairs too", test.path, repeated)
