#!/usr/bin/env python3
"""What llama.cpp makes of a GGUF file: a greedy continuation, and logits on request.

For checking files that `lucid convert` writes. Temperature 0, keys and values in f32, one thread,
no repetition penalty, no context shift. Prints one JSON object: the prompt's ids, the
continuation's ids, and its text. Made with llama-cpp-python 0.3.36:

    pip install llama-cpp-python==0.3.36 numpy
    python tools/goldens/compare_llama_cpp.py model.gguf --prompt "Once upon a time" -n 64
    python tools/goldens/compare_llama_cpp.py model.gguf --tokens 1,403,407 --logits out.npy

`--expect FILE` compares the whole text (prompt and continuation) with a file and exits with 1 where
they differ. `--logits` writes f32 [T, V] for the prompt, as `lucid logits` does.
"""

import argparse
import json
import pathlib
import sys

import llama_cpp
import numpy as np

GGML_TYPE_F32 = 0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--prompt", help="text; BOS is added where the file says so")
    what.add_argument("--tokens", help="ids, comma-separated; nothing is added")
    parser.add_argument("-n", type=int, default=32, help="tokens to generate")
    parser.add_argument("--logits", type=pathlib.Path, help="write the prompt's logits here (.npy)")
    parser.add_argument("--expect", type=pathlib.Path, help="the text that must come out")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    model = llama_cpp.Llama(
        model_path=str(arguments.model), n_ctx=0, n_threads=1, n_threads_batch=1, n_gpu_layers=0,
        type_k=GGML_TYPE_F32, type_v=GGML_TYPE_F32, flash_attn=False, verbose=False,
        logits_all=arguments.logits is not None,
    )
    if arguments.tokens is not None:
        prompt = [int(token) for token in arguments.tokens.split(",")]
    else:
        # llama.cpp adds BOS only if the metadata asks for it.
        prompt = model.tokenize(arguments.prompt.encode(), add_bos=True, special=False)
    if arguments.logits is not None:
        model.reset()
        model.eval(prompt)
        np.save(arguments.logits, np.array(model.scores[: len(prompt)], dtype="<f4"))
        model.reset()

    generated = []
    end = model.token_eos()
    if arguments.n > 0:
        for token in model.generate(prompt, temp=0.0, top_k=1, repeat_penalty=1.0):
            if token == end:
                break
            generated.append(token)
            if len(generated) >= arguments.n or len(prompt) + len(generated) >= model.n_ctx():
                break
    before = model.detokenize(prompt)
    whole = model.detokenize(prompt + generated)
    text = whole[len(before):].decode("utf-8", errors="replace")
    print(json.dumps({"prompt": prompt, "generated": generated, "text": text}, ensure_ascii=False))
    if arguments.expect is not None:
        wanted, found = arguments.expect.read_bytes(), whole
        if found.strip() != wanted.strip():
            print(f"differs from {arguments.expect}:\n{found.decode(errors='replace')}",
                  file=sys.stderr)
            sys.exit(1)


if __name__ == "__main__":
    main()
