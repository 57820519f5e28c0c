"""Documentation that is generated from the code by `python -m sand_dagster.reference`."""
