"""The household model's tokenizer: byte-level BPE, lossless for any text, with few tokens for household
texts.

Three things keep contexts short and copying easy. A household name (` cabinet 2`) is always one token; a name
with a higher number is two tokens, its word and its number. The text between names is merged across words, so
that a frequent phrase is one token. And the fixed texts of the prompts of Figures 5 to 8 are one added (not
special) token for each part between two slots.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, cast

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sand_dagster.models.templates import published
from sand_dagster.prompts.figures import agent_prompt, critique_prompt, deliberation_prompt, fill
from toy_alfworld.games.catalogue import types_by_word
from toy_alfworld.model import CONTEXT

VOCABULARY = 3456
"""Entries in all: special tokens, prompt pieces, bytes and merges."""

PAD, USER, ASSISTANT, END = "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"

_SLOT = "\N{OBJECT REPLACEMENT CHARACTER}"
_PROMPTED = ("alfworld", "scienceworld")
"""The environments whose prompts it was made for."""

_SHORTEST_PIECE = 8
_LONGEST_PHRASE = 48
_FEWEST = 15
_VERBS = "go to|take|put|move|open|close|toggle|use|clean|heat|cool|examine|look"
_MARKERS = "Action Evaluation|Action|Thought|Observation"
_NUMBERS = 100
_IN_NAMES = range(1, 5)
"""Numbers that form one token with the word before them; rooms rarely have more of a type."""
_REPEATS = 300

_SCIENCE = (
    "kitchen, foundry, workshop, bathroom, outside, living room, bedroom, greenhouse, art studio, "
    "hallway, agent, substance, called, air, water, steam, ice, beaker, thermometer, stove, oven, "
    "freezer, cupboard, counter, table, chair, bookshelf, picture, finger painting, metal pot, tin cup, "
    "glass cup, wood cup, ceramic cup, jug, sink, bathtub, toilet, fountain, fire pit, axe, blast "
    "furnace, ultra low temperature freezer, battery, light bulb, wire, terminal, anode, cathode, "
    "switch, motor, buzzer, solar panel, generator, electrical, circuit, connect, disconnect, activate, "
    "deactivate, teleport, focus, pick up, inventory, wait, door, containing, nothing, contains, turned "
    "on, turned off, plant, flower pot, self watering, seed, seedling, flower, pollen, bee, hive, soil, "
    "shovel, animal, adult, baby, egg, turtle, frog, butterfly, wolf, parrot, elephant, dove, hedgehog, "
    "giant tortoise, dragonfly, chameleon, paint, red, blue, yellow, green, orange, violet, white, "
    "black, brown, mixture, salt, sodium chloride, soap, chocolate, sugar, flour, milk, juice, banana, "
    "potato, avocado, peach, lemon, temperature, degrees, celsius, melting, boiling, freezing, solid, "
    "liquid, gas, state of matter, conductive, nonconductive, box, purple, life stage, lifespan, "
    "longest, shortest, inclined plane, angle, steepest, friction, move, to the, in the, on the, this "
    "room is, you see, In it, you also see, is open, is closed, No known action matches that input, Your "
    "task is to, First, Then, Finally, you have, chemistry, find, living thing, non-living"
)
"""Words of ScienceWorld, so that its contexts also stay moderate."""


@cache
def prompt_pieces() -> tuple[str, ...]:
    """The texts of Figures 5 to 8 between their slots, without very short parts."""
    filled = [
        critique_prompt(_SLOT, _SLOT, _SLOT, _SLOT),
        deliberation_prompt(_SLOT, _SLOT, [(_SLOT, "")], _SLOT),
        *(fill(agent_prompt(f"sand_dagster.environments.{name}"), {"task": _SLOT}) for name in _PROMPTED),
    ]
    pieces = (piece for text in filled for piece in text.split(_SLOT))
    return tuple(dict.fromkeys(piece for piece in pieces if len(piece) >= _SHORTEST_PIECE))


def household_words() -> list[str]:
    """The words that name the household's objects and receptacles."""
    return sorted(types_by_word())


def household_names() -> list[str]:
    """The numbered names that are one token each."""
    return [f"{word} {number}" for word in household_words() for number in _IN_NAMES]


def build(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train the tokenizer on `texts`; the same texts give the same tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    names = "|".join(sorted(map(re.escape, household_words()), key=len, reverse=True))
    numbered = rf"(?:{names}) [{_IN_NAMES[0]}-{_IN_NAMES[-1]}]\b"
    isolated = rf"\n+| ?\b{numbered}| ?\b(?:{names})(?=s?\b)| ?\b(?:{_VERBS})\b| ?\d+|\*\*|(?:{_MARKERS}):"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(isolated), "isolated"),
            pre_tokenizers.Split(Regex(r"[.:;!?]"), "merged_with_previous"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [PAD, USER, ASSISTANT, END]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(prompt_pieces()),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=_FEWEST,
        max_token_length=_LONGEST_PHRASE,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_with_names(texts), trainer)
    tokenizer.add_tokens([AddedToken(piece, normalized=False, special=False) for piece in prompt_pieces()])
    fast: PreTrainedTokenizerFast = cast(Any, PreTrainedTokenizerFast)(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    fast.chat_template = published("household")
    return fast


def _with_names(texts: Iterable[str]) -> Iterator[str]:
    """`texts` without the prompts' fixed pieces, then every name often enough to become one token."""
    fixed = re.compile("|".join(map(re.escape, sorted(prompt_pieces(), key=len, reverse=True))))
    for text in texts:
        yield from fixed.split(text)
    listing = "".join(f" {name}" for name in [*household_names(), *household_words()])
    listing += "".join(f" {number}" for number in range(_NUMBERS))
    science = [f" {word}" for phrase in _SCIENCE.split(", ") for word in (phrase, *phrase.split())]
    for _ in range(_REPEATS):
        yield listing
        yield from science
