-- Switched experts
-- Trajectories in which a rollout replaced the expert's steps, from which step on, and the new reward.
SELECT d.iteration, d.trajectory_id, d.task_id, d.rollout_id, min(d."index") AS from_step, count(*) AS steps,
    any_value(d.reward) AS reward, any_value(e.reward) AS expert_reward
FROM deliberation_trajectories d
JOIN expert_trajectories e ON e.iteration = d.iteration AND e.step_id = d.parent_step_id
WHERE d.origin = 'switched' AND d.rollout_id <> '' GROUP BY ALL ORDER BY ALL
