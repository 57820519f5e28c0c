"""SAND itself. Knows its interfaces only: no Dagster, vLLM, TRL, ALFWorld, ScienceWorld or DuckDB."""
