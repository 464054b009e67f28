"""Tokens per second and peak memory of training, Lucid beside PyTorch, in one alternating run.

    python3 bench/train.py [--lucid BIN] [--python PYTHON] [--shape small|medium] [--turns 3]
        [--steps 12] [--threads 2] [--precision bf16 f32] [--avx2] [--json FILE]

Lucid's side is `lucid pretrain` itself, on a text of made-up words: reading, forward, backward,
clipping, AdamW and repacking. PyTorch's side is `train_torch.py` with `torch.compile`, in a virtual
environment that is made beside this file's target folder unless `--python` names one with torch.
With `--avx2` neither side uses more than AVX2: PyTorch's own switches for its kernels, oneDNN, MKL
and the compiler's vectors.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

SHAPES = {
    "small": dict(width=256, layers=6, heads=4, inner=704, vocab=4096, length=256, rows=16),
    "medium": dict(width=512, layers=8, heads=8, inner=1408, vocab=8192, length=512, rows=8),
}


def peer_python(folder):
    """An interpreter with torch, installed from PyPI the first time."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "torch", "numpy"], check=True)
        (folder / "ready").touch()
    return python


def text(path, vocab):
    """Made-up words, enough of them for a vocabulary of this size and some hundred steps."""
    dice = random.Random(1)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    words = ["".join(dice.choices(syllables, k=dice.randint(1, 4))) for _ in range(3 * vocab)]
    for number in range(200):
        content = " ".join(dice.choices(words, k=4000))
        (path / f"{number:03}.txt").write_text(content)


AVX2 = dict(
    ATEN_CPU_CAPABILITY="avx2", ONEDNN_MAX_CPU_ISA="AVX2", DNNL_MAX_CPU_ISA="AVX2",
    MKL_ENABLE_INSTRUCTIONS="AVX2",
)


def peak_of(command, threads, **variables):
    """Standard output of a command, and its peak resident memory in bytes."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    environment.update(variables)
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{command[0]} failed with {child.returncode}")
    return out, 1024 * usage.ru_maxrss


def lucid(args, shape, precision, texts, tokenizer):
    with tempfile.TemporaryDirectory() as folder:
        command = [
            args.lucid, "pretrain", str(texts), "-o", f"{folder}/run", "--json",
            "--arch", "llama", "--optimizer", "adamw", "--precision", precision,
            "--depth", str(shape["layers"]), "--width", str(shape["width"]),
            "--heads", str(shape["heads"]), "--ff", str(shape["inner"]),
            "--ctx", str(shape["length"]), "--tied", "false",
            "--batch-tokens", str(shape["rows"] * shape["length"]),
            "--steps", str(args.steps + args.warm_up), "--tokenizer", str(tokenizer),
            "--validate-every", "100000", "--sample-every", "0", "--save-every", "10h",
            "--held-out", "0.05", "--threads", str(args.threads),
        ] + (["--simd", "avx2"] if args.avx2 else [])
        out, peak = peak_of(command, args.threads)
    steps = [json.loads(line) for line in out.splitlines() if b'"event":"step"' in line]
    steps = steps[args.warm_up:]
    if len(steps) != args.steps:
        raise SystemExit(f"{len(steps)} steps were told, {args.steps} asked for")
    tokens = sum(step["tokens"] for step in steps)
    seconds = sum(step["tokens"] / step["tokens_per_second"] for step in steps)
    return dict(tok_s=tokens / seconds, peak_bytes=peak, loss=steps[-1]["loss"])


def torch(args, shape, precision):
    command = [
        str(args.python), str(HERE / "train_torch.py"), "--shape", json.dumps(shape),
        "--precision", precision, "--compile", "--threads", str(args.threads),
        "--steps", str(args.steps), "--warm-up", str(args.warm_up),
    ]
    out, peak = peak_of(command, args.threads, **(AVX2 if args.avx2 else {}))
    return dict(json.loads(out.splitlines()[-1]), peak_bytes=peak)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lucid", default=ROOT / "target" / "release" / "lucid")
    parser.add_argument("--python", type=Path)
    parser.add_argument("--shape", choices=sorted(SHAPES), nargs="+", default=["small", "medium"])
    parser.add_argument("--precision", choices=["bf16", "f32"], nargs="+", default=["bf16", "f32"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--avx2", action="store_true", help="AVX2 on both sides")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.python is None:
        args.python = peer_python(ROOT / "target" / "bench" / "torch")
    found = []
    for name in args.shape:
        shape = SHAPES[name]
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            (folder / "text").mkdir()
            text(folder / "text", shape["vocab"])
            tokenizer = folder / "tokenizer.json"
            subprocess.run(
                [args.lucid, "tokenizer", "train", folder / "text", "-o", tokenizer,
                 "--vocab-size", str(shape["vocab"])],
                check=True, stderr=subprocess.DEVNULL,
            )
            for precision in args.precision:
                found.append(compare(args, name, precision, folder / "text", tokenizer))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


def compare(args, name, precision, texts, tokenizer):
    shape = SHAPES[name]
    sides = {"lucid": [], "torch": []}
    for turn in range(args.turns):
        order = ["lucid", "torch"] if turn % 2 == 0 else ["torch", "lucid"]
        for side in order:
            if side == "lucid":
                sides[side].append(lucid(args, shape, precision, texts, tokenizer))
            else:
                sides[side].append(torch(args, shape, precision))
    middle = {
        side: {
            key: statistics.median(turn[key] for turn in turns) for key in ("tok_s", "peak_bytes")
        }
        for side, turns in sides.items()
    }
    ratios = [a["tok_s"] / b["tok_s"] for a, b in zip(sides["lucid"], sides["torch"])]
    row = dict(
        shape=name, precision=precision, turns=sides, middle=middle,
        pace=statistics.median(ratios),
        memory=middle["lucid"]["peak_bytes"] / middle["torch"]["peak_bytes"],
    )
    print(
        f"{name} {precision}: {middle['lucid']['tok_s']:.0f} beside {middle['torch']['tok_s']:.0f} "
        f"tok/s, {row['pace']:.2f}x ({min(ratios):.2f} to {max(ratios):.2f}); peak memory "
        f"{middle['lucid']['peak_bytes'] / 1e6:.0f} beside "
        f"{middle['torch']['peak_bytes'] / 1e6:.0f} MB, {row['memory']:.2f}x",
        flush=True,
    )
    return row


if __name__ == "__main__":
    sys.exit(main())
