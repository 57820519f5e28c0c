-- Expert actions that did not win
-- Rollouts that started with the expert's own action and did not get the full reward: the policy cannot follow the expert.
SELECT r.iteration, c.trajectory_id, c."index", c.action, c.votes, r.reward, r.ended, r.rollout_id
FROM rollouts r JOIN candidate_actions c ON c.iteration = r.iteration AND c.candidate_id = r.candidate_id
WHERE c.is_expert AND r.reward < 1 ORDER BY r.iteration, c.trajectory_id, c."index"
