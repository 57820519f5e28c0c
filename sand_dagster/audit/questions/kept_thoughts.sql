-- Steps that kept their thought
-- Steps that should deliberate but did not, one by one, with the reason and the model's reply.
SELECT iteration, step_id, trajectory_id, "index", action, outcome, first_outcome, attempts, text
FROM deliberation_trajectories WHERE outcome NOT IN ('ok', 'kept') ORDER BY iteration, outcome, step_id
