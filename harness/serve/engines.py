"""Commands that serve the same adapters by engines for production, vLLM and LoRAX, and what these would refuse."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.errors import DataError, UserError
from harness.models.engines.adapter_files import CONFIG, EMBEDDINGS
from harness.models.engines.known_bases import KNOWN

Engine = Literal["vllm", "lorax", "compose"]
ENGINES: tuple[Engine, ...] = ("vllm", "lorax", "compose")
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as `--max-lora-rank`."""
AT_ONCE = 8
"""Adapters in one batch by default: each takes memory of the GPU."""
_PORT = 8000


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to run, and what the engine would refuse or leave out of it."""

    text: str
    warnings: Sequence[str]


def recipe(engine: Engine, adapters: Mapping[str, Path], base: str | None, at_once: int | None) -> Recipe:
    """Return how an engine serves these adapters, folders by name.

    `base` is the hub id or folder of the base, where it is not the one that the adapters name, `at_once` how many
    adapters one batch may have; the engine `compose` is a compose file for vLLM.

    Raises:
        UserError: there is no adapter, or they are of several bases.
    """
    if not adapters:
        raise UserError("there is no adapter to serve: name a folder of adapters with --adapters")
    settings = {name: _settings(folder) for name, folder in adapters.items()}
    base = base or _base(settings)
    warnings = [f"{name}: {problem}" for name, found in settings.items() for problem in _problems(found)]
    served = {name: folder for name, folder in adapters.items() if not _refused(settings[name])}
    if not served:
        raise UserError("no adapter is left to serve: " + "; ".join(warnings))
    rank = max(_rank(settings[name]) for name in served)
    most = min(len(served), at_once or AT_ONCE)
    if engine == "lorax":
        return Recipe(_lorax(base, served), warnings)
    arguments = [
        "--enable-lora", "--max-lora-rank", str(next(size for size in RANKS if size >= rank)),
        "--max-loras", str(most), "--max-cpu-loras", str(max(most, len(served))),
    ]  # fmt: skip
    if engine == "vllm":
        modules = [_module(name, str(folder.resolve())) for name, folder in served.items()]
        command = ["vllm", "serve", base, *arguments, "--port", str(_PORT), "--lora-modules", *modules]
        return Recipe("VLLM_ALLOW_RUNTIME_LORA_UPDATING=True " + shlex.join(command) + "\n", warnings)
    return Recipe(_compose(base, arguments, served), warnings)


def _module(name: str, path: str) -> str:
    """An adapter as vLLM takes it: by NAME=PATH, or as JSON where these characters are in its name or path."""
    plain = not {"=", ","} & set(name + path)
    return f"{name}={path}" if plain else json.dumps({"name": name, "path": path}, ensure_ascii=False)


def _lorax(base: str, adapters: Mapping[str, Path]) -> str:
    volumes = [part for name, folder in adapters.items() for part in ("-v", f"{folder.resolve()}:/adapters/{name}:ro")]
    command = ["docker", "run", "--gpus", "all", "--shm-size", "1g", "-p", "8080:80", *volumes]
    command += ["ghcr.io/predibase/lorax:main", "--model-id", base]
    first = next(iter(adapters))
    ask = {"inputs": "…", "parameters": {"adapter_id": f"/adapters/{first}", "adapter_source": "local"}}
    said = json.dumps(ask, ensure_ascii=False)
    return f"{shlex.join(command)}\n# each request names its adapter by folder: POST /generate {said}\n"


def _compose(base: str, arguments: Sequence[str], adapters: Mapping[str, Path]) -> str:
    """A compose file; JSON is YAML, so that no name or path needs a rule of its own."""
    modules = [_module(name, f"/adapters/{name}") for name in adapters]
    gpu = {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    service = {
        "image": "vllm/vllm-openai:latest",
        "command": ["--model", base, *arguments, "--lora-modules", *modules],
        "environment": {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"},
        "ports": [f"127.0.0.1:{_PORT}:{_PORT}"],
        "ipc": "host",
        "volumes": [f"{folder.resolve()}:/adapters/{name}:ro" for name, folder in adapters.items()],
        "deploy": {"resources": {"reservations": {"devices": [gpu]}}},
    }
    # Compose reads $ as the beginning of a variable.
    return json.dumps({"services": {"vllm": service}}, indent=2, ensure_ascii=False).replace("$", "$$") + "\n"


def _settings(folder: Path) -> Mapping[str, Any]:
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / CONFIG}: cannot be read: {error}") from None
    pattern = found.get("rank_pattern") or {} if isinstance(found, dict) else None
    ranks = [found.get("r"), *pattern.values()] if isinstance(pattern, dict) else []
    if not ranks or not all(type(rank) is int and rank > 0 for rank in ranks):
        raise DataError(f"{folder / CONFIG}: expected an object with the rank `r`, and ranks only in `rank_pattern`")
    return dict(found)


def _base(settings: Mapping[str, Mapping[str, Any]]) -> str:
    by_base: dict[str, str] = {}
    for name, found in settings.items():
        by_base.setdefault(str(found.get("base_model_name_or_path")), name)
    if len(by_base) > 1:
        said = ", ".join(f"{base} (of {name})" for base, name in by_base.items())
        raise UserError(f"the adapters are of {len(by_base)} bases: {said}; one server has one, choose with --models")
    ((base, name),) = by_base.items()
    if base in ("None", ""):
        raise UserError(f"{name}: {CONFIG} has no `base_model_name_or_path`: name the base with --base")
    return KNOWN[base].original if base in KNOWN else base


def _rank(settings: Mapping[str, Any]) -> int:
    """The largest rank of any module."""
    return int(max(settings["r"], *(settings.get("rank_pattern") or {}).values(), 0))


def _problems(settings: Mapping[str, Any]) -> list[str]:
    """What vLLM and LoRAX refuse, or leave out without a word."""
    modules = settings.get("target_modules") or []
    adapted = {str(name) for name in ([modules] if isinstance(modules, str) else modules)}
    embeddings = sorted(name for name in adapted if name.rpartition(".")[2] in EMBEDDINGS)
    found = [_refused(settings)]
    if embeddings:
        found.append(f"its part on {', '.join(embeddings)} is refused or left out by most versions")
    if settings.get("bias", "none") != "none" or settings.get("lora_bias"):
        found.append("its biases are refused or left out")
    return [problem for problem in found if problem]


def _refused(settings: Mapping[str, Any]) -> str:
    """Why an engine does not load an adapter at all; "" where it does."""
    if settings.get("use_dora"):
        return "left out of the command: DoRA is refused"
    if (kind := settings.get("peft_type", "LORA")) != "LORA":
        return f"left out of the command: it is no LoRA but {kind}"
    if whole := settings.get("modules_to_save"):
        names = [whole] if isinstance(whole, str) else map(str, whole)
        return f"left out of the command: whole modules ({', '.join(names)}) are refused"
    if _rank(settings) > RANKS[-1]:
        return f"left out of the command: its rank {_rank(settings)} is above {RANKS[-1]}, the largest that vLLM takes"
    return ""
