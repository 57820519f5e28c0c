"""The rows of the tables: one definition each, with the documentation of its columns and their parents.

The first column is the row's id. Everything else about a table is made from its definition: the schema
(`artifacts/schemas.py`), what Dagster shows, the comments in SQL, `docs/tables.md`.
"""
