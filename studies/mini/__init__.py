"""The miniature: a base model of a few million parameters made by this project, with one adapter for each task."""

from pathlib import Path

MODEL = Path("models/mini")
ADAPTERS = Path("adapters/mini")
