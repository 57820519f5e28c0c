"""A finetuning over two processes, sharded by FSDP2 over gloo: the code that several GPUs use."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from sand_dagster.training.job import Job, Report, write_conversations
from sand_dagster.training.memory import Placement
from sand_dagster.training.settings import FinetuningSettings
from tests.training.tiny_model import tiny_chat, write_tiny_model

SETTINGS = FinetuningSettings(
    batch_size=4, per_device_batch_size=2, learning_rate=1e-3, max_length=256, dtype="float32"
)
EXAMPLES, EPOCHS = 16, 2
"""Full batches only: processes fill the last one with repeated examples."""
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def train(
    parent: Path, folder: Path, placement: Placement, *launcher: str, code: str = ""
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The checkpoint's folder, and the ended process; `code` runs before the training."""
    folder.mkdir()
    job = Job(
        parent=parent,
        conversations=folder / "conversations.jsonl",
        output=folder / "model",
        state=folder / "state",
        settings=SETTINGS,
        epochs=EPOCHS,
        seed=3,
        placement=placement,
        save_every_s=600,
    )
    write_conversations(job.conversations, (tiny_chat(n, turns=1 + n % 3) for n in range(EXAMPLES)))
    (folder / "job.json").write_text(job.model_dump_json())
    (folder / "train.py").write_text(f"from sand_dagster.training import sft\n{code}\nsft.main()\n")
    reader, writer = os.pipe()  # open while it runs: it ends with its parent, by its standard input
    done = subprocess.run(
        [sys.executable, *launcher, str(folder / "train.py"), str(folder / "job.json")],
        stdin=reader,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
    )
    os.close(reader)
    os.close(writer)
    return job.output, done


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("dtype", "tied"), [(torch.float32, False), (torch.bfloat16, True)])
def test_each_process_holds_half_and_the_loss_is_that_of_one_process(
    tmp_path: Path, dtype: torch.dtype, tied: bool
) -> None:
    """The checkpoint has the parent's number format and tensors; SmolLM2's are in bfloat16, and tied."""
    parent = write_tiny_model(tmp_path / "parent", dtype=dtype, tied=tied)
    whole, alone = train(parent, tmp_path / "whole", "whole")
    assert alone.returncode == 0, alone.stdout[-4000:]
    output, done = train(parent, tmp_path / "sharded", "sharded", *TWO)
    assert done.returncode == 0, done.stdout[-4000:]
    shares = re.findall(r"process (\d) holds (\d+) of (\d+) parameters", done.stdout)
    assert sorted(process for process, *_ in shares) == ["0", "1"]
    for _, held, total in shares:
        assert int(held) == pytest.approx(int(total) / 2, rel=0.05)
    assert re.findall(r"process 0 holds (\d+) of \1 parameters", alone.stdout), "alone it holds all"

    one, two = (Report.model_validate_json((each / "training.json").read_text()) for each in (whole, output))
    assert (one.devices, two.devices, one.batch_size, two.batch_size) == (1, 2, 4, 4)
    assert len(one.loss_curve) == EXAMPLES * EPOCHS // 4
    losses = [[point.loss for point in report.loss_curve] for report in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)

    ours, theirs, before = (load_file(each / "model.safetensors") for each in (output, whole, parent))
    assert ours.keys() == theirs.keys() == before.keys()
    assert ("lm_head.weight" in ours) != tied
    for name, weight in ours.items():
        assert weight.dtype == theirs[name].dtype == dtype
        last_digit = torch.finfo(dtype).eps * theirs[name].abs().float()
        assert ((weight - theirs[name]).abs().float() <= last_digit.clamp(min=1e-4)).all(), name
    model = AutoModelForCausalLM.from_pretrained(output)
    assert model.config.dtype == AutoModelForCausalLM.from_pretrained(parent).config.dtype == dtype


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_whole_copies_in_place_of_shares_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    """What accelerate does on its own where there are several CPUs."""
    off = "from sand_dagster.training import sharding\nsharding.shard_on_cpus = lambda: None"
    output, done = train(tiny_model, tmp_path / "whole", "sharded", *TWO, code=off)
    assert done.returncode != 0
    assert re.search(r"has to be sharded over 2 processes, but process \d holds (\d+) of \1", done.stdout)
    assert not output.exists()
