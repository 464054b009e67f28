"""The tour of what has no client of its own: rerank, tokens, health, descriptions, and requests
that cost more than they look."""

import time


def rerank(tour):
    body = {"model": tour.model, "query": "a", "documents": ["a", {"text": "b"}, "c"], "top_n": 2,
            "return_documents": True}
    for path in ["/rerank", "/v1/rerank"]:
        status, _, answer = tour.ask("POST", path, body)
        if not tour.can("rerank"):
            tour.equal(status, 400, f"a model that ranks nothing: {answer}")
            continue
        tour.equal(status, 200, f"{answer}")
        scores = [result["relevance_score"] for result in answer["results"]]
        tour.equal(scores, sorted(scores, reverse=True), "the most relevant first")
        tour.equal(len(scores), 2, "top_n")
        first = answer["results"][0]
        tour.equal(first["document"]["text"], "abc"[first["index"]], "return_documents")


def tokens(tour):
    said = "Hello, wörld! <|im_end|>"
    status, _, answer = tour.ask("POST", "/tokenize", {"model": tour.model, "content": said})
    tour.equal(status, 200, f"{answer}")
    body = {"model": tour.model, "tokens": answer["tokens"]}
    tour.equal(tour.ask("POST", "/detokenize", body)[2]["content"], said, "there and back")
    body = {"model": tour.model, "content": said, "parse_special": False, "with_pieces": True}
    plain = tour.ask("POST", "/tokenize", body)[2]["tokens"]
    tour.check(len(plain) > len(answer["tokens"]), "control tokens as plain text")
    tour.equal(plain[0]["piece"], "H", "pieces")
    body = {"model": tour.model, "messages": [{"role": "user", "content": "Hello!"}]}
    prompt = tour.ask("POST", "/apply-template", body)[2]["prompt"]
    tour.contains(prompt, "Hello!", "the template")


def about(tour):
    tour.equal(tour.ask("GET", "/health")[0], 200, "health")
    tour.contains(tour.ask("GET", "/metrics")[2], "lucid_", "metrics")
    document = tour.ask("GET", "/openapi.json")[2]
    tour.check(document["openapi"].startswith("3."), "the version")
    tour.contains(document["paths"], "/v1/messages", "paths")
    tour.contains(tour.ask("GET", "/docs")[2], "/v1/chat/completions", "docs")
    tour.equal(tour.ask("GET", "/lora-adapters")[0], 200, "adapters")
    status, _, answer = tour.ask("POST", "/lora-adapters", {
        "model": tour.model, "name": "a", "path": "/no/such/file"})
    tour.check(400 <= status < 500, f"an adapter that is not there: {status} {answer}")
    status, _, answer = tour.ask("DELETE", f"/lora-adapters/none?model={tour.model}")
    tour.check(400 <= status < 500, f"an adapter that is not loaded: {status} {answer}")


def nested(depth):
    schema = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema, "minItems": 100, "maxItems": 10_000}
    return schema


ASKED = [{"role": "user", "content": "x"}]


def bombs(tour):
    """Grammars that grow: each is answered in seconds, kept to or refused, and never a fault."""
    numbers = [{"type": "integer", "minimum": n} for n in range(2000)]
    formats = {
        "nested repetition": {"guided_regex": "((a{1,10000}){1,10000}){1,10000}"},
        "a great repetition": {"guided_regex": "(a|b|c){100000000}"},
        "a giant regex": {"guided_regex": "(" + "|".join(f"x{n}y*" for n in range(50_000)) + ")"},
        "backtracking": {"guided_regex": "(a*)*(a*)*(a*)*b{1000}"},
        "classes": {"guided_regex": r"[\w\d\s]{1,5000}" * 50},
        "a great enum": {"schema": {"enum": [f"value {n}" for n in range(50_000)]}},
        "recursion": {"schema": {"$ref": "#"}},
        "more recursion": {"schema": {"$defs": {"a": {"$ref": "#/$defs/b"},
                                                "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}},
        "lists of lists": {"schema": nested(20)},
        "long texts": {"schema": {"type": "string", "minLength": 10**9}},
        "patterns": {"schema": {"type": "string", "pattern": "^(([a-z]{1,1000}){1,1000})+$"}},
        "all of them": {"schema": {"allOf": numbers}},
        "any of them": {"schema": {"anyOf": [nested(3)] * 500}},
        "many fields": {"schema": {"type": "object", "properties": {
            f"p{n}": {"type": "string"} for n in range(20_000)}}},
        "a rule of itself": {"guided_grammar": "start: start start | \"a\"\n"},
        "rules without end": {"guided_grammar": "start: a\na: b\nb: a\n"},
        "GBNF, repeated": {"guided_grammar": "root ::= ((\"a\"{1,9999}){1,9999}){1,9999}\n"},
        "GBNF of itself": {"guided_grammar": "root ::= root\n"},
    }
    for what, form in formats.items():
        body = {"model": tour.model, "max_tokens": 4, "messages": ASKED}
        if "schema" in form:
            schema = {"name": "n", "schema": form["schema"]}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        else:
            body.update(form)
        began = time.monotonic()
        status, _, answer = tour.ask("POST", "/v1/chat/completions", body)
        took = time.monotonic() - began
        tour.check(status == 200 or 400 <= status < 500, f"{what}: {status} {answer}")
        tour.check(took < 20, f"{what} took {took:.1f} s")
        began = time.monotonic()
        body = {"model": tour.model, "max_tokens": 1, "messages": ASKED}
        tour.equal(tour.ask("POST", "/v1/chat/completions", body)[0], 200, f"the next after {what}")
        tour.check(time.monotonic() - began < 5, f"the next after {what} was held up")


STEPS = [rerank, tokens, about, bombs]
