#!/usr/bin/env python3
"""Lucid against llama.cpp on the same files, by turns, as a table of ratios.

    python3 bench/compare.py                     the 1 B shape in six types: prompt 512, decode 64
    python3 bench/compare.py --full              also deep contexts, long prompts, 16 sequences
    python3 bench/compare.py --avx2              both sides without AVX-512
    python3 bench/compare.py --types q4_k_m --quick

Needs Python 3.9, cargo, a C++ compiler, and PyPI the first time. Everything that is built or
written lies in target/bench (`--folder`): a virtual environment with llama-cpp-python 0.3.36 built
from source for this machine, and the synthesised files (up to 2 GB each, kept). `--peer` names an
interpreter that has it already, `--lucid` a binary, `--model` files of your own.

A ratio is Lucid's tokens per second through llama.cpp's, both medians of one turn; the table has
the median over the turns, with the smallest and the largest. `wanted` is what the project set
itself for this shape; at decode, 90 % of the read ceiling is enough. Shares are of the ceilings
that `lucid bench` measures in the same turn. There are no bare times: they say more about the
machine's day than about the code. `first token` compares the whole Lucid process, its start
included, with llama.cpp from loading on; `memory` is Lucid's peak, once all weights are packed,
through the size of the file.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
import venv

PEER = "llama-cpp-python==0.3.36"
ROOT = pathlib.Path(__file__).resolve().parents[1]
TYPES = ["q4_0", "q4_k_m", "q5_k_m", "q6_k", "q8_0", "bf16"]
SHAPE = "llama-1b"
WANTED = {
    "pp512": dict(q4_0=2.0, q4_k_m=2.2, q5_k_m=1.3, q6_k=1.5, q8_0=3.6, bf16=1.35),
    "tg64": dict(q4_0=1.2, q4_k_m=1.3, q5_k_m=1.5, q6_k=1.25, q8_0=1.2, bf16=1.0),
    "pp4096": dict(q4_k_m=2.5),
    "tg32@4096": dict(q4_k_m=2.0),
    "tg32@8192": dict(q4_k_m=3.0),
    "tg32x16": dict(q4_k_m=1.8),
}
WANTED_AVX2 = 1.15
ENOUGH_OF_THE_READ_CEILING = 0.9


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default=SHAPE, help="shape to synthesise")
    parser.add_argument("--types", default=",".join(TYPES), help="types to synthesise")
    parser.add_argument("--model", action="append", default=[], help="a GGUF file instead")
    parser.add_argument("--turns", type=int, default=3, help="how often A B is run")
    parser.add_argument("-r", type=int, default=3, help="repetitions within a turn")
    parser.add_argument("-t", type=int, default=2, help="threads")
    parser.add_argument("--full", action="store_true", help="the tests at depth and of 16 sequences")
    parser.add_argument("--quick", action="store_true", help="prompt 128, decode 16, two turns")
    parser.add_argument("--avx2", action="store_true", help="AVX2 on both sides")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "target" / "bench")
    parser.add_argument("--peer", help="interpreter that has " + PEER)
    parser.add_argument("--lucid", type=pathlib.Path, help="binary [default: built here]")
    parser.add_argument("--json", type=pathlib.Path, help="write all that was measured here")
    return parser.parse_args()


def say(text):
    print(text, file=sys.stderr, flush=True)


def cpu_flags():
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    lines = [line for line in text.splitlines() if line.startswith("flags")]
    return set(lines[0].split(":", 1)[1].split()) if lines else set()


def cpu_name():
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in text.splitlines()
             if line.startswith("model name")]
    return names[0] if names else platform.machine()


def peer_interpreter(arguments):
    """The interpreter of a virtual environment that has llama.cpp, built for this machine."""
    if arguments.peer:
        return arguments.peer
    folder = arguments.folder / ("llama-cpp-avx2" if arguments.avx2 else "llama-cpp-native")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    probe = [str(python), "-c", "import llama_cpp"]
    if python.exists() and subprocess.run(probe, stderr=subprocess.DEVNULL).returncode == 0:
        return str(python)
    if arguments.avx2:
        on = ["SSE42", "AVX", "AVX2", "BMI2", "FMA", "F16C"]
        on += ["AVX_VNNI"] if "avx_vnni" in cpu_flags() else []
        options = ["-DGGML_NATIVE=OFF", "-DGGML_AVX512=OFF"] + [f"-DGGML_{name}=ON" for name in on]
    else:
        options = ["-DGGML_NATIVE=ON"]
    say(f"building {PEER} from source with {' '.join(options)}; this takes minutes")
    venv.create(folder, with_pip=True, clear=True)
    environment = dict(os.environ, CMAKE_ARGS=" ".join(options))
    subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-binary",
         "llama-cpp-python", PEER],
        check=True, env=environment)
    return str(python)


def build():
    say("building lucid")
    command = ["cargo", "build", "--release", "-p", "lucid-cli", "-p", "xtask"]
    subprocess.run(command, check=True, cwd=ROOT)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / ("lucid.exe" if os.name == "nt" else "lucid")


def files(arguments):
    """(what the table calls it, path) of each file, synthesised where it is not there."""
    if arguments.model:
        return [(pathlib.Path(path).stem, pathlib.Path(path)) for path in arguments.model]
    folder = arguments.folder / "models"
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name in arguments.types.split(","):
        path = folder / f"{arguments.shape}-{name}.gguf"
        if not path.exists():
            command = ["cargo", "run", "--quiet", "--release", "-p", "xtask", "--", "synth"]
            subprocess.run(command + [arguments.shape, name, str(path)], check=True, cwd=ROOT)
        found.append((name, path))
    return found


def plans(arguments, name):
    """The flags of each pair of runs."""
    if arguments.quick:
        return [["-p", "128", "-n", "16"]]
    found = [["-p", "512", "-n", "64"]]
    if arguments.full and (name == "q4_k_m" or arguments.model):
        found += [["-p", "4096", "-n", "0"], ["-p", "0", "-n", "32", "-d", "4096,8192"],
                  ["-p", "0", "-n", "32", "-b", "16"]]
    return found


def run_json(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def first_token(lucid, path, arguments, tokens=1):
    """Seconds and peak bytes of a whole Lucid process that says so many tokens."""
    command = [str(lucid), "run", str(path), "a b", "--raw", "-n", str(tokens), "--temp", "0",
               "-t", str(arguments.t)] + simd(arguments)
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    if not hasattr(os, "wait4"):
        child.wait()
        return time.perf_counter() - start, None
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = status
    if status != 0:
        raise SystemExit(f"failed: {' '.join(command)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_maxrss * unit


def simd(arguments):
    """Lucid's flags for the instruction set and the layout of the weights."""
    return ["--pack"] + (["--simd", "avx2"] if arguments.avx2 else [])


def measure(arguments, lucid, peer):
    """Everything that was measured: rows of (file, test, turns)."""
    rows = []
    turns = 2 if arguments.quick else arguments.turns
    for name, path in files(arguments):
        for flags in plans(arguments, name):
            collected = {}
            common = [str(path), *flags, "-t", str(arguments.t), "-r", str(arguments.r)]
            for turn in range(turns):
                say(f"{name} {' '.join(flags)}: turn {turn + 1} of {turns}")
                ours = run_json([str(lucid), "bench", "--json", *common, *simd(arguments)])
                theirs = run_json([peer, str(ROOT / "bench" / "peer.py"), *common])
                for our, their in zip(ours["results"], theirs["results"]):
                    assert our["test"] == their["test"], (our, their)
                    ratio = our["tok_s"]["median"] / their["tok_s"]["median"]
                    collected.setdefault(our["test"], []).append(dict(
                        ratio=ratio, share=our["share_of_ceiling"], lucid=our["tok_s"],
                        llama_cpp=their["tok_s"], ceilings=ours["ceilings"]))
            rows += [dict(file=name, test=test, turns=list_) for test, list_ in collected.items()]
        rows.append(start_row(arguments, lucid, peer, name, path, turns))
    return rows


def start_row(arguments, lucid, peer, name, path, turns):
    collected = []
    command = [peer, str(ROOT / "bench" / "peer.py"), str(path), "--first-token",
               "-t", str(arguments.t)]
    for turn in range(2 * turns):
        say(f"{name} first token: turn {turn + 1} of {2 * turns}")
        # Each side is first in turn: fresh memory is dear, and the first one may find none left
        # over by a process before it.
        if turn % 2:
            theirs = run_json(command)["seconds"]
        seconds, _ = first_token(lucid, path, arguments)
        # Weights are packed for good in the passes after the first.
        _, peak = first_token(lucid, path, arguments, tokens=8)
        if turn % 2 == 0:
            theirs = run_json(command)["seconds"]
        memory = peak / path.stat().st_size if peak else None
        collected.append(dict(ratio=theirs / seconds, memory=memory, lucid_seconds=seconds,
                              llama_cpp_seconds=theirs))
    return dict(file=name, test="first token", turns=collected)


def wanted(arguments, row):
    if row["test"] == "first token":
        return 1.0
    if arguments.avx2:
        return WANTED_AVX2
    if arguments.shape != SHAPE or arguments.model:
        return None
    return WANTED.get(row["test"], {}).get(row["file"])


def table(arguments, rows):
    """A Markdown table."""
    lines = ["| file | test | Lucid / llama.cpp | wanted | share of ceiling: Lucid | llama.cpp |",
             "|---|---|---|---|---|---|"]
    for row in rows:
        ratios = [turn["ratio"] for turn in row["turns"]]
        ratio = statistics.median(ratios)
        goal = wanted(arguments, row)
        ours = theirs = ""
        reached = goal is not None and ratio >= goal
        if "share" in row["turns"][0]:
            share = statistics.median(turn["share"] for turn in row["turns"])
            ours = f"{share:.0%}"
            theirs = f"{statistics.median(t['share'] / t['ratio'] for t in row['turns']):.0%}"
            if row["test"].startswith("tg") and share >= ENOUGH_OF_THE_READ_CEILING:
                reached = goal is not None
        elif row["turns"][0]["memory"]:
            ours = f"memory {max(turn['memory'] for turn in row['turns']):.2f}x the file"
        mark = "" if goal is None else f"{goal:.2f}x {'yes' if reached else 'no'}"
        lines.append(f"| {row['file']} | {row['test']} | {ratio:.2f}x ({min(ratios):.2f} to "
                     f"{max(ratios):.2f}) | {mark} | {ours} | {theirs} |")
    return "\n".join(lines)


def main():
    arguments = parse_arguments()
    peer = peer_interpreter(arguments)
    lucid = arguments.lucid or build()
    rows = measure(arguments, lucid, peer)
    level = "AVX2 on both sides" if arguments.avx2 else "native builds"
    print(f"{time.strftime('%Y-%m-%d')}, {cpu_name()}, {arguments.t} threads, {level}, "
          f"{PEER}, shape {'given' if arguments.model else arguments.shape}; "
          "keys and values in f16 on both sides\n")
    print(table(arguments, rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
