"""Loss and gradients of a model of Llama's shape, by PyTorch, for torch.rs.

Reads description.txt, parameters.f32, rows.u32 and weights.f32 from a folder and writes
result.f32: the loss, then the gradient of each parameter in the order of the description.
Query and key rows are laid out for rotating neighbours, as GGUF has them.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

EPSILON = 1e-5
THETA = 10000.0


def read_parameters(folder, lines):
    numbers = np.fromfile(folder / "parameters.f32", dtype=np.float32)
    parameters, at = {}, 0
    for line in lines:
        name, *shape = line.split()
        shape = [int(length) for length in shape]
        count = int(np.prod(shape))
        values = torch.tensor(numbers[at : at + count].reshape(shape), requires_grad=True)
        parameters[name] = values
        at += count
    return parameters


def rotate(x, positions):
    """x: [rows, heads, dim]; neighbours (2i, 2i + 1) rotate together."""
    dim = x.shape[-1]
    frequencies = THETA ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angles = positions.double()[:, None] * frequencies
    cos, sin = angles.cos().float()[:, None], angles.sin().float()[:, None]
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


def forward(p, sizes, tokens, positions, sequences):
    layers, heads, kv_heads, dim = sizes
    rows = len(tokens)
    earlier = positions[:, None] >= positions[None, :]
    visible = earlier & (sequences[:, None] == sequences[None, :])
    norm = lambda x, weight: F.rms_norm(x, (x.shape[-1],), weight, EPSILON)
    x = p["token_embd.weight"][tokens]
    for layer in range(layers):
        weight = lambda part: p[f"blk.{layer}.{part}.weight"]
        h = norm(x, weight("attn_norm"))
        q = rotate((h @ weight("attn_q").T).view(rows, heads, dim), positions)
        k = rotate((h @ weight("attn_k").T).view(rows, kv_heads, dim), positions)
        v = (h @ weight("attn_v").T).view(rows, kv_heads, dim)
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        q, k, v = (t.transpose(0, 1) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        x = x + mixed.transpose(0, 1).reshape(rows, -1) @ weight("attn_output").T
        h = norm(x, weight("ffn_norm"))
        h = F.silu(h @ weight("ffn_gate").T) * (h @ weight("ffn_up").T)
        x = x + h @ weight("ffn_down").T
    return norm(x, p["output_norm.weight"]) @ p["output.weight"].T


def main(folder):
    first, *lines = (folder / "description.txt").read_text().splitlines()
    *sizes, rows = (int(number) for number in first.split())
    parameters = read_parameters(folder, lines)
    columns = np.fromfile(folder / "rows.u32", dtype=np.uint32).astype(np.int64)
    tokens, positions, sequences, targets = torch.tensor(columns.reshape(rows, 4).T)
    weights = torch.tensor(np.fromfile(folder / "weights.f32", dtype=np.float32))
    logits = forward(parameters, sizes, tokens, positions, sequences)
    loss = (F.cross_entropy(logits, targets, reduction="none") * weights).sum()
    loss.backward()
    result = [loss.detach().reshape(1)]
    result += [parameter.grad.flatten() for parameter in parameters.values()]
    torch.cat(result).numpy().astype(np.float32).tofile(folder / "result.f32")


main(Path(sys.argv[1]))
