"""Chat templates that behave like those of common model families, written for these tests, and tokenizers."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import AddedToken, processors
from transformers import PreTrainedTokenizerFast

from sand_dagster.types import Message
from tests.training.tiny_model import tiny_tokenizer

CHAT: list[Message] = [
    {"role": "user", "content": "You are in a room."},
    {"role": "assistant", "content": "Thought: a desk\n\nAction: go to desk 1"},
    {"role": "user", "content": "Observation: Nothing happens."},
    {"role": "assistant", "content": "Action: look"},
]
SYSTEM: Message = {"role": "system", "content": "Be terse."}

_LLAMA = """{{- bos_token -}}
{%- if messages[0].role == 'system' -%}
  {%- set system = messages[0].content | trim -%}{%- set messages = messages[1:] -%}
{%- else -%}{%- set system = '' -%}{%- endif -%}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\n' -}}
{{- 'Today Date: ' + DATE + '\\n\\n' + system + '<|eot_id|>' -}}
{%- for m in messages -%}
  {{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}"""
_CHATML = """{%- if messages[0].role != 'system' and default -%}
  {{- '<|im_start|>system\\n' + default + '<|im_end|>\\n' -}}
{%- endif -%}
{%- for m in messages -%}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""
_QWEN_3 = """{%- set ns = namespace(last=0) -%}
{%- for m in messages if m.role == 'user' -%}{%- set ns.last = messages.index(m) -%}{%- endfor -%}
{%- for m in messages -%}
  {{- '<|im_start|>' + m.role + '\\n' -}}
  {%- if m.role == 'assistant' and loop.index0 > ns.last -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}
  {{- m.content.split('</think>')[-1].lstrip('\\n') + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|im_start|>assistant\\n' -}}
  {{- '' if enable_thinking | default(true) else '<think>\\n\\n</think>\\n\\n' -}}
{%- endif -%}"""
_GEMMA = """{{- bos_token -}}
{%- for m in messages -%}
  {%- if m.role == 'system' -%}{{- raise_exception('no system role') -}}{%- endif -%}
  {%- if (m.role == 'user') != (loop.index0 is even) -%}{{- raise_exception('take turns') -}}{%- endif -%}
  {{- '<start_of_turn>' + ('model' if m.role == 'assistant' else 'user') + '\\n' -}}
  {{- m.content | trim + '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}"""
_MISTRAL = """{{- bos_token -}}
{%- set system = messages[0].content + '\\n\\n' if messages[0].role == 'system' else '' -%}
{%- set turns = messages[1:] if system else messages -%}
{%- for m in turns -%}
  {%- if m.role == 'user' -%}
    {%- set last = loop.last or loop.index0 == turns | length - 2 -%}
    {{- '[INST] ' + (system if last else '') + m.content + '[/INST]' -}}
  {%- else -%}{{- ' ' + m.content + eos_token -}}{%- endif -%}
{%- endfor -%}"""
_PHI = """{%- for m in messages -%}{{- '<|' + m.role + '|>\\n' + m.content + '<|end|>\\n' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- else -%}{{- eos_token -}}{%- endif -%}"""


@dataclass(frozen=True)
class Family:
    """A template, its special tokens, and the text of CHAT: `{0}` stands for the end of a trained span."""

    name: str
    template: str
    special: tuple[str, ...]
    end: str
    written: str
    """The text up to the assistant's last token, its replies in «»."""
    bos: str | None = None
    eos: str | None = None
    strips: tuple[str, ...] = ()
    """Tokens that include the white space after them."""

    def tokenizer(self) -> PreTrainedTokenizerFast:
        tokenizer = tiny_tokenizer((*self.special, self.end, "<|pad|>"))
        tokenizer.eos_token = self.eos or self.end
        if self.strips:
            tokenizer.add_special_tokens(
                {
                    "extra_special_tokens": [
                        AddedToken(text, rstrip=True, special=True) for text in self.strips
                    ]
                }
            )
        if self.bos:  # like most tokenizers with such a token, it adds one before any text
            tokenizer.bos_token = self.bos
            tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
                single=f"{self.bos} $A", special_tokens=[(self.bos, tokenizer.bos_token_id)]
            )
        tokenizer.chat_template = self.template
        return tokenizer


def _llama(name: str, date: str) -> Family:
    return Family(
        name,
        _LLAMA.replace("DATE", date),
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
        "<|eot_id|>",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
        "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nYou are in a room.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
        "«Thought: a desk\n\nAction: go to desk 1<|eot_id|>»"
        "<|start_header_id|>user<|end_header_id|>\n\nObservation: Nothing happens.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n«Action: look<|eot_id|>»",
        bos="<|begin_of_text|>",
    )


def _chatml(name: str, default: str) -> Family:
    system = f"<|im_start|>system\n{default}<|im_end|>\n" if default else ""
    return Family(
        name,
        f"{{%- set default = {default!r} -%}}{_CHATML}",
        ("<|im_start|>",),
        "<|im_end|>",
        f"{system}<|im_start|>user\nYou are in a room.<|im_end|>\n"
        "<|im_start|>assistant\n«Thought: a desk\n\nAction: go to desk 1<|im_end|>»\n"
        "<|im_start|>user\nObservation: Nothing happens.<|im_end|>\n"
        "<|im_start|>assistant\n«Action: look<|im_end|>»",
    )


LLAMA_3_1 = _llama("llama-3.1", "'26 Jul 2024'")
LLAMA_3_2 = _llama("llama-3.2", "strftime_now('%d %b %Y')")
QWEN_2_5 = _chatml("qwen-2.5", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.")
SMOLLM_2 = _chatml("smollm-2", "You are a helpful AI assistant named SmolLM, trained by Hugging Face")
QWEN_2507 = _chatml("qwen-3-2507", "")
QWEN_3 = Family("qwen-3", _QWEN_3, ("<|im_start|>", "<think>", "</think>"), "<|im_end|>", "")
GEMMA = Family(
    "gemma",
    _GEMMA,
    ("<bos>", "<eos>", "<start_of_turn>"),
    "<end_of_turn>",
    "<bos><start_of_turn>user\nYou are in a room.<end_of_turn>\n"
    "<start_of_turn>model\n«Thought: a desk\n\nAction: go to desk 1<end_of_turn>»\n"
    "<start_of_turn>user\nObservation: Nothing happens.<end_of_turn>\n"
    "<start_of_turn>model\n«Action: look<end_of_turn>»",
    bos="<bos>",
    eos="<eos>",
)
MISTRAL = Family(
    "mistral",
    _MISTRAL,
    ("<s>", "[INST]", "[/INST]"),
    "</s>",
    "<s>[INST] You are in a room.[/INST]« Thought: a desk\n\nAction: go to desk 1</s>»"
    "[INST] Observation: Nothing happens.[/INST]« Action: look</s>»",
    bos="<s>",
)
PHI = Family(
    "phi-3",
    _PHI,
    ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>"),
    "<|end|>",
    # The tokens include the new lines, so these are not in the text.
    "<|user|>You are in a room.<|end|>"
    "<|assistant|>«Thought: a desk\n\nAction: go to desk 1<|end|>»"
    "<|user|>Observation: Nothing happens.<|end|>"
    "<|assistant|>«Action: look<|end|>»",
    eos="<|endoftext|>",
    strips=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
)
STABLE = (LLAMA_3_1, LLAMA_3_2, QWEN_2_5, SMOLLM_2, QWEN_2507, GEMMA, MISTRAL, PHI)
