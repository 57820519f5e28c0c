"""Self-consistency action sampling."""

from sand_dagster.assets.stage import INITIALISATION, Result, StageRun, stage
from sand_dagster.sand.candidates import sample_candidates


@stage(
    after=("demonstrations", "policy"),
    reads=("tasks",),
    settings=("sampling", "generation.turn_tokens", "model.context", "protocol", "seed"),
    kinds=frozenset({"vllm"}),
    gpu=True,
)
def candidate_actions(run: StageRun) -> Result:
    """N actions sampled from π_k at every step of every demonstration, and where they disagree (Eq. 3, 4).

    A row is a distinct candidate; a step whose candidates differ deliberates. Iteration 00 samples nothing:
    it is behaviour initialisation.
    """
    if run.iteration == INITIALISATION:
        return Result([])

    async def sample() -> Result:
        async with run.policy() as policy:
            finished = await sample_candidates(run.stage, run.demonstrations, policy, run.experiment.sampling)
        steps = len(finished.rows)
        unparsed = sum(rows[0]["unparsed"] for rows in finished.rows)
        result = Result.of(finished)
        result.counts["deliberation_rate"] = finished.outcomes["deliberates"] / steps if steps else 0.0
        result.counts["unparsed_samples"] = unparsed
        return result

    return run.wait(sample())
