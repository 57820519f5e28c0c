"""Measurements of what the project claims, each runnable by itself."""
