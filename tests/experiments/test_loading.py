from pathlib import Path

import pytest

from sand_dagster.experiments.loading import ExperimentError, load_experiment, load_experiments

PAPER = {
    "alfworld-llama31-8b": "meta-llama/Llama-3.1-8B-Instruct",
    "alfworld-qwen25-7b": "Qwen/Qwen2.5-7B-Instruct",
    "scienceworld-llama31-8b": "meta-llama/Llama-3.1-8B-Instruct",
    "scienceworld-qwen25-7b": "Qwen/Qwen2.5-7B-Instruct",
}

SWITCHED_OFF: dict[str, set[str]] = {"alfworld": {"deliberation"}, "scienceworld": set()}
"""What else an ablation changes: without rollouts there is nothing to switch to (4.4)."""


def _write(home: Path, text: str, name: str = "mine") -> None:
    (home / "experiments").mkdir(exist_ok=True)
    (home / "experiments" / f"{name}.yaml").write_text(text)


def _error(home: Path, text: str) -> str:
    _write(home, text)
    with pytest.raises(ExperimentError) as caught:
        load_experiment("mine", home)
    return str(caught.value)


def test_all_shipped_experiments_load_without_models_or_games(tmp_path: Path) -> None:
    loaded, errors = load_experiments(tmp_path)
    assert not errors
    assert loaded.keys() >= {"household", "toy-scienceworld"}
    of_paper = {
        *(
            f"{name}{what}"
            for name in PAPER
            for what in ("", "-base", "-without-sampling", "-without-critique")
        ),
        *(f"{name}-put-toggle" for name in PAPER if name.startswith("alfworld")),
    }
    profiles = {name for name, each in loaded.items() if each.model.base in PAPER.values()}
    assert profiles == of_paper | {
        "webshop-llama31-8b",
        "webshop-small-llama31-8b",
        "alfworld-llama31-8b-eto",
    }
    assert loaded["toy-scienceworld"].environment.kind == "scienceworld"


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_profiles_have_the_papers_figures(name: str, tmp_path: Path) -> None:
    experiment = load_experiment(name, tmp_path)
    assert experiment.model.base == PAPER[name]
    assert (experiment.sampling.n, experiment.sampling.temperature) == (5, 1.0)
    assert experiment.rollouts.temperature == 1.0
    assert experiment.critiques.temperature == 0.0 and experiment.evaluation.temperature == 0.0
    finetuning = experiment.finetuning
    assert (finetuning.batch_size, finetuning.learning_rate, finetuning.scheduler) == (64, 1e-5, "cosine")
    assert [finetuning.epochs_of(k) for k in range(4)] == [3, 3, 1, 1]
    assert experiment.partitions == ["00", "01", "02", "03"]
    assert experiment.protocol == "paper"
    switch = "never" if name.startswith("scienceworld") else "higher_reward_or_shorter"
    assert experiment.deliberation.expert_switch == switch


def test_a_users_experiment_takes_over_from_another(tmp_path: Path) -> None:
    _write(tmp_path, "description: mine\nextends: household\nenvironment: {train: 5}\nsampling: {n: 2}\n")
    mine, parent = load_experiment("mine", tmp_path), load_experiment("household", tmp_path)
    assert mine.sampling.n == 2 and mine.model == parent.model
    assert mine.environment.options.model_dump() == {**parent.environment.options.model_dump(), "train": 5}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: household\nsampling: {m: 3}", ["sampling.m: unknown key", "allowed here: n, temperature"]),
        ("extends: household\nenvironment: {trian: 4}", ["trian: unknown key", "train"]),
        ("extends: household\nseed: x", ["seed:", "integer", "'x'"]),
        (
            "extends: household\nenvironment: {kind: atari}",
            ["atari", "alfworld, household, scienceworld, webshop"],
        ),
        ("extends: household\nmodel: {max_model_len: 300}", ["model.max_model_len (300)"]),
        (
            "extends: household\ngeneration: {max_new_tokens: 255}",
            ["max_new_tokens (255)", "could not write"],
        ),
        ("extends: nothing", ["extends: 'nothing'", "household"]),
        ("extends: mine", ["extends: 'mine'"]),
        ("extends: [household]", ["extends: ['household']"]),
        ("description: mine", ["environment: required, but missing"]),
        ("extends: household\nenvironment: {kind: 3}", ["there is no environment 3", "household"]),
        ("extends: household\nenvironment: {kind: ..x}", ["there is no environment '..x'"]),
        ("extends: household\nseed: 1\nseed: 2", ["the key 'seed' is there twice", "line 3"]),
        (
            "extends: household\nfinetuning: {lora: null, lora: null}",
            ["the key 'lora' is there twice", "line 2"],
        ),
        ("extends: household\nfinetuning: {learning_rate: .inf}", ["learning_rate", "finite number"]),
        ("extends: household\nseed: true", ["seed: expected a number, found true"]),
        ("extends: household\nfinetuning: {epochs: [1, true, 1]}", ["epochs.1: expected a number"]),
        ("extends: household\nenvironment: {train: true}", ["environment.train: expected a number"]),
        ("extends: household\nseed: 1:30", ["seed", "found '1:30'"]),
        ("extends: household\nsampling: {temperature: yes}", ["sampling.temperature", "found 'yes'"]),
        ("extends: household\nname: other", ["name: an experiment is named by its file"]),
        ("[" * 5000, ["nested too deeply"]),
        ("[1, 2]", ["expected a mapping"]),
        ("a: b: c", ["not YAML"]),
        (
            "extends: household\nvariant: without_critique\ndeliberation: {expert_switch: higher_reward}",
            ["expert_switch must be `never`"],
        ),
        (
            "extends: household\nvariant: without_sampling\ndeliberation: {expert_switch: higher_reward}",
            ["expert_switch must be `never` with variant `without_sampling`"],
        ),
        (
            "extends: household-eto\nfinetuning: {restart_from: base}",
            ["restart_from must be `policy` with variant `eto`"],
        ),
        ("extends: household\nvariant: more_sft", ["variant `more_sft` needs it"]),
        ("extends: household\ncontrol_for: household", ["no other variant may have it"]),
        (
            "extends: household-more-sft\ncontrol_for: nothing",
            ["control_for: there is no experiment 'nothing'", "household"],
        ),
        ("extends: household-more-sft\ncontrol_for: household-more-sft", ["is a control itself"]),
        ("extends: household-more-sft\nmodel: {max_model_len: 4097}", ["control_for: household", "`model`"]),
        ("extends: household-more-sft\niterations: 9", ["household has 3 iterations, but the control has 9"]),
    ],
)
def test_a_mistake_names_the_file_the_field_and_what_is_allowed(
    text: str, said: list[str], tmp_path: Path
) -> None:
    error = _error(tmp_path, text)
    assert "mine.yaml" in error
    for part in said:
        assert part in error


def test_numbers_are_read_as_they_look(tmp_path: Path) -> None:
    _write(tmp_path, "extends: household\nseed: 010\nfinetuning: {learning_rate: 1e-5}\ndescription: no\n")
    mine = load_experiment("mine", tmp_path)
    assert (mine.seed, mine.finetuning.learning_rate, mine.description) == (10, 1e-5, "no")


def test_names_are_unique_and_plain(tmp_path: Path) -> None:
    _write(tmp_path, "extends: household", "household")
    _write(tmp_path, "extends: household", "My Run")
    _write(tmp_path, "extends: household", "dagster")
    _write(tmp_path, "extends: household", "n" * 101)
    loaded, errors = load_experiments(tmp_path)
    assert "kept for other files" in str(errors["dagster"]) and "100 characters" in str(errors["n" * 101])
    assert loaded["household"].description.startswith("The default")
    assert "same name" in str(errors["household (yours)"]) and "lower-case" in str(errors["My Run"])


def test_one_bad_file_takes_down_only_itself(tmp_path: Path) -> None:
    _write(tmp_path, "extends: household\nseed: x", "broken")
    _write(tmp_path, "extends: household", "good")
    (tmp_path / "experiments" / "latin.yaml").write_bytes("description: é".encode("latin-1"))
    loaded, errors = load_experiments(tmp_path)
    assert "good" in loaded and errors.keys() == {"broken", "latin"}
    assert "UTF-8" in str(errors["latin"])
    assert load_experiment("good", tmp_path).seed == 0
    with pytest.raises(ExperimentError, match="seed"):
        load_experiment("broken", tmp_path)


@pytest.mark.parametrize("field", ["in_flight", "max_sequences", "cpu_cache_gib", "tensor_parallel"])
def test_a_field_about_the_machine_says_where_it_went(field: str, tmp_path: Path) -> None:
    error = _error(tmp_path, f"extends: household\ngeneration: {{{field}: 1}}")
    assert "resource `generation`" in error and "SAND_" in error


def test_an_unknown_experiment_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="there is no experiment 'x'; there are: alfworld-llama31-8b"):
        load_experiment("x", tmp_path)


@pytest.mark.parametrize(
    ("name", "of", "changed"),
    [
        ("household-without-sampling", "household", {"variant"}),
        ("household-without-critique", "household", {"variant"}),
        ("household-expert-switch", "household", {"deliberation"}),
        ("household-carry-original", "household", {"deliberation"}),
        ("household-more-sft", "household", {"variant", "control_for"}),
        *((f"{name}-base", name, {"iterations", "finetuning"}) for name in PAPER),
        *(
            (f"{name}-{ablation}", name, {"variant", *told} | SWITCHED_OFF[name.split("-")[0]])
            for name in PAPER
            for ablation, told in (("without-sampling", ["task_instruction"]), ("without-critique", []))
        ),
        *((f"{name}-put-toggle", name, {"environment"}) for name in PAPER if name.startswith("alfworld")),
    ],
)
def test_an_ablation_changes_nothing_else(name: str, of: str, changed: set[str], tmp_path: Path) -> None:
    ablation, whole = (load_experiment(each, tmp_path).model_dump() for each in (name, of))
    differing = {field for field in whole if ablation[field] != whole[field]}
    assert differing - {"name", "description"} == changed


def test_what_a_profile_is_named_after_is_what_it_sets(tmp_path: Path) -> None:
    loaded, _ = load_experiments(tmp_path)
    for name in PAPER:
        assert [loaded[f"{name}-base"].finetuning.epochs_of(k) for k in (0, 1)] == [0, 0]
        without = loaded[f"{name}-without-sampling"]
        assert (without.variant, without.task_instruction) == ("without_sampling", "full")
        assert loaded[name].task_instruction == "task"
        assert loaded[f"{name}-without-critique"].variant == "without_critique"
    for name in ("alfworld-llama31-8b-put-toggle", "alfworld-qwen25-7b-put-toggle"):
        assert loaded[name].environment.options.model_dump()["grammar"] == "put_toggle"
    original = loaded["household-carry-original"].deliberation
    assert original == loaded["household"].deliberation.model_copy(update={"carry_over": "original"})
