#!/usr/bin/env python3
"""Writes crates/train/tests/goldens/preference.json: losses over compared answers and their gradients,
by PyTorch's automatic differentiation in float64, on fixed inputs.

    python3 -m pip install torch numpy
    python3 tools/losses/preference.py

The formulas are written from the papers that crates/train/src/preference/loss.rs names.
Gradients are of the mean over the batch, with respect to each answer's summed log-probability.
"""

import json
import pathlib

import torch
from torch.nn.functional import logsigmoid

COUNT = 6


def inputs(seed):
    """Log-probabilities of the tokens of answers, and of the same answers before the run."""
    random = torch.Generator().manual_seed(seed)
    answers = []
    for _ in range(2 * COUNT):
        tokens = int(torch.randint(1, 12, (1,), generator=random))
        spread = torch.rand(tokens, generator=random, dtype=torch.float64)
        now = torch.log(0.02 + 0.97 * spread)
        before = now + 0.3 * torch.randn(tokens, generator=random, dtype=torch.float64)
        answers.append((now, before.clamp(max=-1e-3)))
    return answers


def losses(name, beta, extra, chosen, rejected, mismatched):
    """Of each comparison; each side is (sums, lengths, sums before)."""
    (w, w_len, w_before), (r, r_len, r_before) = chosen, rejected
    if name == "dpo":
        ahead = beta * ((w - w_before) - (r - r_before)) - extra.get("margin", 0.0)
        smooth = extra.get("label_smoothing", 0.0)
        return -(1 - smooth) * logsigmoid(ahead) - smooth * logsigmoid(-ahead)
    if name == "ipo":
        ratio = (w - w_before) / w_len - (r - r_before) / r_len
        return (ratio - 1 / (2 * beta)) ** 2
    if name == "simpo":
        return -logsigmoid(beta * (w / w_len - r / r_len) - extra["margin"])
    if name == "orpo":
        w_mean, r_mean = w / w_len, r / r_len
        odds = (w_mean - r_mean) - (torch.log1p(-torch.exp(w_mean)) - torch.log1p(-torch.exp(r_mean)))
        return -w_mean - beta * logsigmoid(odds)
    if name == "kto":
        # The first half are found good, the second half bad; `mismatched` gives the reference point.
        baseline = (mismatched[0] - mismatched[2]).mean().clamp(min=0).detach()
        good = extra["weights"][0] * (1 - torch.sigmoid(beta * (w - w_before - baseline)))
        bad = extra["weights"][1] * (1 - torch.sigmoid(beta * (baseline - (r - r_before))))
        return torch.cat([good, bad])
    raise ValueError(name)


def case(number, name, beta, **extra):
    answers = inputs(number)
    now = [tokens.sum().clone().requires_grad_() for tokens, _ in answers]
    length = torch.tensor([float(len(tokens)) for tokens, _ in answers], dtype=torch.float64)
    before = torch.stack([tokens.sum() for _, tokens in answers])
    if extra.get("reference") == "nothing":
        before = torch.zeros_like(before)
    sums = torch.stack(now)
    side = lambda at: (sums[at::2], length[at::2], before[at::2])
    # The reference point is that of all answers here, as if each belonged to another question.
    each = losses(name, beta, extra, side(0), side(1), (sums.detach() + 0.4, length, before))
    each.mean().backward()
    return {
        "loss": name,
        "beta": beta,
        **extra,
        "log_probs": [one.item() for one in now],
        "tokens": length.tolist(),
        "before": before.tolist(),
        "losses": each.tolist(),
        "slopes": [one.grad.item() for one in now],
    }


def main():
    cases = [
        case(1, "dpo", 0.1),
        case(2, "dpo", 0.5, label_smoothing=0.1),
        case(3, "dpo", 0.3, reference="nothing"),
        case(4, "dpo", 0.3, margin=0.7),
        case(5, "ipo", 0.1),
        case(6, "ipo", 1.0),
        case(7, "simpo", 2.0, margin=1.0),
        case(8, "orpo", 0.1),
        case(9, "orpo", 1.0),
        case(10, "kto", 0.1, weights=[1.0, 1.0]),
        case(11, "kto", 0.7, weights=[1.0, 1.33]),
    ]
    root = pathlib.Path(__file__).resolve().parents[2]
    target = root / "crates/train/tests/goldens/preference.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(cases, indent=1) + "\n")
    print(f"wrote {target.relative_to(root)}: {len(cases)} cases, torch {torch.__version__}")


main()
