"""The harness: ask models the held-out rows of a task, score the answers, compare the models."""

__version__ = "0.1.0"
