"""`sand bench faults`: a seeded campaign of faults over real small runs.

Processes, Dagster, tables, journals, environments and the HTTP client are the real ones. The models are
scripted behind a server of their own, and the trainer writes its files without learning, so that hundreds of
faults take minutes; some of them can be put to vLLM and TRL instead.
"""
