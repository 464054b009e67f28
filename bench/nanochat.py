#!/usr/bin/env python3
"""nanochat's CPU recipe on a folder of text, and how well it predicts what was held out of it.

    python3 bench/nanochat.py corpus --text ../shared/data/text    passages for both sides
    python3 bench/nanochat.py pace --depth 4                       seconds a step of these settings
    python3 bench/nanochat.py train --minutes 30                   steps that fit, then evaluate
    python3 bench/nanochat.py evaluate --tag NAME                  a checkpoint once more
    python3 bench/nanochat.py lucid --lucid BIN --minutes 30       Lucid on the same passages

Everything lies in target/bench/nanochat (`--work`): nanochat itself, cloned from GitHub at a fixed
commit and left as it is (`--nanochat` names a checkout), a virtual environment with torch and what
else it needs from PyPI (`--python` names an interpreter that has them), the corpus, tokenizers and
checkpoints.

The corpus: each file is cut at its paragraphs into passages of at most `--passage` bytes, shuffled
by seed. nanochat drops the rest of a document that does not fit into its row, so whole books would
be unfair to it. Whole files are held out of each folder until `--held-out` bytes are; nanochat gets
passages as parquet, Lucid as JSONL, both in the same order.

nanochat's side is its own `scripts.tok_train` and `scripts.base_train`. A short run measures the
median seconds of a step once all is compiled; the steps are as many as fit into `--minutes` at that
pace, so compiling, evaluating and saving cost it no time. `--rates` multiplies nanochat's default
learning rates of matrices, embeddings and unembeddings, which it scales by batch and width itself.
The defaults here are what short runs spoke for, for half an hour on two cores; `runcpu.sh` itself
has depth 6, a vocabulary of 32,768, batches of 16,384 and the default rates.
Options that this script does not know are handed on to `base_train`, for instance
`--warmup-steps=100`.

The measure: every passage held out is predicted from its beginning (after the token that begins
documents), cut into rows of the model's context where it is longer; nats of all its tokens through
ln 2 and through its bytes. What nanochat itself would say, on rows that it crops, stands beside it.
"""

import argparse
import json
import math
import os
import pathlib
import random
import re
import statistics
import subprocess
import sys
import time
import venv

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCE = "https://github.com/karpathy/nanochat"
COMMIT = "92d63d4e8bb4df75c3b71618f31ddde2378b2bcd"
NEEDS = ["torch", "numpy", "rustbpe", "tiktoken", "pyarrow", "wandb", "requests", "filelock",
         "psutil", "jinja2", "pyyaml"]
SHARD_BYTES = 16 << 20
GROUP_ROWS = 1024
RATES = {"matrix-lr": 0.02, "embedding-lr": 0.3, "unembedding-lr": 0.008}
WARM_UP_STEPS = 12


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["corpus", "pace", "train", "evaluate", "lucid"])
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target" / "bench" / "nanochat")
    parser.add_argument("--nanochat", type=pathlib.Path, help="a checkout [default: cloned]")
    parser.add_argument("--python", help="interpreter that has torch and the rest")
    parser.add_argument("--threads", type=int, default=2)
    corpus = parser.add_argument_group("corpus")
    corpus.add_argument("--text", type=pathlib.Path, default=ROOT.parent / "shared/data/text")
    corpus.add_argument("--passage", type=int, default=2000, help="bytes at most")
    corpus.add_argument("--held-out", type=int, default=1_500_000, help="bytes at least")
    corpus.add_argument("--seed", type=int, default=1)
    recipe = parser.add_argument_group("recipe of nanochat")
    recipe.add_argument("--vocab-size", type=int, default=4096)
    recipe.add_argument("--depth", type=int, default=3)
    recipe.add_argument("--aspect-ratio", type=int, default=64)
    recipe.add_argument("--head-dim", type=int, default=64)
    recipe.add_argument("--max-seq-len", type=int, default=512)
    recipe.add_argument("--device-batch-size", type=int, default=8)
    recipe.add_argument("--total-batch-size", type=int, default=4096)
    recipe.add_argument("--rates", type=float, default=4, help="of nanochat's learning rates")
    recipe.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    recipe.add_argument("--tag", help="name of the checkpoint [default: from the settings]")
    horizon = parser.add_argument_group("horizon")
    horizon.add_argument("--minutes", type=float, default=30)
    horizon.add_argument("--seconds-per-step", type=float, help="[default: measured]")
    horizon.add_argument("--num-iterations", type=int, help="instead of minutes")
    horizon.add_argument("--pace-steps", type=int, default=40, help="steps that measure the pace")
    horizon.add_argument("--passages", type=int, help="evaluate so many only, for a quick look")
    lucid = parser.add_argument_group("Lucid")
    lucid.add_argument("--lucid", type=pathlib.Path, default=ROOT / "target" / "release" / "lucid")
    lucid.add_argument("--out", type=pathlib.Path, help="the run [default: in the work folder]")
    arguments, rest = parser.parse_known_args()
    arguments.rest = rest
    arguments.work = arguments.work.resolve()
    if arguments.tag is None:
        form = "d{depth}-a{aspect_ratio}-v{vocab_size}-t{max_seq_len}-b{total_batch_size}-r{rates}"
        arguments.tag = form.format(**vars(arguments))
    return arguments


def say(text):
    print(text, file=sys.stderr, flush=True)


def interpreter(arguments):
    """An interpreter with all that nanochat needs, installed from PyPI the first time."""
    if arguments.python:
        return arguments.python
    folder = arguments.work / "venv"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        say("installing torch and what nanochat needs from PyPI")
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *NEEDS], check=True)
        (folder / "ready").touch()
    return str(python)


def checkout(arguments):
    """nanochat's own code."""
    if arguments.nanochat:
        return arguments.nanochat.resolve()
    folder = arguments.work / "nanochat"
    if not folder.exists():
        subprocess.run(["git", "clone", "-q", SOURCE, folder], check=True)
        subprocess.run(["git", "-C", folder, "checkout", "-q", COMMIT], check=True)
    return folder


# The corpus


def pieces(paragraph, limit):
    """A paragraph in pieces of at most `limit` bytes, cut at line ends or spaces if possible."""
    data = paragraph.encode()
    while len(data) > limit:
        cut = max(data.rfind(b"\n", limit // 2, limit), data.rfind(b" ", limit // 2, limit)) + 1
        if cut == 0:
            cut = limit
            while data[cut] & 0xC0 == 0x80:
                cut -= 1
        yield data[:cut].decode()
        data = data[cut:]
    yield data.decode()


def passages(text, limit):
    """Neighbouring paragraphs together, as many as fit into `limit` bytes."""
    held, size = [], 0
    for paragraph in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        for piece in pieces(paragraph.strip("\n"), limit):
            length = len(piece.encode()) + 2
            if held and size + length > limit + 2:
                yield "\n\n".join(held)
                held, size = [], 0
            if piece.strip():
                held.append(piece)
                size += length
    if held:
        yield "\n\n".join(held)


def held_out_files(files, bytes_wanted, dice):
    """Whole files by chance, of each folder in proportion to its size; none from the top folder."""
    folders = {}
    for path, folder in files:
        folders.setdefault(folder, []).append(path)
    folders.pop(".", None)
    total = sum(path.stat().st_size for paths in folders.values() for path in paths)
    chosen = set()
    for folder, paths in sorted(folders.items()):
        sizes = {path: path.stat().st_size for path in paths}
        share = bytes_wanted * sum(sizes.values()) / total
        dice.shuffle(paths)
        taken = 0
        for path in paths:
            if taken < share and taken + sizes[path] < 1.3 * share:
                chosen.add(path)
                taken += sizes[path]
    return chosen


def corpus(arguments):
    import pyarrow
    import pyarrow.parquet

    dice = random.Random(arguments.seed)
    text = arguments.text.resolve()
    files = sorted(path for path in text.rglob("*") if path.is_file())
    files = [(path, path.relative_to(text).parts[0] if path.parent != text else ".")
             for path in files]
    chosen = held_out_files(files, arguments.held_out, dice)
    sides = {"train": [], "validation": []}
    for path, _ in files:
        side = "validation" if path in chosen else "train"
        content = path.read_text(encoding="utf-8", errors="replace")
        sides[side].extend(passages(content, arguments.passage))
    (arguments.work / "parquet").mkdir(parents=True, exist_ok=True)
    (arguments.work / "train").mkdir(exist_ok=True)
    shards = []
    for side, found in sides.items():
        dice.shuffle(found)
        size = 0
        for passage in found:
            if size == 0 or (side == "train" and size > SHARD_BYTES):
                shards.append((side, []))
                size = 0
            shards[-1][1].append(passage)
            size += len(passage.encode())
    for number, (side, found) in enumerate(shards):
        table = pyarrow.table({"text": found})
        name = arguments.work / "parquet" / f"shard_{number:05}.parquet"
        pyarrow.parquet.write_table(table, name, row_group_size=GROUP_ROWS)
        name = f"train/{number:05}.jsonl" if side == "train" else "validation.jsonl"
        with open(arguments.work / name, "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in found)
    told = {side: dict(passages=len(found), bytes=sum(len(text.encode()) for text in found))
            for side, found in sides.items()}
    told["held_out"] = sorted(str(path.relative_to(text)) for path in chosen)
    (arguments.work / "corpus.json").write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps({side: told[side] for side in sides}))


# nanochat's side


def base(arguments):
    """nanochat's folder for this vocabulary: data, tokenizer, checkpoints."""
    folder = arguments.work / f"vocab-{arguments.vocab_size}"
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "base_data_climbmix"
    if not data.exists():
        data.symlink_to(arguments.work / "parquet")
    return folder


def environment(arguments):
    threads = str(arguments.threads)
    return dict(
        os.environ, NANOCHAT_BASE_DIR=str(base(arguments)), NANOCHAT_DTYPE=arguments.dtype,
        OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads, WANDB_MODE="disabled",
        CUDA_VISIBLE_DEVICES="", PYTHONUNBUFFERED="1", TOKENIZERS_PARALLELISM="false",
        TORCHINDUCTOR_CACHE_DIR=str(arguments.work / "inductor"))


def module(arguments, name, *options):
    return [sys.executable, "-m", f"scripts.{name}", *options]


def tokenizer(arguments):
    if not (base(arguments) / "tokenizer" / "token_bytes.pt").exists():
        say(f"training a tokenizer of {arguments.vocab_size} pieces")
        subprocess.run(
            module(arguments, "tok_train", f"--vocab-size={arguments.vocab_size}"),
            cwd=checkout(arguments), env=environment(arguments), check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def base_train(arguments, steps, tag, log):
    """Runs nanochat's training; its steps as `(step, loss, seconds)` and its peak memory."""
    options = [
        f"--depth={arguments.depth}", f"--aspect-ratio={arguments.aspect_ratio}",
        f"--head-dim={arguments.head_dim}", "--window-pattern=L",
        f"--max-seq-len={arguments.max_seq_len}",
        f"--device-batch-size={arguments.device_batch_size}",
        f"--total-batch-size={arguments.total_batch_size}", f"--num-iterations={steps}",
        "--eval-every=-1", "--core-metric-every=-1", "--sample-every=-1", "--save-every=-1",
        f"--model-tag={tag}", "--run=dummy", "--device-type=cpu",
        *(f"--{name}={rate * arguments.rates:g}" for name, rate in RATES.items()),
        *arguments.rest,
    ]
    child = subprocess.Popen(
        module(arguments, "base_train", *options), cwd=checkout(arguments),
        env=environment(arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = []
    pattern = re.compile(r"step (\d+)/\d+ .*loss: ([\d.naif]+) .*dt: ([\d.]+)ms")
    with open(log, "w") as file:
        for line in child.stdout:
            file.write(line)
            file.flush()
            match = pattern.search(line)
            if match:
                step, loss, milliseconds = match.groups()
                found.append((int(step), float(loss), float(milliseconds) / 1000))
                if int(step) % 100 == 0:
                    say(line.strip())
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"base_train ended with {child.returncode}, see {log}")
    return found, 1024 * usage.ru_maxrss


def pace(arguments):
    """Seconds of a step once all is compiled: the median, so that a hiccup costs no steps."""
    tokenizer(arguments)
    steps, peak = base_train(
        arguments, arguments.pace_steps, "pace", arguments.work / "pace.log")
    seconds = statistics.median(taken for step, _, taken in steps if step >= WARM_UP_STEPS)
    fastest = min(taken for step, _, taken in steps if step >= WARM_UP_STEPS)
    print(json.dumps(dict(
        tag=arguments.tag, dtype=arguments.dtype, rows=arguments.device_batch_size,
        seconds_per_step=round(seconds, 4), tok_s=round(arguments.total_batch_size / seconds),
        tok_s_fastest=round(arguments.total_batch_size / fastest), peak_mb=round(peak / 1e6))),
        flush=True)
    return seconds


def train(arguments):
    tokenizer(arguments)
    count = arguments.num_iterations
    if count is None:
        seconds = arguments.seconds_per_step or pace(arguments)
        count = round(60 * arguments.minutes / seconds)
    start = time.monotonic()
    steps, peak = base_train(
        arguments, count, arguments.tag, arguments.work / f"{arguments.tag}.log")
    taken = [seconds for step, _, seconds in steps if step >= WARM_UP_STEPS]
    first = WARM_UP_STEPS * statistics.median(taken)
    print(json.dumps(dict(
        tag=arguments.tag, options=arguments.rest, steps=count,
        tokens=count * arguments.total_batch_size, loss=steps[-1][1],
        minutes_of_steps=round((sum(taken) + first) / 60, 2),
        minutes_in_all=round((time.monotonic() - start) / 60, 2),
        tok_s=round(arguments.total_batch_size * len(taken) / sum(taken)),
        peak_mb=round(peak / 1e6))), flush=True)
    evaluate(arguments)


def held_out_rows(path, most, encode, begin, length):
    """Rows of inputs and targets that have each token of each passage as a target once."""
    rows, size = [], 0
    for line in path.read_text(encoding="utf-8").split("\n")[:-1][:most]:
        text = json.loads(line)["text"]
        tokens = encode(text)
        size += len(text.encode())
        for at in range(0, len(tokens), length):
            part = tokens[at:at + length]
            rows.append(([begin] + part[:-1], part))
    return sorted(rows, key=lambda row: len(row[1])), size


def evaluate(arguments):
    """Bits per byte of the passages held out, by nanochat's own model code."""
    os.environ.update(environment(arguments))
    sys.path[0] = str(checkout(arguments))
    import torch
    from nanochat.checkpoint_manager import load_model
    from nanochat.dataloader import tokenizing_distributed_data_loader_bos_bestfit
    from nanochat.loss_eval import evaluate_bpb
    from nanochat.tokenizer import get_token_bytes

    torch.set_num_threads(arguments.threads)
    model, pieces_of, meta = load_model("base", torch.device("cpu"), "eval", arguments.tag)
    length, begin = meta["model_config"]["sequence_len"], pieces_of.get_bos_token_id()
    rows, size = held_out_rows(
        arguments.work / "validation.jsonl", arguments.passages, pieces_of.encode, begin, length)
    nats, count = 0.0, 0
    with torch.inference_mode():
        for at in range(0, len(rows), 16):
            batch = rows[at:at + 16]
            width = max(2, max(len(targets) for _, targets in batch))
            inputs = torch.full((len(batch), width), begin)
            targets = torch.full((len(batch), width), -1)
            for index, (row, wanted) in enumerate(batch):
                inputs[index, :len(row)] = torch.tensor(row)
                targets[index, :len(wanted)] = torch.tensor(wanted)
            nats += model(inputs, targets, loss_reduction="none").double().sum().item()
            count += (targets >= 0).sum().item()
        loader = tokenizing_distributed_data_loader_bos_bestfit(
            pieces_of, 16, length, split="val", device="cpu")
        own = evaluate_bpb(model, loader, count // (16 * length), get_token_bytes())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(json.dumps(dict(
        tag=arguments.tag, step=meta["step"], parameters=parameters,
        bits_per_byte=round(nats / math.log(2) / size, 4), own_measure=round(own, 4),
        bytes=size, bytes_per_token=round(size / count, 3))), flush=True)


# Lucid's side


def lucid(arguments):
    """`lucid pretrain` on the same passages and for the same time; its options are handed on."""
    out = arguments.out or arguments.work / "lucid"
    command = [
        str(arguments.lucid), "pretrain", str(arguments.work / "train"), "-o", str(out),
        "--validation", str(arguments.work / "validation.jsonl"),
        "--time", f"{arguments.minutes:g}m", "--threads", str(arguments.threads), *arguments.rest,
    ]
    say(" ".join(command))
    subprocess.run(command, check=True)


def main():
    arguments = parse_arguments()
    if arguments.part == "lucid":
        return lucid(arguments)
    arguments.work.mkdir(parents=True, exist_ok=True)
    python = interpreter(arguments)
    if pathlib.Path(python).absolute() != pathlib.Path(sys.executable).absolute():
        os.execv(python, [python, __file__, *sys.argv[1:]])
    parts = dict(corpus=corpus, pace=pace, train=train, evaluate=evaluate)
    parts[arguments.part](arguments)


if __name__ == "__main__":
    main()
