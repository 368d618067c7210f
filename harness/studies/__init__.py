"""Claims of the literature, recomputed."""
