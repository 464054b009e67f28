#!/usr/bin/env python3
"""Tiny random-weight models and what a reference implementation computes with them.

Writes one folder per model below crates/engine/tests/goldens (layout: README.md beside this
script). The reference is Hugging Face `transformers` on the CPU with eager attention. Made with
torch 2.15.0, transformers 5.23.0, safetensors 0.8.0, numpy 2.4.6 on CPython 3.11:

    pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 numpy==2.4.6
    python tools/goldens/models.py

Weights come from numpy's PCG64 with a fixed seed per model, so only the computed arrays depend on
the versions. A model is written only if the golden can notice a mistake: its logits must have a
standard deviation of at least 1, each layer must change the residual stream by at least 10 %, and
every feature in `without` must move the logits by more than 1 % (a hundred tolerances) when it is
turned off.
"""

import copy
import json
import pathlib
import shutil

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/engine/tests/goldens"
BYTES_MAX = 5_000_000


def rope(theta, **scaling):
    return {"rope_type": "default", "rope_theta": theta} | scaling


LLAMA = dict(
    model_type="llama", hidden_size=64, intermediate_size=76, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, head_dim=16, vocab_size=131,
    max_position_embeddings=256, rms_norm_eps=1e-5, tie_word_embeddings=False,
    bos_token_id=1, eos_token_id=2, rope_parameters=rope(10000.0),
)
LLAMA3 = rope(10000.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
GEMMA = LLAMA | dict(
    model_type="gemma3_text", hidden_size=72, intermediate_size=52, num_hidden_layers=4,
    head_dim=24, query_pre_attn_scalar=20, sliding_window=12, tie_word_embeddings=True,
    rms_norm_eps=1e-6, hidden_activation="gelu_pytorch_tanh",
    layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
    rope_parameters={
        "sliding_attention": rope(10000.0),
        "full_attention": rope(1000000.0, rope_type="linear", factor=8.0),
    },
)

# name: config, positions, dtype of the file, then features and the config that lacks each.
MODELS = {
    "llama3": dict(
        config=LLAMA | dict(num_hidden_layers=3, rope_parameters=LLAMA3), positions=48,
        without={"llama3 scaling": dict(rope_parameters=rope(10000.0))},
    ),
    # Nothing here is a multiple of 8; one head of keys and values for all queries; tied.
    "llama-odd": dict(
        config=LLAMA | dict(hidden_size=75, num_attention_heads=3, num_key_value_heads=1,
                            head_dim=18, intermediate_size=100, rms_norm_eps=1e-6,
                            tie_word_embeddings=True),
        positions=41, without={"rms_norm_eps": dict(rms_norm_eps=1e-1)},
    ),
    "llama-linear": dict(
        config=LLAMA | dict(hidden_size=60, num_attention_heads=6, num_key_value_heads=3,
                            head_dim=10, intermediate_size=90, vocab_size=97,
                            rope_parameters=rope(20000.0, rope_type="linear", factor=2.5)),
        positions=44,
        without={"linear scaling": dict(rope_parameters=rope(20000.0)),
                 "theta": dict(rope_parameters=rope(10000.0, rope_type="linear", factor=2.5))},
    ),
    # Several files and an index; its config.json has the keys of transformers 4.
    "llama-sharded": dict(
        config=LLAMA | dict(hidden_size=48, intermediate_size=64, head_dim=12, vocab_size=99),
        positions=40, shard="40KB", old_config=True, without={},
    ),
    "llama-bf16": dict(config=LLAMA | dict(rope_parameters=LLAMA3), positions=48, bf16=True,
                       without={}),
    "mistral": dict(
        config=LLAMA | dict(model_type="mistral", head_dim=24, sliding_window=16), positions=56,
        without={"window": dict(sliding_window=None), "one more": dict(sliding_window=17)},
    ),
    "qwen2": dict(
        config=LLAMA | dict(model_type="qwen2", tie_word_embeddings=True, rms_norm_eps=1e-6,
                            rope_parameters=rope(1000000.0), use_sliding_window=False),
        drop=["head_dim"], positions=48,
        without={"theta": dict(rope_parameters=rope(10000.0))},
    ),
    "qwen3": dict(
        config=LLAMA | dict(model_type="qwen3", head_dim=32, rms_norm_eps=1e-6, vocab_size=151,
                            rope_parameters=rope(1000000.0), use_sliding_window=False),
        positions=48, without={"theta": dict(rope_parameters=rope(10000.0))},
    ),
    "gemma3": dict(
        config=GEMMA, positions=52,
        without={
            "window": dict(sliding_window=4096), "one more": dict(sliding_window=13),
            "query scale": dict(query_pre_attn_scalar=24),
            "order of windows": dict(layer_types=["sliding_attention", "full_attention"] * 2),
            "local theta": dict(rope_parameters={
                "sliding_attention": rope(1000000.0),
                "full_attention": rope(1000000.0, rope_type="linear", factor=8.0)}),
            "global scaling": dict(rope_parameters={
                "sliding_attention": rope(10000.0), "full_attention": rope(1000000.0)}),
        },
    ),
    # The pattern of the published models, five windows to one, and one layer more.
    "gemma3-pattern6": dict(
        config=GEMMA | dict(
            hidden_size=40, num_attention_heads=5, num_key_value_heads=1, head_dim=12,
            query_pre_attn_scalar=12, intermediate_size=56, num_hidden_layers=7, vocab_size=99,
            layer_types=["sliding_attention"] * 5 + ["full_attention", "sliding_attention"],
            rope_parameters={"sliding_attention": rope(10000.0),
                             "full_attention": rope(1000000.0)}),
        positions=40,
        without={"global layer": dict(layer_types=["sliding_attention"] * 7)},
    ),
    "gemma3-bf16": dict(
        config=GEMMA | dict(num_hidden_layers=2,
                            layer_types=["sliding_attention", "full_attention"]),
        positions=40, bf16=True, without={},
    ),
}


def build(config, dtype=torch.float32):
    """An empty model of this configuration."""
    config = copy.deepcopy(config)
    config = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=dtype)
    return model.eval()


@torch.no_grad()
def fill(model, seed, gain):
    """Weights of about unit gain; a tied embedding small enough for logits of a few units."""
    random = np.random.Generator(np.random.PCG64(seed))
    tied = model.config.tie_word_embeddings
    is_gemma = model.config.model_type.startswith("gemma3")
    hidden = model.config.hidden_size
    for name, tensor in sorted(model.named_parameters()):
        values = random.standard_normal(tuple(tensor.shape))
        if "norm" in name:
            # gemma3 stores the distance from 1.
            values = 0.3 * values + (0.0 if is_gemma else 1.0)
        elif name.endswith(".bias"):
            values = 0.5 * values
        elif "embed_tokens" in name:
            # gemma3 multiplies by the root of the hidden size what it reads.
            values *= 1.6 / np.sqrt(hidden) if tied or is_gemma else 1.0
        elif "lm_head" in name:
            values *= 1.5 / np.sqrt(hidden)
        elif "q_proj" in name or "k_proj" in name:
            values *= 1.5 * gain / np.sqrt(hidden)
        else:
            values *= 1.3 * gain / np.sqrt(tensor.shape[1])
            if tied and not is_gemma:
                values *= 0.4
        tensor.copy_(torch.from_numpy(values.astype(np.float32)))


@torch.no_grad()
def run(model, tokens):
    """Logits [T, V], the residual stream [L + 1, T, H] and the last norm's output [T, H]."""
    stream, final = [], []
    layers = model.model.layers
    first = lambda output: output[0] if isinstance(output, tuple) else output
    hooks = [layers[0].register_forward_pre_hook(
        lambda _, args, kwargs: stream.append(args[0] if args else kwargs["hidden_states"]),
        with_kwargs=True)]
    for layer in layers:
        hooks.append(layer.register_forward_hook(lambda _m, _i, out: stream.append(first(out))))
    hooks.append(model.model.norm.register_forward_hook(lambda _m, _i, out: final.append(out)))
    output = model(torch.from_numpy(tokens.astype(np.int64))[None], use_cache=False,
                   output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    plain = lambda tensor: tensor[0].float().numpy()
    stream = np.stack([plain(tensor) for tensor in stream])
    # What transformers itself calls hidden states: the last one is after the norm.
    theirs = np.stack([plain(tensor) for tensor in output.hidden_states])
    assert (theirs[:-1] == stream[:-1]).all() and (theirs[-1] == plain(final[0])).all()
    return plain(output.logits), stream, plain(final[0])


def distance(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


def old_style(config):
    """The same configuration with the keys that transformers wrote before version 5."""
    old = copy.deepcopy(config)
    old["torch_dtype"] = old.pop("dtype")
    old["transformers_version"] = "4.50.0"
    old.pop("_sliding_window_pattern", None)
    parameters = old.pop("rope_parameters")
    window = old.pop("layer_types", None)
    if config["model_type"] == "gemma3_text":
        local, whole = parameters["sliding_attention"], parameters["full_attention"]
        old["rope_local_base_freq"] = local["rope_theta"]
        old["sliding_window_pattern"] = window.index("full_attention") + 1
    else:
        whole = parameters
    old["rope_theta"] = whole["rope_theta"]
    scaling = {key: value for key, value in whole.items() if key != "rope_theta"}
    old["rope_scaling"] = None if scaling["rope_type"] == "default" else scaling
    if config["model_type"].startswith("qwen"):
        # What the published files say although no layer has a window.
        old |= dict(use_sliding_window=False, sliding_window=32, max_window_layers=2)
    return old


def check(name, model, spec, tokens, logits, stream):
    """Whether the golden would notice a mistake."""
    assert logits.std() >= 1.0, f"{name}: the logits' standard deviation is {logits.std():.2f}"
    changes = [np.linalg.norm(b - a) / np.linalg.norm(a) for a, b in zip(stream, stream[1:])]
    assert min(changes) > 0.1, f"{name}: a layer changes too little: {changes}"
    for feature, change in spec["without"].items():
        other = build(spec["config"] | change)
        other.load_state_dict(model.state_dict())
        moved = distance(run(other, tokens)[0], logits)
        print(f"    without {feature}: {moved:.3f}")
        assert moved > 0.01, f"{name}: {feature} hardly matters ({moved})"
    print(f"    std {logits.std():.2f}, layers change by", [f"{c:.2f}" for c in changes])


def check_old_config(name, folder, model, tokens, logits):
    """transformers reads the old keys as the same model."""
    path = folder / "config.old.json"
    if not path.exists():
        path = folder / "config.json"
    config = json.loads(path.read_text())
    other = build(config)
    other.load_state_dict(model.state_dict())
    assert distance(run(other, tokens)[0], logits) == 0, f"{name}: {path.name} is another model"


def write_model(folder, model, spec):
    folder.mkdir(parents=True)
    model.save_pretrained(folder, max_shard_size=spec.get("shard", "1GB"))
    for path in folder.iterdir():
        if path.name != "config.json" and "safetensors" not in path.name:
            path.unlink()
    config_path = folder / "config.json"
    config = json.loads(config_path.read_text())
    old = json.dumps(old_style(config), indent=2) + "\n"
    if spec.get("old_config"):
        config_path.write_text(old)
    else:
        (folder / "config.old.json").write_text(old)


def make(name, spec, seed):
    print(name)
    config = spec["config"]
    for key in spec.get("drop", []):
        config = {k: v for k, v in config.items() if k != key}
    spec = spec | dict(config=config)
    random = np.random.Generator(np.random.PCG64(1000 + seed))
    tokens = random.integers(0, config["vocab_size"], spec["positions"]).astype("<u4")
    dtype = torch.bfloat16 if spec.get("bf16") else torch.float32
    stored = build(config, dtype)
    # Rounding to bf16 would grow too much behind sharp attention and large layers.
    fill(stored, seed, gain=0.6 if spec.get("bf16") else 1.0)
    folder = OUT / name
    write_model(folder, stored, spec)

    # From the file, so that a golden shows what the file says.
    load = lambda dtype: AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager").eval()
    exact = load(torch.float32)
    logits, stream, final = run(exact, tokens)
    check_old_config(name, folder, exact, tokens, logits)
    check(name, exact, spec, tokens, logits, stream)
    arrays = dict(tokens=tokens, logits=logits, hidden=stream, final=final)
    if spec.get("bf16"):
        logits_bf16, stream_bf16, _ = run(load(torch.bfloat16), tokens)
        arrays |= dict(logits_bf16=logits_bf16, hidden_bf16=stream_bf16)
        print(f"    computed in bf16: {distance(logits_bf16, logits):.4f} from f32")
    for key, array in arrays.items():
        np.save(folder / f"{key}.npy", np.ascontiguousarray(array, array.dtype.newbyteorder("<")))


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    shutil.rmtree(OUT, ignore_errors=True)
    for seed, (name, spec) in enumerate(MODELS.items(), 1):
        make(name, spec, seed)
    total = 0
    for folder in sorted(OUT.iterdir()):
        size = sum(path.stat().st_size for path in folder.iterdir())
        total += size
        print(f"{size:>9} {folder.name}")
    print(f"{total:>9} bytes in all")
    assert total < BYTES_MAX


if __name__ == "__main__":
    main()
