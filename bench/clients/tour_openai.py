"""The tour of OpenAI's protocol, with the client `openai` from PyPI."""

import json
import time

import openai

from tour import HELLO

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}, "count": {"enum": [1, 2, 3]}},
    "required": ["colour", "count"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "calculator",
        "description": "Adds two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"enum": [1, 2, 3]}, "b": {"enum": [1, 2, 3]}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}
# A model with random weights may think until its tokens are spent; formats bind what follows.
PLAIN = {"reasoning_effort": "none", "max_tokens": 300}


def client(tour, **more):
    return openai.OpenAI(base_url=tour.url + "/v1", api_key=tour.key or "none", max_retries=0,
                         timeout=120, **more)


def ask(tour, **fields):
    fields = {"model": tour.model, "messages": HELLO, "max_tokens": 8, "seed": 1, **fields}
    return client(tour).chat.completions.create(**fields)


def models(tour):
    names = [model.id for model in client(tour).models.list()]
    tour.contains(names, tour.model, "models")
    one = client(tour).models.retrieve(tour.model)
    tour.equal((one.id, one.object), (tour.model, "model"), "one model")


def chat(tour):
    answer = ask(tour)
    tour.equal(answer.object, "chat.completion", "object")
    tour.equal(answer.choices[0].message.role, "assistant", "role")
    tour.contains(["stop", "length"], answer.choices[0].finish_reason, "finish_reason")
    usage = answer.usage
    tour.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens, "usage")
    tour.check(0 < usage.completion_tokens <= 8, f"{usage.completion_tokens} tokens")


def seeds(tour):
    texts = [ask(tour, seed=seed, max_tokens=16).choices[0].message.content for seed in (5, 5, 6)]
    tour.equal(texts[0], texts[1], "the same seed")
    tour.check(texts[0] != texts[2], "another seed gives another text")


def cached(tour):
    long = [{"role": "user", "content": "Tell me a story. " * 40}]
    ask(tour, messages=long)
    details = ask(tour, messages=long).usage.prompt_tokens_details
    tour.check(details.cached_tokens > 64, f"{details} of a prompt that was known")


def streaming(tour):
    whole = ask(tour, max_tokens=16).choices[0].message.content
    text, usage, reason = "", None, None
    for chunk in ask(tour, max_tokens=16, stream=True, stream_options={"include_usage": True}):
        tour.equal(chunk.object, "chat.completion.chunk", "object")
        if chunk.usage:
            usage = chunk.usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
    tour.equal(text, whole, "the stream says what the whole says")
    tour.contains(["stop", "length"], reason, "finish_reason")
    tour.check(usage and usage.completion_tokens > 0, "usage at the end")
    chunks = list(ask(tour, stream=True))
    tour.check(not any(chunk.usage for chunk in chunks), "no usage unless it is asked for")

    def leave():
        with ask(tour, max_tokens=3000, stream=True, extra_body={"ignore_eos": True}) as stream:
            next(iter(stream))

    tour.gives_up(leave, "a stream that is left")


def several(tour):
    answer = ask(tour, n=3, temperature=1.5)
    tour.equal([choice.index for choice in answer.choices], [0, 1, 2], "n")
    tour.check(len({choice.message.content for choice in answer.choices}) > 1, "answers differ")
    seen = {choice.index for chunk in ask(tour, n=2, stream=True) for choice in chunk.choices}
    tour.equal(seen, {0, 1}, "n, streamed")


def log_probs(tour):
    content = ask(tour, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    tour.check(len(content) > 0, "logprobs")
    for token in content:
        tour.check(token.logprob <= 0 and len(token.top_logprobs) == 3, f"{token}")
        best = [other.logprob for other in token.top_logprobs]
        tour.equal(best, sorted(best, reverse=True), "the best first")
        tour.check(bytes(token.bytes) or token.token == "", "bytes")


def stops_and_bias(tour):
    answer = ask(tour, max_tokens=4, logit_bias={"65": 100}, temperature=0)
    tour.equal(answer.choices[0].message.content, "AAAA", "a bias decides (token 65 is `A`)")
    tour.equal(answer.choices[0].finish_reason, "length", "finish_reason")
    answer = ask(tour, max_tokens=8, logit_bias={"65": 100}, temperature=0, stop=["AA"])
    tour.equal(answer.choices[0].message.content, "", "the stop text is no part of the answer")
    tour.equal(answer.choices[0].finish_reason, "stop", "finish_reason")


def formats(tour):
    schema = {"name": "thing", "strict": True, "schema": SCHEMA}
    for seed in range(3):
        form = {"type": "json_schema", "json_schema": schema}
        answer = ask(tour, seed=seed, response_format=form, **PLAIN)
        value = json.loads(answer.choices[0].message.content)
        tour.check(value["colour"] in ("red", "green") and value["count"] in (1, 2, 3), f"{value}")
        tour.equal(set(value), {"colour", "count"}, "nothing else")
    for seed in range(12):
        answer = ask(tour, seed=seed, max_tokens=300, response_format=form,
                     messages=[{"role": "user", "content": "1 + 2?"}]).choices[0]
        if answer.finish_reason == "stop":
            value = json.loads(answer.message.content)
            tour.equal(set(value), {"colour", "count"}, "whatever was thought before")
    with tour.refused(openai.BadRequestError, "a schema that is none"):
        schema = {"name": "thing", "schema": {"type": "no such type"}}
        ask(tour, response_format={"type": "json_schema", "json_schema": schema})


def tools(tour):
    answer = ask(tour, tools=[TOOL], tool_choice="required", parallel_tool_calls=False, **PLAIN)
    choice = answer.choices[0]
    tour.equal(choice.finish_reason, "tool_calls", "finish_reason")
    call = choice.message.tool_calls[0]
    tour.equal((call.type, call.function.name), ("function", "calculator"), "the call")
    arguments = json.loads(call.function.arguments)
    tour.check(arguments["a"] in (1, 2, 3) and arguments["b"] in (1, 2, 3), f"{arguments}")
    named = {"type": "function", "function": {"name": "calculator"}}
    name, arguments, reason = "", "", None
    for chunk in ask(tour, tools=[TOOL], tool_choice=named, stream=True, **PLAIN):
        for choice in chunk.choices:
            reason = choice.finish_reason or reason
            for part in choice.delta.tool_calls or []:
                if part.index == 0:
                    name += part.function.name or ""
                    arguments += part.function.arguments or ""
    tour.equal((name, reason), ("calculator", "tool_calls"), "the call, streamed")
    tour.equal(set(json.loads(arguments)), {"a", "b"}, "its arguments")
    none = ask(tour, tools=[TOOL], tool_choice="none").choices[0]
    tour.check(not none.message.tool_calls, "tool_choice none")
    with tour.refused(openai.BadRequestError, "a tool that is not there", "gone"):
        ask(tour, tools=[TOOL], tool_choice={"type": "function", "function": {"name": "gone"}})


def completions(tour):
    api = client(tour).completions
    fields = {"model": tour.model, "prompt": "Once upon", "max_tokens": 8, "seed": 1}
    whole = api.create(**fields)
    tour.equal(whole.object, "text_completion", "object")
    streamed = "".join(chunk.choices[0].text for chunk in api.create(**fields, stream=True)
                       if chunk.choices)
    tour.equal(streamed, whole.choices[0].text, "the stream says what the whole says")
    echoed = api.create(**fields, echo=True, logprobs=2)
    tour.equal(echoed.choices[0].text, "Once upon" + whole.choices[0].text, "echo")
    told = echoed.choices[0].logprobs
    tour.equal(told.token_logprobs[0], None, "nothing is known of the first token")
    tour.check(all(value <= 0 for value in told.token_logprobs[1:]), "logprobs")
    several = api.create(**{**fields, "prompt": ["a", "b"]})
    tour.equal([choice.index for choice in several.choices], [0, 1], "several prompts")


def responses(tour):
    api = client(tour).responses
    fields = {"model": tour.model, "input": "Hello!", "max_output_tokens": 8,
              "reasoning": {"effort": "none"}, "extra_body": {"seed": 1, "ignore_eos": True}}
    first = api.create(**fields, store=True)
    tour.equal(first.object, "response", "object")
    tour.contains(["completed", "incomplete"], first.status, "status")
    streamed = "".join(event.delta for event in api.create(**fields, stream=True, store=False)
                       if event.type == "response.output_text.delta")
    tour.equal(streamed, first.output_text, "the stream says what the whole says")
    tour.check(streamed, "output_text")
    tour.check(first.usage.output_tokens > 0, "usage")
    kept = api.retrieve(first.id)
    tour.equal((kept.id, kept.output_text), (first.id, first.output_text), "it is kept")
    second = api.create(model=tour.model, input="And?", max_output_tokens=8,
                        previous_response_id=first.id)
    tour.check(second.usage.input_tokens > first.usage.input_tokens, "it goes on")
    api.delete(first.id)
    with tour.refused(openai.NotFoundError, "it is gone"):
        api.retrieve(first.id)


def responses_streaming(tour):
    kinds, text = [], ""
    api = client(tour).responses
    for event in api.create(model=tour.model, input="Hello!", max_output_tokens=8, stream=True):
        kinds.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
    tour.equal(kinds[0], "response.created", "the first event")
    tour.contains(["response.completed", "response.incomplete"], kinds[-1], "the last event")
    tour.contains(kinds, "response.output_item.added", "events")


def responses_background(tour):
    api = client(tour).responses
    answer = api.create(model=tour.model, input="Hello!", max_output_tokens=8, background=True,
                        store=True)
    deadline = time.monotonic() + 60
    while answer.status in ("queued", "in_progress") and time.monotonic() < deadline:
        time.sleep(0.05)
        answer = api.retrieve(answer.id)
    tour.contains(["completed", "incomplete"], answer.status, "it ends by itself")
    long = api.create(model=tour.model, input="Hello!", max_output_tokens=3000, background=True,
                      store=True, extra_body={"ignore_eos": True})
    tour.equal(api.cancel(long.id).status, "cancelled", "it can be cancelled")


def responses_formats(tour):
    api = client(tour).responses
    form = {"format": {"type": "json_schema", "name": "thing", "schema": SCHEMA, "strict": True}}
    answer = api.create(model=tour.model, input="Hello!", max_output_tokens=300, text=form,
                        reasoning={"effort": "none"})
    tour.contains(["red", "green"], json.loads(answer.output_text)["colour"], "a schema")
    tool = {"type": "function", **TOOL["function"]}
    answer = api.create(model=tour.model, input="1+2?", max_output_tokens=300, tools=[tool],
                        tool_choice="required", reasoning={"effort": "none"})
    calls = [item for item in answer.output if item.type == "function_call"]
    tour.equal(calls[0].name, "calculator", "a call")
    tour.equal(set(json.loads(calls[0].arguments)), {"a", "b"}, "its arguments")


def embeddings(tour):
    api = client(tour).embeddings
    if not tour.can("embedding"):
        with tour.refused(openai.BadRequestError, "a model without embeddings", "embeddings"):
            api.create(model=tour.model, input="one")
        return
    plain = api.create(model=tour.model, input=["one", "two"], encoding_format="float")
    tour.equal([item.index for item in plain.data], [0, 1], "order")
    vector = plain.data[0].embedding
    tour.check(abs(sum(x * x for x in vector) - 1) < 1e-3, "length 1")
    packed = api.create(model=tour.model, input="one").data[0].embedding
    tour.check(max(abs(a - b) for a, b in zip(vector, packed, strict=True)) < 1e-6, "base64")
    tour.check(plain.usage.prompt_tokens > 0, "usage")
    short = api.create(model=tour.model, input="one", dimensions=16, encoding_format="float")
    tour.equal(len(short.data[0].embedding), 16, "dimensions")


def errors(tour):
    for fields, part in [
        ({"temperature": -1}, "temperature"), ({"n": 1_000_000}, "n"), ({"max_tokens": 0}, "max"),
        ({"messages": []}, "messages"), ({"top_logprobs": 5}, "top_logprobs"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
        ({"response_format": {"type": "xml"}}, "response_format"),
    ]:
        with tour.refused(openai.BadRequestError, f"{fields}", part):
            ask(tour, **fields)
    with tour.refused(openai.NotFoundError, "no such model", "no-such-model"):
        ask(tour, model="no-such-model")
    with tour.refused(openai.BadRequestError, "a prompt that does not fit", "context"):
        ask(tour, messages=[{"role": "user", "content": "x" * 20_000}])
    with tour.refused(openai.NotFoundError, "no such path"):
        client(tour).fine_tuning.jobs.list()


STEPS = [models, chat, seeds, cached, streaming, several, log_probs, stops_and_bias, formats,
         tools, completions, responses, responses_streaming, responses_background,
         responses_formats, embeddings, errors]
