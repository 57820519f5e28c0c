"""The report: tables and figures of experiments, and a reader of their episodes and demonstrations.

It reads tables of `$SAND_HOME` and knows no Dagster. What it writes opens from a file, without a server.
"""
