-- Training data of each finetuning
-- Conversations, epochs, tokens, first and last loss of each checkpoint, and conversations that could not be used.
SELECT iteration, checkpoint_id, examples, dropped, truncated, epochs, trained_tokens, seconds,
    loss_curve[1].loss AS first_loss, loss_curve[-1].loss AS last_loss
FROM checkpoints ORDER BY iteration
