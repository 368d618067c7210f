"""The model that tests run (`make.py` makes it), its two adapters, and prompts of several lengths."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
MINI = ROOT / "tests" / "local" / "model"
ADAPTERS = tuple(str(MINI / task) for task in ("glue_sst2", "ag_news"))
PROMPTS = (
    "The film is a delight from beginning to end.\nSentiment:",
    "Dull.\nSentiment:",
    "Stocks fell on Wall Street after the central bank raised its rates again, and oil was dearer than ever.\nTopic:",
    "name[Blue Spice], eatType[pub]",
)
