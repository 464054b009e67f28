"""What `lucid convert` wrote, loaded by transformers, tokenizers and llama.cpp.

Usage: export.py FOLDER, with text.txt, ids.json (Lucid's ids of that text), logits.npy (Lucid's
logits of these ids), hf/ (safetensors), run/model.gguf. Prints the largest differences; fails
above their bounds.
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TRANSFORMERS_BOUND = 1e-4
LLAMA_CPP_BOUND = 1e-3


def compare(name, ours, theirs, bound):
    worst = float(np.abs(ours - theirs).max())
    print(f"{name}: logits differ by {worst:.1e} at most, of {np.abs(ours).max():.1f}")
    assert worst <= bound, f"{name}: {worst} is above {bound}"


def main(folder):
    text = (folder / "text.txt").read_bytes().decode()
    ids = json.loads((folder / "ids.json").read_text())
    ours = np.load(folder / "logits.npy")

    tokenizer = AutoTokenizer.from_pretrained(folder / "hf")
    assert tokenizer(text)["input_ids"] == ids, (tokenizer(text)["input_ids"], ids)
    assert tokenizer.bos_token_id == ids[0] and tokenizer.eos_token == "<|end|>", tokenizer
    model = AutoModelForCausalLM.from_pretrained(folder / "hf", attn_implementation="eager")
    assert model.dtype == torch.float32
    end = tokenizer.eos_token_id
    assert model.config.eos_token_id == end, model.config.eos_token_id
    with torch.no_grad():
        theirs = model(torch.tensor([ids])).logits[0].numpy()
    compare("transformers", ours, theirs, TRANSFORMERS_BOUND)

    try:
        import llama_cpp
    except ImportError:
        print("llama.cpp: skipped, no llama-cpp-python")
        return
    f32 = 0
    llama = llama_cpp.Llama(
        str(folder / "run/model.gguf"),
        n_ctx=128,
        logits_all=True,
        type_k=f32,
        type_v=f32,
        verbose=False,
    )
    found = llama.tokenize(text.encode(), add_bos=True, special=True)
    assert found == ids, (found, ids)
    assert llama.token_eos() == end
    llama.eval(ids)
    compare("llama.cpp", ours, llama.scores[: len(ids)], LLAMA_CPP_BOUND)


main(Path(sys.argv[1]))
