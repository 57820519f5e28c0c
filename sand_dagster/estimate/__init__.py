"""What an experiment will need on given hardware: memory, tokens, hours, disk, before anything is started."""
