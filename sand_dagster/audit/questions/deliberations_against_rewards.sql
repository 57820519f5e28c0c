-- Deliberations against rewards
-- Deliberated steps whose action got a lower rollout reward than another candidate: the thought argues for the worse action.
WITH played AS (
    SELECT d.iteration, d.step_id, d.action AS chosen, c.action, c.is_expert, r.reward
    FROM deliberation_trajectories d
    JOIN candidate_actions c ON c.iteration = d.iteration AND c.step_id = d.parent_step_id
    JOIN rollouts r ON r.iteration = c.iteration AND r.candidate_id = c.candidate_id
    WHERE d.deliberated AND r.ended <> 'replay_mismatch' AND d.origin = 'expert'
)
SELECT iteration, step_id, chosen, max(reward) FILTER (is_expert) AS its_reward, arg_max(action, reward) AS better,
    max(reward) AS better_reward
FROM played GROUP BY ALL HAVING max(reward) > max(reward) FILTER (is_expert) ORDER BY ALL
