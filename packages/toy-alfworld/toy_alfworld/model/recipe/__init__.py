"""The training of the household model: tokenizer, network, initial weights, optimiser, loop."""
