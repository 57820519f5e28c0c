"""What an experiment will take on given hardware: memory, tokens, hours, disk, before anything is started."""
