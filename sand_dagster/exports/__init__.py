"""What an iteration made, written for others to use: trajectories, episodes, checkpoints."""
