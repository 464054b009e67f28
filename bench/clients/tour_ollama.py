"""The tour of Ollama's protocol, with the client `ollama` from PyPI."""

import json

import ollama

from tour import HELLO
from tour_openai import SCHEMA, TOOL

FEW = {"num_predict": 8, "seed": 1}


def client(tour):
    headers = {"authorization": f"Bearer {tour.key}"} if tour.key else {}
    return ollama.Client(host=tour.url, timeout=120, headers=headers)


def generate(tour):
    api = client(tour)
    whole = api.generate(tour.model, "Hello!", options=FEW)
    tour.check(whole.done and whole.done_reason in ("stop", "length"), "done")
    tour.check(0 < whole.eval_count <= 8 and whole.prompt_eval_count > 0, "counts")
    tour.check(whole.total_duration >= whole.eval_duration > 0, "durations")
    parts = list(api.generate(tour.model, "Hello!", options=FEW, stream=True))
    tour.equal("".join(part.response for part in parts), whole.response, "the stream says the same")
    tour.equal([part.done for part in parts][-2:], [False, True], "one end")
    raw = api.generate(tour.model, "<|im_start|>user\nHello!", raw=True, options=FEW)
    tour.check(raw.prompt_eval_count < whole.prompt_eval_count, "raw has no template")
    system = api.generate(tour.model, "Hello!", system="Be brief.", options=FEW)
    tour.check(system.prompt_eval_count > whole.prompt_eval_count, "system")
    value = json.loads(api.generate(tour.model, "x", format=SCHEMA, think=False,
                                    options={"num_predict": 300}).response)
    tour.contains(["red", "green"], value["colour"], "a schema")


def chat(tour):
    api = client(tour)
    whole = api.chat(tour.model, HELLO, options=FEW)
    tour.equal(whole.message.role, "assistant", "role")
    tour.check(whole.done and whole.eval_count > 0, "done")
    parts = list(api.chat(tour.model, HELLO, options=FEW, stream=True))
    said = "".join(part.message.content or "" for part in parts)
    tour.equal(said, whole.message.content, "the stream says the same")
    value = json.loads(api.chat(tour.model, HELLO, format=SCHEMA, think=False,
                                options={"num_predict": 300}).message.content)
    tour.contains([1, 2, 3], value["count"], "a schema")
    quiet = api.chat(tour.model, HELLO, options=FEW, think=False)
    tour.check(quiet.message.content and not quiet.message.thinking, "nothing is thought")
    started = [*HELLO, {"role": "assistant", "content": "Well, "}]
    continued = api.chat(tour.model, started, options=FEW)
    tour.check(not continued.message.content.startswith("Well, "), "the beginning is not repeated")
    answered = api.chat(tour.model, [*started, *HELLO], options=FEW)
    tour.check(continued.prompt_eval_count < answered.prompt_eval_count, "it is continued")

    def leave():
        parts = api.chat(tour.model, HELLO, stream=True, options={"num_predict": 3000})
        next(parts)
        parts.close()

    tour.gives_up(leave, "a stream that is left")


def tools(tour):
    api = client(tour)
    # Ollama cannot demand a call: whether one is made is the model's choice. One with random
    # weights chooses it with some seed; with which depends on the machine's arithmetic.
    def ask(seed, **more):
        options = {"num_predict": 400, "seed": seed, "temperature": 1.5}
        return api.chat(tour.model, HELLO, tools=[TOOL], think=False, options=options, **more)

    tries = ((seed, ask(seed)) for seed in range(100))
    found = next(((seed, answer) for seed, answer in tries if answer.message.tool_calls), None)
    tour.check(found, "no seed of a hundred makes it call")
    seed, answer = found
    for call in answer.message.tool_calls:
        tour.equal(call.function.name, "calculator", "the call")
        numbers = call.function.arguments
        tour.equal(set(numbers), {"a", "b"}, "its arguments")
        tour.check(set(numbers.values()) <= {1, 2, 3}, f"{numbers}")
    parts = list(ask(seed, stream=True))
    calls = [call for part in parts for call in part.message.tool_calls or []]
    tour.equal(calls, list(answer.message.tool_calls), "the stream says the same")
    messages = [*HELLO, answer.message.model_dump(exclude_none=True),
                {"role": "tool", "content": "3", "tool_name": "calculator"}]
    after = api.chat(tour.model, messages, tools=[TOOL], options=FEW)
    tour.check(after.prompt_eval_count > answer.prompt_eval_count, "results are taken")


def log_probs(tour):
    body = {"model": tour.model, "prompt": "Hello!", "stream": False, "logprobs": True,
            "top_logprobs": 2, "options": FEW}
    status, _, answer = tour.ask("POST", "/api/generate", body)
    tour.equal(status, 200, f"{answer}")
    tour.equal(len(answer["logprobs"][0]["top_logprobs"]), 2, "logprobs")


def models(tour):
    api = client(tour)
    names = [model.model for model in api.list().models]
    tour.contains(names, tour.model, "tags")
    shown = api.show(tour.model)
    tour.contains(shown.capabilities, "completion", "show")
    tour.equal(shown.modelinfo["general.architecture"], shown.details.family, "show")
    tour.check(len(shown.template) > 0, "the template")
    tour.contains([model.model for model in api.ps().models], tour.model, "ps")
    status, _, version = tour.ask("GET", "/api/version")
    tour.check(status == 200 and version["version"], "version")
    tour.equal(tour.ask("HEAD", "/")[0], 200, "HEAD /")


def loading(tour):
    api = client(tour)
    loaded = api.generate(tour.model, "", keep_alive="5m")
    tour.equal((loaded.done, loaded.done_reason), (True, "load"), "loads")
    let_go = api.generate(tour.model, "", keep_alive=0)
    tour.equal(let_go.done_reason, "unload", "lets go")
    again = api.generate(tour.model, "Hello!", options=FEW, keep_alive=-1)
    tour.check(again.done, "and loads again")
    tour.check(api.chat(tour.model + ":latest", HELLO, options=FEW).done, "NAME:latest")


def embeddings(tour):
    api = client(tour)
    if not tour.can("embedding"):
        with tour.refused(ollama.ResponseError, "a model without embeddings", "embeddings"):
            api.embed(tour.model, "one")
        return
    several = api.embed(tour.model, ["one", "two"])
    tour.equal(len(several.embeddings), 2, "one vector each")
    vector = several.embeddings[0]
    tour.check(abs(sum(x * x for x in vector) - 1) < 1e-3, "length 1")
    tour.equal(len(api.embed(tour.model, "one", dimensions=16).embeddings[0]), 16, "dimensions")
    tour.equal(len(api.embeddings(tour.model, "one").embedding), len(vector), "as it was before")


def errors(tour):
    api = client(tour)
    with tour.refused(ollama.ResponseError, "no such model", "no-such-model"):
        api.generate("no-such-model", "x")
    with tour.refused(ollama.ResponseError, "pull", "lucid pull"):
        api.pull("x")
    with tour.refused(ollama.ResponseError, "delete", "lucid"):
        api.delete("x")
    with tour.refused(ollama.ResponseError, "a temperature", "temperature"):
        api.generate(tour.model, "x", options={"temperature": -1})
    with tour.refused(ollama.ResponseError, "an image", "images"):
        api.generate(tour.model, "x", images=["aGk="])
    for path in ["/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete"]:
        status, _, answer = tour.ask("POST", path, {"model": "x"})
        tour.check(400 <= status < 500 and isinstance(answer["error"], str), f"{path}: {answer}")


STEPS = [generate, chat, tools, log_probs, models, loading, embeddings, errors]
