-- What was left out, by reason
-- How many rows of each kind were dropped, shortened or not used, of which table and why; `left_out` has them one by one.
SELECT iteration, what, reason, "table", count(*) AS rows, sum("count")::BIGINT AS counted FROM left_out GROUP BY ALL ORDER BY ALL
