#!/usr/bin/env python3
"""Low-rank adapters of the golden models, and what PEFT computes with them.

Writes one folder per adapter below crates/engine/tests/adapters (layout: README.md beside this
script). Needs the models that `models.py` made. Made with torch 2.15.0, transformers 5.23.0,
peft 0.21.2, gguf 0.19.0, safetensors 0.8.0, numpy 2.4.6 on CPython 3.11:

    python tools/goldens/adapters.py

The adapter is PEFT's own, filled from numpy's PCG64, saved by PEFT; the logits are those of
PEFT's model, loaded from what was saved. The GGUF file holds the same numbers as llama.cpp's
converter would name, order and scale them (`adapter.lora.alpha`, rows of queries and keys of
`llama` for rotating neighbours); it is written where one alpha and one rule of scaling suffice.
An adapter is written only if it moves the logits by more than a tenth.
"""

import pathlib
import re
import shutil

import gguf
import numpy as np
import peft
import torch
import transformers
from transformers import AutoModelForCausalLM

TESTS = pathlib.Path(__file__).resolve().parents[2] / "crates/engine/tests"
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]

# name: model, PEFT's settings, whether a GGUF file says the same.
ADAPTERS = {
    "llama3-all": dict(
        model="llama3", gguf=True,
        lora=dict(r=4, lora_alpha=6, target_modules=ATTENTION + MLP + ["lm_head"])),
    "qwen3-all": dict(
        model="qwen3", gguf=True, lora=dict(r=5, lora_alpha=5, target_modules=ATTENTION + MLP)),
    # The embedding, which is the head's matrix too, but only as an embedding.
    "gemma3-embedding": dict(
        model="gemma3", gguf=True,
        lora=dict(r=3, lora_alpha=3, target_modules=["embed_tokens", "v_proj", "down_proj"])),
    "llama3-patterns": dict(
        model="llama3", gguf=False,
        lora=dict(r=4, lora_alpha=3, use_rslora=True, target_modules=["q_proj", "up_proj"],
                  rank_pattern={"layers.1.self_attn.q_proj": 7},
                  alpha_pattern={"up_proj": 2, "layers.2.self_attn.q_proj": 9})),
}
MODULES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def base(name):
    return AutoModelForCausalLM.from_pretrained(
        TESTS / "goldens" / name, dtype=torch.float32, attn_implementation="eager").eval()


@torch.no_grad()
def logits(model, tokens):
    return model(torch.from_numpy(tokens.astype(np.int64))[None]).logits[0].numpy()


@torch.no_grad()
def fill(model, seed):
    """Factors whose product moves a row by about as much as the row is long."""
    random = np.random.Generator(np.random.PCG64(seed))
    for name, tensor in sorted(model.named_parameters()):
        if "lora_" in name:
            values = 0.9 * random.standard_normal(tuple(tensor.shape)) / np.sqrt(tensor.shape[1])
            if "embedding_A" in name:
                values *= np.sqrt(tensor.shape[1] / tensor.shape[0])
            tensor.copy_(torch.from_numpy(values.astype(np.float32)))


def gguf_name(module):
    if module == "lm_head":
        return "output.weight"
    if module == "model.embed_tokens":
        return "token_embd.weight"
    layer, rest = re.fullmatch(r"model\.layers\.(\d+)\.(.*)", module).groups()
    return f"blk.{layer}.{MODULES[rest]}.weight"


def neighbours(rows, heads):
    """Rows of halves in the order in which neighbours rotate."""
    parts = rows.reshape(heads, 2, rows.shape[0] // heads // 2, rows.shape[1])
    return np.ascontiguousarray(parts.swapaxes(1, 2).reshape(rows.shape))


def write_gguf(path, model, config, alpha):
    arch = {"llama": "llama", "qwen3": "qwen3", "gemma3_text": "gemma3"}[config.model_type]
    writer = gguf.GGUFWriter(path, arch)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(alpha))
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, module in model.base_model.model.named_modules():
        if not hasattr(module, "lora_A"):
            continue
        target = gguf_name(name)
        if name.endswith("embed_tokens"):
            a = module.lora_embedding_A["default"].detach().numpy().T
            b = module.lora_embedding_B["default"].detach().numpy()
        else:
            a = module.lora_A["default"].weight.detach().numpy()
            b = module.lora_B["default"].weight.detach().numpy()
            kind = target.split(".")[2] if target.startswith("blk.") else ""
            if arch == "llama" and kind in heads:
                b = neighbours(b, heads[kind])
        writer.add_tensor(f"{target}.lora_a", np.ascontiguousarray(a))
        writer.add_tensor(f"{target}.lora_b", np.ascontiguousarray(b))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(name, spec, seed):
    folder = TESTS / "adapters" / name
    settings = peft.LoraConfig(task_type="CAUSAL_LM", **spec["lora"])
    model = peft.get_peft_model(base(spec["model"]), settings)
    fill(model, seed)
    model.save_pretrained(folder, save_embedding_layers=False)
    for path in folder.iterdir():
        if path.name not in ("adapter_config.json", "adapter_model.safetensors"):
            path.unlink()
    # The folder's own path says nothing.
    config = folder / "adapter_config.json"
    text = re.sub(r'("base_model_name_or_path": )"[^"]*"', r'\1"' + spec["model"] + '"',
                  config.read_text())
    config.write_text(text.rstrip() + "\n")
    tokens = np.load(TESTS / "goldens" / spec["model"] / "tokens.npy")
    plain = logits(base(spec["model"]), tokens)
    loaded = peft.PeftModel.from_pretrained(base(spec["model"]), folder).eval()
    adapted = logits(loaded, tokens)
    moved = float(np.abs(adapted - plain).max() / np.abs(plain).max())
    print(f"{name}: the logits move by {moved:.2f}, std {adapted.std():.2f}")
    assert moved > 0.1
    np.save(folder / "logits.npy", np.ascontiguousarray(adapted, "<f4"))
    if spec["gguf"]:
        write_gguf(folder / "adapter.gguf", loaded, loaded.base_model.model.config,
                   spec["lora"]["lora_alpha"])


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    shutil.rmtree(TESTS / "adapters", ignore_errors=True)
    for seed, (name, spec) in enumerate(ADAPTERS.items(), 1):
        make(name, spec, seed)


if __name__ == "__main__":
    main()
