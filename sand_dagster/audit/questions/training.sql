-- What each finetuning saw
-- Conversations, passes, tokens, first and last loss of each checkpoint, and what it could not use.
SELECT iteration, checkpoint_id, examples, dropped, truncated, epochs, trained_tokens, seconds,
    loss_curve[1].loss AS first_loss, loss_curve[-1].loss AS last_loss
FROM checkpoints ORDER BY iteration
