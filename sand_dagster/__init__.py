"""SAND: Self-taught Action Deliberation for language agents, on Dagster."""
