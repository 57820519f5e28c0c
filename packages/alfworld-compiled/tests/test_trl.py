"""TRL's own GRPOTrainer plays a game through its tool loop; only the model's words are written for it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from alfworld_compiled.testing import WALKTHROUGH
from alfworld_compiled.trl import AlfworldToolEnv, dataset


def test_an_episode_through_the_tool(kitchen: Path, tmp_path: Path) -> None:
    env = AlfworldToolEnv(cache=tmp_path / "cache")
    with pytest.raises(RuntimeError, match="call reset"):
        env.act("look")
    assert env.reset(game=str(kitchen), prompt="ignored").endswith("put a hot apple in fridge.")

    answers = [env.act(f" {command}") for command in WALKTHROUGH]

    assert answers[0].startswith("You arrive at countertop 1.") and answers[-1].endswith(
        "\nThe episode is over."
    )
    assert (env.get_reward(), env.act("open fridge 1")) == (1.0, "The episode is over.")
    env.reset(game=str(kitchen))
    assert (env.get_reward(), env.act("dance")) == (0.0, "Nothing happens.")


def test_the_step_limit_ends_it(kitchen: Path, tmp_path: Path) -> None:
    env = AlfworldToolEnv(step_limit=1, cache=tmp_path / "cache")
    env.reset(game=str(kitchen))
    assert env.act("dance") == "Nothing happens.\nThe episode is over."


@pytest.mark.slow
def test_the_trainer_plays_a_game(kitchen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trl", reason="the extra `trl` is not installed")
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from transformers import Qwen2Config, Qwen2ForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = _tokenizer()
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=16384,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    trainer = GRPOTrainer(
        model,
        args=GRPOConfig(
            output_dir=str(tmp_path / "out"),
            per_device_train_batch_size=2,
            num_generations=2,
            max_completion_length=12000,
            max_steps=1,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            logging_steps=1,
        ),
        train_dataset=dataset(kitchen),
        processing_class=tokenizer,
        environment_factory=partial(AlfworldToolEnv, cache=tmp_path / "cache"),
    )
    scripts = [WALKTHROUGH, ["inventory"]]
    prompts: list[str] = []

    def generate(prompt_ids: list[list[int]], *_: Any, **__: Any) -> tuple[list[list[int]], None]:
        """The first of the two rollouts follows the walkthrough, the second does one thing."""
        said = []
        for index, ids in enumerate(prompt_ids):
            text = tokenizer.decode(ids)
            prompts.append(text)
            done = text.count("<tool_response>")
            script = next(s for s in scripts if f'"{s[0]}"' in text) if done else scripts[index]
            if done < len(script):
                call = json.dumps({"name": "act", "arguments": {"action": script[done]}})
                said.append(f"<tool_call>\n{call}\n</tool_call><|im_end|>")
            else:
                said.append("Done.<|im_end|>")
        return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in said], None

    monkeypatch.setattr(trainer, "_generate_single_turn", generate)
    trainer.train()

    logged = trainer.state.log_history[0]
    assert logged["rewards/AlfworldToolEnv/mean"] == pytest.approx(0.5)
    assert logged["tools/failure_frequency"] == 0
    assert "Your task is to: put a hot apple in fridge." in prompts[0]
    assert any("You heat the apple 2 using the microwave 1." in prompt for prompt in prompts)


def _tokenizer() -> Any:
    """A tokenizer of bytes with the chat template by which TRL recognises Qwen2.5."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from trl import chat_template_utils

    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(models.BPE(vocab=letters, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="left"
    )
    tokenizer.add_tokens(special)
    tokenizer.chat_template = chat_template_utils.qwen2_5_chat_template
    return tokenizer
