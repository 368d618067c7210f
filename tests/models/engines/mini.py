"""The model that comes with the project, two of its adapters, and prompts of several lengths."""

from __future__ import annotations

from pathlib import Path

from studies import mini

ROOT = Path(__file__).parents[3]
MINI = ROOT / mini.MODEL
LORA = ROOT / mini.ADAPTERS
ADAPTERS = tuple(str(LORA / task) for task in ("glue_sst2", "ag_news"))
PROMPTS = (
    "The film is a delight from beginning to end.\nSentiment:",
    "Dull.\nSentiment:",
    "Stocks fell on Wall Street after the central bank raised its rates again, and oil was dearer than ever.\nTopic:",
    "name[Blue Spice], eatType[pub]",
)
