"""Published data and models: where they are, how they get here, and how it is checked that they are right."""
