"""The tour of Anthropic's protocol, with the client `anthropic` from PyPI."""

import json

import anthropic

import tour_openai
from tour import HELLO
from tour_openai import SCHEMA

FUNCTION = tour_openai.TOOL["function"]
TOOL = {"name": FUNCTION["name"], "description": FUNCTION["description"],
        "input_schema": FUNCTION["parameters"]}


def client(tour):
    return anthropic.Anthropic(base_url=tour.url, api_key=tour.key or "none", max_retries=0,
                               timeout=120)


def fields_of(tour, **fields):
    """What the client has no parameter for (it differs between versions) goes beside."""
    beside = {name: fields.pop(name) for name in ("temperature", "top_k") if name in fields}
    return {"model": tour.model, "messages": HELLO, "max_tokens": 8, "extra_body": beside, **fields}


def ask(tour, **fields):
    return client(tour).messages.create(**fields_of(tour, **fields))


def models(tour):
    names = [model.id for model in client(tour).models.list()]
    tour.contains(names, tour.model, "models")
    one = client(tour).models.retrieve(tour.model)
    tour.equal((one.id, one.type), (tour.model, "model"), "one model")


def message(tour):
    answer = ask(tour)
    tour.equal((answer.type, answer.role), ("message", "assistant"), "the message")
    tour.check(answer._request_id, "request-id")
    tour.contains(["end_turn", "max_tokens"], answer.stop_reason, "stop_reason")
    tour.check(all(block.type == "text" for block in answer.content), "blocks")
    tour.check(0 < answer.usage.output_tokens <= 8, "usage")
    tour.check(answer.usage.input_tokens + answer.usage.cache_read_input_tokens > 0, "usage")


def system_and_blocks(tour):
    plain = ask(tour, temperature=0, system="Be brief.")
    blocks = ask(tour, temperature=0, messages=[
        {"role": "user", "content": [{"type": "text", "text": "Hello!",
                                      "cache_control": {"type": "ephemeral"}}]}],
        system=[{"type": "text", "text": "Be brief."}], metadata={"user_id": "u"})
    text = [block.text for block in plain.content]
    tour.equal([block.text for block in blocks.content], text, "blocks say the same")
    without = client(tour).messages.count_tokens(model=tour.model, messages=HELLO)
    counted = client(tour).messages.count_tokens(model=tour.model, messages=HELLO,
                                                 system="Be brief.", tools=[TOOL])
    tour.check(counted.input_tokens > without.input_tokens > 0, "count_tokens")
    usage = plain.usage
    with_system = client(tour).messages.count_tokens(model=tour.model, messages=HELLO,
                                                     system="Be brief.").input_tokens
    asked = usage.input_tokens + usage.cache_read_input_tokens
    # A count does not say that nothing is to be thought.
    tour.check(abs(asked - with_system) < 64, f"{asked} tokens, and {with_system} were counted")


def continued(tour):
    started = [*HELLO, {"role": "assistant", "content": "Well, "}]
    answer = ask(tour, messages=started)
    tour.check(not "".join(block.text for block in answer.content).startswith("Well, "),
               "a beginning is not said again")


def streaming(tour):
    kinds, text = [], ""
    with client(tour).messages.stream(**fields_of(tour, max_tokens=16)) as stream:
        for event in stream:
            kinds.append(event.type)
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                text += event.delta.text
        final = stream.get_final_message()
    tour.equal("".join(block.text for block in final.content), text, "the pieces make the whole")
    tour.equal((kinds[0], kinds[-1]), ("message_start", "message_stop"), "first and last")
    tour.equal(kinds.count("content_block_start"), kinds.count("content_block_stop"), "blocks")
    tour.check(final.usage.output_tokens > 0, "usage")
    raw = [event.type for event in ask(tour, stream=True)]
    tour.equal(raw[-2:], ["message_delta", "message_stop"], "the end")

    def leave():
        with client(tour).messages.stream(**fields_of(tour, max_tokens=3000)) as stream:
            next(iter(stream))

    tour.gives_up(leave, "a stream that is left")


def stops(tour):
    # Greedy, it says the same again, up to a word of it that is to end it.
    fields = {"max_tokens": 60, "temperature": 0, "thinking": {"type": "disabled"}}
    said = "".join(block.text for block in ask(tour, **fields).content)
    tour.check(len(said) >= 8, f"too little is said to stop in it: {said!r}")
    word = said[4:7]
    answer = ask(tour, **fields, stop_sequences=["never said", word])
    found = (answer.stop_reason, answer.stop_sequence)
    tour.equal(found, ("stop_sequence", word), "which one")
    text = "".join(block.text for block in answer.content)
    tour.equal(text, said[:said.index(word)], "it is no part of the answer")


def tools(tour):
    # One call: a model with random weights may go on calling until a limit stops it.
    once = {"type": "any", "disable_parallel_tool_use": True}
    answer = ask(tour, max_tokens=400, tools=[TOOL], tool_choice=once)
    tour.equal(answer.stop_reason, "tool_use", "stop_reason")
    call = next(block for block in answer.content if block.type == "tool_use")
    tour.equal((call.name, set(call.input)), ("calculator", {"a", "b"}), "the call")
    choice = {"type": "tool", "name": "calculator", "disable_parallel_tool_use": True}
    with client(tour).messages.stream(
            **fields_of(tour, max_tokens=400, tools=[TOOL], tool_choice=choice)) as stream:
        parts = [event.delta.partial_json for event in stream
                 if event.type == "content_block_delta" and event.delta.type == "input_json_delta"]
        final = stream.get_final_message()
    tour.equal(len([block for block in final.content if block.type == "tool_use"]), 1, "one call")
    tour.equal(json.loads("".join(parts)), final.content[-1].input, "its pieces")
    after = [*HELLO, {"role": "assistant", "content": [call.model_dump(include={
        "type", "id", "name", "input"})]}, {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": call.id, "content": "3"}]}]
    tour.check(ask(tour, messages=after, tools=[TOOL]).type == "message", "results are taken")
    none = ask(tour, tools=[TOOL], tool_choice={"type": "none"})
    tour.check(all(block.type == "text" for block in none.content), "tool_choice none")


def formats(tour):
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    answer = ask(tour, max_tokens=200, extra_body={"output_config": form})
    tour.contains(["red", "green"], json.loads(answer.content[0].text)["colour"], "a schema")


def thinking(tour):
    """A model with random weights thinks when its template opens the reasoning; what is checked is
    that the request is taken and that reasoning stands in blocks of its own."""
    answer = ask(tour, max_tokens=64, thinking={"type": "enabled", "budget_tokens": 16})
    kinds = [block.type for block in answer.content]
    tour.check(set(kinds) <= {"thinking", "text"}, f"{kinds}")
    before = [*HELLO, {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "Hi."}]}, {"role": "user", "content": "And?"}]
    tour.check(ask(tour, messages=before).type == "message", "it may be sent back")
    ask(tour, thinking={"type": "disabled"})


def cached(tour):
    long = [{"role": "user", "content": "Tell me another story. " * 40}]
    ask(tour, messages=long)
    usage = ask(tour, messages=long).usage
    tour.check(usage.cache_read_input_tokens > 64, f"{usage} of a prompt that was known")


def errors(tour):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}
    for fields, part in [
        ({"max_tokens": 0}, "max_tokens"), ({"messages": []}, "messages"),
        ({"temperature": -1}, "temperature"), ({"top_k": -1}, "top_k"),
        ({"messages": [{"role": "user", "content": [image]}]}, "type"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, "budget_tokens"),
    ]:
        with tour.refused(anthropic.BadRequestError, f"{fields}", part):
            ask(tour, **fields)
    with tour.refused(anthropic.NotFoundError, "no such model", "not_found_error"):
        ask(tour, model="no-such-model")
    with tour.refused(anthropic.BadRequestError, "too long a prompt", "invalid_request_error"):
        ask(tour, messages=[{"role": "user", "content": "x" * 20_000}])


STEPS = [models, message, system_and_blocks, continued, streaming, stops, tools, formats, thinking,
         cached, errors]
