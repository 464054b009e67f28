#!/usr/bin/env python3
"""Goldens of dequantisation and quantisation, from the numpy reference in the PyPI package `gguf`.

    python tools/goldens/quant.py                                  # what is committed
    python tools/goldens/quant.py --scale 200 --seed 7 --out DIR   # a sweep

A sweep is tested with LUCID_QUANT_GOLDENS=DIR in the environment of `cargo test`.
Needs: pip install numpy gguf (made with numpy 2.4, gguf 0.19).

NAME.bin, little-endian: u32 count, u32 full; count blocks; the f32 of the first `full` blocks;
per block the FNV-1a 64 hash of its f32 bytes. F32, F16 and BF16 count 32 elements as a block.
quantize.bin: u32 count; count x 32 f32; then for F16, BF16, Q8_0, Q4_0 the bytes of all blocks.
"""

import argparse
import pathlib
import struct

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

# Name: (elements per block, bytes per block, where its f16 fields are).
FORMATS = {
    "F32": (32, 128, []),
    "F16": (32, 64, list(range(0, 64, 2))),
    "BF16": (32, 64, []),
    "Q4_0": (32, 18, [0]),
    "Q4_1": (32, 20, [0, 2]),
    "Q5_0": (32, 22, [0]),
    "Q5_1": (32, 24, [0, 2]),
    "Q8_0": (32, 34, [0]),
    "Q2_K": (256, 84, [80, 82]),
    "Q3_K": (256, 110, [108]),
    "Q4_K": (256, 144, [0, 2]),
    "Q5_K": (256, 176, [0, 2]),
    "Q6_K": (256, 210, [208]),
    "IQ4_NL": (32, 18, [0]),
    "IQ4_XS": (256, 136, [0]),
    "MXFP4": (32, 17, []),
}
# Zeros, the smallest and largest subnormal, the smallest normal, one, the largest, and infinity.
SPECIAL_F16 = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x7C00]
FULL = 4


def finite_f16(rng, count):
    bits = rng.integers(0, 1 << 16, count, dtype=np.uint16)
    return np.where((bits & 0x7C00) == 0x7C00, bits & 0x83FF, bits)


def random_blocks(rng, name, count):
    elements, size, scales = FORMATS[name]
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    if name == "F32":  # no NaN: numpy and we agree on the bits of numbers
        words = blocks.view(np.uint32)
        words[(words & 0x7F800000) == 0x7F800000] &= np.uint32(0x80FFFFFF)
    if name == "BF16":
        words = blocks.view(np.uint16)
        words[(words & 0x7F80) == 0x7F80] &= np.uint16(0x80FF)
    for offset in scales:
        blocks[:, offset : offset + 2] = finite_f16(rng, count).reshape(-1, 1).view(np.uint8)
    # Special scales over random numbers, then extreme numbers under ordinary scales.
    row = FULL
    for offset in scales[:2]:
        for bits in SPECIAL_F16[:-1] if len(scales) < 3 else SPECIAL_F16:
            blocks[row, offset : offset + 2] = np.array([bits], np.uint16).view(np.uint8)
            row += 1
    for fill in (0x00, 0xFF, 0x0F, 0xF0, 0x80, 0x7F):
        if elements > 32 or size < 64:
            kept = {offset: blocks[row, offset : offset + 2].copy() for offset in scales}
            blocks[row] = fill
            for offset, scale in kept.items():
                blocks[row, offset : offset + 2] = scale
            row += 1
    assert row <= count
    return blocks


def fnv1a(rows):
    """FNV-1a, 64 bits, of each row of bytes."""
    hashes = np.full(rows.shape[0], 0xCBF29CE484222325, np.uint64)
    for column in rows.T:
        hashes = (hashes ^ column.astype(np.uint64)) * np.uint64(0x100000001B3)
    return hashes


def write_dequantized(rng, out, name, scale):
    elements, _, _ = FORMATS[name]
    count = scale * (128 if elements == 256 else 64 if name in ("F32", "F16", "BF16") else 256)
    blocks = random_blocks(rng, name, count)
    values = gguf.quants.dequantize(blocks, Type[name]).astype("<f4", copy=False)
    assert values.shape == (count, elements) and not np.isnan(values).any(), name
    with open(out / f"{name}.bin", "wb") as file:
        file.write(struct.pack("<II", count, FULL))
        file.write(blocks.tobytes())
        file.write(values[:FULL].tobytes())
        file.write(fnv1a(values.view(np.uint8)).astype("<u8").tobytes())


def write_quantized(rng, out, scale):
    count = 96 * scale
    values = rng.standard_normal((count, 32)).astype(np.float32)
    values *= np.exp2(rng.integers(-12, 12, (count, 1))).astype(np.float32)
    values[0] = 0.0
    values[1] = np.arange(32) - 16  # ties of the largest magnitude
    values[2] = (np.arange(32) - 8) / 2  # halves
    values[3] = np.where(np.arange(32) % 2 == 0, 1.0, -1.0)
    values[4, 1:] = 0.0
    values[5] = np.arange(32) * np.float32(2.0**-26)  # subnormal f16
    values[6] = 1 + np.arange(32) * np.float32(2.0**-12)  # halfway between f16 neighbours
    values[7] = 1 + np.arange(32) * np.float32(2.0**-9)  # and between bf16 neighbours
    with open(out / "quantize.bin", "wb") as file:
        file.write(struct.pack("<I", count))
        file.write(values.astype("<f4").tobytes())
        for name in ("F16", "BF16", "Q8_0", "Q4_0"):
            file.write(gguf.quants.quantize(values, Type[name]).tobytes())


def main():
    here = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=here / "crates/kernels/tests/goldens")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=int, default=1, help="how many times as many blocks")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    with np.errstate(all="ignore"):
        for name in FORMATS:
            write_dequantized(rng, args.out, name, args.scale)
        write_quantized(rng, args.out, args.scale)


if __name__ == "__main__":
    main()
