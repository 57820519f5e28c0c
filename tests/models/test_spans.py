"""For any chat model's template, prompts and training text are the same, and the loss is over the replies."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import pytest
import trl
from transformers import PreTrainedTokenizerFast

from sand_dagster.models.chat import ChatEncoder
from sand_dagster.models.spans import TrainingChats, Unstable
from sand_dagster.models.templates import NoChatTemplate, prompting_template, published, training_chats
from sand_dagster.training.examples import encode, encode_all
from sand_dagster.types import Message
from tests.models import families
from tests.models.families import CHAT, STABLE, SYSTEM, Family
from tests.training.tiny_model import HOUSEHOLD, LLAMA, QWEN, tiny_chat, tiny_tokenizer

RELEASED = Path(trl.__file__).parent / "chat_templates"
BY_NAME = pytest.mark.parametrize("family", STABLE, ids=lambda family: family.name)


def shown(tokenizer: PreTrainedTokenizerFast, chats: TrainingChats, chat: list[Message]) -> str:
    """The tokens as text, with those of the loss in «»."""
    ids, written = chats.tokens(chat)
    runs = groupby(zip(ids, written, strict=True), key=lambda pair: pair[1])
    texts = ((ours, tokenizer.decode([token for token, _ in run])) for ours, run in runs)
    return "".join(f"«{text}»" if ours else text for ours, text in texts)


def assert_prompts_are_prefixes(tokenizer: PreTrainedTokenizerFast, chat: list[Message]) -> None:
    """The engine's prompt for each reply equals the start of the training text, up to the reply's first
    token."""
    chats = training_chats(tokenizer, "auto", "m")
    engine = ChatEncoder(tokenizer, prompting_template(tokenizer, "auto", "m"))
    ids, written = chats.tokens(chat)
    starts = [i for i, ours in enumerate(written) if ours and not (i and written[i - 1])]
    replies = [i for i, message in enumerate(chat) if message["role"] == "assistant"]
    assert [engine.encode(chat[:i]) for i in replies] == [ids[:start] for start in starts]


@BY_NAME
def test_what_a_chat_becomes_and_what_of_it_the_loss_is_over(family: Family) -> None:
    tokenizer = family.tokenizer()
    assert shown(tokenizer, training_chats(tokenizer, "auto", "m"), CHAT) == family.written


@BY_NAME
def test_the_engine_is_prompted_with_the_beginning_of_what_is_trained_on(family: Family) -> None:
    for number in range(8):
        assert_prompts_are_prefixes(family.tokenizer(), tiny_chat(number, turns=1 + number % 4))


@BY_NAME
def test_a_text_begins_once(family: Family) -> None:
    tokenizer = family.tokenizer()
    ids, _ = training_chats(tokenizer, "auto", "m").tokens(CHAT)
    assert ids.count(tokenizer.bos_token_id) == (1 if family.bos else 0)
    if family.bos:
        assert tokenizer("look")["input_ids"][0] == tokenizer.bos_token_id, (
            "by itself the tokenizer would add another"
        )


@BY_NAME
def test_the_end_of_turn_is_learnt_whatever_the_end_of_text_is(family: Family) -> None:
    tokenizer = family.tokenizer()
    chats = training_chats(tokenizer, "auto", "m")
    assert chats.end_of_turn == tokenizer.convert_tokens_to_ids(family.end)
    assert chats.tokens(CHAT)[0][-1] == chats.end_of_turn


@pytest.mark.parametrize(
    ("name", "special"), [("household", HOUSEHOLD), ("llama-3.1", LLAMA), ("qwen-2.5", QWEN)]
)
def test_where_a_template_has_marks_they_are_the_same(name: str, special: tuple[str, ...]) -> None:
    tokenizer = tiny_tokenizer(special)
    for number in range(8):
        chat = tiny_chat(number, turns=1 + number % 4)[:-1]
        marked = tokenizer.apply_chat_template(
            chat, chat_template=published(name), return_dict=True, return_assistant_tokens_mask=True
        )
        ids, written = TrainingChats(tokenizer, published(name)).tokens(chat)
        assert ids == marked["input_ids"][: len(ids)]
        assert written == [mask == 1 for mask in marked["assistant_masks"]][: len(ids)]
        assert not any(marked["assistant_masks"][len(ids) :])


@pytest.mark.parametrize(
    "family", [f for f in STABLE if f.name not in ("gemma", "mistral")], ids=lambda f: f.name
)
def test_a_system_message_takes_the_place_of_the_templates_own(family: Family) -> None:
    tokenizer = family.tokenizer()
    text = shown(tokenizer, training_chats(tokenizer, "auto", "m"), [SYSTEM, *CHAT])
    assert text.count("Be terse.") == 1
    assert "helpful" not in text
    assert text.count("«") == 2
    assert_prompts_are_prefixes(tokenizer, [SYSTEM, *CHAT])


def test_the_day_is_the_same_every_day() -> None:
    tokenizer = families.LLAMA_3_2.tokenizer()
    assert "strftime_now" in tokenizer.chat_template
    for choice in ("auto", "model"):
        chats = training_chats(tokenizer, choice, "m")
        assert "Today Date: 26 Jul 2024\n" in shown(tokenizer, chats, CHAT)
    assert prompting_template(tokenizer, "auto", "m") == published("llama-3.1"), "which has no clock at all"


# Reasons to refuse, each with the model, what was found, and the way out.
WAY_OUT = r"Set `finetuning.chat_template` to one of household, llama-3\.1, qwen-2\.5"


def test_a_template_that_drops_earlier_thoughts_is_refused() -> None:
    tokenizer = families.QWEN_3.tokenizer()
    with pytest.raises(NoChatTemplate, match=rf"(?s)org/q cannot be trained.*<think>.*{WAY_OUT}"):
        training_chats(tokenizer, "auto", "org/q")
    prompt = ChatEncoder(tokenizer, prompting_template(tokenizer, "auto", "m")).render(CHAT[:1])
    assert prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n"), "it can still be prompted"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}### {{ m.role }}: {{ m.content }}\n{% endfor %}"
         "{% if add_generation_prompt %}### assistant:{% endif %}", "no token that ends its turn"),
        ("{% for m in messages %}{% if m.role == 'user' %}<|im_start|>{{ m.content }}<|im_end|>{% endif %}"
         "{% endfor %}", "leaves out the assistant's text"),
        ("{{ raise_exception('just one') if messages | length > 1 }}<|im_start|>", "just one"),
        ("{% for m in messages %}<|im_start|>{{ m.content }}{{ messages | length }}<|im_end|>{% endfor %}",
         "gives a prompt that differs from the text before a reply"),
        ("{% for m in messages %}<|im_start|>{{ m.content }}{{ '.' if not loop.last }}<|im_end|>{% endfor %}"
         "{% if add_generation_prompt %}<|im_start|>{% endif %}",
         "gives a prompt that differs from the text before a reply"),
        ("{% for m in messages %}<|im_start|>{{ m.content }}{{ '.' if not loop.last and loop.index > 2 }}"
         "<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}",
         "gives a prompt for message 4"),
        ("{% for m in messages %}<|im_start|>{{ m.content }}"
         "{{ ' ' if not loop.last and m.role == 'assistant' }}<|im_end|>{% endfor %}"
         "{% if add_generation_prompt %}<|im_start|>{% endif %}", "messages differently from its last"),
        ("{% for m in messages %}<|im_start|>{{ m.content }}{{ '<|im_end|>' if loop.index < 4 }}{% endfor %}"
         "{% if add_generation_prompt %}<|im_start|>{% endif %}", "not write the whole text of message 4"),
        ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}",
         "'assistant' beside the text of message 2"),
        ("{% for m in messages %}<|im_start|>{{ m.role }}{{ ': final\n' if m.role == 'assistant' }}"
         "{{ m.content }}<|im_end|>{% endfor %}"
         "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}",
         "': final' beside the text of message 2"),
        ("{{ '{thought}'.format(action=1) }}", "refuses a chat .*: 'thought'"),
    ],
)  # fmt: skip
def test_what_a_template_may_not_do(template: str, reason: str) -> None:
    tokenizer = tiny_tokenizer(QWEN)
    tokenizer.chat_template = template
    with pytest.raises(NoChatTemplate, match=rf"(?s)org/odd cannot be trained .*{reason}.*{WAY_OUT}"):
        training_chats(tokenizer, "model", "org/odd")
    with pytest.raises(NoChatTemplate, match=rf"(?s){reason}"):
        training_chats(tokenizer, "auto", "org/odd")


@pytest.mark.parametrize(
    ("family", "chat", "reason"),
    [
        (families.GEMMA, [SYSTEM, *CHAT], "refuses a chat .* of the roles system, .*no system role"),
        (families.MISTRAL, [SYSTEM, *CHAT], "a prompt for message 3 that differs from the text before it"),
        (families.GEMMA, [CHAT[0], CHAT[2], CHAT[1]], "take turns"),
        (
            families.SMOLLM_2,
            [CHAT[0], {"role": "assistant", "content": "Action: write <|im_end|> 1"}],
            "does not write the whole text of message 2",
        ),
        (
            families.QWEN_2507,
            [CHAT[0], {"role": "assistant", "content": "\nAction: look"}],
            r"merges the first tokens of message 2 with those of the prompt",
        ),
    ],
    ids=["no-system", "moving-system", "turns", "end-within", "joined-tokens"],
)  # fmt: skip
def test_a_conversation_that_cannot_be_written_is_named(
    family: Family, chat: list[Message], reason: str
) -> None:
    tokenizer = family.tokenizer()
    if "tokens" in reason:  # as in the families' tokenizers: two new lines are one token
        tokenizer.add_tokens(["\n\n"])
    chats = training_chats(tokenizer, "auto", "m")
    with pytest.raises(
        NoChatTemplate, match=rf"(?s)conversation 2 cannot be trained on.*{reason}.*{WAY_OUT}"
    ):
        encode_all([CHAT, chat], chats, 1000)


def test_empty_thoughts_that_the_prompt_does_not_have_are_learnt_with_the_reply() -> None:
    tokenizer = tiny_tokenizer(("<think>", "</think>", *QWEN))
    template = families.QWEN_2507.template.replace("m.content", "think[m.role] + m.content")
    think = "{%- set think = {'user': '', 'assistant': '<think>\\n\\n</think>\\n\\n'} -%}"
    chats = TrainingChats(tokenizer, think + template)
    assert "«<think>\n\n</think>\n\nAction: look<|im_end|>»" in shown(tokenizer, chats, CHAT)


def test_a_system_message_that_is_dropped_in_silence_is_noticed() -> None:
    tokenizer = families.PHI.tokenizer()
    chats = TrainingChats(
        tokenizer, tokenizer.chat_template.replace("for m in", "for m in messages[-4:] if m in")
    )
    assert encode(CHAT, chats, 1000) is not None
    with pytest.raises(Unstable, match=r"leaves out text of message 1 \(system\)"):
        encode([SYSTEM, *CHAT], chats, 1000)


# The templates that models were released with, as TRL keeps copies of them to recognise models.
SPECIAL = re.compile(r"<\|[\w]+\|>|<\w+>|</\w+>|<｜[^<>\n]+?｜>|<[a-z_]+_of_turn>|\[/?INST\]")
TRAINABLE = {
    "llama3": None, "llama3_1": "ours", "llama3_2": "ours", "qwen2_5": "ours", "qwen3": "TRL's",
    "qwen3_instruct_2507": None, "gemma": None, "gemma3": None, "phi3": None, "phi3_5": None,
    "cohere": None,
}  # fmt: skip


@pytest.mark.parametrize(("name", "whose"), TRAINABLE.items(), ids=TRAINABLE)
def test_released_templates(name: str, whose: str | None) -> None:
    text = (RELEASED / f"{name}.jinja").read_text()
    special = tuple(sorted(set(SPECIAL.findall(text)) - {"<|end_of_text|>"}))
    tokenizer = tiny_tokenizer(("<BOS>", *special, "<EOS>", "<|pad|>"))
    tokenizer.bos_token = "<|begin_of_text|>" if name.startswith("llama") else "<BOS>"
    tokenizer.chat_template = text
    for number in range(4):
        assert_prompts_are_prefixes(tokenizer, tiny_chat(number, turns=1 + number))
    chosen = prompting_template(tokenizer, "auto", "m")
    ours = {published(ours) for ours in ("llama-3.1", "qwen-2.5")}
    assert ("ours" if chosen in ours else None if chosen == text else "TRL's") == whose
    replies = re.findall("«(.*?)»", shown(tokenizer, training_chats(tokenizer, "auto", "m"), CHAT), re.DOTALL)
    said = [message["content"] for message in CHAT if message["role"] == "assistant"]
    assert [text for text, _ in map(ending, replies)] == said
    assert {end for _, end in map(ending, replies)} < set(special) and len(replies) == 2


def ending(reply: str) -> tuple[str, str]:
    """A reply and the token that ends it."""
    found = re.fullmatch(r"(.*?)(<[^<>]+>)", reply, re.DOTALL)
    assert found is not None, reply
    return found[1].strip(), found[2]
