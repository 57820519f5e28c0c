-- Votes against rewards
-- Steps whose candidate with the most votes got a lower reward than another one: the policy prefers a worse action.
WITH played AS (
    SELECT c.iteration, c.step_id, c.trajectory_id, c."index", c.candidate_id, c.action, c.votes, c.is_expert, r.reward
    FROM candidate_actions c JOIN rollouts r ON r.iteration = c.iteration AND r.candidate_id = c.candidate_id
    WHERE r.ended <> 'replay_mismatch'
)
SELECT iteration, step_id, trajectory_id, "index", arg_max(action, votes) AS most_voted, max(votes) AS votes,
    arg_max(reward, votes) AS its_reward, arg_max(action, reward) AS best, max(reward) AS best_reward
FROM played GROUP BY ALL HAVING arg_max(reward, votes) < max(reward) ORDER BY iteration, best_reward - its_reward DESC, step_id
