"""One finetuning, SFT or DPO, in its own process: `python -m sand_dagster.training.sft JOB.json`."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sand_dagster.models.model_folder import load_tokenizer, model_id
from sand_dagster.models.templates import training_chats
from sand_dagster.training.devices import spread
from sand_dagster.training.examples import Examples, Pairs, encode_all, encode_pairs
from sand_dagster.training.job import REPORT, Job, Progress, Report, read_conversations
from sand_dagster.training.lease import end_with_the_run
from sand_dagster.training.orchestrator import orchestrator
from sand_dagster.training.settings import FinetuningSettings

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from sand_dagster.models.spans import TrainingChats

_VERSIONS = ("torch", "transformers", "trl", "peft", "accelerate")


def finetune(job: Job) -> None:
    """Finetune and write the checkpoint with its report to `job.output`.

    Raises:
        ValueError: the settings do not fit the model or the devices, or nothing is left to train on.
    """
    import torch

    from sand_dagster.training.precision import bfloat16_is_fast
    from sand_dagster.training.saving import last_saved

    started = time.perf_counter()
    tokenizer = load_tokenizer(job.parent)
    chats = training_chats(tokenizer, job.settings.chat_template, str(job.parent))
    data = _data(job, chats)
    examples = data if isinstance(data, Examples) else data.both
    bfloat16 = bfloat16_is_fast() if job.settings.dtype == "auto" else job.settings.dtype == "bfloat16"
    if torch.cuda.is_available():  # a CPU's are always deterministic
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    arguments = _arguments(job, bfloat16)  # this comes first, because it starts the group of processes
    model = _model(job, bfloat16)
    saved_dtype = model.config.dtype
    trainer, curve = _trainer(job, arguments, model, tokenizer, data)
    if job.epochs:
        saved = last_saved(job.state)  # by an earlier process that was killed
        trainer.train(resume_from_checkpoint=str(saved) if saved else None)
    if trainer.is_world_process_zero():
        report = Report(
            examples=len(data.kept),
            dropped=data.dropped,
            truncated=data.truncated,
            tokens=examples.tokens * job.epochs,
            trained_tokens=examples.trained_tokens * job.epochs,
            epochs=job.epochs,
            seed=job.seed,
            seconds=time.perf_counter() - started,
            device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            dtype="bfloat16" if bfloat16 else "float32",
            loss_curve=curve,
            versions={name: importlib.metadata.version(name) for name in _VERSIONS},
            devices=trainer.args.world_size,
            per_device_batch_size=trainer.args.per_device_train_batch_size,
            gradient_accumulation_steps=trainer.args.gradient_accumulation_steps,
            placement=job.placement,
        )
    # A server of the checkpoint has to use the prompts of the training, and the end token that it learnt.
    tokenizer.chat_template = chats.template
    _stop_at(chats.end_of_turn, model)
    _save(trainer, tokenizer, saved_dtype, job.output)
    if trainer.is_world_process_zero():
        (job.output / REPORT).write_text(report.model_dump_json(indent=1))


def _data(job: Job, chats: TrainingChats) -> Examples | Pairs:
    """What the job trains on: conversations, or pairs of them.

    Raises:
        ValueError: nothing is left to train on.
    """
    conversations, longest = read_conversations(job.conversations), job.settings.max_length
    if job.dpo is None:
        data: Examples | Pairs = encode_all(conversations, chats, longest)
        what, where = "conversations has text", ""
    else:
        data = encode_pairs(conversations, read_conversations(job.dpo.rejected), chats, longest)
        what, where = "pairs has text", " on both sides"
    if not data.kept:
        raise ValueError(
            f"none of the {len(data.dropped)} {what} of the assistant within the first {longest} "
            f"tokens{where}: raise max_length"
        )
    return data


def _model(job: Job, bfloat16: bool) -> PreTrainedModel:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(job.parent, trust_remote_code=False)
    longest = getattr(config, "max_position_embeddings", None)
    if longest is not None and job.settings.max_length > longest:
        raise ValueError(
            f"max_length is {job.settings.max_length} tokens, but {job.parent} was made for {longest}"
        )
    # Adapters do not change the weights, so these may keep the parent's format. Full finetuning keeps them in
    # float32, because updates at a learning rate of 1e-5 would be lost in bfloat16's rounding.
    frozen = job.settings.method == "lora" and bfloat16
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        job.parent,
        dtype="auto" if frozen else torch.float32,
        trust_remote_code=False,
        use_safetensors=True,
    )
    # The checkpoint is saved in the parent's format.
    model.config.dtype = config.dtype or torch.float32
    return model


def _trainer(
    job: Job,
    arguments: SFTConfig | DPOConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: Examples | Pairs,
) -> tuple[SFTTrainer | DPOTrainer, list[Progress]]:
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from sand_dagster.training import dpo
    from sand_dagster.training.progress import LossCurve
    from sand_dagster.training.saving import Saving
    from sand_dagster.training.sharding import Shares

    reporter = LossCurve()
    callbacks = [reporter, Saving(job.save_every_s), Shares(sharded=job.placement != "whole")]
    lora = _lora(job.settings) if job.settings.method == "lora" else None
    if isinstance(data, Pairs):
        assert isinstance(arguments, DPOConfig)
        return dpo.trainer(arguments, model, tokenizer, data, lora, callbacks), reporter.curve
    dataset = Dataset.from_dict(
        {
            "input_ids": [example.input_ids for example in data.kept],
            "labels": [example.labels for example in data.kept],
        }
    )
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=lora,
        callbacks=callbacks,
    )
    return trainer, reporter.curve


def _arguments(job: Job, bfloat16: bool) -> SFTConfig | DPOConfig:
    import torch
    from trl.trainer.sft_config import SFTConfig

    from sand_dagster.training import dpo

    settings = job.settings
    world = int(os.environ.get("WORLD_SIZE", "1"))
    # A pair is two trajectories.
    per_device = (
        settings.per_device_batch_size if job.dpo is None else max(1, settings.per_device_batch_size // 2)
    )
    shares = spread(settings.batch_size, per_device, world)
    sharded: dict[str, Any] = {}
    if job.placement != "whole":
        # One process reads the weights, and the others get them from it. `from_pretrained` reads these two
        # variables, which accelerate's own launcher would have set.
        os.environ["ACCELERATE_USE_FSDP"] = os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "true"
        if job.placement == "offloaded":
            os.environ["FSDP_OFFLOAD_PARAMS"] = "true"  # so that the group also has a backend for the CPU
        sharded = {
            "fsdp": True,
            "fsdp_config": {
                "version": 2,
                "cpu_ram_efficient_loading": True,
                "cpu_offload": job.placement == "offloaded",
            },
        }
    shared: dict[str, Any] = {
        "output_dir": str(job.state),
        "seed": job.seed,
        "num_train_epochs": job.epochs,
        "per_device_train_batch_size": shares.per_device,
        "gradient_accumulation_steps": shares.accumulation,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.scheduler,
        "warmup_steps": 0,
        "bf16": bfloat16,
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": settings.gradient_checkpointing,
        "logging_steps": 1,
        "save_strategy": "no",  # `Saving` decides when
        "save_total_limit": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
        **sharded,
    }
    arguments: SFTConfig | DPOConfig
    if job.dpo is not None:
        arguments = dpo.arguments(job.dpo.beta, shared)
    else:
        arguments = SFTConfig(
            **shared,
            train_sampling_strategy="group_by_length",
            max_length=None,  # the examples are already cut
        )
    if sharded:
        from sand_dagster.training.sharding import shard_on_cpus

        shard_on_cpus()
    return arguments


def _lora(settings: FinetuningSettings) -> LoraConfig:
    from peft import LoraConfig

    lora = settings.lora
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        task_type="CAUSAL_LM",
    )


def _stop_at(token: int, model: PreTrainedModel) -> None:
    """Add the end-of-turn token to those that end a generation, if it is missing there."""
    config = model.generation_config
    if config is None:
        return
    known: int | list[int] | None = config.eos_token_id
    stops = [] if known is None else [known] if isinstance(known, int) else list(known)
    if token not in stops:
        config.eos_token_id = [*stops, token]


def _save(
    trainer: SFTTrainer | DPOTrainer, tokenizer: PreTrainedTokenizerBase, dtype: Any, output: Path
) -> None:
    """Write an ordinary Hugging Face folder: complete weights as safetensors, tokenizer, chat template."""
    from peft import PeftModel

    if isinstance(trainer.model, PeftModel):
        if trainer.is_world_process_zero():
            merged: Any = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
            merged.to(dtype).save_pretrained(output)
    elif trainer.is_fsdp_enabled:
        # All processes gather the weights, which are float32; the first has them.
        gathered = trainer.accelerator.get_state_dict(trainer.model_wrapped)
        if trainer.is_world_process_zero():
            sharded: Any = trainer.accelerator.unwrap_model(trainer.model)
            tied = sharded.all_tied_weights_keys  # gathered once more than is needed
            weights = {name: weight.to(dtype) for name, weight in gathered.items() if name not in tied}
            sharded.save_pretrained(output, state_dict=weights)
            sharded.config.dtype = dtype  # it was saved with the format of the model, not of the weights
            sharded.config.save_pretrained(output)
    elif trainer.is_world_process_zero():
        whole: Any = trainer.accelerator.unwrap_model(trainer.model)
        whole.to(dtype).save_pretrained(output)
    if trainer.is_world_process_zero():
        tokenizer.save_pretrained(output)


def main() -> None:
    """Read the job named on the command line, and do it."""
    path = Path(sys.argv[1])
    end_with_the_run(path)
    job = Job.model_validate_json(path.read_text())
    with orchestrator() as pipes:
        finetune(job)
        if pipes is not None:
            report = Report.model_validate_json((job.output / REPORT).read_text())
            figures = {"tokens": report.tokens, "seconds": report.seconds, "devices": report.devices}
            pipes.report_asset_materialization(metadata=figures, data_version=model_id(job.output))


if __name__ == "__main__":
    main()
