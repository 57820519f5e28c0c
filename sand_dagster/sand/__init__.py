"""SAND itself: the algorithm, knowing only its interfaces (no Dagster, vLLM, TRL, ALFWorld, ScienceWorld, DuckDB)."""
