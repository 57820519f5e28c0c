"""What the household model learns from: conversations that scripted teachers write about generated games."""
