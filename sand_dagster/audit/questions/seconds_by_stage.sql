-- Time by stage
-- How long each stage took in each run, from Dagster's events.
SELECT r.job, r.iteration, e.step, min(e.at) FILTER (e.type = 'STEP_START') AS started,
    epoch(max(e.at) - min(e.at) FILTER (e.type = 'STEP_START')) AS seconds, r.status, e.run_id
FROM events e JOIN runs r USING (run_id) WHERE e.step IS NOT NULL
GROUP BY ALL HAVING count(*) FILTER (e.type = 'STEP_START') > 0 ORDER BY started
