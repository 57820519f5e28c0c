-- Cost by stage
-- Prompt and completion tokens by iteration and stage; for checkpoints the tokens of the training.
WITH cost AS (
    SELECT iteration, 'candidate_actions' AS stage, prompt_tokens, completion_tokens FROM candidate_actions WHERE is_expert
    UNION ALL SELECT iteration, 'rollouts', prompt_tokens, completion_tokens FROM rollouts
    UNION ALL SELECT iteration, 'critiques', prompt_tokens, completion_tokens FROM critiques
    UNION ALL SELECT iteration, 'deliberation_trajectories', prompt_tokens, completion_tokens FROM deliberation_trajectories
    UNION ALL SELECT iteration, 'eval_episodes', prompt_tokens, completion_tokens FROM eval_episodes
    UNION ALL SELECT iteration, 'checkpoints', tokens, trained_tokens FROM checkpoints
)
SELECT iteration, stage, count(*) AS rows, sum(prompt_tokens)::BIGINT AS tokens_in, sum(completion_tokens)::BIGINT AS tokens_out,
    sum(completion_tokens) / count(*) AS out_a_row
FROM cost GROUP BY ALL ORDER BY iteration, tokens_in DESC
