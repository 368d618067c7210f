"""Rows: where they come from, and the fixed ones that every model is asked."""
