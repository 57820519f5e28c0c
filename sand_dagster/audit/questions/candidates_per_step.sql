-- Candidates per step
-- How many different actions the policy's samples gave, how often the expert's was among them, and how many steps deliberate.
WITH steps AS (
    SELECT iteration, step_id, count(*) AS candidates, max(votes) FILTER (is_expert) AS expert_votes, any_value(deliberates) AS deliberates
    FROM candidate_actions GROUP BY ALL
)
SELECT iteration, candidates, count(*) AS steps, avg((expert_votes > 0)::INT) AS expert_sampled, avg(deliberates::INT) AS deliberate
FROM steps GROUP BY ALL ORDER BY ALL
