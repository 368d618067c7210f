"""Several LoRA adapters of one base merged into one: the weighted sum of what they change, or a method close to it.

Every method works on the changes B·A themselves, in float32, as those of PEFT's `add_weighted_adapter` do whose names
end with `svd`, and `cat`. Those that work on the factors A and B one by one are left out: a sum of factors is no factor
of the sum.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import DataError, HarnessError, UserError
from harness.hashing import file_sha256
from harness.models.engines.adapter_files import WEIGHTS, LoraWeights, read_lora, write_lora
from harness.models.local import CARD
from harness.printable import printable
from harness.store.atomic import new_folder
from harness.store.provenance import git_state, versions
from harness.train.shrink import truncated

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]
    Delta = Callable[[Sequence[Matrix], Sequence[float]], Matrix]

Method = Literal["sum", "linear", "ties", "dare", "prune"]
METHODS: dict[Method, str] = {
    "sum": "cat",
    "linear": "svd",
    "ties": "ties_svd",
    "dare": "dare_linear_svd",
    "prune": "magnitude_prune_svd",
}
"""Each method with its name in PEFT."""
_TOKENIZER = "tokenizer.json"
_BESIDE = (_TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
_MODEL_CARD = """---
base_model: {base}
library_name: peft
tags: [lora, merge]
---
# {names} on {base}, merged

A LoRA adapter made by `harness merge`, method `{method}` ({peft} in PEFT), rank {rank}.
Its change of the weights differs from the weighted sum of the parents' by {error:.2%} of that sum's norm.

| adapter | weight | rank | SHA-256 of its weights |
|---|---|---|---|
{parents}

`card.json` says the same for programs.
"""


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """What a user asks of `harness merge`.

    Attributes:
        adapters: Folders of the parents.
        weights: One for each.
        method: How they are merged.
        rank: Of the result, None for the highest of the parents; a `sum` has all of theirs together.
        density: Share of each change that `ties`, `dare` and `prune` keep.
        seed: Of what `dare` drops.
        out: Folder of the result.
        search: How the weights were chosen, for the card; None where they were given.
    """

    adapters: Sequence[Path]
    weights: Sequence[float]
    method: Method
    out: Path
    rank: int | None = None
    density: float = 0.5
    seed: int = 0
    search: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Parent:
    """An adapter that was merged; `borrowed_from` and `prune` as its own card says it, the first by task."""

    adapter: str
    weight: float
    rank: int
    sha256: str
    borrowed_from: Mapping[str, str | None]
    prune: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class MergeCard:
    """How a merge was made.

    `relative_error` is the Frobenius norm of what it differs by from the weighted sum of its parents' changes, over all
    layers, divided by the norm of that sum.
    """

    method: Method
    base: str
    rank: int
    relative_error: float
    density: float | None
    seed: int | None
    parents: Sequence[Parent]
    borrowed_from: Mapping[str, str | None]
    versions: Mapping[str, str]
    git: Mapping[str, Any]
    prune: Mapping[str, Any] | None = None
    search: Mapping[str, Any] | None = None


def merge(options: MergeOptions) -> MergeCard:
    """Merge adapters into a new folder, which is there whole or not at all.

    Raises:
        UserError: the options do not fit each other, or the folder is not empty.
        DataError: an adapter cannot be read, is more than LoRA, or is not of the same base as the first.
    """
    check(options)
    parents = [read_lora(folder, any_scale=True) for folder in options.adapters]
    base = _same_base(options.adapters, parents)
    known = [_parent(*found) for found in zip(options.adapters, options.weights, parents, strict=True)]
    for other in known[1:]:
        if other.prune != known[0].prune:
            raise DataError(
                f"{known[0].adapter} and {other.adapter} learned prompts from which different fixed text was taken out "
                "(`prune` in their cards), so no prompt is right for both: merge adapters that learned the same form"
            )
    asked = _sum(parents, options.weights)
    made = _merged(options, parents, asked)
    drawn = options.method in ("ties", "dare", "prune")
    card = MergeCard(
        method=options.method,
        base=base,
        rank=made.rank,
        relative_error=relative_error(made, parents, options.weights),
        density=options.density if drawn else None,
        seed=options.seed if options.method == "dare" else None,
        parents=known,
        borrowed_from={task: split for parent in known for task, split in parent.borrowed_from.items()},
        versions=versions(),
        git=git_state(Path.cwd()),
        prune=known[0].prune,
        search=options.search,
    )
    _write(options, made, card)
    return card


def relative_error(made: LoraWeights, parents: Sequence[LoraWeights], weights: Sequence[float]) -> float:
    """Return the norm of what an adapter's changes miss of a weighted sum, over all layers, divided by the sum's."""
    import numpy as np

    missing = whole = 0.0
    for name, (made_a, made_b) in made.pairs.items():
        parts = [
            (weight * lora.scale(name) * lora.pairs[name][0].astype(np.float64), lora.pairs[name][1])
            for lora, weight in zip(parents, weights, strict=True)
            if name in lora.pairs
        ]
        a, b = [part for part, _ in parts], [part for _, part in parts]
        whole += _squared_norm(np.concatenate(a), np.concatenate(b, axis=1))
        difference = [-made.scale(name) * made_a.astype(np.float64), *a]
        missing += _squared_norm(np.concatenate(difference), np.concatenate([made_b, *b], axis=1))
    return math.sqrt(missing / whole) if whole else float(missing > 0)


def check(options: MergeOptions) -> None:
    """Refuse what cannot be merged as asked, before anything is read.

    Raises:
        UserError: the options do not fit each other, or the folder is not empty.
    """
    if len(options.weights) != len(options.adapters):
        raise UserError(f"--weights has {len(options.weights)} numbers for {len(options.adapters)} adapters")
    if not any(options.weights) or not all(map(math.isfinite, options.weights)):
        raise UserError("--weights: expected finite numbers, not all of them 0")
    if options.method == "sum" and options.rank is not None:
        raise UserError("the rank of a sum is that of all adapters together: leave --rank out, or use --method linear")
    _refuse_used(options.out)


def _refuse_used(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty: choose a new folder")


def _same_base(folders: Sequence[Path], parents: Sequence[LoraWeights]) -> str:
    """Return the name of the base of all adapters.

    Raises:
        DataError: they have different ones, or different tokenizers.
    """
    first = parents[0]
    for folder, lora in zip(folders[1:], parents[1:], strict=True):
        for key in ("base_model_name_or_path", "task_type", "fan_in_fan_out"):
            ours, theirs = first.settings.get(key), lora.settings.get(key)
            if (ours or None) != (theirs or None):
                raise DataError(f"{folder} and {folders[0]} cannot be merged: their {key} is '{theirs}' and '{ours}'")
        for name, (a, b) in lora.pairs.items():
            if name in first.pairs and (a.shape[1], b.shape[0]) != (
                first.pairs[name][0].shape[1],
                first.pairs[name][1].shape[0],
            ):
                raise DataError(f"{folder} and {folders[0]} are of different bases: {name} has another shape")
    words = {folder: found for folder in folders if (found := _vocabulary(folder)) is not None}
    for folder in words:
        if words[folder] != next(iter(words.values())):
            raise DataError(f"{folder} and {next(iter(words))} cannot be merged: they have different tokenizers")
    return str(first.settings.get("base_model_name_or_path") or "")


def _vocabulary(folder: Path) -> Any:
    """What in an adapter's own tokenizer, if it has one, decides how a text is cut."""
    path = folder / _TOKENIZER
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [found.get(key) for key in ("model", "added_tokens", "normalizer", "pre_tokenizer")]
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def _sum(parents: Sequence[LoraWeights], weights: Sequence[float]) -> LoraWeights:
    """The weighted sum of changes, exactly: the rows of all A, scaled, over the columns of all B."""
    import numpy as np

    modules = dict.fromkeys(name for lora in parents for name in lora.pairs)
    pairs = {}
    for name in modules:
        parts = [
            (weight * lora.scale(name) * lora.pairs[name][0], lora.pairs[name][1])
            for lora, weight in zip(parents, weights, strict=True)
            if name in lora.pairs
        ]
        pairs[name] = (
            np.concatenate([a for a, _ in parts]).astype(np.float32),
            np.concatenate([b for _, b in parts], axis=1),
        )
    return _adapter(parents, pairs, max(a.shape[0] for a, _ in pairs.values()))


def _adapter(parents: Sequence[LoraWeights], pairs: Mapping[str, tuple[Matrix, Matrix]], rank: int) -> LoraWeights:
    """An adapter of one rank whose B·A are the changes themselves: alpha is the rank, and missing rows are zeros."""
    import numpy as np

    weights = {}
    for name, (a, b) in pairs.items():
        missing = rank - a.shape[0]
        weights[f"{name}.lora_A.weight"] = np.pad(a, ((0, missing), (0, 0)))
        weights[f"{name}.lora_B.weight"] = np.pad(b, ((0, 0), (0, missing)))
    settings = {
        **parents[0].settings,
        "r": rank,
        "lora_alpha": rank,
        "use_rslora": False,
        "rank_pattern": {},
        "alpha_pattern": {},
        "target_modules": sorted({name.rpartition(".")[2] for name in pairs}),
        "layers_to_transform": None,
        "exclude_modules": None,
    }
    return LoraWeights(settings, weights)


def _merged(options: MergeOptions, parents: Sequence[LoraWeights], asked: LoraWeights) -> LoraWeights:
    if options.method == "sum":
        return asked
    rank = options.rank or max(a.shape[0] for lora in parents for a, _ in lora.pairs.values())
    if options.method == "linear":
        if rank > asked.rank:
            raise UserError(f"--rank {rank}: the sum of these adapters has rank {asked.rank} at most")
        return truncated(asked, rank)[0]
    combine = _of_peft(options.method, options.density, options.seed)
    pairs = {}
    for name in asked.pairs:
        own = [(lora, weight) for lora, weight in zip(parents, options.weights, strict=True) if name in lora.pairs]
        deltas = [lora.scale(name) * (lora.pairs[name][1] @ lora.pairs[name][0]) for lora, _ in own]
        pairs[name] = _factors(combine(deltas, [weight for _, weight in own]), rank)
    return _adapter(parents, pairs, rank)


def _of_peft(method: Method, density: float, seed: int) -> Delta:
    """PEFT's own combination of changes.

    Raises:
        UserError: it is not installed.
    """
    try:
        import torch
        from peft.utils import merge_utils
    except ImportError:
        raise UserError(f"--method {method} needs the extra `local`: pip install 'lora-leaderboard[local]'") from None
    torch.manual_seed(seed)
    chosen = {"ties": merge_utils.ties, "dare": merge_utils.dare_linear, "prune": merge_utils.magnitude_prune}[method]

    def combine(deltas: Sequence[Matrix], weights: Sequence[float]) -> Matrix:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # that a density of 1 keeps all
            made = chosen([torch.from_numpy(delta) for delta in deltas], torch.tensor(list(weights)), density)
        found: Matrix = made.float().numpy()
        return found

    return combine


def _factors(delta: Matrix, rank: int) -> tuple[Matrix, Matrix]:
    """A and B of the nearest matrix of this rank, equally large.

    Of all singular vectors only these are needed: they are the eigenvectors of the smaller of the two Gram matrices.
    """
    import numpy as np
    from scipy.linalg import eigh

    high = delta.shape[0] > delta.shape[1]
    wide = (delta.T if high else delta).astype(np.float64)
    most = len(wide)
    u = eigh(wide @ wide.T, subset_by_index=[max(0, most - rank), most - 1])[1]
    rest = u.T @ wide
    root = np.sqrt(np.linalg.norm(rest, axis=1, keepdims=True))
    left, right = u * root.T, np.divide(rest, root, out=np.zeros_like(rest), where=root > 0)
    a, b = (left.T, right.T) if high else (right, left)
    return a.astype(np.float32), b.astype(np.float32)


def _squared_norm(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The squared Frobenius norm of B·A, by the triangular factors of both."""
    import numpy as np

    outer, inner = np.linalg.qr(b.astype(np.float64)).R, np.linalg.qr(a.astype(np.float64).T).R
    return float(((outer @ inner.T) ** 2).sum())


def _parent(folder: Path, weight: float, lora: LoraWeights) -> Parent:
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        split = card.get("borrowed_from")
        borrowed = split if isinstance(split, dict) else {str(card.get("task", folder.name)): split}
        prune = card.get("prune")
    except FileNotFoundError:
        borrowed, prune = {}, None
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{folder / CARD} is not a card as `harness train` writes it: {error}") from None
    rank = max(a.shape[0] for a, _ in lora.pairs.values())
    return Parent(folder.name, weight, rank, file_sha256(folder / WEIGHTS), borrowed, prune)


def _write(options: MergeOptions, made: LoraWeights, card: MergeCard) -> None:
    lines = [f"| {parent.adapter} | {parent.weight:g} | {parent.rank} | {parent.sha256} |" for parent in card.parents]
    text = _MODEL_CARD.format(
        base=card.base,
        names=" + ".join(parent.adapter for parent in card.parents),
        method=card.method,
        peft=METHODS[card.method],
        rank=card.rank,
        error=card.relative_error,
        parents="\n".join(lines),
    )
    owner = next((folder for folder in options.adapters if (folder / _TOKENIZER).is_file()), None)
    with new_folder(options.out) as beside:
        # Not in bfloat16, which would round what is exact.
        write_lora(beside, made, "float32")
        for name in _BESIDE if owner else ():
            if owner and (owner / name).is_file():
                shutil.copy(owner / name, beside / name)
        (beside / CARD).write_text(json.dumps(asdict(card), indent=1) + "\n", encoding="utf-8")
        (beside / "README.md").write_text(printable(text), encoding="utf-8")


def merge_models(config: Path, out: Path) -> None:
    """Merge whole models by mergekit, which is given the configuration as it is.

    Raises:
        UserError: mergekit is not installed, or the folder is not empty.
        HarnessError: it failed; what it says is on standard error.
    """
    _refuse_used(out)
    beside = Path(sys.executable).with_name("mergekit-yaml")
    program = str(beside) if beside.is_file() else shutil.which("mergekit-yaml")
    if program is None:
        raise UserError("mergekit is not installed: pip install 'lora-leaderboard[merge]'")
    done = subprocess.run([program, str(config), str(out)], check=False)
    if done.returncode:
        raise HarnessError(f"mergekit-yaml ended with exit code {done.returncode}")
