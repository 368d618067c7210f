"""Ludwig's `predict`, run by `benchmarks.generation` with the Python of Ludwig's environment.

python benchmarks/ludwig_predict.py BASE ADAPTER JOB, where JOB is JSON with prompts, max_tokens and end (a token); the
last line of the output is JSON with answers, seconds and cpu.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from ludwig.api import LudwigModel
from peft import PeftModel


def main() -> None:
    """Answer the prompts with the base and the adapter; loading is not counted."""
    base, adapter, job = sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text(encoding="utf-8"))
    config = {
        "model_type": "llm",
        "base_model": base,
        "input_features": [{"name": "prompt", "type": "text"}],
        "output_features": [{"name": "completion", "type": "text"}],
        "prompt": {"template": "{prompt}"},
        "trainer": {"type": "none"},
        # Left out, it generates beyond the end of the answer.
        "generation": {"max_new_tokens": job["max_tokens"], "eos_token_id": job["end"], "do_sample": False},
        "backend": {"type": "local"},
    }
    rows = pd.DataFrame({"prompt": job["prompts"], "completion": " "})
    with tempfile.TemporaryDirectory() as folder:
        model = LudwigModel(config)
        # It trains nothing; without it there is no model to predict with.
        model.train(dataset=rows, output_directory=folder, skip_save_processed_input=True, skip_save_model=True)
        # Ludwig itself takes trained adapters from the hub only.
        model.model.model = PeftModel.from_pretrained(model.model.model, adapter).eval()
        began, cpu = time.perf_counter(), time.process_time()
        found, _ = model.predict(dataset=rows, skip_save_predictions=True, output_directory=folder)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    answers = ["".join(text) if isinstance(text, list) else text for text in found["completion_response"]]
    print(json.dumps({"answers": answers, "seconds": seconds, "cpu": cpu}))


if __name__ == "__main__":
    main()
