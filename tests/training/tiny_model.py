"""A Llama of two layers with a new tokenizer: small, but real for vLLM and TRL."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sand_dagster.types import Message

HOUSEHOLD = ("<|user|>", "<|assistant|>", "<|end|>", "<|pad|>")
LLAMA = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|pad|>")
QWEN = ("<|im_start|>", "<|im_end|>", "<|pad|>")
_TEXT = """go to take put open close heat cool clean use drawer cabinet apple mug 1 2 3 Thought: Action:
Observation: I should look on the countertop. Nothing happens. You see a"""
_WORDS = _TEXT.split()


def tiny_tokenizer(special: tuple[str, ...] = HOUSEHOLD) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer; `special` ends in the end-of-turn and the padding token."""
    choose = random.Random(0)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(choose.choices(_WORDS, k=40)) for _ in range(50)], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=special[-2],
        pad_token=special[-1],
        bos_token=special[0] if "begin" in special[0] else None,
    )


def write_tiny_model(
    folder: Path,
    seed: int = 0,
    context: int = 512,
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    tied: bool = False,
) -> Path:
    """Save a model with random weights drawn from `seed`, and its tokenizer, to `folder`.

    With `tied` the scores of tokens are computed with the weights of their embeddings.
    """
    tokenizer = tokenizer or tiny_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=context,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=tied,
        initializer_range=0.2,  # makes the logits differ enough that sampling is not uniform
    )
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_chat(number: int, turns: int = 2) -> list[Message]:
    """A chat of `turns` exchanges, always the same for a number, that ends with the user."""
    choose = random.Random(number)
    chat: list[Message] = []
    for _ in range(turns):
        chat.append({"role": "user", "content": " ".join(choose.choices(_WORDS, k=12))})
        chat.append({"role": "assistant", "content": "Action: " + " ".join(choose.choices(_WORDS, k=4))})
    return [*chat, {"role": "user", "content": "Observation: Nothing happens."}]
