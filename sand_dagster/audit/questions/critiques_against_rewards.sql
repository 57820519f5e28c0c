-- Critiques that contradict rewards
-- Critiques that praise a candidate whose rollout failed, or reject one whose rollout won; the words are parameters.
-- $bad = "fail|poor|wander|delay|useless|invalid|refused|not where|mistake|should not": words against an action
-- $good = "good|sound|right|sensible|strong|useful|progress|advance|promising|should": words for it
WITH said AS (
    SELECT q.iteration, q.critique_id, c.action, r.reward, q.critique,
        regexp_matches(q.critique, $bad, 'i') AS bad, regexp_matches(q.critique, $good, 'i') AS good
    FROM critiques q JOIN rollouts r ON r.iteration = q.iteration AND r.rollout_id = q.rollout_id
    JOIN candidate_actions c ON c.iteration = q.iteration AND c.candidate_id = q.candidate_id WHERE q.outcome = 'ok'
)
SELECT iteration, critique_id, action, reward, critique FROM said
WHERE (reward = 1 AND bad AND NOT good) OR (reward = 0 AND good AND NOT bad) ORDER BY iteration, reward, critique_id
