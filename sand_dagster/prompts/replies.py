"""What every parser does first with a chat model's reply: taking off the manners that carry no content."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping

_SPACES = re.compile("(\\w ?\\[[^\\]\n]*\\])|[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
"""Odd spaces; those in `click[…]` are the page's own."""
SYMBOLS = "\u2190-\u21ff\u2600-\u27bf\u2b00-\u2bff\ufe0f\U0001f000-\U0001faff"
"""Arrows, ticks and emoji, for a class of characters."""
DASH = "(?:[-–—=→]|[-=]>)"
"""What stands in place of a colon, between spaces."""
_INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff]")
_WRITTEN_BREAK = re.compile(r"(?:\\r)?\\n(?![a-z])|<br ?/?>")

# The last of each are gpt-oss's channels, with their special tokens and, as engines give them, without.
_OPENING = (
    r"(?:<(?:think|thinking|reasoning)>|\[THINK\]|<\|begin_of_thought\|>"
    r"|<\|channel\|>(?:analysis|commentary)\b|\A(?-i:analysis(?=[^\sa-z:])))"
)
_CLOSING = (
    r"(?:</(?:think|thinking|reasoning)>|\[/THINK\]|<\|end_of_thought\|>"
    r"|<\|channel\|>final\b[^<\n]*<\|message\|>|(?-i:(?<=\S)assistantfinal(?=\S)))"
)
_THINKING = re.compile(f"{_OPENING}.*?{_CLOSING}", re.IGNORECASE | re.DOTALL)
_THINKING_STARTS = re.compile(_OPENING, re.IGNORECASE)
_THINKING_ENDS = re.compile(_CLOSING, re.IGNORECASE)

_SPECIAL_TOKEN = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|<｜[^｜<>\n]{1,40}｜>|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad)>|\[/?INST\]"
)
_OWN_ROLE = re.compile(r"\A\s*[*_]*(?:assistant|model)[*_]*[ \t]*(?::[*_]*|\n)\s*", re.IGNORECASE)
_ROLE_ALONE = re.compile(r"\A\s*(?:assistant|model)?\s*\Z", re.IGNORECASE)

_FENCE_LINE = re.compile(r"^[ \t>]*(?:`{3,}|~{3,})[ \t]*[\w+-]*[ \t]*$", re.MULTILINE)
_FENCE = r"`{3,}(?:(?:json|text|txt|plaintext|markdown|md|yaml|python|bash)\b)?"
_FENCE_START = re.compile(rf"^[ \t]*{_FENCE}", re.MULTILINE)
_FENCE_END = re.compile(rf"{_FENCE}[ \t]*$", re.MULTILINE)
_RULE_LINE = re.compile(r"^[ \t]*(?:-{3,}|\*{3,}|_{3,}|={3,})[ \t]*$", re.MULTILINE)

_TAG = re.compile(
    r"<(thought|action|action[ _]evaluation)>\s*(.*?)(?:\s*(</\1>)|\Z)", re.IGNORECASE | re.DOTALL
)
_ANSWER_TAG = re.compile(r"</?(?:answer|response|output|tool_call)>", re.IGNORECASE)

_OBJECT = re.compile(r"""[{\[]\s*(?=["'{])""")
_KEYS = {
    "thought": "Thought",
    "thoughts": "Thought",
    "reasoning": "Thought",
    "action": "Action",
    "actions": "Action",
    "next action": "Action",
    "final action": "Action",
    "action evaluation": "Action Evaluation",
}

_BULLET = rf"(?:[•‣▪◦●][ \t]*|(?:[-*+–—]|\(?(?:\d{{1,2}}|[a-h])[.)]|\[\d{{1,2}}\]|[{SYMBOLS}]+)[ \t]+)"
_ACTION_LABEL = (
    r"(?:[*_`]*(?:candidate|possible|alternative)?[ \t]*action(?:[ \t]*\d+)?[*_`]*[:：][*_`]*[ \t]*)?"
)
_NO_NAME = (
    r"(?![*_`]*(?:thought|observation|[\w ]*\baction)\b[ \d*_`]*[:：]|[<\[{ ]*(?:your|candidate)[ _]action)"
)
_NAME = rf"[{SYMBOLS} ]*[*_`\"'“‘<\[(]*\w(?:(?![.!?][ \t])[^\n])*?"
_SEPARATOR = r"[*_`\"'”’>\])]*(?:[ \t]?[:：][*_`]*|[ \t]+(?:--?|–)[ \t]+|[ \t]*—[ \t]*|[ \t]+(?:→|->)[ \t]+)"
_JUDGEMENT = rf"\s*(?!{_BULLET}|[<\[{{]+your\b)\S"
_BELOW = r"[*_`]*\n[ \t]+(?:judge?ment|evaluation|assessment|reason(?:ing)?)[ ]?[:：]"
_LIST_ITEM = re.compile(
    rf"^[ \t>]*{_BULLET}{_ACTION_LABEL}{_NO_NAME}{_NAME}(?:{_SEPARATOR}{_JUDGEMENT}|{_BELOW})",
    re.MULTILINE | re.IGNORECASE,
)
_OPTION = r"[#>*_ \t]*(?:option|candidate|choice|alternative)(?: action)? #?(?:\d{1,2}|[a-h])\b[*_]*"
_OPTION_ITEM = re.compile(
    rf"^{_OPTION}[ ]?(?:[:：.]|{DASH})[*_]*[ \t]*{_NAME}"
    rf"(?:{_SEPARATOR}|[.!?][*_]*[ \t]+|[*_`]*\n)[ \t]*(?!{_OPTION}|{_BULLET}|[*_]*action)\S",
    re.MULTILINE | re.IGNORECASE,
)
_TABLE = re.compile(
    r"^[ \t]*\|?(?:[ \t]*(?:#|no\.?)[ \t]*\|)?[^|\n]*\b(?:action|candidate|option)s?\b[^|\n]*\|[^\n]*\w.*\n"
    r"[ \t]*\|?[ \t]*:?-+[-: \t|]*\n[^|\n]*\|[^|\n]*\w[^|\n]*\|[^\n]*\w",
    re.MULTILINE | re.IGNORECASE,
)


def plain(reply: str) -> str:
    """`reply` as lines of text: what a model said, without the wrapping. Empty where it said nothing.

    Taken off, in this order: odd characters, thinking, the tokens around a turn, code fences, tags and JSON.
    A line that ended with a line break still does, so that one that was cut off can be recognised.
    """
    text = _usual_characters(reply)
    text = _without_thinking(text)
    text = _first_turn(text)
    text = _without_fences(text)
    return _without_json(_without_tags(text))


def lists_actions(text: str) -> bool:
    """Whether `text` has a list with at least one `- action: judgement` line (Figure 6).

    Bullets may be dashes, stars, dots, numbers, letters or `Option 1:`, and a dash or an arrow may stand for
    the colon. So may a table with a column of actions. A template that was copied,
    `- <candidate action>: <your judgement>`, is no such line, nor is `- Action: look`.
    """
    return any(found.search(text) for found in (_LIST_ITEM, _OPTION_ITEM, _TABLE))


def balanced(text: str) -> str:
    """`text` without quotes around all of it, or a mark at its end whose other one stood before a label."""
    if len(text) > 1 and text[0] + text[-1] in ('""', "“”") and text[-1] not in text[1:-1]:
        return text[1:-1].strip()
    for mark in ("**", "__", '"', "”", "*", "_"):
        if text.endswith(mark) and text.count(mark) % 2:
            text = text.removesuffix(mark).rstrip()
    return text


def _usual_characters(text: str) -> str:
    """Line feeds for line breaks, also for `\\n` spelt out as in Figures 7 and 8; plain spaces."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _INVISIBLE.sub("", _SPACES.sub(lambda found: found[1] or " ", text))
    return _WRITTEN_BREAK.sub("\n", text)


def _without_thinking(text: str) -> str:
    """What follows `<think>…</think>`; nothing where a block was never closed.

    The opening tag may stand in the prompt, as reasoning models' templates have it.
    """
    if _THINKING_ENDS.search(text):
        text = _THINKING_ENDS.split(_THINKING.sub("", text))[-1]
    return "" if _THINKING_STARTS.search(text) else text


def _first_turn(text: str) -> str:
    """The text up to the token that ends its turn, without the tokens and the role that open it."""
    turns = _SPECIAL_TOKEN.split(text)
    spoken = [index for index, turn in enumerate(turns) if not _ROLE_ALONE.match(turn)]
    if not spoken:
        return ""
    first = _OWN_ROLE.sub("", turns[spoken[0]])
    return f"{first}\n" if spoken[0] + 1 < len(turns) else first


def _without_fences(text: str) -> str:
    """Without code fences, whether they stand around all of it or a part, and without ruled lines."""
    text = _RULE_LINE.sub("", _FENCE_LINE.sub("", text))
    return _FENCE_END.sub("", _FENCE_START.sub("", text))


def _without_tags(text: str) -> str:
    """`<thought>` and `<action>` as labelled lines; a tag that was closed ends its line."""
    return _TAG.sub(
        lambda tag: f"\n{tag[1].capitalize()}: {tag[2]}" + ("\n" if tag[3] else ""), _ANSWER_TAG.sub("", text)
    )


def _without_json(text: str) -> str:
    """JSON with an action, a thought or an evaluation as labelled lines; all other text as it is."""
    kept: list[str] = []
    done = 0
    while (found := _OBJECT.search(text, done)) is not None:
        value, end = _decoded(text, found.start())
        lines = _labelled_lines(value)
        kept.append(text[done : found.start()])
        kept.append(f"\n{lines}\n" if lines else text[found.start() : end])
        done = end
    return "".join([*kept, text[done:]]) if done else text


def _decoded(text: str, start: int) -> tuple[object, int]:
    """The JSON value, or Python literal, that begins at `start`, and its end; None where there is none."""
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(text, start)
        return value, end
    except (ValueError, RecursionError):
        pass
    end = text.rfind("}" if text[start] == "{" else "]") + 1
    try:
        return ast.literal_eval(text[start:end]), end
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None, start + 1


def _labelled_lines(value: object) -> str:
    """`Thought: …` and `Action: …` of an object, which may stand alone in a list, or be the only such one in
    another object.

    Several objects, such as a list of candidates, name no action.
    """
    if isinstance(value, list) and len(value) == 1:
        return _labelled_lines(value[0])
    if not isinstance(value, Mapping):
        return ""
    said = {
        _KEYS[name]: str(one)
        for key, each in value.items()
        if (name := re.sub(r"[\W_]+", " ", str(key)).strip().lower()) in _KEYS
        and isinstance(one := each[0] if isinstance(each, list) and len(each) == 1 else each, str | int)
        and not isinstance(one, bool)
    }
    if not said:
        inner = [lines for each in value.values() if (lines := _labelled_lines(each))]
        return inner[0] if len(inner) == 1 else ""
    order = ("Thought", "Action", "Action Evaluation")
    return "\n".join(f"{name}: {said[name].strip()}" for name in order if name in said)
