-- Steps whose rollouts show no difference
-- Share of deliberating steps whose candidates all got the same reward: it cannot guide their critiques.
WITH steps AS (
    SELECT iteration, step_id, count(DISTINCT reward) AS rewards, max(reward) AS best FROM rollouts GROUP BY ALL
)
SELECT iteration, count(*) AS steps, count(*) FILTER (rewards = 1) AS level, avg((rewards = 1)::INT) AS share,
    count(*) FILTER (rewards = 1 AND best = 1) AS all_won, count(*) FILTER (rewards = 1 AND best = 0) AS all_lost
FROM steps GROUP BY ALL ORDER BY ALL
