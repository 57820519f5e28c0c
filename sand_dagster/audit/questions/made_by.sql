-- What made which table
-- The versions of the tables of an experiment, the earlier ones too: run, time, and the packages that decide the rows.
SELECT "table", iteration, current, rows, left(content_hash, 12) AS content_hash, run_id, created_at, packages
FROM manifests ORDER BY created_at
