#!/usr/bin/env python3
"""How much of the curriculum's held-out side a tuned model gets right.

    lucid data curriculum -o lessons
    lucid serve MODEL --port 8080 &
    python3 bench/curriculum.py lessons/held-out.jsonl --url http://127.0.0.1:8080 --model MODEL

Greedy answers over OpenAI's protocol, tools declared; a call of the calculator is computed here and
its result handed back. Judged by each line's `check`, exactly as `lucid_train::curriculum::Check`
does. Needs nothing but Python.
"""

import argparse
import collections
import fractions
import json
import math
import re
import urllib.request

EXPRESSION = re.compile(r"\s*(\d+)\s*([-+*/])\s*(\d+)\s*")


def asked(arguments, messages, tools):
    """The model's next message."""
    body = {"model": arguments.model, "messages": messages, "temperature": 0, "max_tokens": 160}
    if tools:
        body["tools"] = tools
    request = urllib.request.Request(
        arguments.url + "/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["choices"][0]["message"]


def computed(text):
    """What the calculator gives for two numbers and a sign."""
    found = EXPRESSION.fullmatch(text)
    if not found:
        return "this is no expression"
    a, sign, b = fractions.Fraction(found[1]), found[2], fractions.Fraction(found[3])
    if sign == "/" and b == 0:
        return "division by zero"
    value = {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else 0}[sign]
    return str(value)


def calls_of(message):
    """Names and arguments of the calls; arguments that are no JSON are none."""
    calls = []
    for call in message.get("tool_calls") or []:
        try:
            arguments = json.loads(call["function"]["arguments"])
        except ValueError:
            arguments = None
        calls.append((call["function"]["name"], arguments))
    return calls


def has_words(text, words):
    """Whether words stand in a text as words, not as parts of others."""
    return re.search(r"(?<!\w)" + re.escape(words) + r"(?!\w)", text) is not None


def is_right(check, text, calls):
    """Whether an answer passes its check."""
    if isinstance(check, dict) and "calls" in check:
        return calls == [(check["calls"]["name"], check["calls"]["arguments"])]
    if calls:
        return False
    if check == "declines":
        return "does not say" in text
    if "says" in check:
        return any(has_words(text, words) for words in check["says"])
    if "number" in check:
        numbers = [part.replace(",", "").rstrip(".") for part in re.split(r"[^\d.,\-/]", text)]
        numbers = [number for number in numbers if number]
        return bool(numbers) and numbers[-1] == check["number"]
    return text.strip() == check["exactly"]


def interval(right, count):
    """Wilson's 95 % interval, in percent."""
    z, share = 1.96, right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    half /= 1 + z * z / count
    return 100 * (middle - half), 100 * (middle + half)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("items")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    right, count = collections.Counter(), collections.Counter()
    called = 0
    with open(arguments.items, encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines]
    for item in items:
        messages, tools, check = item["messages"], item.get("tools"), item["check"]
        last = max(at for at, message in enumerate(messages) if message["role"] == "user")
        messages = messages[: last + 1]
        answer = asked(arguments, messages, tools)
        if item["skill"] == "calculator" and answer.get("tool_calls"):
            called += 1
            name, given = calls_of(answer)[0]
            given = given if name == "calculator" and isinstance(given, dict) else {}
            result = computed(str(given.get("expression", "")))
            call = answer["tool_calls"][:1]
            messages = messages + [
                {"role": "assistant", "content": None, "tool_calls": call},
                {"role": "tool", "tool_call_id": call[0]["id"], "content": result},
            ]
            answer = asked(arguments, messages, tools)
        skill = item["skill"]
        if skill == "passage":
            skill += ", not answered there" if check == "declines" else ", answered there"
        count[skill] += 1
        right[skill] += is_right(check, answer.get("content") or "", calls_of(answer))
    for skill in sorted(count):
        low, high = interval(right[skill], count[skill])
        print(f"{skill}: {right[skill]} of {count[skill]} ({low:.1f} to {high:.1f} %)")
    print(f"the calculator was called in {called} of {count['calculator']}")


if __name__ == "__main__":
    main()
