-- Experiments side by side
-- The scores of every experiment of this home, by split and iteration.
SELECT split, iteration, experiment, tasks, average_reward, reward_low, reward_high, deliberation_rate, tokens_per_task
FROM everywhere.eval_scores ORDER BY ALL
