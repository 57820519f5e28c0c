"""Pages of the documentation that are made from the code: `python -m sand_dagster.reference` writes them."""
