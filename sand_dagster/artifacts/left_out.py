"""`left_out`: one row for everything that a stage skipped, shortened, or could not use, and why."""

from __future__ import annotations

from collections.abc import Sequence

LEFT_OUT = "left_out"

COLUMNS = {
    "iteration": "the iteration; null before the loop",
    "table": "the table whose row records it",
    "id": "that row",
    "what": "what was left out",
    "reason": "why, in the table's own word",
    "count": "how many; more than 1 only for things that are counted and have no own row",
    "trajectory_id": "the trajectory; empty if there is none",
    "task_id": "the task; empty if there is none",
}

_PARTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("expert_import",),
        "SELECT iteration, 'expert_import', import_id, 'expert trajectory, not imported', verdict, 1, "
        "trajectory_id, task_id FROM expert_import WHERE NOT kept",
    ),
    (
        ("expert_import",),
        "SELECT iteration, 'expert_import', import_id, 'recorded steps after the end', 'ended', "
        "recorded_steps - len(steps), trajectory_id, task_id FROM expert_import "
        "WHERE kept AND recorded_steps > len(steps)",
    ),
    (
        ("candidate_actions",),
        "SELECT iteration, 'candidate_actions', candidate_id, 'samples of a step', outcome, 1, "
        "trajectory_id, task_id FROM candidate_actions WHERE outcome <> 'ok' AND is_expert",
    ),
    (
        ("candidate_actions",),
        "SELECT iteration, 'candidate_actions', candidate_id, 'samples of a step', 'unparsed', unparsed, "
        "trajectory_id, task_id FROM candidate_actions WHERE unparsed > 0 AND is_expert",
    ),
    (
        ("candidate_actions",),
        "SELECT iteration, 'candidate_actions', candidate_id, 'rollout of a candidate', "
        "CASE WHEN deliberates THEN 'no_rollout' ELSE 'step_does_not_deliberate' END, 1, "
        "trajectory_id, task_id FROM candidate_actions WHERE NOT deliberates",
    ),
    (
        ("rollouts",),
        "SELECT iteration, 'rollouts', rollout_id, CASE ended WHEN 'replay_mismatch' "
        "THEN 'rollout of a candidate' ELSE 'rest of a rollout' END, ended, 1, '', task_id "
        "FROM rollouts WHERE ended <> 'done'",
    ),
    (
        ("rollouts",),
        "SELECT iteration, 'rollouts', rollout_id, 'replies of a rollout', 'unparsed', unparsed, '', task_id "
        "FROM rollouts WHERE unparsed > 0",
    ),
    (
        ("rollouts", "critiques"),
        "SELECT r.iteration, 'rollouts', r.rollout_id, 'critique of a candidate', 'no_rollout', 1, '', "
        "r.task_id FROM rollouts r ANTI JOIN critiques q "
        "ON q.rollout_id = r.rollout_id AND q.iteration = r.iteration WHERE r.ended = 'replay_mismatch'",
    ),
    (
        ("critiques",),
        "SELECT iteration, 'critiques', critique_id, 'critique of a candidate', outcome, 1, '', '' "
        "FROM critiques WHERE outcome <> 'ok'",
    ),
    (
        ("critiques",),
        "SELECT iteration, 'critiques', critique_id, 'steps of a rollout in a prompt', 'prompt_too_long', "
        "steps_left_out, '', '' FROM critiques WHERE steps_left_out > 0",
    ),
    (
        ("candidate_actions", "critiques", "deliberation_trajectories"),
        "SELECT c.iteration, 'candidate_actions', c.candidate_id, 'candidate in a deliberation', "
        "coalesce(nullif(q.outcome, 'ok'), 'no_critique'), 1, c.trajectory_id, c.task_id "
        "FROM candidate_actions c JOIN deliberation_trajectories d ON d.iteration = c.iteration "
        "AND d.parent_step_id = c.step_id AND d.prompt_hash <> '' AND len(d.candidate_ids) > 0 "
        "LEFT JOIN critiques q ON q.iteration = c.iteration AND q.candidate_id = c.candidate_id "
        "WHERE NOT list_contains(d.candidate_ids, c.candidate_id)",
    ),
    (
        ("deliberation_trajectories",),
        "SELECT iteration, 'deliberation_trajectories', step_id, 'deliberation of a step', outcome, 1, "
        "trajectory_id, task_id FROM deliberation_trajectories WHERE outcome NOT IN ('ok', 'kept')",
    ),
    (
        ("deliberation_trajectories",),
        "SELECT iteration, 'deliberation_trajectories', step_id, 'deliberation of a step', "
        "'not_needed', 1, trajectory_id, task_id FROM deliberation_trajectories WHERE outcome = 'kept'",
    ),
    (
        ("expert_trajectories", "deliberation_trajectories"),
        "SELECT e.iteration, 'expert_trajectories', e.step_id, 'step of a demonstration', 'switched', 1, "
        "e.trajectory_id, e.task_id FROM expert_trajectories e ANTI JOIN deliberation_trajectories d "
        "ON d.iteration = e.iteration AND d.parent_step_id = e.step_id SEMI JOIN deliberation_trajectories x "
        "ON x.iteration = e.iteration AND x.trajectory_id = e.trajectory_id AND x.origin = 'switched'",
    ),
    *(
        (
            ("checkpoints", "expert_data"),
            f"SELECT c.iteration, 'checkpoints', c.checkpoint_id, '{what}', '{reason}', 1, c.trajectory_id, "
            "coalesce(e.task_id, '') "
            f"FROM (SELECT iteration, checkpoint_id, unnest({column}) AS trajectory_id FROM checkpoints) c "
            "LEFT JOIN (SELECT DISTINCT trajectory_id, task_id FROM expert_data) e "
            "ON e.trajectory_id = c.trajectory_id",
        )
        for column, what, reason in (
            ("dropped", "conversation", "nothing to learn within max_length"),
            ("truncated", "end of a conversation", "truncated at max_length"),
        )
    ),
    (
        ("explorations",),
        "SELECT iteration, 'explorations', exploration_id, 'rest of an exploration', ended, 1, '', task_id "
        "FROM explorations WHERE ended <> 'done'",
    ),
    (
        ("explorations",),
        "SELECT iteration, 'explorations', exploration_id, 'replies of an exploration', 'unparsed', "
        "unparsed, '', task_id FROM explorations WHERE unparsed > 0",
    ),
    (
        ("explorations", "checkpoints"),
        "SELECT x.iteration, 'explorations', x.exploration_id, 'exploration', 'not finetuned on', 1, '', "
        "x.task_id FROM explorations x JOIN checkpoints c ON c.iteration = x.iteration "
        "WHERE NOT list_contains(c.step_ids, x.exploration_id)",
    ),
    (
        ("eval_episodes",),
        "SELECT iteration, 'eval_episodes', episode_id, 'rest of an episode', ended, 1, '', task_id "
        "FROM eval_episodes WHERE ended <> 'done'",
    ),
    (
        ("eval_episodes",),
        "SELECT iteration, 'eval_episodes', episode_id, 'replies of an episode', 'unparsed', unparsed, '', "
        "task_id FROM eval_episodes WHERE unparsed > 0",
    ),
    (
        ("search_episodes",),
        "SELECT iteration, 'search_episodes', search_episode_id, 'rest of an episode', ended, 1, '', task_id "
        "FROM search_episodes WHERE ended <> 'done'",
    ),
    (
        ("search_episodes",),
        "SELECT iteration, 'search_episodes', search_episode_id, 'replies of an episode', 'unparsed', "
        "unparsed, '', task_id FROM search_episodes WHERE unparsed > 0",
    ),
    (
        ("tasks", "expert_data"),
        "SELECT t.iteration, 'tasks', t.task_id, 'training task', 'no expert trajectory', 1, '', t.task_id "
        "FROM tasks t ANTI JOIN expert_data e ON e.task_id = t.task_id WHERE t.split = 'train'",
    ),
)
"""Of which tables, and the SELECT of `COLUMNS`, in order."""


def left_out_sql(tables: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The view's SELECT over the existing ones of `tables`, and what its columns hold."""
    parts = [sql for needed, sql in _PARTS if set(needed) <= set(tables)]
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    empty = f"SELECT {', '.join('NULL::VARCHAR' for _ in COLUMNS)} WHERE false"
    return f"SELECT * FROM ({' UNION ALL '.join(parts) or empty}) AS t({names})", COLUMNS
