"""Loops of tools, as agents run them: a model is made to call a calculator, gets the result and
answers in a JSON schema. Over both protocols with their own clients, with LangChain and with `llm`
where those are installed.
"""

import importlib.util
import json
import os
import pathlib
import tempfile

import tour_anthropic
import tour_openai

RESULT = {
    "type": "object",
    "properties": {"sum": {"enum": [2, 3, 4, 5, 6]}, "sure": {"type": "boolean"}},
    "required": ["sum", "sure"],
    "additionalProperties": False,
}
QUESTION = {"role": "user", "content": "What is 1 + 2?"}


def calculator(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def over_openai(tour):
    api = tour_openai.client(tour).chat.completions
    messages, results = [dict(QUESTION)], []
    for _ in range(2):
        answer = api.create(model=tour.model, messages=messages, **tour_openai.PLAIN,
                            tools=[tour_openai.TOOL], tool_choice="required",
                            parallel_tool_calls=False).choices[0].message
        messages.append(answer.model_dump(exclude_none=True))
        tour.equal(len(answer.tool_calls), 1, "one call at a time")
        for call in answer.tool_calls:
            results.append(calculator(**json.loads(call.function.arguments)))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": str(results[-1])})
    schema = {"name": "result", "strict": True, "schema": RESULT}
    last = api.create(model=tour.model, messages=messages, **tour_openai.PLAIN,
                      response_format={"type": "json_schema", "json_schema": schema})
    told = json.loads(last.choices[0].message.content)
    tour.check(told["sum"] in range(2, 7) and isinstance(told["sure"], bool), f"{told}")
    tour.check(all(2 <= result <= 6 for result in results), f"{results}")


def over_anthropic(tour):
    api = tour_anthropic.client(tour).messages
    messages = [dict(QUESTION)]
    for _ in range(2):
        # A model with random weights, left to itself, may go on calling until a limit stops it.
        choice = {"type": "any", "disable_parallel_tool_use": True}
        answer = api.create(model=tour.model, messages=messages, max_tokens=400,
                            tools=[tour_anthropic.TOOL], tool_choice=choice)
        tour.equal(answer.stop_reason, "tool_use", "stop_reason")
        content = [block.model_dump(exclude_none=True) for block in answer.content]
        messages.append({"role": "assistant", "content": content})
        messages.append({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": block.id,
             "content": str(calculator(**block.input))}
            for block in answer.content if block.type == "tool_use"]})
    body = {"model": tour.model, "messages": messages, "max_tokens": 200,
            "output_config": {"format": {"type": "json_schema", "schema": RESULT}}}
    status, _, last = tour.ask("POST", "/v1/messages", body)
    tour.equal(status, 200, f"{last}")
    tour.check(json.loads(last["content"][-1]["text"])["sum"] in range(2, 7), f"{last}")


def over_responses(tour):
    api = tour_openai.client(tour).responses
    tool = {"type": "function", **tour_openai.TOOL["function"]}
    answer = api.create(model=tour.model, input=QUESTION["content"], max_output_tokens=300,
                        tools=[tool], tool_choice="required", parallel_tool_calls=False,
                        reasoning={"effort": "none"})
    calls = [item for item in answer.output if item.type == "function_call"]
    results = [{"type": "function_call_output", "call_id": call.call_id,
                "output": str(calculator(**json.loads(call.arguments)))} for call in calls]
    tour.check(results, "a call")
    form = {"format": {"type": "json_schema", "name": "result", "schema": RESULT, "strict": True}}
    last = api.create(model=tour.model, previous_response_id=answer.id, input=results,
                      max_output_tokens=300, text=form, reasoning={"effort": "none"})
    tour.contains(range(2, 7), json.loads(last.output_text)["sum"], "the answer")


def with_langchain(tour):
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(base_url=tour.url + "/v1", api_key=tour.key or "none", model=tour.model,
                      max_tokens=300, max_retries=0, extra_body={"reasoning_effort": "none"})
    tools = {"calculator": tool(calculator)}
    forced = {**tour_openai.TOOL["function"]}
    messages = [HumanMessage(QUESTION["content"])]
    answer = chat.bind_tools([forced], tool_choice="calculator").invoke(messages)
    messages.append(answer)
    tour.equal(answer.tool_calls[0]["name"], "calculator", "the call")
    for call in answer.tool_calls:
        result = tools[call["name"]].invoke(call["args"])
        messages.append(ToolMessage(str(result), tool_call_id=call["id"]))
    schema = {"title": "result", "description": "The result.", **RESULT}
    told = chat.with_structured_output(schema, method="json_schema").invoke(messages)
    tour.contains(range(2, 7), told["sum"], "the answer")
    seeded = chat.bind(seed=1, max_tokens=16)
    said = "".join(chunk.content for chunk in seeded.stream([HumanMessage("Hello!")]))
    tour.check(said, "a stream")
    tour.equal(said, seeded.invoke([HumanMessage("Hello!")]).content, "the whole says the same")


def with_llm(tour):
    # `llm` reads where its models are from a folder that the environment names.
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LLM_USER_PATH"] = folder
        models = [{"model_id": "lucid", "model_name": tour.model, "api_base": tour.url + "/v1",
                   "supports_tools": True, "supports_schema": True, "api_key_name": "lucid"}]
        # JSON is YAML.
        pathlib.Path(folder, "extra-openai-models.yaml").write_text(json.dumps(models))
        pathlib.Path(folder, "keys.json").write_text(json.dumps({"lucid": tour.key or "none"}))
        import llm

        model = llm.get_model("lucid")
        whole = model.prompt("Hello!", max_tokens=16, seed=1, stream=False).text()
        tour.check(whole, "an answer")
        parts = list(model.prompt("Hello!", max_tokens=16, seed=1, stream=True))
        tour.equal("".join(parts), whole, "the stream says the same")
        # It cannot say either that nothing is to be thought: some seed answers at once.
        told = (model.prompt("1 + 2?", schema=RESULT, max_tokens=300, seed=seed).text()
                for seed in range(20))
        told = json.loads(next(text for text in told if text))
        tour.contains(range(2, 7), told["sum"], "a schema")
        # `llm` cannot demand a call; whether one is made is the model's choice.
        options = {"max_tokens": 16, "seed": 1}
        chain = model.chain("1 + 2?", tools=[calculator], options=options)
        said = chain.text()
        first = model.prompt("1 + 2?", tools=[calculator], **options)
        tour.check(said, "a chain")
        tour.check(said.startswith(first.text()), "its first link is what the model says alone")


STEPS = [over_openai, over_anthropic, over_responses]
if importlib.util.find_spec("langchain_openai"):
    STEPS.append(with_langchain)
if importlib.util.find_spec("llm"):
    STEPS.append(with_llm)
