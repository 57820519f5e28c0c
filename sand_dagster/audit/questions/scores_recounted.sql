-- Scores, counted again
-- Each score with the values computed from its episodes: tasks, average reward and success rate. `same` has to be true everywhere.
WITH named AS (SELECT iteration, score_id, split, tasks, average_reward, success_rate, unnest(episode_ids) AS episode_id FROM eval_scores)
SELECT n.iteration, n.score_id, n.split, n.tasks, n.average_reward, count(e.episode_id) AS episodes, avg(e.reward) AS counted_again,
    count(e.episode_id) = n.tasks AND abs(avg(e.reward) - n.average_reward) < 1e-9
    AND abs(avg((e.reward = 1)::INT) - n.success_rate) < 1e-9 AS same
FROM named n LEFT JOIN eval_episodes e ON e.iteration = n.iteration AND e.episode_id = n.episode_id
GROUP BY n.iteration, n.score_id, n.split, n.tasks, n.average_reward, n.success_rate ORDER BY ALL
