"""The small engine: transformers and PEFT in this process, for any causal language model that fits one device."""

from __future__ import annotations

import math
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness.errors import UserError
from harness.hashing import digest
from harness.models.engines.gguf import base_folder
from harness.models.engines.peft_adapters import TIED
from harness.models.engines.transformers import INSTALL, context, device
from harness.rows.training import TrainingExample
from harness.train import checkpoint
from harness.train.batches import Encoded, Tokens, encode, shuffled
from harness.train.lora_linear import fuse
from harness.train.loss import answer_loss, exact_frame, fast_bf16
from harness.train.recipe import ALL, Curve, Hyperparameters, Trained, learning_rate_factor

if TYPE_CHECKING:
    import torch

Rows = Sequence[tuple[Tokens, Tokens]]
T = TypeVar("T")

# On a CPU plain attention is faster than PyTorch's fused one, whose gradients are slow there, but it keeps the weights
# of all pairs of tokens: it is for rows up to so many tokens, and for so many pairs at a time.
PLAIN_ATTENTION_TOKENS = 1_024
PLAIN_ATTENTION_PAIRS = 1_500_000
# More tokens are never learned at once there, where memory that runs out ends the process: eight rows of 1,700 would
# take 15 GB.
PART_TOKENS = 4_096
CHECKPOINT_SECONDS = 60
KEPT = "checkpoints"
"""Folder of the adapters that are kept on the way, in the adapter's own."""


def train(
    base: str, pairs: Sequence[TrainingExample], recipe: Hyperparameters, out: Path, say: Callable[[str], None]
) -> Trained:
    """Train an adapter and write it to `out` as PEFT does.

    With `recipe.checkpoints` the adapters on the way are in `checkpoints/step-…` there. A checkpoint beside it lets the
    same call go on after it was stopped, by whatever. After Ctrl-C the best weights so far are kept, and the call
    returns what there is.

    Raises:
        UserError: the base cannot be loaded, no row fits it, or it does not fit the device.
    """
    model, words, where = _load(base, recipe, say)
    import torch

    most = min(context(model), recipe.longest or context(model))
    encoded = encode(pairs, words.backend_tokenizer, words.eos_token_id, most)
    held = recipe.held(len(encoded.rows))
    decides = replace(recipe, batch=None)
    name = digest(base, str(decides), *(text for pair in pairs for text in (pair.prompt, pair.target)))
    out.mkdir(parents=True, exist_ok=True)
    try:
        run = _Run(name, model, encoded, encoded.rows[held:], encoded.rows[:held], recipe, where, say)
        run.resume(out / checkpoint.CHECKPOINT)
        if run.step == 0:
            shutil.rmtree(out / KEPT, ignore_errors=True)  # of another training
        run.fit(out / checkpoint.CHECKPOINT, lambda step: run.write(out / KEPT / kept_name(step), base))
    except KeyboardInterrupt:
        if not run.best_weights or (run.best_step == 0 and not recipe.start):
            raise
        say(f"stopped at step {run.step}; the weights of step {run.best_step} are kept")
    except torch.OutOfMemoryError as error:
        message = f"'{base}' does not fit {where} with one row of {encoded.longest} tokens at a time"
        raise UserError(f"{message}: try --bits 4, or leave out long rows with --longest") from error
    run.save(out, base)
    finished = run.step >= run.steps
    if finished:
        (out / checkpoint.CHECKPOINT).unlink(missing_ok=True)
    seconds, cpu_seconds = run.spent
    return Trained(
        run.curve,
        run.best_step,
        run.step,
        len(run.rows),
        encoded.too_long,
        encoded.longest,
        seconds,
        f"cuda, {torch.cuda.get_device_name()}" if where == "cuda" else where,
        _versions(),
        cpu_seconds,
    )


def kept_name(step: int) -> str:
    """The folder of the adapter that was kept after this step, in `KEPT`."""
    return f"step-{step:06}"


class _Run:
    """One training, resumed from its checkpoint; `name` is a hash of everything that decides its course."""

    def __init__(
        self,
        name: str,
        model: Any,
        encoded: Encoded,
        rows: Rows,
        validation: Rows,
        recipe: Hyperparameters,
        device: str,
        say: Callable[[str], None],
    ) -> None:
        import torch

        self.name, self.model, self.recipe, self.device, self.say = name, model, recipe, device, say
        self.batch = min(recipe.batch or recipe.rows_per_update, recipe.rows_per_update)
        self.plain_attention = device == "cpu" and encoded.longest <= PLAIN_ATTENTION_TOKENS
        if self.plain_attention:
            model.set_attn_implementation("eager")
        exact = exact_frame(model, encoded.frame, encoded.rows, device)
        self.one_by_one = exact is None
        self.frame = encoded.frame if exact else []
        self.rows = rows if exact else _whole(encoded.frame, rows)
        self.validation = sorted(validation if exact else _whole(encoded.frame, validation), key=_length)
        self.steps = recipe.updates(len(rows))
        self.every = recipe.evaluate_every(len(rows), len(validation))
        self.kept = frozenset(recipe.kept_steps(self.steps))
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.step = self.best_step = 0
        self.best = float("inf")
        self.best_weights: list[torch.Tensor] = []
        self.curve = Curve()
        self.losses: list[float] = []  # of the steps since the last evaluation
        self.before = (0.0, 0.0)
        self.began = (time.perf_counter(), time.process_time())

    @property
    def spent(self) -> tuple[float, float]:
        """Seconds of wall time and of processor time, those before a stop included."""
        now = time.perf_counter(), time.process_time()
        wall, cpu = (before + to - start for before, to, start in zip(self.before, now, self.began, strict=True))
        return wall, cpu

    def resume(self, path: Path) -> None:
        """Resume from the checkpoint, if there is one of this training."""
        import torch

        saved = checkpoint.load(path, self.name, self.device)
        if saved is None:
            if path.is_file():
                self.say("the checkpoint is damaged or belongs to another training: starting over")
            return
        with torch.no_grad():
            for weight, value in zip(self.weights, saved["weights"], strict=True):
                weight.copy_(value)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.best, self.best_step = saved["step"], saved["best"], saved["best_step"]
        self.best_weights, self.before = saved["best_weights"], saved["seconds"]
        self.curve, self.losses = Curve(*saved["curve"]), saved["losses"]
        self.say(f"resuming after step {self.step}")

    def fit(self, path: Path, keep: Callable[[int], None]) -> None:
        """Train to the last step, saving a checkpoint at each evaluation and every minute.

        The curve begins with the model as it is before the first step. `keep` is called after each step whose adapter
        is to be kept, which is evaluated, too.
        """
        saved = time.monotonic()
        batches = self._batches()
        self.model.train()
        if self.validation and self.step == 0:
            self._evaluate(None)
        while self.step < self.steps:
            self.losses.append(self._update(next(batches)))
            self.step += 1
            evaluated = self.step % self.every == 0 or self.step == self.steps or self.step in self.kept
            if evaluated:
                self._evaluate(sum(self.losses) / len(self.losses))
                self.losses.clear()
                self.say(
                    f"step {self.step} of {self.steps}: training loss {self.curve.training[-1]:.3f}, "
                    f"validation loss {self.curve.validation[-1]:.3f}"
                )
            if self.step in self.kept:
                keep(self.step)
            if evaluated or time.monotonic() - saved > CHECKPOINT_SECONDS:
                self._checkpoint(path)
                saved = time.monotonic()

    def save(self, out: Path, base: str) -> None:
        """Write the best weights as a PEFT adapter of this base."""
        import torch

        with torch.no_grad():
            for weight, value in zip(self.weights, self.best_weights, strict=True):
                weight.copy_(value)
        self.write(out, base)

    def write(self, out: Path, base: str) -> None:
        """Write the weights as they are now as a PEFT adapter of this base, in bf16, which halves the file."""
        import torch
        from safetensors.torch import load_file, save_file

        # Where the embeddings are adapted, PEFT would write the base's own beside their adapter.
        self.model.peft_config["default"].base_model_name_or_path = base
        self.model.save_pretrained(out, save_embedding_layers=False)
        path = out / "adapter_model.safetensors"
        weights = {name: weight.to(torch.bfloat16) for name, weight in load_file(path).items()}
        save_file(weights, path, metadata={"format": "pt"})

    def _batches(self) -> Iterator[list[tuple[Tokens, Tokens]]]:
        """The remaining batches: those of the steps that are done are skipped."""
        batches = shuffled(self.rows, self.recipe.rows_per_update, self.recipe.seed)
        for _ in range(self.step):
            next(batches)
        return batches

    def _update(self, rows: Rows) -> float:
        import torch

        factor = learning_rate_factor(self.step / self.steps, self.recipe.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * max(factor, 1e-3)
        total = self._fitting(lambda: self._backward(rows))
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total

    def _backward(self, rows: Rows) -> float:
        """Add the gradient of the mean loss of these rows' answer tokens, and return that loss."""
        import torch

        # Dropout draws the same numbers in this step whether or not the training was stopped before.
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)
        answers, total = _answer_tokens(rows), 0.0
        for part in self._parts(rows):
            loss = self._loss(part) * (_answer_tokens(part) / answers)
            loss.backward()
            total += loss.item()
        return total

    def _fitting(self, compute: Callable[[], T]) -> T:
        """Compute what passes rows through the model, with half as many at once wherever the GPU's memory runs out."""
        import torch

        while True:
            try:
                return compute()
            except torch.OutOfMemoryError:
                if self.batch == 1:
                    raise
            # Here, because the error holds on to the memory of the pass that failed.
            self.batch = (self.batch + 1) // 2
            self.optimizer.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
            self.say(f"out of memory: going on with at most {self.batch} rows at once")

    def _parts(self, rows: Rows) -> Iterator[Rows]:
        """Rows in parts that fit the memory, or one by one where rows beside each other would change each other."""
        if self.one_by_one:
            yield from ([row] for row in rows)
            return
        part: list[tuple[Tokens, Tokens]] = []
        for row in sorted(rows, key=_length):  # the last is the longest, to which the others are padded
            tokens = (len(part) + 1) * _length(row)
            pairs = tokens * (len(self.frame) + _length(row)) if self.plain_attention else 0
            too_many = self.device == "cpu" and (tokens > PART_TOKENS or pairs > PLAIN_ATTENTION_PAIRS)
            if part and (len(part) == self.batch or too_many):
                yield part
                part = []
            part.append(row)
        yield part

    def _loss(self, rows: Rows) -> torch.Tensor:
        return answer_loss(self.model, self.frame, rows, self.device)

    def _evaluate(self, training: float | None) -> None:
        import torch

        validation = training or 0.0
        if self.validation:
            self.model.eval()
            with torch.inference_mode():
                validation = self._fitting(self._validation_loss)
            self.model.train()
        if not math.isfinite(validation):
            raise UserError(f"the loss is no longer a number at step {self.step}: try a lower --learning-rate")
        self.curve.steps.append(self.step)
        self.curve.training.append(round(validation if training is None else training, 4))
        self.curve.validation.append(round(validation, 4))
        if validation < self.best:
            self.best, self.best_step = validation, self.step
            self.best_weights = [weight.detach().clone() for weight in self.weights]

    def _validation_loss(self) -> float:
        total: float = sum(self._loss(part).item() * _answer_tokens(part) for part in self._parts(self.validation))
        return total / _answer_tokens(self.validation)

    def _checkpoint(self, path: Path) -> None:
        state = {
            "weights": [weight.detach() for weight in self.weights],
            "best_weights": self.best_weights,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "best": self.best,
            "best_step": self.best_step,
            "curve": [self.curve.steps, self.curve.training, self.curve.validation],
            "losses": self.losses,
            "seconds": self.spent,
        }
        checkpoint.save(path, self.name, state)


def _whole(frame: Tokens, rows: Rows) -> Rows:
    """Rows with what all prompts share in each."""
    return [([*frame, *rest], answer) for rest, answer in rows]


def _length(row: tuple[Tokens, Tokens]) -> int:
    return len(row[0]) + len(row[1])


def _answer_tokens(rows: Rows) -> int:
    return sum(len(answer) for _, answer in rows)


def _load(base: str, recipe: Hyperparameters, say: Callable[[str], None]) -> tuple[Any, Any, str]:
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, logging
    except ImportError as error:
        raise UserError(f"--engine peft: {INSTALL} ({error})") from None
    logging.disable_progress_bar()
    # What the libraries tell each other of their next versions is not for our users.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft)\.")
    warnings.filterwarnings("ignore", TIED)
    where = device()
    if recipe.bits and where != "cuda":
        raise UserError(f"--bits {recipe.bits} needs CUDA, which this machine does not have: leave it out")
    half = where != "cpu" or fast_bf16()
    settings: dict[str, Any] = {"dtype": torch.bfloat16 if half else torch.float32}
    if recipe.bits:
        from transformers import BitsAndBytesConfig

        settings["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=recipe.bits == 4, load_in_8bit=recipe.bits == 8, bnb_4bit_compute_dtype=torch.bfloat16
        )
    folder = base_folder(base, say)
    try:
        words = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, **settings)
        if not recipe.bits:
            model = model.to(where)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise UserError(f"the base '{base}' cannot be loaded: {str(error).splitlines()[0]}") from None
    if words.eos_token_id is None:
        raise UserError(
            f"the tokenizer of '{base}' has no end-of-text token, so a model could not learn where an answer ends"
        )
    adapted = _adapted(base, model, recipe)
    if where == "cpu":
        fuse(adapted)
    return adapted, words, where


def _adapted(base: str, model: Any, recipe: Hyperparameters) -> Any:
    """The model with LoRA layers, fresh or those of the adapter that the training begins with."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    torch.manual_seed(recipe.seed)
    if recipe.start:
        try:
            return PeftModel.from_pretrained(model, recipe.start, is_trainable=True)
        except (OSError, ValueError, RuntimeError) as error:
            message = str(error).splitlines()[0]
            raise UserError(f"the adapter '{recipe.start}' cannot be gone on from: {message}") from None
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=ALL if recipe.target_modules == (ALL,) else list(recipe.target_modules),
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        message = f"'{base}' has no modules named {', '.join(recipe.target_modules)}: {error}; try --target {ALL}"
        raise UserError(message) from None


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("torch", "transformers", "peft", "bitsandbytes"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
