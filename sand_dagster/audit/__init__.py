"""What an auditor asks of finished work: whence, why, with which prompt, what changed, what can go."""
