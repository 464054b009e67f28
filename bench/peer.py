#!/usr/bin/env python3
"""llama.cpp on the tests of `lucid bench`: the same flags, the same names, the same JSON of results.

Run by compare.py with the interpreter that has llama-cpp-python 0.3.36. As in llama-bench: random
tokens, one context per test, one warm-up, batches of 512, flash attention as the library chooses,
keys and values in f16, repacked weights where the library has them. `--first-token` instead prints
the seconds from before the model is loaded to the logits after a prompt of four tokens, `--logits`
writes the logits after each of the given tokens to `--out`, an array file of numpy.
"""

import argparse
import ctypes
import json
import random
import statistics
import time

import llama_cpp as ll

BATCH = 512
F16 = 1


def numbers(text):
    return [int(part) for part in text.split(",")]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("-p", type=numbers, default=[512], help="lengths of prompts")
    parser.add_argument("-n", type=numbers, default=[64], help="lengths of answers")
    parser.add_argument("-d", type=numbers, default=[0], help="tokens of context before the test")
    parser.add_argument("-b", type=numbers, default=[1], help="sequences that decode together")
    parser.add_argument("-t", type=int, default=2, help="threads")
    parser.add_argument("-r", type=int, default=5, help="repetitions")
    parser.add_argument("--first-token", action="store_true")
    parser.add_argument("--logits", type=numbers, metavar="TOKENS")
    parser.add_argument("--out", help="where logits go")
    return parser.parse_args()


class Peer:
    """One context: `sequences` sequences of up to `context` tokens."""

    def __init__(self, model, threads, context, sequences):
        parameters = ll.llama_context_default_params()
        context = -(-context // 256) * 256
        parameters.n_ctx = context * sequences
        parameters.n_batch = parameters.n_ubatch = BATCH
        parameters.n_seq_max = sequences
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.type_k = parameters.type_v = F16
        parameters.no_perf = True
        self.context = ll.llama_init_from_model(model, parameters)
        if not self.context:
            raise SystemExit("llama.cpp made no context")
        self.vocabulary = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
        self.batch = ll.llama_batch_init(BATCH, 0, 1)
        self.random = random.Random(1)

    def close(self):
        ll.llama_batch_free(self.batch)
        ll.llama_free(self.context)

    def decode(self, rows):
        """`rows`: (sequence, position, whether its logits are wanted)."""
        self.batch.n_tokens = len(rows)
        for index, (sequence, position, wanted) in enumerate(rows):
            self.batch.token[index] = self.random.randrange(self.vocabulary)
            self.batch.pos[index] = position
            self.batch.n_seq_id[index] = 1
            self.batch.seq_id[index][0] = sequence
            self.batch.logits[index] = wanted
        if ll.llama_decode(self.context, self.batch) != 0:
            raise SystemExit("llama.cpp could not decode a batch")
        ll.llama_synchronize(self.context)

    def prompt(self, sequence, start, count):
        for first in range(start, start + count, BATCH):
            end = min(first + BATCH, start + count)
            last = start + count - 1
            self.decode([(sequence, at, at == last) for at in range(first, end)])

    def generate(self, sequences, start, count):
        for at in range(start, start + count):
            self.decode([(sequence, at, True) for sequence in range(sequences)])

    def forget(self, sequences, depth):
        memory = ll.llama_get_memory(self.context)
        for sequence in range(sequences):
            ll.llama_memory_seq_rm(memory, sequence, depth, -1)


def measure(model, arguments, kind, tokens, depth, sequences):
    peer = Peer(model, arguments.t, depth + tokens, sequences)
    for sequence in range(sequences):
        if depth > 0:
            peer.prompt(sequence, 0, depth)
    speeds = []
    for repetition in range(arguments.r + 1):
        count = tokens if repetition > 0 else min(tokens, BATCH) if kind == "pp" else 1
        start = time.perf_counter()
        if kind == "pp":
            peer.prompt(0, depth, count)
        else:
            peer.generate(sequences, depth, count)
        seconds = time.perf_counter() - start
        peer.forget(sequences, depth)
        if repetition > 0:
            speeds.append(tokens * sequences / seconds)
    peer.close()
    name = f"{kind}{tokens}" + (f"x{sequences}" if sequences > 1 else "")
    name += f"@{depth}" if depth > 0 else ""
    return {"test": name, "tok_s": {"min": min(speeds), "median": statistics.median(speeds),
                                    "max": max(speeds)}}


def write_logits(model, arguments):
    import numpy

    peer = Peer(model, arguments.t, len(arguments.logits), 1)
    for index, token in enumerate(arguments.logits):
        peer.batch.token[index] = token
        peer.batch.pos[index] = index
        peer.batch.n_seq_id[index] = 1
        peer.batch.seq_id[index][0] = 0
        peer.batch.logits[index] = True
    peer.batch.n_tokens = len(arguments.logits)
    if ll.llama_decode(peer.context, peer.batch) != 0:
        raise SystemExit("llama.cpp could not decode a batch")
    rows = [numpy.ctypeslib.as_array(ll.llama_get_logits_ith(peer.context, index),
                                     (peer.vocabulary,)).copy()
            for index in range(len(arguments.logits))]
    numpy.save(arguments.out, numpy.stack(rows))


def main():
    arguments = parse_arguments()
    silence = ll.llama_log_callback(lambda level, text, data: None)
    ll.llama_log_set(silence, ctypes.c_void_p(0))
    ll.llama_backend_init()
    start = time.perf_counter()
    model = ll.llama_model_load_from_file(arguments.model.encode(), ll.llama_model_default_params())
    if not model:
        raise SystemExit(f"llama.cpp does not load {arguments.model}")
    if arguments.first_token:
        peer = Peer(model, arguments.t, 256, 1)
        peer.prompt(0, 0, 4)
        print(json.dumps({"seconds": time.perf_counter() - start}))
        return
    if arguments.logits:
        write_logits(model, arguments)
        return
    results = []
    for depth in arguments.d:
        for tokens in filter(None, arguments.p):
            results.append(measure(model, arguments, "pp", tokens, depth, 1))
        for tokens in filter(None, arguments.n):
            for sequences in arguments.b:
                results.append(measure(model, arguments, "tg", tokens, depth, sequences))
    print(json.dumps({"results": results}))


if __name__ == "__main__":
    main()
