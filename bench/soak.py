#!/usr/bin/env python3
"""`lucid serve` under many clients that come, go and break off.

    python3 bench/soak.py [--model FILE] [--lucid BIN] [--seconds 600] [--connections 1000]
                          [--json F]

Without --model, a tiny one with random weights is written. Two parts, over streamed answers of a
small model; every other question is a chat, the rest are texts to be continued (all of them where
the model has no chat template):

- `--connections` requests at once, each on a connection of its own. Each must be answered whole.
- For `--seconds`, 64 clients in turn ask one of some questions whose answers were heard before,
  each question with a seed of its own; some break off in the middle, without a word. Whoever stays
  must hear to the letter what was heard before.

Then: no answer may be lost or differ, all blocks of keys and values must be back, the server's
memory may not have grown between the first and the last quarter by more than a tenth, it may not
have panicked, and when it is told to end, it ends well.
"""

import argparse
import asyncio
import json
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "clients"))

import tiny_model  # noqa: E402 - its folder is named above
from ports import free_port  # noqa: E402

QUESTIONS = 24
CLIENTS = 64
# A server's memory grows until its caches are full; then it must not.
GROWTH_MAX = 1.10


def say(text):
    print(text, file=sys.stderr, flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lucid", type=pathlib.Path, default=pathlib.Path("target/release/lucid"))
    parser.add_argument("--model", type=pathlib.Path, help="a GGUF file")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--json", type=pathlib.Path)
    return parser.parse_args()


def question(index, chats):
    """The path and the body of a request."""
    dice = random.Random(index)
    words = " ".join(dice.choice("once there was a little bird who saw the sun and ran".split())
                     for _ in range(dice.randrange(3, 60)))
    body = dict(max_tokens=dice.randrange(8, 48), seed=index, temperature=1.0, stream=True,
                ignore_eos=True)
    if chats and index % 2:
        messages = [dict(role="user", content=words)]
        return "/v1/chat/completions", dict(body, messages=messages)
    return "/v1/completions", dict(body, prompt=words)


def said_in(choice):
    """The text of a chunk's choice, of either path; reasoning is text here."""
    delta = choice.get("delta")
    if delta is None:
        return choice["text"]
    return (delta.get("reasoning_content") or "") + (delta.get("content") or "")


class Broken(Exception):
    """An answer that did not come whole."""


async def ask(port, model, asked, pieces_max=None):
    """The text of a streamed answer; breaks off after so many pieces."""
    path, body = asked
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        text = json.dumps(dict(body, model=model)).encode()
        head = (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n"
                "Connection: close\r\n\r\n")
        writer.write(head.encode() + text)
        await writer.drain()
        status = await reader.readline()
        if b" 200 " not in status:
            raise Broken(status.decode() + (await reader.read(2000)).decode())
        said, pieces, done = "", 0, False
        while line := await reader.readline():
            if line.startswith(b"data: [DONE]"):
                done = True
            elif line.startswith(b"data: "):
                piece = json.loads(line[6:])
                if "error" in piece:
                    raise Broken(line.decode())
                for choice in piece["choices"]:
                    said += said_in(choice)
                pieces += 1
                if pieces_max is not None and pieces >= pieces_max:
                    # Without a word: what is unread turns the close into a reset.
                    writer.transport.abort()
                    return None
        if not done:
            raise Broken("the stream ended before it was done")
        return said
    finally:
        writer.close()


async def fetch(port, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
                 .encode())
    answer = (await reader.read()).decode()
    writer.close()
    return answer.split("\r\n\r\n", 1)[1]


def memory_bytes(process):
    """Memory that is the server's own: maps of files do not count."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


async def metric(port, name):
    for line in (await fetch(port, "/metrics")).splitlines():
        if line.split("{")[0].split(" ")[0] == name:
            return float(line.rsplit(" ", 1)[1])
    raise SystemExit(f"/metrics does not tell {name}")


async def has_template(port, model):
    """Whether the model chats."""
    try:
        await ask(port, model, question(1, chats=True))
    except Broken as error:
        if " 400 " not in str(error):
            raise
        say("this model has no chat template: texts are continued only")
        return False
    return True


async def at_once(port, model, questions, heard, connections, found):
    start = time.perf_counter()
    asked = [questions[index % QUESTIONS] for index in range(connections)]
    answers = await asyncio.gather(*(ask(port, model, one) for one in asked),
                                   return_exceptions=True)
    lost = [answer for answer in answers if isinstance(answer, BaseException)]
    mixed = [index for index, answer in enumerate(answers)
             if isinstance(answer, str) and answer != heard[index % QUESTIONS]]
    for error in lost[:3]:
        say(f"lost: {error!r}")
    found["connections"] = dict(asked=connections, lost=len(lost), mixed=len(mixed),
                                seconds=time.perf_counter() - start)


async def soak(port, model, questions, heard, seconds, process, found):
    counts = dict(whole=0, broken_off=0, lost=0, mixed=0)
    memory = []
    end = time.monotonic() + seconds

    async def client(number):
        dice = random.Random(number)
        while time.monotonic() < end:
            index = dice.randrange(QUESTIONS)
            _, body = questions[index]
            pieces_max = dice.randrange(1, body["max_tokens"]) if dice.random() < 0.4 else None
            try:
                said = await ask(port, model, questions[index], pieces_max)
            except (Broken, OSError, asyncio.IncompleteReadError) as error:
                counts["lost"] += 1
                if counts["lost"] <= 3:
                    say(f"lost: {error!r}")
                continue
            if said is None:
                counts["broken_off"] += 1
            elif said != heard[index]:
                counts["mixed"] += 1
            else:
                counts["whole"] += 1

    async def watch():
        while time.monotonic() < end:
            memory.append(memory_bytes(process))
            await asyncio.sleep(max(seconds / 200, 0.1))

    await asyncio.gather(watch(), *(client(number) for number in range(CLIENTS)))
    quarter = max(len(memory) // 4, 1)
    first, last = statistics.median(memory[:quarter]), statistics.median(memory[-quarter:])
    found["soak"] = dict(counts, seconds=seconds, memory_first=first, memory_last=last,
                         growth=last / first)


async def run(arguments, port, process):
    deadline = time.monotonic() + 60
    while True:
        try:
            model = json.loads(await fetch(port, "/v1/models"))["data"][0]["id"]
            break
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the server does not start") from None
            await asyncio.sleep(0.05)
    chats = await has_template(port, model)
    questions = [question(index, chats) for index in range(QUESTIONS)]
    heard = [await ask(port, model, one) for one in questions]
    found = {"chats": chats}
    if arguments.connections:
        await at_once(port, model, questions, heard, arguments.connections, found)
        say(json.dumps(found))
    if arguments.seconds:
        await soak(port, model, questions, heard, arguments.seconds, process, found)
    for _ in range(50):
        found["blocks_left"] = await metric(port, "lucid_kv_blocks_used")
        if not found["blocks_left"]:
            break
        await asyncio.sleep(0.1)
    found["panics"] = await metric(port, "lucid_panics_total")
    return found


def wrong(found):
    """What did not hold."""
    lines = [f"{part}: {found[part][count]} {count}" for part in ("connections", "soak")
             for count in ("lost", "mixed") if part in found and found[part][count]]
    if found["blocks_left"]:
        lines.append(f"{found['blocks_left']} blocks were not returned")
    if "soak" in found and found["soak"]["growth"] > GROWTH_MAX:
        lines.append(f"memory grew by a factor of {found['soak']['growth']:.3f}")
    if found["panics"]:
        lines.append(f"the server panicked {found['panics']:.0f} times")
    if found["exit"]:
        lines.append(f"the server ended with status {found['exit']}")
    return lines


def main():
    arguments = parse_arguments()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        model = arguments.model
        if model is None:
            model = pathlib.Path(folder) / "tiny.gguf"
            tiny_model.write(model)
        cache = str(pathlib.Path(folder) / "kv")
        command = [str(arguments.lucid), "serve", str(model), "--port", str(port),
                   # A turn that was broken off is let go of a moment after the next was asked for.
                   "--queue", str(max(arguments.connections, 2 * CLIENTS)),
                   "--kv-cache-folder", cache]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            found = asyncio.run(run(arguments, port, process))
        finally:
            process.terminate()
            code = process.wait(60)
        found["exit"] = code
        print(json.dumps(found, indent=1))
        if arguments.json:
            arguments.json.write_text(json.dumps(found, indent=1))
        lines = wrong(found)
        for line in lines:
            say(f"wrong: {line}")
        if lines:
            log.seek(0)
            say(log.read().decode(errors="replace")[-2000:])
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
