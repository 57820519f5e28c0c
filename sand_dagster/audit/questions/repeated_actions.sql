-- Episodes that repeat an action
-- Evaluated episodes in which the same action is repeated: the agent is stuck.
-- $times = 4: the fewest times
WITH turns AS (SELECT iteration, episode_id, task_id, reward, ended, unnest(steps).action AS action FROM eval_episodes)
SELECT iteration, episode_id, task_id, reward, ended, action, count(*) AS times FROM turns WHERE action <> ''
GROUP BY ALL HAVING count(*) >= $times ORDER BY times DESC, episode_id, action
