// What stands between and under messages: why an answer is not whole, what it took, why something
// was refused, and what the page is.

import { make } from "/page/assets/dom.js";

const STOPS = {
  length: "It was cut off at the longest answer that is set.",
  context_full: "The context is full: prompt and answer take all tokens that the model can hold. An earlier message can be edited to go on from there.",
  stopped: "Stopped.",
  too_long: "Stopped: it is longer than what is kept.",
  refused: "The provider held the rest back.",
  cut_off: "It broke off.",
  cancelled: "It was cancelled.",
  tool_calls: "It calls tools; this page runs none.",
};

/** Why an answer is not whole. */
export function remark(message, again) {
  const { state, detail } = message;
  if (state === "writing") return null;
  let text = STOPS[detail?.stop];
  if (state === "failed") text = detail?.error?.message ?? "Something went wrong.";
  if (state === "interrupted") text = "The server ended while this was written.";
  if (!text) return null;
  const bad = state === "failed" || state === "interrupted";
  const note = make("p", { className: bad ? "remark bad" : "remark" }, text);
  if (bad) note.append(" ", make("button", { type: "button", className: "link", onclick: again }, "Answer again"));
  return note;
}

/** What an answer took. */
export function measured(message) {
  const { detail, role, model } = message;
  if (role !== "assistant" || !detail?.new_tokens) return null;
  const seconds = (detail.writing_milliseconds ?? detail.milliseconds) / 1000;
  const parts = [`${detail.new_tokens.toLocaleString("en")} tokens`];
  if (seconds > 0.05 && detail.new_tokens > 1) {
    const speed = Number(((detail.new_tokens - 1) / seconds).toPrecision(3));
    parts.push(`${speed.toLocaleString("en")}/s`);
  }
  const cached = detail.cached_tokens ? `, ${detail.cached_tokens} of them known` : "";
  const title = `${model}\nprompt: ${detail.prompt_tokens} tokens${cached}\n${(detail.milliseconds / 1000).toFixed(1)} s in all`
    + (detail.reasoning_tokens ? `\n${detail.reasoning_tokens} tokens of reasoning` : "")
    + (detail.cost_usd ? `\nUS$ ${detail.cost_usd.toPrecision(2)}` : "");
  return make("span", { className: "facts", title }, parts.join(" · "));
}

/** A request that was refused, where it was asked. */
export function failure(error) {
  const heads = {
    context_length: "This conversation does not fit any more",
    busy: "The server is busy",
    unavailable: "There is no room for this model",
    not_found: "It is not there",
    unsupported: "This model cannot do that",
  };
  const box = make("div", { className: "failure", role: "alert" },
    make("strong", {}, heads[error.kind] ?? "That did not work"), make("p", {}, error.message));
  if (error.kind === "context_length") {
    box.append(make("p", {}, "Begin a new conversation, or edit an earlier message to go on from there."));
  }
  if (error.retryAfter) {
    const count = make("p", {}, "");
    const until = Date.now() + error.retryAfter * 1000;
    const tick = () => {
      const left = Math.ceil((until - Date.now()) / 1000);
      count.textContent = left > 0 ? `There is room again in about ${left} s; your message stays below.` : "It can be sent again now.";
      if (left > 0 && (box.isConnected || left > error.retryAfter - 1)) setTimeout(tick, 500);
    };
    tick();
    box.append(count);
  }
  return box;
}

/** What the page is, for somebody who sees it for the first time. */
export function welcome({ kept, suggest }) {
  const bars = [["mat", 46, "said"], ["floor", 21, ""], ["sofa", 12, ""], ["moon", 1, ""]];
  const rows = bars.map(([word, part, said]) => {
    const bar = make("span", { className: "bar" });
    bar.style.setProperty("--part", `${part}%`);
    return make("li", { className: said }, make("div", { className: "row" }, bar, make("code", {}, word), make("span", {}, `${part} %`)));
  });
  const example = make("figure", { className: "example" },
    make("p", {}, "The cat sat on the ", make("span", { className: "gap" }, "?")),
    make("ul", { className: "bars" }, ...rows),
    make("figcaption", {}, "A drawing, not measured. Turn on ", make("b", {}, "Tokens"), " above to see the real ones."));
  const ideas = ["Explain why the sky is blue, in three sentences.", "Write a function that reverses a linked list.", "Once upon a time, there was a"];
  return [
    make("h2", {}, "A language model, one word at a time"),
    make("p", {}, "It writes one small piece of text at a time, a token. For each it weighs every token it knows and picks one of the likely ones. Then it reads all of it again, and picks the next."),
    example,
    make("div", { className: "ideas" }, ...ideas.map((text) => make("button", { type: "button", onclick: () => suggest(text) }, text))),
    make("p", { className: "small" }, "Models can be wrong, and sound sure of it. What you write goes to this server, "
      + (kept ? "which keeps conversations until you delete them." : "which keeps conversations until it ends.")),
  ];
}
