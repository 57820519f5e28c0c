-- Length of deliberations
-- Words in the thoughts of D_delib, deliberated and kept, by iteration, and the number of candidates in a deliberation.
SELECT iteration, deliberated, count(*) AS steps, avg(len(string_split(thought, ' '))) AS words,
    max(len(string_split(thought, ' '))) AS longest, avg(len(candidate_ids)) AS candidates
FROM deliberation_trajectories GROUP BY ALL ORDER BY ALL
