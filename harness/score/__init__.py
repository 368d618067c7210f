"""Scores: recorded answers to statuses and statistics."""
