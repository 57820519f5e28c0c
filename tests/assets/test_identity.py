"""After a change of a field, prompt, template or module, exactly the stages that it decides repeat their
units.

`DECIDES` is written by hand. A new field, or one that a stage did not declare, makes a test fail.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from sand_dagster.assets import STAGES, code, stages_of
from sand_dagster.assets.definition import NOT_DECISIVE
from sand_dagster.environments import environment_kind, kinds
from sand_dagster.experiments.experiment import Endpoint, Experiment
from sand_dagster.experiments.loading import load_experiments
from sand_dagster.jobs.plan import count_units
from sand_dagster.training.settings import FinetuningSettings
from tests.assets.pipeline import Pipeline, finished

ACTING = {"candidate_actions", "rollouts", "eval_episodes"}
WRITING = {"critiques", "deliberation_trajectories"}
SOURCES = {"tasks", "expert_import"}
WITH_UNITS = ACTING | WRITING | {"checkpoints"}
"""In a household, whose expert trajectories are not units but made by the project."""
PLAYING = {"rollouts", "eval_episodes"}

DECIDES: dict[str, set[str]] = {
    "name": set(),
    "description": set(),
    "iterations": set(),
    "control_for": set(),
    "protocol": ACTING | {"eval_scores"},
    "task_instruction": WRITING,
    "variant": {"deliberation_trajectories", "checkpoints"},
    "seed": ACTING | WRITING | {"checkpoints", "eval_scores"},
    "model.base": set(),
    "model.revision": set(),
    "model.max_model_len": ACTING | WRITING,
    "generation.max_new_tokens": ACTING,
    "generation.base.url": set(),
    "generation.base.model": WRITING,
    "generation.base.prompts": WRITING,
    "generation.base.key_variable": set(),
    "generation.policy.url": set(),
    "generation.policy.model": ACTING,
    "generation.policy.prompts": ACTING,
    "generation.policy.key_variable": set(),
    "sampling.n": {"candidate_actions"},
    "sampling.temperature": {"candidate_actions"},
    "rollouts.temperature": {"rollouts"},
    "rollouts.expert_rollout": {"rollouts"},
    "critiques.temperature": {"critiques"},
    "critiques.retry_temperature": {"critiques"},
    "critiques.max_new_tokens": {"critiques"},
    "deliberation.temperature": {"deliberation_trajectories"},
    "deliberation.retry_temperature": {"deliberation_trajectories"},
    "deliberation.max_new_tokens": {"deliberation_trajectories"},
    "deliberation.constrain_to_candidates": {"deliberation_trajectories"},
    "deliberation.require_expert_action": {"deliberation_trajectories"},
    "deliberation.expert_switch": {"deliberation_trajectories"},
    "deliberation.carry_over": {"expert_trajectories"},
    "evaluation.temperature": {"eval_episodes"},
    "explorations.n": {"explorations"},
    "explorations.temperature": {"explorations"},
    "eto.beta": {"checkpoints"},
    "eto.learning_rate": {"checkpoints"},
    "eto.batch_size": {"checkpoints"},
    "eto.epochs": {"checkpoints"},
    "search.modes": {"search_episodes"},
    "search.n": {"search_episodes"},
    "search.temperature": {"search_episodes"},
    **{f"finetuning.{name}": {"checkpoints"} for name in FinetuningSettings.model_fields},
    **{f"finetuning.lora.{name}": {"checkpoints"} for name in ("rank", "alpha", "dropout", "targets")},
    "finetuning.epochs": {"checkpoints"},
    "finetuning.restart_from": {"checkpoints"},
    "finetuning.chat_template": ACTING | WRITING | {"checkpoints"},
    # environments: the kinds' options
    "household.train": SOURCES,
    "household.seen": SOURCES,
    "household.unseen": SOURCES,
    "household.seed": SOURCES,
    "household.rules": SOURCES,
    "household.step_limit": SOURCES,
    "household.engine": SOURCES | PLAYING,
    "alfworld.games": set(),
    "alfworld.engine": SOURCES | PLAYING,
    "alfworld.unsupported": SOURCES | PLAYING,
    "alfworld.grammar": SOURCES | PLAYING,
    "alfworld.step_limit": SOURCES,
    "alfworld.limits": SOURCES,
    "alfworld.experts": set(),
    "alfworld.keep": SOURCES,
    "scienceworld.indices": set(),
    "scienceworld.task_types": SOURCES,
    "scienceworld.limits": SOURCES,
    "scienceworld.step_limit": SOURCES,
    "scienceworld.experts": set(),
    "scienceworld.keep": SOURCES,
    "webshop.products": set(),
    "webshop.instructions": set(),
    "webshop.human_instructions": set(),
    "webshop.nouns": set(),
    "webshop.seed": SOURCES | PLAYING,
    "webshop.limits": SOURCES,
    "webshop.step_limit": SOURCES,
    "webshop.experts": set(),
    "webshop.keep": SOURCES,
}
del DECIDES["finetuning.lora"]

CHANGED: dict[str, Any] = {
    "variant": "without_critique",
    "finetuning.epochs": (1, 2, 2),
    "finetuning.lora.targets": ("q_proj",),
    "search.modes": ("vote",),
    "finetuning.chat_template": "qwen-2.5",
    "control_for": "household",
    "model.revision": "v2",
    "generation.base.model": Endpoint(url="http://127.0.0.1:1/v1", model="served"),
    "generation.policy.model": Endpoint(url="http://127.0.0.1:1/v1", model="served-{checkpoint}"),
}
"""New values of fields for which the type does not give one."""


def fields(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The paths of all leaves of the typed configuration; an environment's are named by its kind."""
    for name, field in section.model_fields.items():
        path = f"{prefix}{name}"
        kinds_of = [t for t in (field.annotation, *get_args(field.annotation)) if isinstance(t, type)]
        inner = next((t for t in kinds_of if issubclass(t, BaseModel)), None)
        if path == "environment":
            for kind in kinds():
                yield from (f"{kind}.{option}" for option in environment_kind(kind).Options.model_fields)
        elif inner is not None:
            yield from fields(inner, f"{path}.")
        else:
            yield path


def test_every_field_says_what_it_decides() -> None:
    assert set(fields(Experiment)) == DECIDES.keys()
    nothing = {path for path, stages in DECIDES.items() if not stages}
    paths = {f"{kind}.{name}" for kind in kinds() for name in environment_kind(kind).PATHS}
    assert nothing == NOT_DECISIVE.keys() | paths
    assert all(NOT_DECISIVE.values())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with finished(tmp_path_factory.mktemp("finished")) as pipeline:
        yield pipeline


@pytest.fixture
def exploring(pipeline: Pipeline) -> Pipeline:
    pipeline.configure("variant: eto\nsearch: {n: 2}")
    return pipeline


def redone(made: Pipeline, changed: Experiment) -> set[str]:
    """The stages of iteration 01 that would repeat units if their inputs do not change.

    For stages with units, the stages' own code and journals decide; for the others, their identities.
    """
    found = set()
    before = {each.name: each for each in stages_of(made.experiment)}
    for definition in before.values():
        iteration = definition.partition("01")
        if definition.name in WITH_UNITS:
            units = count_units(definition, changed, made.store, made.instance, iteration)
            assert units is not None and units.total, definition.name
            assert units.journalled in (0, units.total), definition.name
            again = units.journalled == 0
            same = definition.identity(made.experiment, made.home, iteration)
            assert again == bool(same.differences(definition.identity(changed, made.home, iteration)))
        else:
            old, new = (definition.identity(e, made.home, iteration) for e in (made.experiment, changed))
            again = old != new
        found |= {definition.name} if again else set()
    return found


def test_nothing_is_redone_where_nothing_changed(made: Pipeline) -> None:
    assert redone(made, made.experiment) == set()


def _new_value(path: str, value: Any, annotation: Any) -> Any:
    if path in CHANGED:
        return CHANGED[path]
    if get_args(annotation) and get_origin(annotation) is not tuple:
        literals = [v for v in get_args(annotation) if isinstance(v, str) and v != value]
        if literals:
            return literals[0]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 + 0.1
    return f"{value} changed"


def _replaced(model: BaseModel, path: list[str], leaf: str) -> BaseModel:
    name, *rest = path
    value = getattr(model, name)
    if name in ("base", "policy") and leaf in CHANGED and rest:
        new: Any = CHANGED[leaf]
    elif rest:
        new = _replaced(value, rest, leaf)
    else:
        new = _new_value(leaf, value, type(model).model_fields[name].annotation)
    return model.model_copy(update={name: new})


SERVED = {"generation.base", "generation.policy"}
ALONE = {"name", "control_for", "model.base"}
"""Fields that cannot be changed alone: the experiment would have another place, or need another variant or
model; see the tests of the plan."""
SOMEWHERE = [path for path in DECIDES if path.partition(".")[0] in ("explorations", "eto", "search")]
"""Fields that decide only where the policy explores, or where there is test-time search."""
ORDINARY = [
    path
    for path in DECIDES
    if path.partition(".")[0] not in kinds()
    and path.rpartition(".")[0] not in SERVED
    and path not in (*ALONE, *SOMEWHERE)
]


@pytest.mark.parametrize("path", [*ORDINARY, "generation.base.model", "generation.policy.model"])
def test_a_changed_field_redoes_exactly_what_it_decides(made: Pipeline, path: str) -> None:
    changed = _replaced(made.experiment, path.split("."), path)
    assert isinstance(changed, Experiment) and changed != made.experiment
    assert redone(made, changed) == DECIDES[path]


def _of_another_identity(pipeline: Pipeline, changed: Experiment) -> set[str]:
    before, after = (
        {each.name: each.identity(experiment, pipeline.home, "01") for each in stages_of(experiment)}
        for experiment in (pipeline.experiment, changed)
    )
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize("path", SOMEWHERE)
def test_a_field_of_eto_or_search_decides_there_and_nowhere_else(
    made: Pipeline, exploring: Pipeline, path: str
) -> None:
    changed = _replaced(exploring.experiment, path.split("."), path)
    assert isinstance(changed, Experiment) and changed != exploring.experiment
    assert _of_another_identity(exploring, changed) == DECIDES[path]
    section = path.partition(".")[0]
    elsewhere = made.experiment.model_copy(update={section: getattr(changed, section)})
    if section != "search":  # without that section there is no such stage
        assert _of_another_identity(made, elsewhere) == set()


def test_where_a_server_is_decides_nothing(made: Pipeline) -> None:
    for side in ("base", "policy"):
        configs = []
        for url, key in (("http://127.0.0.1:1/v1", "A"), ("http://127.0.0.1:2/v1", "B")):
            endpoint = Endpoint(url=url, model="served", key_variable=key)
            generation = made.experiment.generation.model_copy(update={side: endpoint})
            changed = made.experiment.model_copy(update={"generation": generation})
            configs.append([each.config(changed, "01") for each in stages_of(changed)])
        assert configs[0] == configs[1]


@pytest.mark.parametrize("path", [path for path in DECIDES if path.partition(".")[0] in kinds()])
def test_a_changed_option_of_an_environment_is_read_by_what_it_decides(path: str, tmp_path: Path) -> None:
    kind, _, name = path.partition(".")
    experiments, _ = load_experiments(tmp_path)
    experiment = next(e for e in experiments.values() if e.environment.kind == kind)
    stages = {each.name for each in stages_of(experiment) if _reads(each.config(experiment, "01"), name)}
    assert stages == DECIDES[path]


def _reads(config: dict[str, Any], option: str) -> bool:
    return any(f"{path}.".startswith(f"environment.{option}.") for path in config)


def test_a_later_iterations_epochs_do_not_touch_an_earlier_one(made: Pipeline) -> None:
    finetuning = made.experiment.finetuning.model_copy(update={"epochs": (1, 1, 5)})
    assert redone(made, made.experiment.model_copy(update={"finetuning": finetuning})) == set()


# --- code, prompts, templates -----------------------------------------------------------------------------

PACKAGES = {name: code._folder(name) / name for name in (*code.OURS, "toy_alfworld")}
TEXTS = {
    "sand_dagster/prompts/critique.txt": {"critiques"},
    "sand_dagster/prompts/deliberation.txt": {"deliberation_trajectories"},
    "sand_dagster/prompts/alternatives.txt": {"deliberation_trajectories"},
    "sand_dagster/environments/alfworld/instruction.txt": ACTING | {"checkpoints"},
    "sand_dagster/environments/scienceworld/instruction.txt": set[str](),
    "sand_dagster/environments/webshop/instruction.txt": set[str](),
    **{
        f"sand_dagster/models/templates/{path.name}": ACTING | WRITING | {"checkpoints"}
        for path in (PACKAGES["sand_dagster"] / "models" / "templates").iterdir()
    },
}
"""Texts that are read at run time, and the stages of a household experiment that they decide."""

ELSEWHERE = {
    "sand_dagster/audit/questions": "questions about finished tables; no stage reads them",
    "sand_dagster/experiments": "its fields",
    "sand_dagster/reports": "a page about finished tables; no stage reads it",
    "toy_alfworld/model": "the base model, which counts by its content; its recipe makes the weights",
}
"""Folders with other files, with the way in which they count."""


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the packages' sources, for changes."""
    skipped = shutil.ignore_patterns("__pycache__", "*.safetensors", "tokenizer.json")
    for name, folder in PACKAGES.items():
        shutil.copytree(folder, tmp_path / name, ignore=skipped)
    monkeypatch.setattr(code, "_folder", lambda name: tmp_path)
    yield tmp_path
    code._examined.cache_clear()


def changed_by(made: Pipeline, file: Path, text: str) -> set[str]:
    """The stages that repeat their units, or run again, if `file` has the new content `text`."""
    before = {
        each.name: each.identity(made.experiment, made.home, each.partition("01"))
        for each in stages_of(made.experiment)
    }
    file.write_text(text)
    code._examined.cache_clear()
    redo = redone_by_units(made)
    after = {
        each.name: each.identity(made.experiment, made.home, each.partition("01"))
        for each in stages_of(made.experiment)
    }
    differing = {name for name in before if before[name] != after[name]}
    # Units follow the identity.
    assert differing & WITH_UNITS == redo
    return differing


def redone_by_units(made: Pipeline) -> set[str]:
    found = set()
    for each in stages_of(made.experiment):
        units = count_units(each, made.experiment, made.store, made.instance, each.partition("01"))
        if each.name in WITH_UNITS and units is not None and units.journalled == 0:
            found.add(each.name)
    return found


@pytest.mark.parametrize("file", TEXTS)
def test_an_edited_prompt_or_template_redoes_exactly_what_it_decides(
    made: Pipeline, copied: Path, file: str
) -> None:
    path = copied / file
    assert changed_by(made, path, path.read_text() + "\nBe brief.") == TEXTS[file]


def test_the_agents_prompt_counts_where_the_base_model_reads_it(made: Pipeline, copied: Path) -> None:
    full = made.experiment.model_copy(update={"task_instruction": "full"})
    before = {each.name: each.identity(full, made.home, each.partition("01")) for each in stages_of(full)}
    path = copied / "sand_dagster/environments/alfworld/instruction.txt"
    path.write_text(path.read_text() + "\nBe brief.")
    code._examined.cache_clear()
    after = {each.name: each.identity(full, made.home, each.partition("01")) for each in stages_of(full)}
    assert {name for name in before if before[name] != after[name]} == ACTING | WRITING | {"checkpoints"}


def test_every_shipped_text_counts_somewhere() -> None:
    shipped = {
        str(path.relative_to(folder.parent))
        for folder in PACKAGES.values()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and path.name != "py.typed"
    }
    assert {path for path in shipped if not path.startswith(tuple(ELSEWHERE))} == TEXTS.keys()


@pytest.mark.parametrize(
    ("file", "old", "new", "stages"),
    [
        (
            "sand/candidates.py",
            "len(candidates) > 1",
            "len(candidates) > 2",
            {"candidate_actions"},
        ),
        ("sand/asking.py", "break", "pass", WRITING),
        ("sand/switch.py", "rank < best[:3]", "rank <= best[:3]", {"deliberation_trajectories"}),
        ("rows/candidates.py", "the raw samples that chose it", "its samples", set()),
        ("training/sft.py", "import time", "import time, re", {"checkpoints"}),
    ],
)
def test_edited_code_redoes_what_is_made_of_it(
    made: Pipeline, copied: Path, file: str, old: str, new: str, stages: set[str]
) -> None:
    path = copied / "sand_dagster" / file
    text = path.read_text()
    assert old in text
    assert changed_by(made, path, text.replace(old, new)) == stages


def test_a_mended_parser_redoes_all_that_reads_replies(made: Pipeline, copied: Path) -> None:
    path = copied / "sand_dagster" / "prompts" / "turns.py"
    mended = f"{path.read_text()}\n_MENDED = True\n"
    assert changed_by(made, path, mended) >= ACTING | WRITING


def test_comments_docstrings_descriptions_and_format_change_nothing(made: Pipeline, copied: Path) -> None:
    described = copied / "toy_alfworld" / "games" / "__init__.py"
    text = described.read_text()
    assert "training games" in text
    assert changed_by(made, described, text.replace("training games", "games to train on")) == set()
    for path in copied.rglob("*.py"):
        if path.read_text().startswith('"""'):
            path.write_text(path.read_text().replace('"""', '"""Another text: ', 1) + "\n# a comment\n")
    sand = str(copied / "sand_dagster" / "sand")
    ruff = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "60", sand]
    assert "reformatted" in subprocess.run(ruff, check=True, capture_output=True, text=True).stdout
    assert changed_by(made, described, described.read_text()) == set()


def test_every_module_counts_or_says_why_not() -> None:
    """Every file in the stages' folders is part of a stage, or is listed with a reason."""
    experiments, _ = load_experiments(Path("/nonexistent"))
    counted = set()
    for experiment in experiments.values():
        for definition in stages_of(experiment):
            counted |= set(definition.identity(experiment, Path("/nonexistent"), None).code)
    parts = ("environments", "execution", "models", "prompts", "recordings", "rows", "sand", "training")
    folders = [PACKAGES["sand_dagster"] / part for part in parts]
    for folder in (*folders, PACKAGES["toy_alfworld"] / "games"):
        for path in folder.rglob("*.py"):
            relative = path.relative_to(next(p for p in PACKAGES.values() if path.is_relative_to(p)).parent)
            name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
            empty = not path.read_text().strip() or (
                path.name == "__init__.py" and "import" not in path.read_text()
            )
            assert str(relative) in counted or name in code.NOT_DECISIVE or empty, (
                f"{relative} is part of no stage: name it in one's modules, or in NOT_DECISIVE with a reason"
            )


def test_stages_do_not_share_a_name_by_accident() -> None:
    assert len({definition.name for definition in STAGES}) == len(STAGES)
