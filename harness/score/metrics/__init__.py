"""Metrics: from answered rows to scores."""
