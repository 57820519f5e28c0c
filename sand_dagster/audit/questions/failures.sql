-- Failures
-- Failures in Dagster's runs: when, in which step, with which message.
SELECT e.at, r.job, r.iteration, e.step, e.type, e.message, e.run_id
FROM events e JOIN runs r USING (run_id) WHERE e.type IN ('STEP_FAILURE', 'RUN_FAILURE', 'RUN_CANCELED') ORDER BY e.at
