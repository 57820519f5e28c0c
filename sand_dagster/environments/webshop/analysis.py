"""Text as in the published index: words by Unicode's rules, without possessives and stop words, as stems.

It does what Lucene's analyzer for English does: standard tokens, no possessive 's, lower case, 33 stop words,
Porter's stems.
"""

from __future__ import annotations

from functools import lru_cache

import regex
from nltk.stem.porter import PorterStemmer

_STOPPED = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these "
    "they this to was will with"
)
STOP_WORDS = frozenset(_STOPPED.split())

_BOUNDARY = regex.compile(r"(?wV1)\b")
_PICTOGRAPHS = (
    r"\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u2388\u23cf\u23e9-\u23f3\u23f8-\u23fa\u24c2"
    r"\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u2605\u2607-\u2612\u2614-\u2685\u2690-\u2705\u2708-\u2712\u2714"
    r"\u2716\u271d\u2721\u2728\u2733\u2734\u2744\u2747\u274c\u274e\u2753-\u2755\u2757\u2763-\u2767\u2795-\u2797"
    r"\u27a1\u27b0\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299"
    r"\U0001f000-\U0001faff"
)
"""Signs that are terms by themselves: the extended pictographs of Unicode 12; later versions have fewer."""

_WORD = regex.compile(rf"[\p{{L}}\p{{Nd}}{_PICTOGRAPHS}]")
_POSSESSIVE = regex.compile(r"['’＇][sS]$")
_LONGEST = 255
_STEMMER = PorterStemmer(mode=PorterStemmer.MARTIN_EXTENSIONS)


def terms(text: str) -> list[str]:
    """The terms of a text or of a query, in order, with repetitions."""
    words = (
        _POSSESSIVE.sub("", word).lower() for word in _BOUNDARY.split(text) if _WORD.match(word.lstrip("_"))
    )
    return [_stem(word[:_LONGEST]) for word in words if word not in STOP_WORDS]


@lru_cache(1 << 16)
def _stem(word: str) -> str:
    return str(_STEMMER.stem(word, to_lowercase=False))
