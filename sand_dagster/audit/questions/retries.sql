-- Retries
-- Outcomes of first attempts at critiques and deliberations that did not parse, and of the second attempts.
WITH asked AS (
    SELECT iteration, 'critiques' AS "table", first_outcome, outcome, attempts FROM critiques
    UNION ALL
    SELECT iteration, 'deliberation_trajectories', first_outcome, outcome, attempts FROM deliberation_trajectories WHERE attempts > 0
)
SELECT iteration, "table", first_outcome, outcome, count(*) AS rows FROM asked GROUP BY ALL ORDER BY ALL
