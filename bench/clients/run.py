#!/usr/bin/env python3
"""The official clients of three protocols go through everything that `lucid serve` answers.

    python3 bench/clients/run.py --lucid BIN [--model FILE] [--only NAME,...]

Needs the packages `openai`, `anthropic` and `ollama` from PyPI (and takes `llm` and
`langchain-openai` along where they are installed). Without --model, a tiny one with random weights
is written. Each step of a tour prints a line; the exit status is the number of steps that failed.
"""

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

import tiny_model
from ports import free_port
from tour import Tour, walk

PACKAGES = ["openai", "anthropic", "ollama"]
TOURS = ["openai", "anthropic", "ollama", "native", "tools", "keys"]
MODULES = {"tools": "tool_loop"}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lucid", type=pathlib.Path, required=True, help="the binary")
    parser.add_argument("--model", type=pathlib.Path, help="a GGUF file")
    parser.add_argument("--only", default=",".join(TOURS), help="some of " + ", ".join(TOURS))
    parser.add_argument("--server", help="a server that runs already, instead of --model")
    return parser.parse_args()


@contextlib.contextmanager
def running(binary, model, folder, *more):
    """A server of one model; its address."""
    port = free_port()
    command = [str(binary), "serve", str(model), "--port", str(port), *more]
    places = ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"]
    home = {**os.environ, **{place: str(folder / place) for place in places}}
    log = folder / f"serve-{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=home)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the server did not start: {log.read_text()}")
            with contextlib.suppress(OSError), urllib.request.urlopen(url + "/health"):
                break
            time.sleep(0.05)
        yield url
        if process.poll() is not None:
            print(f"FAILED  the server ended: {log.read_text()[-2000:]}")
            sys.exit(1)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def first_model(url):
    with urllib.request.urlopen(url + "/v1/models") as answer:
        return json.load(answer)["data"][0]["id"]


def module_of(name):
    return importlib.import_module(MODULES.get(name, f"tour_{name}"))


def main():
    arguments = parse_arguments()
    missing = [name for name in PACKAGES if not importlib.util.find_spec(name)]
    if missing:
        print(f"missing: {' '.join(missing)} (pip install {' '.join(PACKAGES)})", file=sys.stderr)
        return 101
    wanted = arguments.only.split(",")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model = arguments.model
        if model is None:
            model = folder / "tiny.gguf"
            tiny_model.write(model)
        open_tours = [name for name in wanted if name != "keys"]
        if open_tours:
            server = (contextlib.nullcontext(arguments.server) if arguments.server
                      else running(arguments.lucid, model, folder))
            with server as url:
                tour = Tour(url, first_model(url))
                for name in open_tours:
                    print(f"-- {name}", flush=True)
                    failed += walk(tour, module_of(name).STEPS)
        if "keys" in wanted and not arguments.server:
            print("-- keys", flush=True)
            failed += keys(arguments.lucid, model, folder)
    print(f"{failed} failed" if failed else "all passed")
    return min(failed, 100)


def keys(binary, model, folder):
    """A server that asks for keys, with one key of few requests a minute."""
    file = folder / "keys.json"
    command = [str(binary), "key", "add", "tour", "--requests", "6", "--keys", str(file)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    key = made.stdout.strip()
    if made.returncode or not key:
        print(f"FAILED  no key was made: {made.stdout}{made.stderr}")
        return 1
    with running(binary, model, folder, "--keys", str(file), "--require-key") as url:
        tour = Tour(url, model.stem)
        tour.right_key = key
        return walk(tour, module_of("keys").STEPS)


if __name__ == "__main__":
    sys.exit(main())
