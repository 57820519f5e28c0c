"""`python -m sand_dagster.cli`."""

from sand_dagster.cli import app

app()
