-- What was left out, by reason
-- How many rows of each kind were dropped, shortened or not used, by table and reason; `left_out` lists them one by one.
SELECT iteration, what, reason, "table", count(*) AS rows, sum("count")::BIGINT AS counted FROM left_out GROUP BY ALL ORDER BY ALL
