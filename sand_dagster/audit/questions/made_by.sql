-- What made which table
-- All versions of an experiment's tables, including earlier ones: run, time, and the packages that decide the rows.
SELECT "table", iteration, current, rows, left(content_hash, 12) AS content_hash, run_id, created_at, packages
FROM manifests ORDER BY created_at
