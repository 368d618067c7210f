"""Rows from the Hugging Face hub through `datasets`, and whether the hub can be reached at all."""

from __future__ import annotations

import functools
import os
import queue
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from harness.errors import DataError
from harness.rows.arrow import rows_of
from harness.rows.files import Row, Split
from harness.tasks.task import Dataset as DatasetSpec

if TYPE_CHECKING:
    from datasets import Dataset

PROBE_SECONDS = 3.0
CONVERTED = "refs/convert/parquet"


@functools.cache
def reachable() -> bool:
    """Whether the hub answers within three seconds; False at once when HF_HUB_OFFLINE is set.

    `datasets` itself retries for half a minute before it says that there is no network.
    """
    if _offline():
        return False
    answer: queue.SimpleQueue[bool] = queue.SimpleQueue()
    # A name look-up cannot be given a deadline, so the probe runs in a thread that may be left behind.
    threading.Thread(target=lambda: answer.put(_probe()), daemon=True).start()
    try:
        return answer.get(timeout=PROBE_SECONDS)
    except queue.Empty:
        return False


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def cached(spec: DatasetSpec) -> bool:
    """Whether the cache of `datasets` may hold a dataset, and HF_HUB_OFFLINE is set, with which it is read at once.

    Only names of folders are looked at: to ask `datasets` itself takes the seconds that its import takes. What lies in
    the cache is found there by the dataset's name alone, so the hub's converted branch never is.
    """
    if not _offline() or spec.hub is None or spec.revision == CONVERTED:
        return False
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    folder = Path(os.environ.get("HF_DATASETS_CACHE", f"{home}/datasets")).expanduser()
    # `datasets` writes a name's capitals as _ and the small letter.
    wanted = spec.hub.replace("/", "").replace("_", "").lower()
    return any(path.name.replace("_", "").lower() == wanted for path in folder.glob("*/"))


def _probe() -> bool:
    import httpx

    try:
        httpx.head(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), timeout=PROBE_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, OSError):
        return False
    return True


def configs(spec: DatasetSpec) -> list[str | None]:
    """The configurations of a dataset; `a+b` in the file means the rows of both."""
    return [*spec.config.split("+")] if spec.config else [None]


def load(spec: DatasetSpec, split: str) -> Dataset:
    """Load a split, by the hub's name for it, from the hub or from the local cache of `datasets`.

    Raises:
        DataError: it cannot be had; the message carries the reason `datasets` gives.
    """
    if spec.hub is None:
        raise DataError("the task names no hub dataset")
    import datasets
    from datasets.exceptions import DatasetGenerationError, DatasetsError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of the client that version uses

    try:
        parts = []
        for config in configs(spec):
            if spec.revision == CONVERTED:
                # The converted branch has no loading information, so its files are named directly, by the full name:
                # there the hub no longer understands the short one that its oldest datasets once had.
                name = HfApi().dataset_info(spec.hub, revision=CONVERTED).id
                pattern = f"hf://datasets/{name}@{quote(CONVERTED, safe='')}/{config or '*'}/{split}/*.parquet"
                parts.append(datasets.load_dataset("parquet", data_files={split: pattern}, split=split))
            else:
                parts.append(datasets.load_dataset(spec.hub, config, split=split, revision=spec.revision))
        return datasets.concatenate_datasets(parts)
    except (OSError, ValueError, RuntimeError, LookupError, DatasetsError, HTTPError) as error:
        # This one says only that something went wrong, and its cause says what.
        told = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
        reason = " ".join(str(told).split())
        raise DataError(f"{spec.hub}: split '{split}' cannot be loaded from the hub: {reason:.300}") from None


def split(spec: DatasetSpec, name: str) -> Split:
    """Open a split of the hub as rows.

    Raises:
        DataError: it cannot be had.
    """
    dataset = load(spec, name)

    def read(wanted: Iterable[str]) -> Iterator[Row]:
        chosen = [column for column in dataset.column_names if column in set(wanted)]
        yield from rows_of(dataset.data.table.select(chosen).to_batches(1024))

    return Split(tuple(dataset.column_names), read)
