"""Pairs from TSV files: what is read, how it is split, and how faulty lines are refused."""

import logging
import math
from functools import cache
from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.config.data import Pairs
from trainer.data.pairs import PairSet, PairSplits, load_pairs
from trainer.data.vocabulary import BEGIN, END, PAD, UNKNOWN
from trainer.exits import DataError

WORDS = 4000


def _write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _load(path: Path, **fields: object) -> PairSplits:
    return load_pairs(Pairs.model_validate({"kind": "pairs", "path": str(path), **fields}))


def _lines(count: int = WORDS) -> list[str]:
    """Words that are numbers in letters, pronounced letter by letter."""
    words = ["".join("abcdefghij"[int(digit)] for digit in str(number)) for number in range(count)]
    return [f"{word}\t{' '.join(word.upper())}" for word in words]


def _names(pairs: PairSet | None) -> list[str]:
    return pairs.names(torch.arange(len(pairs))) if pairs else []


def _texts(splits: PairSplits, pairs: PairSet) -> list[tuple[str, str]]:
    everything = torch.arange(len(pairs))
    spoken = [" ".join(splits.target_vocabulary.decode(ids)) for ids in pairs.references(everything)]
    return list(zip(pairs.names(everything), spoken, strict=True))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return _write(tmp_path / "pairs.tsv", _lines())


def test_every_pair_is_in_one_split_as_it_was_written(path: Path) -> None:
    splits = _load(path, validation_fraction=0.1)
    assert splits.validation is not None
    parts = [_texts(splits, part) for part in (splits.train, splits.validation, splits.test)]
    assert sorted(chain.from_iterable(parts)) == sorted(tuple(line.split("\t")) for line in _lines())
    assert splits.counts() == {"train": len(parts[0]), "validation": len(parts[1]), "test": len(parts[2])}


def test_comments_and_empty_lines_are_left_out_and_line_ends_do_not_matter(tmp_path: Path) -> None:
    text = "\ufeff# a comment\tof two columns\r\n\r\n  \ncab\t K  AE B \r\nbad\tB AE D"  # as an editor may write it
    (tmp_path / "pairs.tsv").write_text(text, encoding="utf-8", newline="")
    _write(tmp_path / "test.tsv", ["dab\tD AE B"])
    splits = _load(tmp_path / "pairs.tsv", test_path=str(tmp_path / "test.tsv"))
    assert _texts(splits, splits.train) == [("cab", "K AE B"), ("bad", "B AE D")]
    assert _texts(splits, splits.test) == [("dab", "D AE B")]
    assert splits.source_vocabulary.tokens == ("a", "b", "c", "d")
    assert splits.target_vocabulary.tokens == ("AE", "B", "D", "K")


def test_each_side_may_be_characters_or_words(tmp_path: Path) -> None:
    path = _write(tmp_path / "pairs.tsv", ["Guten  Tag\tgood day"])
    test = str(_write(tmp_path / "test.tsv", ["Tag\tday"]))
    splits = _load(path, test_path=test, source_tokens="words", target_tokens="characters", lowercase=True)
    assert splits.source_vocabulary.tokens == ("guten", "tag")
    assert splits.target_vocabulary.tokens == (" ", "a", "d", "g", "o", "y")
    assert _names(splits.train) == ["guten tag"]
    assert splits.train.batch(torch.tensor([0])).source_lengths.tolist() == [2]


def test_tokens_of_the_test_that_were_never_trained_are_unknown_and_counted(tmp_path: Path) -> None:
    path = _write(tmp_path / "pairs.tsv", ["ab\tA B", "ba\tB A"])
    splits = _load(path, test_path=str(_write(tmp_path / "test.tsv", ["axyb\tA B Z"])))
    assert splits.unknown() == {"train": {"source": 0, "target": 0}, "test": {"source": 2, "target": 1}}
    batch = splits.test.batch(torch.tensor([0]))
    assert batch.source.tolist() == [[4, UNKNOWN, UNKNOWN, 5]]
    assert batch.expected.tolist() == [[4, 5, UNKNOWN, END]]


def test_tokens_of_held_out_pairs_are_in_no_vocabulary(tmp_path: Path) -> None:
    """Each pair has tokens of its own: what is held out cannot be known."""
    path = _write(tmp_path / "pairs.tsv", [f"{chr(number)}\t{number}" for number in range(0x4E00, 0x4E00 + 500)])
    splits = _load(path, test_fraction=0.2, validation_fraction=0.2)
    assert splits.validation is not None
    assert len(splits.source_vocabulary.tokens) == len(splits.train)
    assert splits.target_vocabulary.tokens == tuple(
        sorted(str(ord(token)) for token in splits.source_vocabulary.tokens)
    )
    unknown = {name: {"source": pairs, "target": pairs} for name, pairs in splits.counts().items()}
    assert splits.unknown() == {**unknown, "train": {"source": 0, "target": 0}}


def test_with_a_file_for_the_test_nothing_else_is_held_out_for_it(path: Path, tmp_path: Path) -> None:
    test = str(_write(tmp_path / "test.tsv", ["a\tA", "b\tB"]))
    assert _load(path, test_path=test, test_fraction=0.9).counts() == {"train": WORDS, "test": 2}


def test_a_source_in_training_and_in_the_test_file_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _write(tmp_path / "pairs.tsv", ["ab\tA B", "ba\tB A", "b\tB"])
    with caplog.at_level(logging.WARNING):
        _load(path, test_path=str(_write(tmp_path / "test.tsv", ["ab\tA", "c\tB", "ba\tA"])))
    assert "test.tsv: 2 of its sources are in the training pairs too" in caplog.text


def test_shares_of_the_splits_are_within_binomial_bounds(path: Path) -> None:
    splits = _load(path, test_fraction=0.3, validation_fraction=0.2)
    rest = WORDS - len(splits.test)
    for found, samples, share in ((len(splits.test), WORDS, 0.3), (len(splits.validation or ()), rest, 0.2)):
        # 5 standard deviations: 1 in 1.7 million seeds would miss it, and these seeds are fixed.
        assert abs(found - samples * share) < 5 * math.sqrt(samples * share * (1 - share))


def test_the_split_seed_decides_the_splits(path: Path) -> None:
    assert _names(_load(path).test) == _names(_load(path).test)
    zero, one = set(_names(_load(path, split_seed=0).test)), set(_names(_load(path, split_seed=1).test))
    assert len(zero & one) < 0.2 * len(zero)  # 5 % of them by chance


def test_validation_is_drawn_apart_from_the_test(path: Path) -> None:
    """With one salt for both, the validation split of what is left would be empty."""
    same = _load(path, validation_fraction=0.3, test_fraction=0.3)
    assert len(same.validation or ()) > 0.25 * (WORDS - len(same.test))
    assert _names(_load(path, test_fraction=0.3).test) == _names(same.test)


def test_adding_removing_and_reordering_lines_moves_no_other_line(tmp_path: Path) -> None:
    def places(name: str, lines: list[str]) -> dict[str, str]:
        splits = _load(_write(tmp_path / name, lines), test_fraction=0.2, validation_fraction=0.2)
        parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
        return {source: split for split, pairs in parts.items() for source in _names(pairs)}

    before = places("before.tsv", _lines(400))
    after = places("after.tsv", ["zz\tZ", *_lines(1000)[100:][::-1]])
    assert {name: after[name] for name in before.keys() & after.keys()} == {
        name: before[name] for name in before.keys() & after.keys()
    }
    assert len(before.keys() & after.keys()) == 300


def test_pairs_of_the_same_source_stay_together(tmp_path: Path) -> None:
    spelled = [line.upper() for line in _lines(300)]  # the same words once they are read in lower case
    other = [line.split("\t")[0] + "\tX" for line in _lines(300)]
    path = _write(tmp_path / "pairs.tsv", [*_lines(300), *spelled, *other])
    splits = _load(path, test_fraction=0.3, validation_fraction=0.3, lowercase=True)
    names = [_names(pairs) for pairs in (splits.train, splits.validation, splits.test)]
    assert sum(len(set(part)) for part in names) == 300
    assert sum(map(len, names)) == 900


@cache
def _numbers(folder: Path) -> PairSplits:
    return _load(_write(folder / "numbers.tsv", _lines()))


@settings(deadline=None)
@given(positions=st.lists(st.integers(0, WORDS // 2), min_size=1, max_size=9))
def test_a_batch_is_what_a_loop_over_its_pairs_gives(
    tmp_path_factory: pytest.TempPathFactory, positions: list[int]
) -> None:
    splits = _numbers(tmp_path_factory.getbasetemp())
    train, names = splits.train, splits.train.names(torch.tensor(positions))
    batch = train.batch(torch.tensor(positions))
    sources = [splits.source_vocabulary.encode(name).tolist() for name in names]
    targets = [splits.target_vocabulary.encode(name.upper()).tolist() for name in names]
    longest, most = max(map(len, sources)), max(map(len, targets)) + 1
    assert batch.source.tolist() == [ids + [PAD] * (longest - len(ids)) for ids in sources]
    assert batch.source_lengths.tolist() == [len(ids) for ids in sources]
    assert batch.target.tolist() == [[BEGIN, *ids] + [PAD] * (most - 1 - len(ids)) for ids in targets]
    assert batch.expected.tolist() == [[*ids, END] + [PAD] * (most - 1 - len(ids)) for ids in targets]
    assert {tensor.dtype for tensor in (batch.source, batch.source_lengths, batch.target, batch.expected)} == {
        torch.int64
    }
    assert train.target_tokens(torch.tensor(positions)) == int((batch.expected != PAD).sum())
    assert len(batch) == len(positions)


def test_the_tokens_of_a_global_batch_are_those_of_its_shares(path: Path) -> None:
    train = _load(path).train
    positions = torch.randperm(len(train))[:256]
    shares = torch.tensor_split(positions, 3)
    assert train.target_tokens(positions) == sum(train.target_tokens(share) for share in shares)


def test_an_empty_share_is_an_empty_batch(path: Path) -> None:
    train, nothing = _load(path).train, torch.arange(0)
    assert train.batch(nothing).expected.shape == (0, 1)
    assert train.target_tokens(nothing) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("word", r"pairs\.tsv:3: expected 2 columns, .* got 1"),
        ("word\tW\tnoun", r"pairs\.tsv:3: expected 2 columns, .* got 3"),
        ("\tW", r"pairs\.tsv:3: the source is empty"),
        ("word\t ", r"pairs\.tsv:3: the target is empty"),
        ("\t", r"pairs\.tsv:3: the source is empty"),
        ("abcdefghi\tW", r"pairs\.tsv:3: the source has 9 tokens; expected at most train\.data\.max_tokens = 8"),
        ("word\t" + "W " * 9, r"pairs\.tsv:3: the target has 9 tokens; expected at most train\.data\.max_tokens = 8"),
    ],
)
def test_a_faulty_line_is_named_with_what_was_expected(tmp_path: Path, line: str, message: str) -> None:
    path = _write(tmp_path / "pairs.tsv", ["# comment", "a\u2028b\tA", line, "b\tB"])
    with pytest.raises(DataError, match=message):
        _load(path, max_tokens=8)


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_bytes("a\tA\nb\tB\nm\u00fcde\tM\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"pairs\.tsv:3: is not UTF-8 \(byte 0xfc\)"):
        _load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.tsv: no such file"):
        _load(tmp_path / "nowhere.tsv")
    path = _write(tmp_path / "pairs.tsv", _lines(9))
    with pytest.raises(DataError, match=r"other\.tsv: no such file"):
        _load(path, test_path=str(tmp_path / "other.tsv"))


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        _load(tmp_path)


def test_a_file_without_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pairs"):
        _load(_write(tmp_path / "pairs.tsv", ["# nothing", ""]))


@pytest.mark.parametrize(
    ("fields", "split"),
    [
        ({"test_fraction": 1e-9}, "test"),
        ({"test_fraction": 0.3, "validation_fraction": 1e-9}, "validation"),
        ({"test_fraction": 1 - 1e-9}, "train"),
    ],
)
def test_an_empty_split_is_refused(path: Path, fields: dict[str, float], split: str) -> None:
    with pytest.raises(DataError, match=f"none of its {WORDS} pairs fell into the {split} split"):
        _load(path, **fields)
