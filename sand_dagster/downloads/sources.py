"""The published files that the experiments read: pinned addresses, and what is known of their content.

A SHA-256 here is that of a file that this project has read (`KNOWN`), or one that others have published for
the file at this address (`REPORTED`). Where there is none, the hub's own hash is used, or size and format
alone; what was checked is said each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path


class Subject(StrEnum):
    """What can be downloaded."""

    ALFWORLD = "alfworld"
    SCIENCEWORLD = "scienceworld"
    WEBSHOP = "webshop"
    ETO = "eto"
    MODELS = "models"


class Basis(Enum):
    """Where an expected SHA-256 comes from."""

    KNOWN = "the file that this project was tested with"
    REPORTED = "what others report of the file at this address"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at a web address, and its place below the folder of its subject.

    `size` is in bytes, None if it is not known; `sha256` is empty if it is not known. `format` is the kind
    of its content, which is checked in any case.
    """

    url: str
    place: str
    format: str
    size: int | None = None
    sha256: str = ""
    basis: Basis = Basis.KNOWN


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository on the Hugging Face hub, at a commit. The hub states its hash there."""

    repository: str
    revision: str
    name: str
    place: str
    repository_type: str = "dataset"

    @property
    def url(self) -> str:
        """Its address, for a person."""
        kind = f"{self.repository_type}s/" if self.repository_type != "model" else ""
        return f"https://huggingface.co/{kind}{self.repository}/resolve/{self.revision}/{self.name}"


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model on the Hugging Face hub, at a commit."""

    repository: str
    revision: str

    @property
    def url(self) -> str:
        """Its page, for a person."""
        return f"https://huggingface.co/{self.repository}/tree/{self.revision}"


ALFWORLD_ARCHIVE = RemoteFile(
    # What alfworld 0.4.2's own `alfworld-download` fetches: the grammar with `move` and `use`.
    "https://github.com/alfworld/alfworld/releases/download/0.4.0/json_2.1.2_tw-pddl.zip",
    "json_2.1.2_tw-pddl.zip",
    "zip",
    36_493_542,
    "eea90499df27b9cb3147d1d1927264146d38194b575e25f70a82875545742dcb",
    Basis.REPORTED,
)
ALFWORLD_GAMES = {"train": 3553, "valid_seen": 140, "valid_unseen": 134}
"""The games of each split that the published results are about. The archive may hold more."""

_ETO_REVISION = "a2fc5da38f8d00cfaf3f9b6370d586eebaf72904"
_ETO_FILES = f"https://raw.githubusercontent.com/Yifan-Song793/ETO/{_ETO_REVISION}/eval_agent/data/sciworld"
_DRIVE = "https://drive.google.com/uc?export=download&id="

SCIENCEWORLD = tuple(
    RemoteFile(f"{_ETO_FILES}/{name}", f"scienceworld/{name}", "json", size, sha256)
    for name, size, sha256 in (
        (
            "train_indices.json",
            96_759,
            "c79eea7858383b829269986ee83d0d9a504533e7b4b3a5bc76e5bdc1e6999cd0",
        ),
        (
            "dev_indices.json",
            13_419,
            "78084ef4393d2da87b21507451821e431daa1a70ab1a486fd1a964ab2404d741",
        ),
        (
            "test_indices.json",
            14_541,
            "dfe4ab263824f04a49cf977b8f6d65af516ce13b8cfbef5736a97ed993da7152",
        ),
    )
)
"""ETO's index files of the published split."""

WEBSHOP_ITEMS = RemoteFile(
    f"{_DRIVE}1EgHdxQ_YxqIQlvvq5iKlCrkEKR6-j0Ib",
    "webshop/items_shuffle_1000.json",
    "json",
    4_467_013,
    "30a4765c3a327af72d9a9a95a6b2486d516f0fa1d3ecd83681901ce82a21b269",
    Basis.REPORTED,
)
WEBSHOP_INSTRUCTIONS = RemoteFile(
    f"{_DRIVE}1IduG0xl544V_A_jv3tHXC0kyFi7PnyBu",
    "webshop/items_ins_v2_1000.json",
    "json",
    147_099,
    "f88a36314a397b53b3d9c3fa5878e5f7b26d35019a51ec83fbedeca61a948f6f",
)
WEBSHOP_DOCUMENTS = "webshop/documents.jsonl"
"""Made here of the two files of the shop's small setting."""

ETO = tuple(
    HubFile("agent-eto/eto-sft-trajectory", "a8f745ef799a5201d2288b9c2a47e40a0ff70a4c", f"data/{name}", name)
    for name in ("alfworld_sft.json", "sciworld_sft.json", "webshop_sft.json")
)
"""ETO's expert trajectories."""

MODELS = (
    HubModel("meta-llama/Llama-3.1-8B-Instruct", "0e9e39f249a16976918f6564b8830bc894c89659"),
    HubModel("Qwen/Qwen2.5-7B-Instruct", "a09a35458c702b33eeacc393d103063234e8bc28"),
)
"""The paper's base models."""


def default_folder(subject: Subject) -> Path:
    """Where the shipped experiments look for a subject's files."""
    return Path.home() / ".cache" / ("alfworld" if subject is Subject.ALFWORLD else "sand")
