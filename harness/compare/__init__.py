"""Statistics of one model, of two, of many."""
