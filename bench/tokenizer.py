#!/usr/bin/env python3
"""Lucid's tokenizer against PyPI's `tokenizers`, by turns, one thread each, as ratios.

    python3 bench/tokenizer.py                      all of ../shared/data/text (93 MB)
    python3 bench/tokenizer.py --text FOLDER --vocab-size 8192 --turns 1
    python3 bench/tokenizer.py --only encode --megabytes 10

Needs Python 3.9, cargo, and PyPI the first time; what is built or written lies in target/bench
(`--folder`). `--peer` names an interpreter that has the peer already, `--lucid` and `--encoder`
binaries that are built.

Training: the seconds of the whole process `lucid tokenizer train --threads 1`, reading and writing
included, against those of `train_from_iterator` alone, which is given the texts in memory, with
RAYON_NUM_THREADS=1 and TOKENIZERS_PARALLELISM=false. The merges of both must be equal; so must
those of `--lines` and `Tokenizer.train(files)`, which reads files by lines (`--lines-too`).

Encoding: the texts one by one, in memory, on one thread: the faster of `encode_batch_fast` and
`encode` there, an `Encoder` here, with the vocabulary just trained and
with those of GPT-2 and Qwen 2 where they lie in ../shared/data/tokenizers. All ids must be equal.

A ratio is the peer's seconds through Lucid's, above 1 where Lucid is faster; the median over the
turns, with the smallest and the largest. There are no bare times: they say more about the
machine's day than about the code.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import venv

PEER = "tokenizers==0.23.3"
ROOT = pathlib.Path(__file__).resolve().parents[1]
DATA = pathlib.Path(os.environ.get("LUCID_SHARED", ROOT.parent / "shared" / "data"))
WANTED = {"train": 1.5, "encode": 3.0}
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=pathlib.Path, default=DATA / "text", help="folder of texts")
    parser.add_argument("--megabytes", type=float, help="of the texts, every n-th file")
    parser.add_argument("--vocab-size", type=int, default=32768)
    parser.add_argument("--pattern", default="llama3", help="a name or an expression")
    parser.add_argument("--turns", type=int, default=3, help="how often A B is run")
    parser.add_argument("--only", choices=["train", "encode"])
    parser.add_argument("--lines-too", action="store_true", help="also train by lines, from files")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "target" / "bench")
    parser.add_argument("--peer", help="interpreter that has " + PEER)
    parser.add_argument("--lucid", type=pathlib.Path, help="binary [default: built here]")
    parser.add_argument("--encoder", type=pathlib.Path, help="the example [default: built here]")
    parser.add_argument("--json", type=pathlib.Path, help="write all that was measured here")
    parser.add_argument("--as-peer", help=argparse.SUPPRESS)
    return parser.parse_args()


def say(text):
    print(text, file=sys.stderr, flush=True)


def peer_interpreter(arguments):
    if arguments.peer:
        return arguments.peer
    folder = arguments.folder / "tokenizers"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    probe = [str(python), "-c", "import tokenizers"]
    if not python.exists() or subprocess.run(probe, stderr=subprocess.DEVNULL).returncode:
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", PEER]
        subprocess.run(install, check=True)
    return str(python)


def build(arguments):
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    suffix = ".exe" if os.name == "nt" else ""
    cargo = ["cargo", "build", "--release", "--quiet"]
    if not arguments.lucid:
        subprocess.run([*cargo, "-p", "lucid-cli"], check=True, cwd=ROOT)
        arguments.lucid = target / f"lucid{suffix}"
    if not arguments.encoder:
        example = ["-p", "lucid-tokenizer", "--example", "encode"]
        subprocess.run([*cargo, *example], check=True, cwd=ROOT)
        arguments.encoder = target / "examples" / f"encode{suffix}"


def texts(arguments):
    files = sorted(path for path in arguments.text.rglob("*") if path.is_file())
    # The peer takes text only.
    files = [path for path in files if is_utf8(path)]
    if arguments.megabytes:
        total = sum(path.stat().st_size for path in files) / 1e6
        files = files[::max(1, round(total / arguments.megabytes))]
    if not files:
        raise SystemExit(f"no text in {arguments.text}; --text names a folder")
    return files


def is_utf8(path):
    try:
        path.read_bytes().decode("utf-8")
        return True
    except UnicodeDecodeError:
        return False


# What the peer's interpreter runs.


def read(path):
    # Line ends as they are.
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def peer_trainer(like):
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
    ours = json.loads(pathlib.Path(like).read_text(encoding="utf-8"))
    whole = dict(ours, post_processor=None)
    whole["model"] = dict(ours["model"], vocab={}, merges=[])
    whole["added_tokens"] = []
    tokenizer = Tokenizer.from_str(json.dumps(whole))
    tokenizer.model = models.BPE()
    special = [AddedToken(token["content"], special=True) for token in ours["added_tokens"]]
    trainer = trainers.BpeTrainer(
        vocab_size=len(ours["model"]["vocab"]), special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    return tokenizer, trainer


def peer_train(job):
    tokenizer, trainer = peer_trainer(job["like"])
    if job["lines"]:
        started = time.perf_counter()
        tokenizer.train(job["files"], trainer)
    else:
        documents = [read(path) for path in job["files"]]
        started = time.perf_counter()
        tokenizer.train_from_iterator(documents, trainer)
    seconds = time.perf_counter() - started
    tokenizer.save(job["out"])
    return {"seconds": seconds}


def peer_encode(job):
    import array

    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(job["tokenizer"])
    documents = [read(path) for path in job["files"]]
    ways = [
        lambda some: tokenizer.encode_batch_fast(some, add_special_tokens=False),
        lambda some: [tokenizer.encode(one, add_special_tokens=False) for one in some],
    ]

    def timed(way, some):
        started = time.perf_counter()
        encodings = way(some)
        return time.perf_counter() - started, encodings

    # Which is faster is asked of some of the texts; it is not the same for all lengths.
    way = min(ways, key=lambda way: timed(way, documents[::20])[0])
    ids = array.array("I")
    seconds = 0
    # Not all at once: an encoding takes a hundred bytes a token.
    for first in range(0, len(documents), 32):
        took, encodings = timed(way, documents[first:first + 32])
        seconds += took
        for encoding in encodings:
            ids.extend(encoding.ids)
    pathlib.Path(job["out"]).write_bytes(ids.tobytes())
    return {"seconds": seconds}


def as_peer(job):
    job = json.loads(pathlib.Path(job).read_text(encoding="utf-8"))
    result = {"train": peer_train, "encode": peer_encode, "vocabularies": vocabularies}[job["do"]]
    print(json.dumps(result(job)))


def vocabularies(job):
    """Real vocabularies as tokenizer.json files, where their parts are at hand."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    made = {}
    for name, vocab, merges in [("gpt2", "encoder.json", "vocab.bpe"),
                                ("qwen2", "vocab.json", "merges.txt")]:
        folder = pathlib.Path(job["data"]) / "tokenizers" / name
        if not (folder / vocab).exists():
            continue
        model = models.BPE.from_file(str(folder / vocab), str(folder / merges))
        tokenizer = Tokenizer(model)
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        if name == "qwen2":
            tokenizer.normalizer = normalizers.NFC()
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
                pre_tokenizers.Split(Regex(QWEN2), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens(["<|endoftext|>"])
        made[name] = str(pathlib.Path(job["folder"]) / f"{name}.json")
        tokenizer.save(made[name])
    return made


# The comparison.


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        arguments.folder.mkdir(parents=True, exist_ok=True)
        self.python = peer_interpreter(arguments)
        build(arguments)
        self.files = [str(path) for path in texts(arguments)]
        self.bytes = sum(os.path.getsize(path) for path in self.files)
        self.results = {}
        say(f"{len(self.files)} texts, {self.bytes / 1e6:.1f} MB")

    def path(self, name):
        return self.arguments.folder / name

    def peer(self, **job):
        self.path("job.json").write_text(json.dumps(job), encoding="utf-8")
        environment = dict(os.environ, RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
        command = [self.python, __file__, "--as-peer", str(self.path("job.json"))]
        done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE)
        return json.loads(done.stdout)

    def lucid_train(self, out, *more):
        command = [
            str(self.arguments.lucid), "tokenizer", "train", *self.files, "--threads", "1",
            "--vocab-size", str(self.arguments.vocab_size), "--pattern", self.arguments.pattern,
            "--output", str(out), "--force", "--json", *more]
        started = time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        return time.perf_counter() - started, json.loads(done.stdout)

    def train(self, name, lines):
        ratios, parts = [], None
        for turn in range(self.arguments.turns):
            ours, theirs = self.path("ours.json"), self.path("theirs.json")
            seconds, parts = self.lucid_train(ours, *(["--lines"] if lines else []))
            peer = self.peer(
                do="train", like=str(ours), files=self.files, out=str(theirs), lines=lines)
            self.same_merges(ours, theirs)
            ratios.append(peer["seconds"] / seconds)
            say(f"{name}, turn {turn + 1}: {ratios[-1]:.1f}x")
        counting = parts["count_seconds"] / (parts["count_seconds"] + parts["merge_seconds"])
        note = f"merges equal; {100 * counting:.0f} % of it counting"
        self.note(name, ratios, WANTED["train"], note)

    def same_merges(self, ours, theirs):
        models = [json.loads(path.read_text(encoding="utf-8"))["model"] for path in (ours, theirs)]
        for part in ("merges", "vocab"):
            if models[0][part] != models[1][part]:
                raise SystemExit(f"{part} differ: {ours} and {theirs}")

    def encode(self, name, tokenizer):
        ratios = []
        listed = self.path("texts.txt")
        listed.write_text("\n".join(self.files), encoding="utf-8")
        for turn in range(self.arguments.turns):
            ours, theirs = self.path("ours.ids"), self.path("theirs.ids")
            command = [str(self.arguments.encoder), str(tokenizer), str(ours), "1", str(listed)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            seconds = json.loads(done.stdout)["seconds"][0]
            peer = self.peer(
                do="encode", tokenizer=str(tokenizer), files=self.files, out=str(theirs))
            if ours.read_bytes() != theirs.read_bytes():
                raise SystemExit(f"ids differ: {ours} and {theirs}")
            ratios.append(peer["seconds"] / seconds)
            say(f"{name}, turn {turn + 1}: {ratios[-1]:.1f}x")
        tokens = os.path.getsize(self.path("ours.ids")) // 4
        self.note(name, ratios, WANTED["encode"], f"{tokens} ids equal")

    def note(self, name, ratios, wanted, note):
        self.results[name] = {"ratios": ratios, "median": statistics.median(ratios),
                              "wanted": wanted, "note": note}

    def run(self):
        if self.arguments.only != "encode":
            self.train("train", lines=False)
            if self.arguments.lines_too:
                self.train("train by lines", lines=True)
        if self.arguments.only != "train":
            trained = self.path("ours.json")
            self.lucid_train(trained)
            self.encode("encode, trained here", trained)
            data = str(DATA)
            made = self.peer(do="vocabularies", data=data, folder=str(self.arguments.folder))
            for name, path in made.items():
                self.encode(f"encode, {name}", path)

    def print(self):
        width = max(len(name) for name in self.results)
        print(f"{'':<{width}}   ratio  (least to most)   wanted")
        for name, row in self.results.items():
            spread = f"({min(row['ratios']):.1f} to {max(row['ratios']):.1f})"
            print(f"{name:<{width}}  {row['median']:5.1f}x  {spread:<16}  {row['wanted']:>5.1f}x"
                  f"  {row['note']}")


def main():
    arguments = parse_arguments()
    if arguments.as_peer:
        return as_peer(arguments.as_peer)
    bench = Bench(arguments)
    bench.run()
    bench.print()
    if arguments.json:
        found = {"peer": PEER, "texts": len(bench.files), "bytes": bench.bytes,
                 "vocab_size": arguments.vocab_size, "pattern": arguments.pattern,
                 "results": bench.results}
        arguments.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    failed = [name for name, row in bench.results.items() if row["median"] < row["wanted"]]
    return f"below what is wanted: {', '.join(failed)}" if failed else 0


if __name__ == "__main__":
    sys.exit(main())
