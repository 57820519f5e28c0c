"""Experiments side by side: scores, paired differences over the same tasks, and difficulty (Figure 4)."""
