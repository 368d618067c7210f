"""Ludwig, in an environment of its own: the configuration from a task, and the adapter out of what Ludwig leaves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from harness.errors import HarnessError, UserError
from harness.hashing import digest
from harness.models.engines.decoding import after
from harness.rows.training import TrainingExample, completion
from harness.train.recipe import EVALUATIONS, Curve, Hyperparameters, Trained

# Ludwig 0.17 needs Python 3.12, and these of torch fit it; it has no release that runs beside our own packages on 3.11.
PACKAGES = ("ludwig[llm]>=0.17,<0.18", "torch==2.11.*", "torchaudio==2.11.*", "torchvision==0.26.*")
PYTHON = "3.12"
ENVIRONMENT = Path(".venv-ludwig")
PERCENTILE = 0.95
_SPLITS = {"training": 0, "validation": 1}
_PROGRESS = "model/training_progress.json"


@dataclass(frozen=True, slots=True)
class LudwigBase:
    """What of a base model goes into the configuration; `pad` is `end` where it has none of its own."""

    name: str
    tokenizer: Tokenizer
    context: int | None
    end: int
    pad: int


def read_base(name: str) -> LudwigBase:
    """Read the tokenizer and the configuration of a base model in a folder, or of the hub.

    Raises:
        UserError: they cannot be read.
    """
    folder = Path(name).expanduser()
    place: Callable[[str], str | Path] = folder.joinpath
    try:
        if folder.is_dir():
            name = str(folder.resolve())
        else:
            from huggingface_hub import hf_hub_download

            place = partial(hf_hub_download, name)
        tokenizer = Tokenizer.from_file(str(place("tokenizer.json")))
        config = json.loads(Path(place("config.json")).read_text(encoding="utf-8"))
        ends = config["eos_token_id"]
    except Exception as error:  # noqa: BLE001  the libraries raise plain Exception
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"the base '{name}' cannot be read: {type(error).__name__}: {reason}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    end = ends[0] if isinstance(ends, list) else ends
    pad = config.get("pad_token_id")
    return LudwigBase(name, tokenizer, config.get("max_position_embeddings"), end, end if pad is None else pad)


@dataclass(frozen=True, slots=True)
class Fitting:
    """The rows to train on, and the most tokens of a prompt and of an answer; `too_long` rows have more."""

    pairs: tuple[TrainingExample, ...]
    prompt: int
    answer: int
    too_long: int

    @property
    def longest(self) -> int:
        """Most tokens of a prompt with its answer."""
        return self.prompt + self.answer


def fitting(base: LudwigBase, pairs: Sequence[TrainingExample]) -> Fitting:
    """Leave out the rows that are longer than the 95th percentile of prompts or of answers, as in LoRA Land.

    Ludwig itself would cut them on the right, and train on prompts without their end.

    Raises:
        UserError: rows of the 95th percentile are longer than what the model reads.
    """
    found = base.tokenizer.encode_batch([pair.prompt for pair in pairs])
    prompts = [len(encoding.ids) for encoding in found]
    answers = [len(after(base.tokenizer, pair.prompt, completion(pair))) + 1 for pair in pairs]  # and the end token
    prompt, answer = _percentile(prompts), _percentile(answers)
    if base.context and prompt + answer > base.context:
        raise UserError(
            f"the rows are too long for '{base.name}': 95 % have up to {prompt} tokens in the prompt and "
            f"{answer} in the answer, and it reads {base.context}"
        )
    sizes = zip(pairs, prompts, answers, strict=True)
    kept = tuple(pair for pair, read, written in sizes if read <= prompt and written <= answer)
    return Fitting(kept, prompt, answer, len(pairs) - len(kept))


def configuration(base: LudwigBase, recipe: Hyperparameters, rows: Fitting, max_new_tokens: int) -> dict[str, Any]:
    """Return Ludwig's configuration of an LLM fine-tuned with LoRA.

    Args:
        base: The base model.
        recipe: The hyper-parameters.
        rows: The training rows, from which lengths and steps follow.
        max_new_tokens: The task's limit, for Ludwig's own predictions; its default is 256.
    """
    steps = recipe.updates(len(rows.pairs) - recipe.held(len(rows.pairs)))
    accumulate = _batches(recipe)
    batches = steps * accumulate
    config: dict[str, Any] = {
        "model_type": "llm",
        "base_model": base.name,
        "input_features": [{"name": "prompt", "type": "text", "preprocessing": {"max_sequence_length": rows.prompt}}],
        "output_features": [
            {"name": "completion", "type": "text", "preprocessing": {"max_sequence_length": rows.answer}}
        ],
        "prompt": {"template": "{prompt}"},
        "adapter": {
            "type": "lora",
            "r": recipe.rank,
            "alpha": recipe.alpha,
            "dropout": recipe.dropout,
            "target_modules": list(recipe.target_modules),
        },
        "preprocessing": {"split": {"type": "fixed", "column": "split"}, "global_max_sequence_length": rows.longest},
        "generation": {
            "max_new_tokens": max_new_tokens,
            "do_sample": False,
            "num_beams": 1,
            "eos_token_id": base.end,  # without it the answers of its own predictions run on
            "pad_token_id": base.pad,
        },
        "trainer": {
            "type": "finetune",
            # A step of Ludwig's is a batch; losses and checkpoints come as often as in the other engine.
            "train_steps": batches,
            "early_stop": -1,  # the best weights are kept however many checkpoints come after them
            "steps_per_checkpoint": max(1, steps // EVALUATIONS) * accumulate,
            "batch_size": recipe.batch or 1,
            "eval_batch_size": recipe.batch or 1,
            "gradient_accumulation_steps": accumulate,
            "learning_rate": recipe.learning_rate,
            "learning_rate_scheduler": {
                "decay": "cosine",
                "warmup_fraction": recipe.warmup,
                # Left out, the rate would start again at each checkpoint.
                "t_0": max(1, batches - int(recipe.warmup * batches)),
            },
            "optimizer": {"type": "adamw", "betas": [0.9, 0.98]},
            "gradient_clipping": {"clipglobalnorm": 1.0},
        },
        "backend": {"type": "local"},
    }
    if recipe.bits:
        config["quantization"] = {"bits": recipe.bits}
    return config


def _batches(recipe: Hyperparameters) -> int:
    """How many batches make one update.

    Raises:
        UserError: they would not be of equal size.
    """
    batch, update = recipe.batch or 1, recipe.rows_per_update
    if update % batch:
        raise UserError(
            f"--engine ludwig needs a --batch that divides --rows-per-update: {batch} does not divide {update}"
        )
    return update // batch


def _percentile(counts: Sequence[int]) -> int:
    return sorted(counts)[min(len(counts) - 1, int(PERCENTILE * len(counts)))]


def environment(folder: Path, say: Callable[[str], None]) -> Path:
    """Return the Python of Ludwig's environment, which is made with uv when it is not there.

    Raises:
        UserError: it cannot be created.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready = folder / ".ready"
    if not ready.is_file():
        say(f"creating Ludwig's environment in {folder} (once; several GB with torch) ...")
        _uv("venv", "--quiet", "--clear", "--python", os.environ.get("UV_PYTHON", PYTHON), str(folder))
        _uv("pip", "install", "--quiet", "--python", str(python), *PACKAGES)
        ready.touch()
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        say(f"Ludwig's environment is ready: {size / 1e9:.1f} GB")
    return python


def _uv(*arguments: str) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        raise UserError("Ludwig's environment is created with uv, which is not installed: pip install uv")
    done = subprocess.run([uv, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"Ludwig's environment cannot be created: uv {arguments[0]}: {done.stderr.strip()[-400:]}")


def train(
    python: Path,
    config: Mapping[str, Any],
    rows: Fitting,
    recipe: Hyperparameters,
    out: Path,
    say: Callable[[str], None],
) -> Trained:
    """Train with Ludwig and put the PEFT adapter into `out`.

    Ludwig works in `<out>/ludwig`, from where a stopped training goes on; the folder is removed at the end. After
    Ctrl-C Ludwig ends with the step it is at, and the best weights so far are kept.

    Raises:
        UserError: the base is to be quantised and there is no CUDA.
        HarnessError: Ludwig failed; its last lines say why.
    """
    device = _ask(
        python, "import torch as t; print('cuda, ' + t.cuda.get_device_name() if t.cuda.is_available() else 'cpu')"
    )
    if recipe.bits and not device.startswith("cuda"):
        raise UserError(f"--bits {recipe.bits} needs CUDA, which this machine does not have: leave it out")
    work = out / "ludwig"
    began = time.perf_counter() - _prepare(work, config, rows.pairs, recipe, say)
    command = [str(python.absolute()), "-m", "ludwig.cli", "train", "--config", "config.json"]
    command += ["--dataset", "rows.parquet", "--skip_save_processed_input", "--skip_save_log"]
    command += ["--random_seed", str(recipe.seed)]
    run = Path("results/experiment_run")
    going_on = (work / run / _PROGRESS).is_file()
    command += ["--model_resume_path", str(run)] if going_on else ["--output_directory", str(run.parent)]
    say(f"Ludwig {'resumes' if going_on else 'is training'}; its log is {work / 'log.txt'}")
    code, stopped = _call(command, work)
    seconds = time.perf_counter() - began
    (work / "seconds").write_text(str(seconds), encoding="utf-8")
    weights = work / run / "model" / "model_weights"
    if code or not (weights / "adapter_model.safetensors").is_file():
        if stopped:
            raise KeyboardInterrupt
        tail = "\n".join((work / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:])
        raise HarnessError(f"Ludwig failed ({work / 'log.txt'}):\n{tail}")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        shutil.copyfile(weights / name, out / name)
    progress = json.loads((work / run / _PROGRESS).read_text(encoding="utf-8"))
    made, best = (progress[key] // _batches(recipe) for key in ("steps", "best_eval_metric_steps"))
    if progress["steps"] >= config["trainer"]["train_steps"]:
        shutil.rmtree(work)
    else:
        say(f"stopped at step {made}; the weights of step {best} are kept")
    learned = len(rows.pairs) - recipe.held(len(rows.pairs))
    curve, versions = _curve(progress, recipe), _versions(python)
    return Trained(curve, best, made, learned, rows.too_long, rows.longest, seconds, device, versions)


def _prepare(
    work: Path,
    config: Mapping[str, Any],
    pairs: Sequence[TrainingExample],
    recipe: Hyperparameters,
    say: Callable[[str], None],
) -> float:
    """Write what Ludwig reads; return the seconds that a stopped run of this training took."""
    name = digest(json.dumps(config), *(text for pair in pairs for text in (pair.prompt, pair.target)))
    if work.is_dir() and not ((work / "name").is_file() and (work / "name").read_text(encoding="utf-8") == name):
        say("what Ludwig left belongs to another training: starting over")
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    (work / "name").write_text(name, encoding="utf-8")
    (work / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    _write_rows(pairs, recipe, work)
    return float((work / "seconds").read_text(encoding="utf-8")) if (work / "seconds").is_file() else 0.0


def _call(command: Sequence[str], work: Path) -> tuple[int, bool]:
    """Run Ludwig; return its exit code, and whether there was a Ctrl-C, which reaches Ludwig as it does us."""
    stopped = False
    with (work / "log.txt").open("ab") as log:
        process = subprocess.Popen(command, cwd=work, stdout=log, stderr=subprocess.STDOUT, env=_variables())
        while True:
            try:
                return process.wait(), stopped
            except KeyboardInterrupt:
                stopped = True


def _write_rows(pairs: Sequence[TrainingExample], recipe: Hyperparameters, work: Path) -> None:
    import pandas as pd

    held = recipe.held(len(pairs))
    splits = [_SPLITS["validation"]] * held + [_SPLITS["training"]] * (len(pairs) - held)
    frame = {
        "prompt": [pair.prompt for pair in pairs],
        "completion": [completion(pair) for pair in pairs],
        "split": splits,
    }
    # Parquet, because readers of CSV take the space off the beginning of an answer.
    pd.DataFrame(frame).to_parquet(work / "rows.parquet")


def _variables() -> dict[str, str]:
    """The environment of Ludwig's process: its caches in a folder of their own, and no telemetry."""
    scratch = Path(tempfile.gettempdir()) / "ludwig-cache"
    return {**os.environ, "LUDWIG_CACHE": str(scratch), "TOKENIZERS_PARALLELISM": "false", "WANDB_MODE": "disabled"}


def _curve(progress: Mapping[str, Any], recipe: Hyperparameters) -> Curve:
    """Return the losses in what Ludwig says of its progress: lists of epoch, step and value."""
    training, validation = (progress[f"{split}_metrics"]["completion"]["loss"] for split in ("train", "validation"))
    steps = [int(step) // _batches(recipe) for _, step, _ in training]
    values = ([round(value, 4) for _, _, value in points] for points in (training, validation or training))
    return Curve(steps, *values)


def _ask(python: Path, code: str) -> str:
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False).stdout.strip()


def _versions(python: Path) -> dict[str, str]:
    names = ("ludwig", "torch", "transformers", "peft")
    found = _ask(python, f"import importlib.metadata as m; print(*(n + '=' + m.version(n) for n in {names}))")
    return dict(pair.split("=") for pair in found.split())
