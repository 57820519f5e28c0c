-- Repeated texts
-- Critiques and deliberations with the same text: little can be learnt from a model that repeats itself.
-- $times = 2: the fewest times
WITH texts AS (
    SELECT 'critiques' AS "table", iteration, critique AS text FROM critiques WHERE critique <> ''
    UNION ALL
    SELECT 'deliberation_trajectories', iteration, thought FROM deliberation_trajectories WHERE deliberated
)
SELECT "table", iteration, count(*) AS times, text FROM texts GROUP BY ALL HAVING count(*) >= $times ORDER BY times DESC, text
