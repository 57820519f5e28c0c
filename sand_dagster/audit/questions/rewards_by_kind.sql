-- Task types that gain or lose
-- Average reward by task type, split and iteration, with the number of tasks, and the change from the iteration before.
WITH kinds AS (
    SELECT split, kind, iteration, count(*) AS tasks, avg(reward) AS average_reward FROM eval_episodes GROUP BY ALL
)
SELECT *, average_reward - lag(average_reward) OVER (PARTITION BY split, kind ORDER BY iteration) AS change
FROM kinds ORDER BY split, kind, iteration
