"""An environment in one file, as an example: find a hidden number."""
