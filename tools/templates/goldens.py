#!/usr/bin/env python3
"""Golden outputs of chat templates, rendered by transformers' own code.

usage: goldens.py TEMPLATES_DIR CONVERSATIONS_JSON OUT_JSON
       goldens.py --show TEMPLATE_FILE CONVERSATIONS_JSON CONVERSATION

Needs transformers and jinja2 from PyPI. Writes, for every template and conversation, the SHA-256 and the length of
the rendered text, or the class of the refusal: the texts themselves hold the templates' authors' wording.
--show prints one text, to compare with what the failing test printed.
"""

import datetime
import hashlib
import json
import pathlib
import sys

import jinja2
from transformers.utils import chat_template_utils as reference


class FixedTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime(2024, 7, 6, 15, 4, 5)


reference.datetime = FixedTime


def render(source, conversation):
    # As apply_chat_template calls it: keys without a value are dropped before.
    rendered, _ = reference.render_jinja_template(
        conversations=[conversation["messages"]],
        tools=conversation.get("tools"),
        documents=None,
        chat_template=source,
        add_generation_prompt=conversation["add_generation_prompt"],
        **{"bos_token": "<s>", "eos_token": "</s>", **conversation.get("extra", {})},
    )
    return rendered[0]


def outcome(source, conversation):
    try:
        text = render(source, conversation)
    except jinja2.exceptions.TemplateError as error:
        return "refused" if type(error) is jinja2.exceptions.TemplateError else "error"
    except Exception:
        return "error"
    data = text.encode()
    return [hashlib.sha256(data).hexdigest()[:32], len(data)]


def main():
    if sys.argv[1] == "--show":
        _, _, template, conversations, name = sys.argv
        chosen = next(c for c in json.loads(pathlib.Path(conversations).read_text()) if c["name"] == name)
        sys.stdout.write(render(pathlib.Path(template).read_text(), chosen))
        return
    root, conversations, out = map(pathlib.Path, sys.argv[1:])
    conversations = json.loads(conversations.read_text())
    goldens = {}
    for path in sorted(root.rglob("*.jinja")):
        source = path.read_text()
        name = path.relative_to(root).as_posix()
        goldens[name] = {c["name"]: outcome(source, c) for c in conversations}
    lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in goldens.items()]
    out.write_text("{\n" + ",\n".join(lines) + "\n}\n")


main()
