"""Measurements of what the project claims. Each can be run alone."""
