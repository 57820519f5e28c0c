-- Deliberation rate by difficulty and iteration
-- Tasks in three bands by their reward in one iteration (Figure 4): for each iteration the share of deliberating steps, and the
-- reward. Tasks with equal rewards are ordered by their type's average reward.
-- $by = "00": the iteration whose rewards define difficulty
WITH first AS (
    SELECT task_id, reward, avg(reward) OVER (PARTITION BY kind) AS of_kind FROM eval_episodes WHERE iteration = $by
), banded AS (SELECT task_id, ntile(3) OVER (ORDER BY reward, of_kind, task_id) AS band FROM first)
SELECT CASE band WHEN 1 THEN 'hard' WHEN 2 THEN 'medium' ELSE 'easy' END AS difficulty, iteration, count(*) AS tasks,
    avg(deliberations / greatest(len(steps), 1)) AS deliberation_rate, avg(reward) AS average_reward
FROM eval_episodes JOIN banded USING (task_id) GROUP BY band, iteration ORDER BY band, iteration
