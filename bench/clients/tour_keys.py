"""The tour of a server that asks for API keys: each client raises its own errors."""

import anthropic
import ollama
import openai

import tour_anthropic
import tour_openai
from tour import HELLO


def without_a_key(tour):
    tour.key = "wrong"
    with tour.refused(openai.AuthenticationError, "openai"):
        tour_openai.ask(tour)
    with tour.refused(anthropic.AuthenticationError, "anthropic", "authentication_error"):
        tour_anthropic.ask(tour)
    with tour.refused(ollama.ResponseError, "ollama", "401"):
        ollama.Client(host=tour.url).chat(tour.model, HELLO)
    tour.equal(tour.ask("GET", "/health")[0], 200, "health is open to all")
    tour.equal(tour.ask("GET", "/metrics")[0], 401, "metrics are not")


def with_a_key(tour):
    tour.key = tour.right_key
    tour.equal(tour_openai.ask(tour).object, "chat.completion", "as a bearer")
    tour.equal(tour_anthropic.ask(tour).type, "message", "as x-api-key")


def too_often(tour):
    """The key is good for a few requests a minute; those before count."""
    tour.key = tour.right_key
    with tour.refused(openai.RateLimitError, "openai"):
        for _ in range(10):
            tour_openai.ask(tour)
    with tour.refused(anthropic.RateLimitError, "anthropic", "rate_limit_error"):
        tour_anthropic.ask(tour)
    body = {"model": tour.model, "prompt": "x"}
    status, headers, answer = tour.ask("POST", "/api/generate", body)
    tour.equal(status, 429, f"{answer}")
    tour.check(int(headers["retry-after"]) >= 1, "Retry-After")


STEPS = [without_a_key, with_a_key, too_often]
