-- Tasks won and lost
-- Evaluated tasks whose reward differs between two iterations.
-- $from = "00": the earlier iteration
-- $to = "01": the later one
SELECT b.split, b.kind, b.task_id, a.reward AS before, b.reward AS after, CASE WHEN b.reward > a.reward THEN 'won' ELSE 'lost' END
    AS change, a.episode_id AS episode_before, b.episode_id AS episode_after
FROM eval_episodes a JOIN eval_episodes b USING (task_id)
WHERE a.iteration = $from AND b.iteration = $to AND a.reward <> b.reward ORDER BY change, b.split, b.kind, b.task_id
