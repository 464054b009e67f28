"""What the tours share: the server under test and the counting of what was checked."""

import contextlib
import json
import time
import urllib.error
import urllib.request


# What every tour says first.
HELLO = [{"role": "user", "content": "Hello!"}]


class Failed(Exception):
    """A server did not do what a tour expects."""


class Tour:
    """A server at an address, and what was checked of it so far."""

    def __init__(self, url, model, key=None):
        self.url, self.model, self.key = url.rstrip("/"), model, key
        self.checked = 0

    def check(self, found, what):
        """That something holds."""
        if not found:
            raise Failed(what)
        self.checked += 1

    def equal(self, found, expected, what):
        self.check(found == expected, f"{what}: expected {expected!r}, found {found!r}")

    def contains(self, whole, part, what):
        self.check(part in whole, f"{what}: no {part!r} in {whole!r}")

    def can(self, ability):
        """Whether the model says that it can do something. What it cannot do it must refuse."""
        shown = self.ask("POST", "/api/show", {"model": self.model})[2]
        able = ability in shown["capabilities"]
        if not able:
            print(f"        (this model says that it cannot do: {ability})", flush=True)
        return able

    @contextlib.contextmanager
    def refused(self, kind, what, part=""):
        """That the client raises this error, with these words in it."""
        try:
            yield
        except kind as error:
            self.contains(str(error), part, what)
        else:
            raise Failed(f"{what}: no {kind.__name__} was raised")

    def cancelled(self):
        """Turns so far that nobody waited for."""
        page = self.ask("GET", "/metrics")[2]
        line = next(line for line in page.splitlines()
                    if line.startswith("lucid_turns_cancelled_total "))
        return int(line.rsplit(" ", 1)[1])

    def gives_up(self, leave, what):
        """That the server gives a turn up that is left. Now and then one is over before that."""
        before = self.cancelled()
        for _ in range(10):
            leave()
            deadline = time.monotonic() + 2
            while self.cancelled() == before and time.monotonic() < deadline:
                time.sleep(0.02)
            if self.cancelled() > before:
                break
        self.check(self.cancelled() > before, what)

    def ask(self, method, path, body=None, headers=None, timeout=120):
        """Without a client: status, headers and the body, parsed where it is JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json", **(headers or {})}
        if self.key:
            headers.setdefault("authorization", f"Bearer {self.key}")
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                status, headers, text = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            status, headers, text = error.code, error.headers, error.read()
        try:
            return status, headers, json.loads(text)
        except ValueError:
            return status, headers, text.decode(errors="replace")


def walk(tour, steps):
    """Takes all steps; tells which failed. Returns how many failed."""
    failed = 0
    for step in steps:
        before = tour.checked
        try:
            step(tour)
        except Exception as error:  # noqa: BLE001 - a tour tells all that goes wrong
            failed += 1
            where = f"{step.__module__}.{step.__name__}"
            print(f"FAILED  {where}: {type(error).__name__}: {error}", flush=True)
        else:
            print(f"ok      {step.__name__}: {tour.checked - before} checks", flush=True)
    return failed
