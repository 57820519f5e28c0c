"""`sand bench faults`: a seeded campaign of faults over real small runs.

Processes, Dagster, tables, journals, environments and the HTTP client are real. The models are scripted,
behind their own server, and the trainer writes its files without learning. So hundreds of faults take
minutes. Some faults can also be run with vLLM and TRL.
"""
