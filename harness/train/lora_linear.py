"""PEFT's LoRA layer as one operation of autograd: on a CPU a step is bound by memory, and each pass over it counts."""

from __future__ import annotations

from functools import partial
from typing import Any


def fuse(model: Any) -> None:
    """Replace the forward pass of all plain LoRA layers of a PEFT model by one that makes no intermediate results.

    The LoRA weights stay in their own precision, float32, in which the optimizer changes them; they are computed with
    in that of the base's weights.
    """
    from peft.tuners.lora import Linear

    apply = _function()
    for module in model.modules():
        if type(module) is Linear and not module.lora_variant and not module.fan_in_fan_out:
            module.forward = partial(_forward, apply, module)


def _forward(apply: Any, layer: Any, inputs: Any) -> Any:
    import torch

    (name,) = layer.active_adapters
    base, dropout = layer.base_layer, layer.lora_dropout[name]
    mask = None
    if layer.training and isinstance(dropout, torch.nn.Dropout):
        mask = torch.empty_like(inputs).bernoulli_(1 - dropout.p).div_(1 - dropout.p)
    a = layer.lora_A[name].weight.to(base.weight.dtype)
    b = (layer.lora_B[name].weight * layer.scaling[name]).to(base.weight.dtype)
    return apply(inputs, base.weight, base.bias, a, b, mask)


def _function() -> Any:
    """The operation x·W' + bias + (x * mask)·A'·B', whose gradients are those of x, A and B."""
    import torch

    class LoraLinear(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, inputs: Any, weight: Any, bias: Any, a: Any, b: Any, mask: Any) -> Any:
            flat = inputs.reshape(-1, inputs.shape[-1])
            read = flat if mask is None else flat * mask.view_as(flat)
            inner = read.mm(a.t())
            ctx.save_for_backward(read, weight, a, b, inner, mask)
            ctx.shape = inputs.shape
            out = torch.nn.functional.linear(flat, weight, bias).addmm_(inner, b.t())
            return out.view(*inputs.shape[:-1], -1)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            read, weight, a, b, inner, mask = ctx.saved_tensors
            gradient = gradient.reshape(-1, gradient.shape[-1])
            of_inner = gradient.mm(b)
            of_inputs = None
            if ctx.needs_input_grad[0]:
                of_inputs = gradient.mm(weight)
                if mask is None:
                    of_inputs.addmm_(of_inner, a)
                else:
                    of_inputs.add_(of_inner.mm(a).mul_(mask.view_as(of_inputs)))
                of_inputs = of_inputs.view(ctx.shape)
            return of_inputs, None, None, of_inner.t().mm(read), gradient.t().mm(inner), None

    return LoraLinear.apply
