// The server's interface for this page: JSON, and answers as a stream of events.

const KEY = "lucid-key";
let key = sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);

/** A request that was refused, or did not arrive (status 0). */
export class Refused extends Error {
  constructor(status, kind, message, retryAfter) {
    super(message);
    this.status = status;
    this.kind = kind;
    this.retryAfter = retryAfter;
  }
}

/** From now on requests come with this key. */
export function useKey(text, keep) {
  key = text;
  sessionStorage.setItem(KEY, text);
  if (keep) localStorage.setItem(KEY, text);
  else localStorage.removeItem(KEY);
}

async function send(method, path, body, signal) {
  // A foreign page cannot set this header without asking first, and is then refused.
  const headers = { "x-lucid-page": "1" };
  if (key) headers.authorization = `Bearer ${key}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(`/page/api/${path}`, {
      method, headers, signal, cache: "no-store", credentials: "omit", redirect: "error",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "unreachable", "The server cannot be reached.");
  }
  if (response.ok) return response;
  let said = {};
  try {
    said = (await response.json()).error ?? {};
  } catch { /* Whatever answered is not our server; the status says enough. */ }
  const after = Number(response.headers.get("retry-after")) || undefined;
  const message = said.message ?? `The server answered with status ${response.status}.`;
  throw new Refused(response.status, said.kind ?? "unknown", message, after);
}

/** Asks for JSON. */
export async function ask(method, path, body) {
  const response = await send(method, path, body);
  return response.status === 204 ? null : response.json();
}

/** Asks for a file. */
export async function download(path) {
  return (await send("GET", path)).blob();
}

/** Events of an answer, as they come; ends when the server ends it. */
export async function* events(method, path, body, signal) {
  const response = await send(method, path, body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const data = part.split("\n").filter((line) => line.startsWith("data:"));
        if (data.length) yield JSON.parse(data.map((line) => line.slice(5)).join("\n"));
      }
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "unreachable", "The connection broke.");
  } finally {
    reader.cancel().catch(() => {});
  }
}
