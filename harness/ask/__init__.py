"""Asking: every model every row, once."""
