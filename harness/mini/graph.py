"""The miniature as onnxruntime-genai runs it: one graph whose LoRA weights are inputs, and a file of them per adapter.

The library's model builder writes a graph with the LoRA branches of one adapter. Here those weights become inputs that
default to zero, so that the graph alone is the base, and each adapter is a small file that overrides them. All adapters
of a graph have the same rank and target modules.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EXTERNAL_BYTES = 1 << 16
GRAPH_FILES = ("model.onnx", "model.onnx.data", "genai_config.json")


def export_base(base: Path, adapter: Path, out: Path) -> None:
    """Write the graph of `base` to `out`, with the branches that any adapter shaped like `adapter` needs.

    Raises:
        HarnessError: the model builder failed; its last line says why.
    """
    with tempfile.TemporaryDirectory() as scratch:
        built = Path(scratch) / "built"
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-m", str(base), "-i", str(base)]
        command += ["-o", str(built), "-p", "fp32", "-e", "cpu", "-c", scratch]
        command += ["--extra_options", f"adapter_path={adapter}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise HarnessError(f"onnxruntime-genai's model builder failed: {done.stderr.strip().splitlines()[-1]}")
        _open_branches(built)
        out.mkdir(parents=True, exist_ok=True)
        for name in GRAPH_FILES:
            (out / name).write_bytes((built / name).read_bytes())


def _open_branches(folder: Path) -> None:
    """Turn the LoRA weights of a built graph into inputs that default to zero."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    graph = onnx.load(folder / "model.onnx")
    for tensor in graph.graph.initializer:
        if ".lora_" in tensor.name:
            zeros = np.zeros_like(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(zeros, tensor.name))
            shape = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            graph.graph.input.append(shape)
    (folder / "model.onnx.data").unlink()
    onnx.save(
        graph,
        folder / "model.onnx",
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=_EXTERNAL_BYTES,
    )


def export_adapter(adapter: Path, out: Path) -> None:
    """Write a PEFT adapter's weights as the file that overrides the graph's inputs."""
    import onnxruntime

    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(value) for name, value in inputs(adapter).items()}
    format = onnxruntime.AdapterFormat()
    format.set_adapter_version(1)
    format.set_model_version(1)
    format.set_parameters(values)
    format.export_adapter(str(out))


def inputs(adapter: Path) -> Mapping[str, NDArray[np.float32]]:
    """Return a PEFT adapter's weights under the graph's names: transposed, and B times alpha / rank."""
    import numpy as np
    from safetensors import safe_open

    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    scale = config["lora_alpha"] / config["r"]
    found = {}
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as tensors:
        for key in tensors.keys():  # noqa: SIM118  it is no mapping
            value = tensors.get_tensor(key).float().numpy().T
            name = key.removeprefix("base_model.model.").replace(".self_attn.", ".attn.")
            found[name.replace(".weight", ".MatMul.weight")] = np.ascontiguousarray(
                value * scale if ".lora_B" in key else value, dtype=np.float32
            )
    return found
