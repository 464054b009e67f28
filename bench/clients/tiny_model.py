"""A GGUF file of a tiny model with random weights, for tests of protocols: every byte is a token,
the template is in the manner of ChatML with tools and reasoning, the context holds 4096 tokens.

    python3 bench/clients/tiny_model.py OUT.gguf
"""

import random
import struct
import sys

WIDTH, FEED_FORWARD, HEADS, KV_HEADS, LAYERS, CONTEXT = 64, 128, 4, 2, 2, 4096
CONTROL = ["<|begin|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>",
           "</tool_call>"]
BEGIN, END = 256, 258

TEMPLATE = """\
{%- if tools %}<|im_start|>system
{%- if messages[0].role == 'system' %}
{{ messages[0].content }}
{%- endif %}
Functions you may call, one JSON object a line:
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
Call one so:
<tool_call>
{"name": NAME, "arguments": OBJECT}
</tool_call><|im_end|>
{% elif messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'system' and loop.first %}
{%- elif message.role == 'tool' %}<|im_start|>tool
{{ message.content }}<|im_end|>
{% else %}<|im_start|>{{ message.role }}
{% if message.content %}{{ message.content }}{% endif %}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and not enable_thinking %}<think>

</think>

{% endif %}
{%- endif %}"""


def byte_alphabet():
    """GPT-2's letters for bytes: printable ones stand for themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, beyond = {}, 256
    for byte in range(256):
        if byte in printable:
            letters[byte] = chr(byte)
        else:
            letters[byte] = chr(beyond)
            beyond += 1
    return [letters[byte] for byte in range(256)]


def text(value):
    value = value.encode()
    return struct.pack("<Q", len(value)) + value


def metadata():
    # The one merge is a token as well.
    tokens = byte_alphabet() + CONTROL + ["he"]
    kinds = [1] * 256 + [3] * len(CONTROL) + [1]
    unsigned, real, boolean, string = 4, 6, 7, 8

    def listed(kind, packed, count):
        return (9, struct.pack("<IQ", kind, count) + packed)

    fields = {
        "general.architecture": (string, text("llama")),
        "general.name": (string, text("Tiny")),
        "llama.block_count": (unsigned, struct.pack("<I", LAYERS)),
        "llama.context_length": (unsigned, struct.pack("<I", CONTEXT)),
        "llama.embedding_length": (unsigned, struct.pack("<I", WIDTH)),
        "llama.feed_forward_length": (unsigned, struct.pack("<I", FEED_FORWARD)),
        "llama.attention.head_count": (unsigned, struct.pack("<I", HEADS)),
        "llama.attention.head_count_kv": (unsigned, struct.pack("<I", KV_HEADS)),
        "llama.attention.layer_norm_rms_epsilon": (real, struct.pack("<f", 1e-5)),
        "llama.rope.dimension_count": (unsigned, struct.pack("<I", WIDTH // HEADS)),
        "llama.rope.freq_base": (real, struct.pack("<f", 10_000.0)),
        "llama.vocab_size": (unsigned, struct.pack("<I", len(tokens))),
        "tokenizer.ggml.model": (string, text("gpt2")),
        "tokenizer.ggml.pre": (string, text("gpt-2")),
        "tokenizer.ggml.tokens": listed(string, b"".join(map(text, tokens)), len(tokens)),
        "tokenizer.ggml.token_type": listed(5, struct.pack(f"<{len(kinds)}i", *kinds), len(kinds)),
        "tokenizer.ggml.merges": listed(string, text("h e"), 1),
        "tokenizer.ggml.bos_token_id": (unsigned, struct.pack("<I", BEGIN)),
        "tokenizer.ggml.eos_token_id": (unsigned, struct.pack("<I", END)),
        "tokenizer.ggml.add_bos_token": (boolean, b"\0"),
        "tokenizer.chat_template": (string, text(TEMPLATE)),
    }
    return fields, len(tokens)


def shapes(vocab):
    """Names and dimensions, GGUF's way: innermost first."""
    kv_width = WIDTH // HEADS * KV_HEADS
    yield "token_embd.weight", (WIDTH, vocab), 1.0
    for layer in range(LAYERS):
        for name, dimensions in [
            ("attn_q", (WIDTH, WIDTH)), ("attn_k", (WIDTH, kv_width)),
            ("attn_v", (WIDTH, kv_width)), ("attn_output", (WIDTH, WIDTH)),
            ("ffn_gate", (WIDTH, FEED_FORWARD)), ("ffn_up", (WIDTH, FEED_FORWARD)),
            ("ffn_down", (FEED_FORWARD, WIDTH)),
        ]:
            yield f"blk.{layer}.{name}.weight", dimensions, 0.1
        yield f"blk.{layer}.attn_norm.weight", (WIDTH,), None
        yield f"blk.{layer}.ffn_norm.weight", (WIDTH,), None
    yield "output_norm.weight", (WIDTH,), None
    yield "output.weight", (WIDTH, vocab), 0.15


def write(path):
    fields, vocab = metadata()
    tensors = list(shapes(vocab))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields))
    for key, (kind, value) in fields.items():
        head += text(key) + struct.pack("<I", kind) + value
    numbers, data = random.Random(1), b""
    for name, dimensions, scale in tensors:
        count = 1
        for dimension in dimensions:
            count *= dimension
        head += text(name) + struct.pack("<I", len(dimensions))
        head += struct.pack(f"<{len(dimensions)}Q", *dimensions) + struct.pack("<IQ", 0, len(data))
        values = [1.0 if scale is None else numbers.gauss(0.0, scale) for _ in range(count)]
        data += struct.pack(f"<{count}f", *values)
        data += b"\0" * (-len(data) % 32)
    head += b"\0" * (-len(head) % 32)
    with open(path, "wb") as file:
        file.write(head + data)


if __name__ == "__main__":
    write(sys.argv[1])
