"""An action as the environment is given it: the line after `Action:`, without what a model wraps it in."""

from __future__ import annotations

import re

from sand_dagster.prompts.replies import SYMBOLS

_NUMBERING = re.compile(r"\A(?:[-•–—>]\s+|\(?\d{1,2}[.)]\s+)(?=\S)")
_WRAPPERS = {
    '"': '"',
    "'": "'",
    "“": "”",
    "‘": "’",
    "«": "»",
    "<": ">",
    "[": "]",
    "{": "}",
    "(": ")",
    "_": "_",
}
_QUOTES = "\"'“”‘’"
_STOPS = " \t.,;:!…-–—。，；：！"
_ARGUMENT = re.compile(r"(?<=\w) ?\[.*?(?:\](?!\])|\Z)")
"""`click[…]` and `search[…]` of WebShop: what stands in the brackets is the page's."""

_NAME = re.compile(
    r"containing\b|that (?:is|are)\b|in (?!order\b|case\b|hopes?\b|the hope\b|which\b)", re.IGNORECASE
)
"""How ScienceWorld's names go on in parentheses: `seed jar (containing orange seed)`."""
_SENTENCE = re.compile(r"(?:[.!?…][\"'”’)]*\s+|[。！？])(?=\S)")
_COMMENT = re.compile(r"(?<!\s)\s+(?:#(?!\d)|//|<!?--|\||[-=]>|→)")
_DASH = re.compile(r"(?<!\s)(?:\s+(?:--?|–)\s+|\s*—\s*)")
_COLON = re.compile(r"\s?[:：]\s")
_REASON = re.compile(
    r",?(?<!\s)\s+(?:because|since|as (?:it|this|that|the|I)"
    r"|in order to|to (?:see|check|find|look)|so that|so I)\b"
)
_REMARKS = (_SENTENCE, _COMMENT, _DASH, _COLON, _REASON)
_SYMBOLS_AROUND = re.compile(rf"\A[{SYMBOLS}\s]+|[{SYMBOLS}\s]+\Z")
_LATEX = re.compile(r"\A\$*\\(?:boxed|text(?:bf|tt|it)?)\{(.*)\}\$*\Z")
_ASIDE = re.compile(r"(?<!\s)\s+\([^()]*(?:\([^()]*\)[^()]*)*\)?\Z")

_NO_ACTION = frozenset(
    {"", "none", "n/a", "null", "no action", "action", "next action", "your action", "your next action"}
)


def clean_action(line: str) -> str | None:
    """The action in `line`; None where the line holds none, or the template's `<your next action>`.

    Taken off: emphasis, quotes, brackets and symbols around it, a number before it, and after it a remark (a
    next sentence, an aside in parentheses, a comment, a reason) and stops. Only what follows the first of
    these is lost: `open fridge 1 and take apple 1` stays what it is, for the environment to refuse.
    """
    action, before = _without_emphasis(line.strip()), None
    while action != before:
        before = action
        action = _NUMBERING.sub("", action)
        action = _LATEX.sub(r"\1", _SYMBOLS_AROUND.sub("", action))
        action = _unwrapped(action.rstrip(_STOPS).strip())
        action = _without_remark(action)
    return None if action.lower() in _NO_ACTION else action


def _without_emphasis(action: str) -> str:
    shown = _shielded(action)
    return "".join(letter for letter, seen in zip(action, shown, strict=True) if seen not in "*`")


def _unwrapped(action: str) -> str:
    inner = action[1:-1]
    if len(action) > 1 and _WRAPPERS.get(action[0]) == action[-1] and action[-1] not in inner:
        return inner.strip()
    # A quote, or a bracket, whose other one was taken off with the label or a remark.
    if action[:1] and action[0] in _QUOTES and action[0] not in action[1:]:
        return action[1:].strip()
    if action[-1:] and action[-1] in _QUOTES and action[-1] not in action[:-1]:
        return action[:-1].strip()
    return action[:-1].strip() if action.endswith("]") and "[" not in action else action


def _without_remark(action: str) -> str:
    shown = _shielded(action)
    for remark in _REMARKS:
        if found := remark.search(shown):
            action, shown = action[: found.start()], shown[: found.start()]
    aside = _ASIDE.search(shown)
    if aside and not _NAME.match(aside[0].strip()[1:].lstrip()):
        return action[: aside.start()]
    return action


def _shielded(action: str) -> str:
    """`action`, as long, with arguments in brackets made unreadable, so that no remark is found in them."""
    return _ARGUMENT.sub(lambda argument: "x" * len(argument[0]), action)
