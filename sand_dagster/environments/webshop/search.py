"""The search engine of the shop: BM25 over the products' texts, ranked as the published index ranks them.

A library's BM25 does not give the published order: Lucene keeps a text's length in one byte, leaves the
factor k1 + 1 out, and computes in float32. A few lines do that exactly (`docs/decisions.md`).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sand_dagster.environments.webshop.analysis import terms

KEPT = 50
"""A search finds at most this many products."""

_K1, _B = np.float32(0.9), np.float32(0.4)
_EXACT_LENGTHS = 24
_Floats = npt.NDArray[np.float32]


class SearchIndex:
    """The texts of the products, by term. Built once for a catalogue and shared by all episodes."""

    def __init__(self, texts: Sequence[tuple[str, str]]) -> None:
        """Index `texts`: (id, text) pairs in any order."""
        self._ids = sorted(identity for identity, _ in texts)
        place = {identity: number for number, identity in enumerate(self._ids)}
        lengths = np.zeros(len(texts), dtype=np.int64)
        postings: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for identity, text in texts:
            counted = Counter(terms(text))
            lengths[place[identity]] = sum(counted.values())
            for term, count in counted.items():
                postings[term].append((place[identity], count))
        average = np.float32(lengths.sum() / max(1, len(texts)))
        kept = np.array([_kept_length(int(length)) for length in lengths], dtype=np.float32)
        inverse = np.float32(1) / (_K1 * ((np.float32(1) - _B) + _B * kept / average))
        self._postings = {
            term: (np.array([n for n, _ in found]), np.array([c for _, c in found], dtype=np.float32))
            for term, found in postings.items()
        }
        self._inverse: _Floats = inverse.astype(np.float32)

    def search(self, query: str) -> list[str]:
        """The ids of at most `KEPT` products, the best first; equal scores in the order of their ids."""
        return [identity for identity, _ in self.scored(query)]

    def scored(self, query: str) -> list[tuple[str, float]]:
        """As `search`, with the scores."""
        scores = np.zeros(len(self._ids), dtype=np.float64)
        for term, times in Counter(terms(query)).items():
            if term not in self._postings:
                continue
            numbers, counts = self._postings[term]
            weight = np.float32(times * self._idf(len(numbers)))
            scores[numbers] += weight - weight / (np.float32(1) + counts * self._inverse[numbers])
        rounded = scores.astype(np.float32)
        best = np.lexsort((np.arange(len(rounded)), -rounded))[:KEPT]
        return [(self._ids[number], float(rounded[number])) for number in best if rounded[number] > 0]

    def _idf(self, found: int) -> np.float32:
        return np.float32(math.log(1 + (len(self._ids) - found + 0.5) / (found + 0.5)))


def _kept_length(length: int) -> int:
    """A length as the index keeps it: exact below 24, with four leading bits above."""
    if length < _EXACT_LENGTHS:
        return length
    rest = length - _EXACT_LENGTHS
    shift = max(0, rest.bit_length() - 4)
    return _EXACT_LENGTHS + (rest >> shift << shift)
