-- Stale scores
-- Scores that depend, directly or not, on a table that was made again since, and the nearest such table.
WITH RECURSIVE stands_on AS (
    SELECT experiment, "table", iteration, input_experiment, input_table, input_iteration, input_hash, fresh, 1 AS steps
    FROM inputs WHERE current AND "table" IN ('eval_scores', 'search_scores')
    UNION
    SELECT s.experiment, s."table", s.iteration, i.input_experiment, i.input_table, i.input_iteration, i.input_hash, i.fresh,
        s.steps + 1
    FROM stands_on s JOIN inputs i ON i.experiment = s.input_experiment AND i."table" = s.input_table
        AND i.iteration IS NOT DISTINCT FROM s.input_iteration AND i.content_hash = s.input_hash
)
SELECT experiment, "table" AS scores, iteration, arg_min(input_table, steps) AS made_again,
    arg_min(input_iteration, steps) AS of_iteration, min(steps) AS steps_up, count(*) AS tables
FROM stands_on WHERE NOT fresh GROUP BY ALL ORDER BY ALL
