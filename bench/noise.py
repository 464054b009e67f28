#!/usr/bin/env python3
"""How much noise Lucid's fast arithmetic adds, beside llama.cpp's, on the same files.

    python3 bench/noise.py --types q4_0,q4_k_m,q8_0 --peer PYTHON --lucid BINARY

The reference is f32 arithmetic on the dequantised weights (`lucid logits`, which is exact unless
told otherwise). Both sides then compute as they do by default, with keys and values in f16: `lucid
logits --pack` and llama.cpp. The figure is the mean over positions of KL(reference || side), logits
scaled so that the reference's standard deviation is at least 2: random weights give flat logits,
which would hide noise. `wanted`: at most 1.1 times llama.cpp's. Needs numpy in the interpreter that
runs this; files and peer are made as by compare.py.
"""

import argparse
import json
import pathlib
import random
import subprocess
import tempfile

import numpy as np

import compare

WANTED = 1.1
STANDARD_DEVIATION = 2.0


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default=compare.SHAPE, help="shape to synthesise")
    parser.add_argument("--types", default=",".join(compare.TYPES), help="types to synthesise")
    parser.add_argument("--model", action="append", default=[], help="a GGUF file instead")
    parser.add_argument("--tokens", type=int, default=64, help="length of the random text")
    parser.add_argument("-t", type=int, default=2, help="threads")
    parser.add_argument("--avx2", action="store_true", help="AVX2 on both sides")
    parser.add_argument("--folder", type=pathlib.Path, default=compare.ROOT / "target" / "bench")
    parser.add_argument("--peer", help="interpreter that has " + compare.PEER)
    parser.add_argument("--lucid", type=pathlib.Path, help="binary [default: built here]")
    return parser.parse_args()


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def divergence(reference, side):
    """Mean KL(reference || side) in nats, both scaled alike."""
    reference, side = reference.astype(np.float64), side.astype(np.float64)
    scale = max(1.0, STANDARD_DEVIATION / reference.std(axis=-1).mean())
    p, q = log_softmax(reference * scale), log_softmax(side * scale)
    return float((np.exp(p) * (p - q)).sum(axis=-1).mean())


def main():
    arguments = parse_arguments()
    peer = compare.peer_interpreter(arguments)
    lucid = arguments.lucid or compare.build()
    simd = ["--simd", "avx2"] if arguments.avx2 else []
    print("| file | Lucid | llama.cpp | ratio | wanted |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, path in compare.files(arguments):
            generator = random.Random(7)
            tokens = ",".join(str(generator.randrange(3, 30000)) for _ in range(arguments.tokens))
            arrays = {side: pathlib.Path(folder) / f"{side}.npy" for side in ("exact", "lucid", "peer")}
            command = [str(lucid), "logits", str(path), "--tokens", tokens, "-t", str(arguments.t),
                       "--ctx", str(arguments.tokens)]
            quiet = dict(check=True, stderr=subprocess.DEVNULL)
            subprocess.run(
                command + ["--no-pack", "--kv", "f32", "--out", str(arrays["exact"])], **quiet)
            subprocess.run(
                command + ["--pack", "--kv", "f16", "--out", str(arrays["lucid"])] + simd, **quiet)
            subprocess.run(
                [peer, str(compare.ROOT / "bench" / "peer.py"), str(path), "-t", str(arguments.t),
                 "--logits", tokens, "--out", str(arrays["peer"])], check=True)
            exact, ours, theirs = (np.load(arrays[side]) for side in ("exact", "lucid", "peer"))
            ours, theirs = divergence(exact, ours), divergence(exact, theirs)
            reached = "yes" if ours <= WANTED * theirs else "no"
            print(f"| {name} | {ours:.3e} | {theirs:.3e} | {ours / theirs:.2f}x "
                  f"| at most {WANTED}x: {reached} |", flush=True)


if __name__ == "__main__":
    main()
