#!/usr/bin/env python3
"""`lucid serve` against llama-server on the same file, by turns, as a table of ratios.

    python3 bench/serve.py [--peer LLAMA_SERVER] [--lucid BIN] [--model FILE] [--turns N] [--json F]

Without --peer, llama-server is built from the source of llama-cpp-python 0.3.36 (PyPI; it brings
llama.cpp's) in target/bench/llama-server, for this machine's processor: minutes. Without --lucid,
Lucid is built; without --model, a 1 B shape in Q4_K_M with random weights is made.

Both get two threads, keys and values in f16, and the same requests over the same protocol
(POST /v1/completions with token ids, streamed); one server runs at a time. The tests:

- `16 clients`: 16 at once, each with a prompt of its own of 128 tokens and an answer of 64;
  the ratio is of all tokens of answers per second, from the first request to the last answer.
  Lucid guesses ahead from the text so far unless it is told not to, llama-server does not, and
  greedy answers of a random model repeat themselves; so Lucid is measured both ways, and how many
  guessed tokens were right is told.
- `short beside 8k`: the time to the first token of a 16-token prompt that comes while another
  client's prompt of 8,000 tokens is being computed. (Less is better, and so in all that follow.)
- `second turn`: the same for the second turn of a chat of 4,000 tokens.
- `after restart`: the same after the server was stopped and started again, as a share of computing
  the whole prompt anew; llama-server has nothing of the kind without being told to save.
"""

import argparse
import contextlib
import hashlib
import html
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import venv

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "clients"))

from ports import free_port  # noqa: E402 - its folder is named above

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEER = "llama-cpp-python==0.3.36"
CLIENTS, PROMPT, ANSWER = 16, 128, 64
LONG, SHORT = 8000, 16
CHAT, TURN = 4000, 32


def say(text):
    print(text, file=sys.stderr, flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=pathlib.Path, help="llama-server")
    parser.add_argument("--lucid", type=pathlib.Path, help="the binary")
    parser.add_argument("--model", type=pathlib.Path, help="a GGUF file")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "target" / "bench")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("-t", type=int, default=2, help="threads")
    parser.add_argument("--tests", default="clients,stall,turn,restart")
    parser.add_argument("--json", type=pathlib.Path, help="where all figures go")
    return parser.parse_args()


def fetch_source(python, place):
    """The source archive of the peer, from the index that pip uses. (pip itself would compile it.)"""
    asked = subprocess.run([python, "-m", "pip", "config", "get", "global.index-url"],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    index = os.environ.get("PIP_INDEX_URL") or asked.stdout.strip() or "https://pypi.org/simple"
    name, version = PEER.split("==")
    page = f"{index.rstrip('/')}/{name}/"
    with urllib.request.urlopen(page) as answer:
        links = re.findall(r'href="([^"]+)"', answer.read().decode())
    wanted = f"{name.replace('-', '_')}-{version}.tar.gz"
    link = next((link for link in links if f"/{wanted}" in f"/{link}"), None)
    if link is None:
        raise SystemExit(f"{page} has no {wanted}")
    archive = place / wanted
    address, _, digest = urllib.parse.urljoin(page, html.unescape(link)).partition("#sha256=")
    with urllib.request.urlopen(address) as answer, archive.open("wb") as file:
        shutil.copyfileobj(answer, file)
    if digest and hashlib.sha256(archive.read_bytes()).hexdigest() != digest:
        raise SystemExit(f"{archive} is damaged")
    return archive


def build_peer(folder):
    """llama-server, built from the sources that llama-cpp-python brings."""
    built = folder / "llama-server" / "build" / "bin" / "llama-server"
    if built.exists():
        return built
    say(f"building llama-server from the source of {PEER}; this takes minutes")
    place = folder / "llama-server"
    place.mkdir(parents=True, exist_ok=True)
    tools = place / "venv"
    venv.create(tools, with_pip=True, clear=True)
    python = tools / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "cmake", "ninja"], check=True)
    archive = fetch_source(python, place)
    with tarfile.open(archive) as files:
        files.extractall(place, filter="data")
    source = next(place.glob("llama_cpp_python-*/vendor/llama.cpp"))
    environment = dict(os.environ, PATH=f"{tools / 'bin'}:{os.environ['PATH']}")
    off = ["BUILD_SHARED_LIBS", "LLAMA_OPENSSL", "LLAMA_CURL", "LLAMA_BUILD_TESTS",
           "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_UI"]
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", *(f"-D{name}=OFF" for name in off)]
    build = place / "build"
    subprocess.run(["cmake", "-G", "Ninja", "-S", source, "-B", build, *options],
                   check=True, env=environment, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", build, "llama-server"], check=True, env=environment,
                   stdout=subprocess.DEVNULL)
    return built


def build_lucid():
    say("building lucid")
    command = ["cargo", "build", "--release", "-p", "lucid-cli", "-p", "xtask"]
    subprocess.run(command, check=True, cwd=ROOT)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / "lucid"


def model(arguments):
    if arguments.model:
        return arguments.model
    path = arguments.folder / "models" / "llama-1b-q4_k_m.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = ["cargo", "run", "--quiet", "--release", "-p", "xtask", "--", "synth"]
        subprocess.run(command + ["llama-1b", "q4_k_m", str(path)], check=True, cwd=ROOT)
    return path


class Server:
    """A server that answers on a port of its own."""

    def __init__(self, command, name):
        self.port = int(command[command.index("--port") + 1])
        self.name = name
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 120
        while True:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.log.seek(0)
                raise SystemExit(f"{name} does not start:\n{self.log.read().decode()[-3000:]}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    break
            time.sleep(0.05)
        found = self.get("/v1/models")
        self.model = found["data"][0]["id"]
        # The weights are read and packed before anything is measured, on both sides alike.
        for _ in range(3):
            self.complete(tokens(900, 64), 8)

    def text(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        return connection.getresponse().read().decode()

    def get(self, path):
        return json.loads(self.text(path))

    def guesses(self):
        """(tokens guessed ahead so far, those of them that were right): Lucid's only."""
        page = self.text("/metrics")
        names = ("lucid_proposed_tokens_total", "lucid_accepted_tokens_total")
        return tuple(sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines()
                         if line.startswith(name + "{")) for name in names)

    def complete(self, prompt, new_tokens):
        """(seconds to the first token, seconds to the last, texts) of a streamed completion."""
        body = json.dumps(dict(
            model=self.model, prompt=prompt, max_tokens=new_tokens, temperature=0, stream=True,
            ignore_eos=True, stream_options=dict(include_usage=True)))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        start = time.perf_counter()
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise SystemExit(f"{self.name}: status {answer.status}: {answer.read()[:500]}")
        first, count, usage = None, 0, None
        for line in answer:
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            piece = json.loads(line[6:])
            usage = piece.get("usage") or usage
            if piece.get("choices") and not piece["choices"][0].get("finish_reason"):
                first = first or time.perf_counter() - start
                count += 1
        seconds = time.perf_counter() - start
        said = (usage or {}).get("completion_tokens", count)
        if said != new_tokens:
            raise SystemExit(f"{self.name}: {said} tokens instead of {new_tokens}")
        return first or seconds, seconds

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def tokens(seed, count):
    """Token ids that no two seeds share a beginning of."""
    dice = random.Random(seed)
    return [dice.randrange(1000, 31000) for _ in range(count)]


def clients(server, turn):
    prompts = [tokens(1000 * turn + index, PROMPT) for index in range(CLIENTS)]
    firsts = [0.0] * CLIENTS
    gate = threading.Barrier(CLIENTS + 1)

    def client(index):
        gate.wait()
        firsts[index], _ = server.complete(prompts[index], ANSWER)

    threads = [threading.Thread(target=client, args=(index,)) for index in range(CLIENTS)]
    for thread in threads:
        thread.start()
    gate.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    return dict(tok_s=CLIENTS * ANSWER / seconds, first_median=statistics.median(firsts))


def stall(server, turn):
    long = threading.Thread(target=server.complete, args=(tokens(50_000 + turn, LONG), 4))
    long.start()
    # Well into the long prompt, which takes tens of seconds.
    time.sleep(2.0)
    if not long.is_alive():
        raise SystemExit(f"{server.name}: the long prompt was over before the short one came")
    first, _ = server.complete(tokens(60_000 + turn, SHORT), 4)
    long.join()
    return dict(first=first)


def second_turn(server, turn):
    opening = tokens(70_000 + turn, CHAT)
    whole, _ = server.complete(opening, TURN)
    # What the answer was is not needed: a client sends it back, and here other tokens stand for
    # it, on both sides; so both compute the answer's tokens anew, and the new ones.
    again = opening + tokens(80_000 + turn, 2 * TURN)
    first, _ = server.complete(again, TURN)
    return dict(whole=whole, first=first, prompt=again)


def lucid_command(binary, path, threads, cache, *more):
    return [str(binary), "serve", str(path), "--port", str(free_port()), "-t", str(threads),
            "--kv", "f16", "--ctx", "9216", "--parallel", "16", "--kv-cache-folder", str(cache),
            *more]


def peer_command(binary, path, threads):
    # Slots share the context (`--kv-unified`), so that a prompt of 8,000 tokens fits beside others.
    return [str(binary), "-m", str(path), "--port", str(free_port()), "-t", str(threads), "-tb",
            str(threads), "-np", "16", "-c", "16384", "--kv-unified", "-fa", "on", "--no-webui"]


@contextlib.contextmanager
def running(command, name):
    server = Server(command, name)
    try:
        yield server
    finally:
        server.stop()


def one_turn(arguments, lucid, peer, path, turn, cache):
    """What both sides measured in one turn; who begins changes with the turn."""
    tests = arguments.tests.split(",")
    found = {"lucid": {}, "llama-server": {}}

    def ours():
        shutil.rmtree(cache, ignore_errors=True)
        command = lucid_command(lucid, path, arguments.t, cache)
        with running(command, "lucid") as server:
            before = server.guesses()
            if "clients" in tests:
                found["lucid"]["clients"] = clients(server, turn)
                guessed, right = (now - then for now, then in zip(server.guesses(), before))
                found["lucid"]["clients"].update(guessed=guessed, right=right)
            measure(server, found["lucid"])
        chat = found["lucid"].get("turn")
        if chat and "restart" in tests:
            with running(lucid_command(lucid, path, arguments.t, cache), "lucid") as server:
                first, _ = server.complete(chat["prompt"], TURN)
                found["lucid"]["restart"] = dict(first=first, share=first / chat["whole"])
        if "clients" in tests:
            # With nothing in its cache: the prompts are those of the first measurement.
            shutil.rmtree(cache, ignore_errors=True)
            command = lucid_command(lucid, path, arguments.t, cache, "--no-speculation")
            with running(command, "lucid") as server:
                found["lucid"]["plain"] = clients(server, turn)

    def theirs():
        with running(peer_command(peer, path, arguments.t), "llama-server") as server:
            if "clients" in tests:
                found["llama-server"]["clients"] = clients(server, turn)
            measure(server, found["llama-server"])

    def measure(server, into):
        if "stall" in tests:
            into["stall"] = stall(server, turn)
        if "turn" in tests:
            into["turn"] = second_turn(server, turn)

    for side in (ours, theirs) if turn % 2 == 0 else (theirs, ours):
        side()
    for side in found.values():
        if "turn" in side:
            del side["turn"]["prompt"]
    return found


def table(turns):
    def ratios(test, key, theirs=None):
        theirs = theirs or test
        return [turn["lucid"][test][key] / turn["llama-server"][theirs][key]
                for turn in turns if test in turn["lucid"] and theirs in turn["llama-server"]]

    rows = [("16 clients, tokens/s", ratios("clients", "tok_s"), ">= 1.6"),
            ("16 clients, tokens/s, nothing guessed", ratios("plain", "tok_s", "clients"),
             ">= 1.6"),
            ("16 clients, first token, median", ratios("clients", "first_median"), ""),
            ("16 clients, first token, nothing guessed",
             ratios("plain", "first_median", "clients"), ""),
            ("short beside 8k, first token", ratios("stall", "first"), "<= 0.2"),
            ("4k prompt, first token", ratios("turn", "whole"), ""),
            ("second turn, first token", ratios("turn", "first"), "<= 1.0"),
            ("after restart, of Lucid's own full prefill",
             [turn["lucid"]["restart"]["share"] for turn in turns if "restart" in turn["lucid"]],
             "<= 0.15")]
    lines = ["| test | Lucid / llama-server, median (each turn) | wanted |", "|---|---|---|"]
    for name, values, wanted in rows:
        if values:
            each = ", ".join(f"{value:.3f}" for value in values)
            lines.append(f"| {name} | {statistics.median(values):.3f} ({each}) | {wanted} |")
    for number, turn in enumerate(turns, 1):
        if "clients" in turn["lucid"]:
            guesses = turn["lucid"]["clients"]
            lines.append(f"\nTurn {number}: of {CLIENTS * ANSWER} tokens, {guesses['guessed']:.0f} "
                         f"were guessed ahead and {guesses['right']:.0f} of these were right.")
    return "\n".join(lines)


def main():
    arguments = parse_arguments()
    lucid = arguments.lucid or build_lucid()
    peer = arguments.peer or build_peer(arguments.folder)
    path = model(arguments)
    turns = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(arguments.turns):
            say(f"turn {turn + 1} of {arguments.turns}")
            turns.append(one_turn(arguments, lucid, peer, path, turn, pathlib.Path(folder) / "kv"))
            say(json.dumps(turns[-1]))
    if arguments.json:
        arguments.json.write_text(json.dumps(turns, indent=1))
    print(table(turns))


if __name__ == "__main__":
    main()
