"""The household model's training data: conversations that scripted teachers write about generated games."""
