"""How the household model is trained from nothing: tokenizer, network, first weights, optimiser, loop."""
