"""How far output sequences are from what they should be, as counts that ranks can add up.

The edit distance is Levenshtein's: the fewest insertions, deletions and substitutions of a token that turn one sequence
into the other. As in the literature on pronunciation (Yao and Zweig, 2015; Toshniwal and Livescu, 2016), with a word's
phonemes as its sequence:

* phoneme error rate (PER): edits over all words, divided by the phonemes of the references; can be over 1;
* word error rate (WER): share of words with any edit at all. Not the WER of speech recognition, which is the first of
  the two with words as tokens.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein


class EditCounts(NamedTuple):
    """Sums over sequences; those of several ranks or batches, added number by number, are the sums over all."""

    edits: int
    """Insertions, deletions and substitutions."""
    reference_tokens: int
    """Tokens of the references."""
    wrong_sequences: int
    """Sequences that differ from their reference at all."""
    sequences: int
    """Sequences that were compared."""


def edit_counts(hypotheses: Iterable[Sequence[int]], references: Iterable[Sequence[int]]) -> EditCounts:
    """Compare each hypothesis with the reference at the same place; sequences of ids without padding and END.

    Raises:
        ValueError: There are not as many of one as of the other.
    """
    edits = tokens = wrong = count = 0
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        distance = Levenshtein.distance(hypothesis, reference)
        edits += distance
        tokens += len(reference)
        wrong += distance > 0
        count += 1
    return EditCounts(edits, tokens, wrong, count)


def token_error_rate(counts: EditCounts) -> float:
    """Edits a token of the references: PER where tokens are phonemes; 0.0 without tokens."""
    return counts.edits / counts.reference_tokens if counts.reference_tokens else 0.0


def sequence_error_rate(counts: EditCounts) -> float:
    """Share of sequences that are not exactly right: WER where a sequence is a word; 0.0 without sequences."""
    return counts.wrong_sequences / counts.sequences if counts.sequences else 0.0
