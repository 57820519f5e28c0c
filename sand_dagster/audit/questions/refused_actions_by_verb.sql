-- Refused actions by verb
-- The first word of each action that an evaluated agent wrote, how often the environment refused it, and an example.
WITH turns AS (SELECT iteration, unnest(steps) AS step FROM eval_episodes)
SELECT iteration, split_part(step.action, ' ', 1) AS verb, count(*) AS actions, count(*) FILTER (NOT step.valid) AS refused,
    avg((NOT step.valid)::INT) AS share, any_value(step.action) FILTER (NOT step.valid) AS example
FROM turns GROUP BY ALL ORDER BY iteration, refused DESC, verb
