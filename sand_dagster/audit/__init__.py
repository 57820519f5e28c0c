"""Questions about finished work: origins of rows, reasons, prompts, changes, and what can be removed."""
