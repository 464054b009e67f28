"""Trains a Llama-shaped decoder on random tokens with PyTorch and prints its pace as JSON.

Run by `train.py`; needs `torch` from PyPI. The step is what people write: autocast, SDPA, fused
AdamW, gradient clipping, `torch.compile` where asked for.
"""

import argparse
import json
import resource
import time

import torch
import torch.nn.functional as functional
from torch import nn


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return functional.rms_norm(x, (x.shape[-1],), self.weight, 1e-5)


class Layer(nn.Module):
    def __init__(self, width, heads, inner):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = Norm(width), Norm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate = nn.Linear(width, inner, bias=False)
        self.up = nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def split(self, x):
        batch, length, width = x.shape
        return x.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

    def forward(self, x, cos, sin):
        y = self.norm1(x)
        q, k, v = self.split(self.q(y)), self.split(self.k(y)), self.split(self.v(y))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(x.shape))
        y = self.norm2(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y))


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


class Decoder(nn.Module):
    def __init__(self, shape):
        super().__init__()
        width = shape["width"]
        self.embed = nn.Embedding(shape["vocab"], width)
        layers = range(shape["layers"])
        self.layers = nn.ModuleList(Layer(width, shape["heads"], shape["inner"]) for _ in layers)
        self.norm = Norm(width)
        self.head = nn.Linear(width, shape["vocab"], bias=False)
        half = width // shape["heads"] // 2
        frequencies = 10000.0 ** (-torch.arange(half) / half)
        angles = torch.arange(shape["length"])[:, None] * frequencies
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens, targets):
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        logits = self.head(self.norm(x))
        return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", required=True, help="JSON")
    parser.add_argument("--precision", choices=["bf16", "f32"], required=True)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warm-up", type=int, default=3)
    args = parser.parse_args()
    shape = json.loads(args.shape)
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    model = Decoder(shape)
    parameters = list(model.parameters())
    try:
        optimiser = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95), fused=True)
    except RuntimeError:
        optimiser = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95))
    step_model = torch.compile(model) if args.compile else model

    def step():
        size = (shape["rows"], shape["length"] + 1)
        tokens = torch.randint(0, shape["vocab"], size)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision == "bf16"):
            loss = step_model(tokens[:, :-1], tokens[:, 1:])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        return loss.item()

    for _ in range(args.warm_up):
        step()
    times = []
    for _ in range(args.steps):
        start = time.perf_counter()
        loss = step()
        times.append(time.perf_counter() - start)
    tokens = shape["rows"] * shape["length"]
    print(json.dumps({
        "tok_s": tokens * len(times) / sum(times),
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "parameters": sum(parameter.numel() for parameter in parameters),
        "loss": loss,
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
