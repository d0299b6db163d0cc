"""How long the reference takes next to PyTorch on the same layer, numbers and machine: one thread each, float64, CPU.

    python benchmarks/reference_vs_torch.py [--repeats N]

Each repeat times our forward, torch's forward, our backward and torch's backward in turn, so that a slow moment of the
machine meets all four. Printed are the medians, and their ratio: 2.00 means that ours takes twice as long. Torch's
forward records its graph, as ours fills its cache; the backward gives the gradients of all inputs and parameters.
Before the clock starts, outputs and gradients of both are compared.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch
from dlreference import attention, conv, gru, lstm, transformer
from dlreference.activations import Approximate
from dlreference.arrays import Array
from dlreference.recurrent import RECURRENT_KEYS, init_recurrent

TOLERANCE = 1e-9


class Case(NamedTuple):
    """One layer in both libraries. `forward` returns output and cache, `backward` the gradients in torch's order."""

    name: str
    size: str
    forward: Callable[[], tuple[Array, Any]]
    backward: Callable[[Array, Any], Sequence[Array]]
    torch_forward: Callable[[], torch.Tensor]
    torch_inputs: Sequence[torch.Tensor]


class Timing(NamedTuple):
    """Median milliseconds of the four parts."""

    forward: float
    torch_forward: float
    backward: float
    torch_backward: float


def leaf(x: Array) -> torch.Tensor:
    return torch.tensor(x, requires_grad=True)


def conv_case(rng: np.random.Generator, x_shape: tuple[int, ...], filters: int, kernel: int, stride: int) -> Case:
    padding = kernel // 2
    x, w, b = (rng.normal(size=shape) for shape in (x_shape, (filters, x_shape[1], kernel, kernel), (filters,)))
    x_tensor, w_tensor, b_tensor = leaf(x), leaf(w), leaf(b)
    return Case(
        "conv2d",
        f"B{x_shape[0]} C{x_shape[1]} {x_shape[2]}x{x_shape[3]} F{filters} k{kernel} s{stride}",
        lambda: conv.conv2d_forward(x, w, b, stride, padding),
        conv.conv2d_backward,
        lambda: torch.nn.functional.conv2d(x_tensor, w_tensor, b_tensor, stride, padding),
        [x_tensor, w_tensor, b_tensor],
    )


def recurrent_case(rng: np.random.Generator, name: str, batch: int, steps: int, features: int, hidden: int) -> Case:
    layers: dict[str, tuple[Any, Any, int, Any]] = {
        "LSTM": (lstm.lstm_forward, lstm.lstm_backward, 4, torch.nn.LSTM),
        "GRU": (gru.gru_forward, gru.gru_backward, 3, torch.nn.GRU),
    }
    forward, backward, gates, kind = layers[name]
    params = init_recurrent(rng, features, hidden, gates)
    x = rng.normal(size=(batch, steps, features))
    layer = kind(features, hidden, batch_first=True, dtype=torch.float64)
    tensors = [layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0]
    with torch.no_grad():
        for tensor, key in zip(tensors, RECURRENT_KEYS, strict=True):
            tensor.copy_(torch.tensor(params[key]))
    x_tensor = leaf(x)

    def run() -> tuple[Array, Any]:
        hs, _, cache = forward(x, params)
        return hs, cache

    def run_backward(dout: Array, cache: Any) -> Sequence[Array]:
        dx, _, grads = backward(dout, cache)
        return [dx, *(grads[key] for key in RECURRENT_KEYS)]

    size = f"B{batch} T{steps} D{features} H{hidden}"
    return Case(name, size, run, run_backward, lambda: layer(x_tensor)[0], [x_tensor, *tensors])


def attention_case(rng: np.random.Generator, batch: int, heads: int, length: int, d_head: int, causal: bool) -> Case:
    q, k, v = (rng.normal(size=(batch, heads, length, d_head)) for _ in range(3))
    mask = attention.causal_mask(length) if causal else None
    torch_mask = None if mask is None else torch.tensor(mask)
    q_tensor, k_tensor, v_tensor = leaf(q), leaf(k), leaf(v)
    return Case(
        "attention",
        f"B{batch} h{heads} T{length} dk{d_head}{' causal' if causal else ''}",
        lambda: attention.attention_forward(q, k, v, mask),
        attention.attention_backward,
        lambda: torch.nn.functional.scaled_dot_product_attention(q_tensor, k_tensor, v_tensor, torch_mask),
        [q_tensor, k_tensor, v_tensor],
    )


def block_case(
    rng: np.random.Generator, batch: int, length: int, d_model: int, heads: int, approximate: Approximate
) -> Case:
    d_ff = 4 * d_model
    activation = "gelu" if approximate == "none" else lambda z: torch.nn.functional.gelu(z, approximate="tanh")
    layer = torch.nn.TransformerEncoderLayer(
        d_model, heads, d_ff, 0.0, activation, batch_first=True, norm_first=True, dtype=torch.float64
    )
    parts = {
        "in_proj_weight": ("W_q", "W_k", "W_v"),
        "in_proj_bias": ("b_q", "b_k", "b_v"),
        "out_proj.weight": ("W_o",),
        "out_proj.bias": ("b_o",),
        "linear1.weight": ("W1",),
        "linear1.bias": ("b1",),
        "linear2.weight": ("W2",),
        "linear2.bias": ("b2",),
        "norm1.weight": ("gamma1",),
        "norm1.bias": ("beta1",),
        "norm2.weight": ("gamma2",),
        "norm2.bias": ("beta2",),
    }
    named = {name.removeprefix("self_attn."): tensor for name, tensor in layer.named_parameters()}
    params = {
        ours: piece.detach().numpy().copy()
        for theirs, names in parts.items()
        for ours, piece in zip(names, named[theirs].chunk(len(names)), strict=True)
    }
    x = rng.normal(size=(batch, length, d_model))
    x_tensor = leaf(x)

    def run_backward(dout: Array, cache: Any) -> Sequence[Array]:
        dx, grads = transformer.transformer_block_backward(dout, cache)
        return [dx, *(np.concatenate([grads[name] for name in names]) for names in parts.values())]

    return Case(
        "Transformer block",
        f"B{batch} T{length} d{d_model} h{heads} gelu={'erf' if approximate == 'none' else approximate}",
        lambda: transformer.transformer_block_forward(x, params, heads, approximate=approximate),
        run_backward,
        lambda: layer(x_tensor),
        [x_tensor, *(named[name] for name in parts)],
    )


def cases(rng: np.random.Generator) -> list[Case]:
    return [
        conv_case(rng, (32, 1, 28, 28), 8, 3, 1),
        conv_case(rng, (16, 16, 32, 28), 32, 3, 1),
        conv_case(rng, (32, 8, 28, 28), 16, 5, 2),
        recurrent_case(rng, "LSTM", 16, 40, 64, 128),
        recurrent_case(rng, "LSTM", 1, 40, 32, 64),
        recurrent_case(rng, "GRU", 16, 40, 64, 128),
        attention_case(rng, 8, 4, 64, 32, causal=False),
        attention_case(rng, 8, 4, 64, 32, causal=True),
        attention_case(rng, 2, 8, 256, 32, causal=False),
        block_case(rng, 64, 8, 32, 4, "none"),
        block_case(rng, 8, 64, 128, 4, "none"),
        block_case(rng, 8, 64, 128, 4, "tanh"),
    ]


def check(case: Case, dout: Array) -> None:
    """Raise AssertionError unless both libraries agree."""
    out, cache = case.forward()
    theirs = case.torch_forward()
    grads = torch.autograd.grad(theirs, case.torch_inputs, torch.tensor(dout))
    pairs = zip([out, *case.backward(dout, cache)], [theirs, *grads], strict=True)
    for ours, other in pairs:
        expected = other.detach().numpy()
        np.testing.assert_allclose(ours, expected, rtol=TOLERANCE, atol=TOLERANCE * np.abs(expected).max())


def measure(case: Case, dout: Array, repeats: int) -> Timing:
    d_tensor = torch.tensor(dout)
    _, cache = case.forward()
    graph = case.torch_forward()
    actions: list[Callable[[], object]] = [
        case.forward,
        case.torch_forward,
        lambda: case.backward(dout, cache),
        lambda: torch.autograd.grad(graph, case.torch_inputs, d_tensor, retain_graph=True),
    ]
    seconds: list[list[float]] = [[], [], [], []]
    for _ in range(repeats):
        for action, taken in zip(actions, seconds, strict=True):
            start = time.perf_counter()
            action()
            taken.append(time.perf_counter() - start)
    # The first repeat pays for warming up.
    return Timing(*(1e3 * statistics.median(taken[1:] or taken) for taken in seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=31, help="timed repeats of each case (default: 31)")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    print(f"NumPy {np.__version__}, PyTorch {torch.__version__}; float64, one thread each, median of {repeats} repeats")
    print(
        f"{'layer':18}{'size':34}{'forward ms':>11}{'torch':>9}{'ratio':>7}{'backward ms':>13}{'torch':>9}{'ratio':>7}"
    )
    for case in cases(rng):
        dout = rng.normal(size=case.torch_forward().shape)
        check(case, dout)
        t = measure(case, dout, repeats)
        forward, backward = t.forward / t.torch_forward, t.backward / t.torch_backward
        print(
            f"{case.name:18}{case.size:34}{t.forward:11.2f}{t.torch_forward:9.2f}{forward:7.2f}"
            f"{t.backward:13.2f}{t.torch_backward:9.2f}{backward:7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
