// The conversation that is shown: its messages, the answer that is being written, and what can be
// done with both.

import { ask, events } from "/page/assets/api.js";
import { announce, byId, copy, icon, iconButton, make, rendered, toast } from "/page/assets/dom.js";
import { colour } from "/page/assets/highlight.js";
import { TokenView } from "/page/assets/tokens.js";

const COUNT = 40;
const NEAR_END = 80;

/** The conversation that is shown. */
export class Chat {
  constructor(host) {
    this.host = host;
    this.id = null;
    this.title = "";
    this.messages = [];
    this.writing = null;
    this.tokens = false;
    this.pinned = true;
    this.drafts = new Map();
    this.scroller = byId("scroller");
    this.list = byId("messages");
    this.text = byId("text");
    this.watch();
  }

  watch() {
    this.text.addEventListener("input", () => this.composed());
    this.text.addEventListener("keydown", (event) => {
      const plain = !event.shiftKey && !event.altKey && !event.isComposing;
      if (event.key === "Enter" && plain && !matchMedia("(pointer: coarse)").matches) {
        event.preventDefault();
        if (!this.writing) this.send();
      }
    });
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.writing) this.stop();
      else this.send();
    });
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    // What grows or shrinks by itself (a window, the token view) moves no end out of sight.
    new ResizeObserver(() => {
      this.toEnd(false);
      this.scrolled();
    }).observe(this.list);
    byId("latest").addEventListener("click", () => this.toEnd(true));
    this.list.addEventListener("click", async (event) => {
      const button = event.target.closest("button.copy");
      if (!button) return;
      const code = button.closest(".code").querySelector("code");
      button.textContent = (await copy(code.textContent)) ? "Copied" : "Not copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    this.early = new IntersectionObserver(([entry]) => entry.isIntersecting && this.loadEarlier(),
      { root: this.scroller, rootMargin: "400px 0px 0px" });
    this.lazy = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) if (isIntersecting) target.shown?.();
    }, { root: this.scroller, rootMargin: "300px" });
  }

  // ---- What is shown ----

  /** Shows a conversation, or none: then the next message begins one. */
  async open(id) {
    this.drafts.set(this.id, this.text.value);
    this.leave();
    this.id = id;
    this.clear();
    this.host.opened(id);
    this.text.value = this.drafts.get(id) ?? "";
    this.composed();
    if (!id) {
      this.setTitle("");
      this.host.showSettings({});
      this.empty(true);
      if (!matchMedia("(pointer: coarse)").matches) this.text.focus();
      return;
    }
    try {
      const shown = await ask("GET", `conversations/${id}?count=${COUNT}`);
      if (this.id === id) this.show(shown);
    } catch (error) {
      if (error.status === 404) {
        toast("This conversation is not there any more.");
        this.open(null);
      } else this.host.failed(error);
    }
  }

  /** Reads what is shown anew. */
  async reload() {
    if (!this.id) return;
    this.leave();
    const shown = await ask("GET", `conversations/${this.id}?count=${COUNT}`);
    this.clear();
    this.show(shown);
  }

  show({ conversation, messages, more }) {
    this.setTitle(conversation.title);
    this.host.choose(conversation.model);
    this.host.showSettings(conversation.settings);
    this.empty(messages.length === 0);
    this.messages = messages;
    this.list.replaceChildren(...messages.map((message) => this.element(message)));
    this.setMore(more);
    this.toEnd(true);
    const last = messages.at(-1);
    if (last?.state === "writing") this.follow("GET", `answers/${last.id}/events`);
  }

  clear() {
    this.messages = [];
    this.list.replaceChildren();
    this.setMore(false);
    this.empty(false);
    byId("latest").hidden = true;
  }

  /** Stops looking on; the answer goes on by itself. */
  leave() {
    this.writing?.abort.abort();
    this.setWriting(null);
  }

  setTitle(title) {
    this.title = title;
    byId("title").textContent = title || "New conversation";
    document.title = title ? `${title} · Lucid` : "Lucid";
  }

  setMore(more) {
    this.more?.remove();
    this.more = null;
    if (!more) return;
    this.more = make("div", { className: "earlier" }, make("button", { type: "button", onclick: () => this.loadEarlier() },
      "Earlier messages"));
    this.list.prepend(this.more);
    this.early.observe(this.more);
  }

  async loadEarlier() {
    if (!this.more || this.loading) return;
    this.loading = true;
    const { id } = this;
    try {
      const { messages, more } = await ask("GET", `conversations/${id}?count=${COUNT}&before=${this.messages[0].id}`);
      if (this.id !== id) return;
      const height = this.scroller.scrollHeight;
      const top = this.scroller.scrollTop;
      this.setMore(false);
      this.list.prepend(...messages.map((message) => this.element(message)));
      this.messages.unshift(...messages);
      this.setMore(more);
      this.scroller.scrollTop = top + this.scroller.scrollHeight - height;
    } catch (error) {
      this.host.failed(error);
    } finally {
      this.loading = false;
    }
  }

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.pinned = scrollHeight - scrollTop - clientHeight < NEAR_END;
    byId("latest").hidden = this.pinned || !this.messages.length;
  }

  toEnd(always) {
    if (!always && !this.pinned) return;
    this.pinned = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    byId("latest").hidden = true;
  }

  empty(is) {
    const element = byId("empty");
    element.hidden = !is;
    if (is && !element.firstChild) element.append(...welcome((text) => this.suggest(text)));
  }

  suggest(text) {
    this.text.value = text;
    this.composed();
    this.text.focus();
  }

  /** Whether tokens are shown in place of text. */
  toggleTokens() {
    this.tokens = !this.tokens;
    document.body.classList.toggle("show-tokens", this.tokens);
    for (const element of this.list.querySelectorAll(".assistant")) {
      this.lazy.unobserve(element);
      this.lazy.observe(element);
    }
    return this.tokens;
  }

  modelChanged() {
    const model = this.host.model();
    const hint = byId("hint");
    const keys = matchMedia("(pointer: coarse)").matches ? "" : "Enter sends, Shift + Enter begins a new line";
    const continues = "This model has no chat template: it continues your text";
    hint.textContent = model?.chat === false ? continues : keys;
    this.text.placeholder = model?.chat === false ? "Begin a text" : "Write a message";
    this.composed();
  }

  composed() {
    this.text.style.height = "auto";
    this.text.style.height = `${Math.min(this.text.scrollHeight, 320)}px`;
    byId("send").disabled = !this.writing && (!this.text.value.trim() || !this.host.models.length);
  }

  // ---- One message ----

  element(message) {
    const element = make("article", { className: `message ${message.role}`, "data-id": message.id,
      "aria-label": message.role === "user" ? "You" : message.model || "Model" });
    if (message.role === "user") {
      element.append(make("div", { className: "bubble" }, message.text));
    } else {
      element.append(...this.answer(element, message));
    }
    element.append(this.toolbar(message));
    return element;
  }

  answer(element, message) {
    const parts = [];
    element.reasoning = make("div", { className: "reasoning-text" }, message.reasoning);
    element.thought = make("details", { className: "reasoning", hidden: !message.reasoning },
      make("summary", {}, "Reasoning"), element.reasoning);
    element.settled = make("div", { className: "settled" });
    element.tail = make("div", { className: "tail" });
    element.body = make("div", { className: "body" }, element.settled, element.tail);
    element.calls = make("div", { className: "calls" });
    element.view = null;
    element.settled.append(rendered(message.html ?? ""));
    this.colour(element.settled);
    this.showCalls(element, message.calls);
    parts.push(element.thought, element.body, element.calls);
    const note = remark(message, () => this.again(message));
    if (note) parts.push(note);
    element.shown = () => this.showTokens(element, message);
    this.lazy.observe(element);
    return parts;
  }

  showCalls(element, calls) {
    element.calls.replaceChildren(...(calls ?? []).map(({ name, arguments: given }) => {
      let text = given;
      try { text = JSON.stringify(JSON.parse(given), null, 2); } catch { /* Shown as it is. */ }
      return make("details", { className: "call" }, make("summary", {}, "Calls ", make("code", {}, name)),
        make("pre", {}, text));
    }));
  }

  colour(element) {
    for (const code of element.querySelectorAll(".code code")) colour(code);
  }

  /** Shows tokens in place of text, when that is wanted and the message is to be seen. */
  async showTokens(element, message) {
    if (!this.tokens || element.view || !message.id) return;
    const view = this.view(element, message);
    if (message.state === "writing") return;
    try {
      const tokens = await ask("GET", `messages/${message.id}/tokens`);
      view.add(tokens);
      if (!tokens.length) element.classList.add("no-tokens");
    } catch (error) {
      this.host.failed(error);
    }
  }

  view(element, message) {
    const choose = (token, alternative) => this.again(message, { message: message.id, token, alternative });
    element.view = new TokenView(choose);
    element.body.after(element.view.element);
    return element.view;
  }

  toolbar(message) {
    const bar = make("div", { className: "toolbar" });
    if (message.siblings?.length > 1) bar.append(this.branches(message));
    if (message.state === "writing") return bar;
    const copied = async (event) => {
      const button = event.currentTarget;
      if (!(await copy(message.text))) return;
      announce("Copied");
      button.classList.add("done");
      setTimeout(() => button.classList.remove("done"), 1500);
    };
    bar.append(iconButton("copy", "Copy", copied));
    if (message.role === "user") bar.append(iconButton("edit", "Edit", () => this.edit(message)));
    else bar.append(iconButton("again", "Answer again", () => this.again(message)));
    const facts = measured(message);
    if (facts) bar.append(facts);
    return bar;
  }

  branches(message) {
    const { siblings, id } = message;
    const at = siblings.indexOf(id);
    const step = (to, name, label) => {
      const button = iconButton(name, label, () => this.showBranch(siblings[to]));
      button.disabled = to < 0 || to >= siblings.length;
      return button;
    };
    return make("span", { className: "branches", role: "group", "aria-label": "Branches" },
      step(at - 1, "left", "The branch before"),
      make("span", {}, `${at + 1} / ${siblings.length}`),
      step(at + 1, "right", "The next branch"));
  }

  async showBranch(message) {
    if (this.writing) return;
    try {
      const top = this.scroller.scrollTop;
      const shown = await ask("POST", `conversations/${this.id}/branch`, { message });
      this.show(shown);
      this.scroller.scrollTop = top;
      announce("Another branch is shown.");
    } catch (error) {
      this.host.failed(error);
    }
  }

  edit(message) {
    if (this.writing) return;
    const element = this.find(message.id);
    const area = make("textarea", { value: message.text, "aria-label": "Edit the message" });
    const close = () => form.replaceWith(...parts);
    const save = async () => {
      const text = area.value;
      close();
      if (text.trim() && text !== message.text) await this.say(text, message.parent, message);
    };
    const form = make("form", { className: "edit", onsubmit: (event) => { event.preventDefault(); save(); } },
      area, make("div", { className: "actions" },
        make("button", { type: "button", onclick: close }, "Cancel"),
        make("button", { type: "submit", className: "primary" }, "Send as a new branch")));
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { event.stopPropagation(); close(); }
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
    });
    const parts = [...element.childNodes];
    element.replaceChildren(form);
    area.style.height = `${Math.min(area.scrollHeight + 4, 400)}px`;
    area.focus();
  }

  // ---- Asking ----

  async send() {
    const text = this.text.value;
    if (!text.trim() || this.writing) return;
    this.text.value = "";
    this.composed();
    const sent = await this.say(text, this.messages.at(-1)?.id, null);
    if (!sent && !this.text.value) {
      this.text.value = text;
      this.composed();
    }
  }

  /** Says something behind `parent`, in place of `replaced` and what follows it. */
  async say(text, parent, replaced) {
    if (!this.id && !(await this.create())) return false;
    this.cutFrom(replaced);
    const body = { text, parent, ...this.choices() };
    const pending = make("article", { className: "message user pending" }, make("div", { className: "bubble" }, text));
    return this.follow("POST", `conversations/${this.id}/messages`, body, pending);
  }

  /** Another answer in place of this one; it may begin as that one did. */
  async again(message, from) {
    if (this.writing) return;
    this.cutFrom(message);
    await this.follow("POST", `conversations/${this.id}/answers`,
      { parent: message.parent, from, ...this.choices() });
  }

  choices() {
    return { model: byId("model").value, settings: this.host.settings() };
  }

  async create() {
    try {
      const made = await ask("POST", "conversations", this.choices());
      this.id = made.id;
      this.drafts.delete(null);
      this.host.opened(made.id);
      return true;
    } catch (error) {
      this.host.failed(error);
      return false;
    }
  }

  /** Takes a message and all after it from the page; they are another branch now. */
  cutFrom(message) {
    this.list.querySelectorAll(".failure").forEach((element) => element.remove());
    const at = message ? this.messages.findIndex(({ id }) => id === message.id) : -1;
    if (at < 0) return;
    for (const { id } of this.messages.splice(at)) this.find(id)?.remove();
  }

  find(id) {
    return this.list.querySelector(`[data-id="${id}"]`);
  }

  /** Follows an answer. Gives whether it was begun. */
  async follow(method, path, body, pending) {
    const abort = new AbortController();
    const { id } = this;
    this.setWriting({ abort, answer: null });
    this.empty(false);
    const wait = this.waiting(pending);
    let begun = false;
    try {
      for await (const event of events(method, path, body, abort.signal)) {
        if (this.id !== id || this.writing?.abort !== abort) return begun;
        wait.remove();
        pending?.remove();
        begun = true;
        this.take(event);
      }
      if (this.writing?.abort === abort && this.writing.answer) throw Object.assign(new Error("cut off"), { status: 0 });
    } catch (error) {
      this.broken(error, begun, id);
    } finally {
      wait.remove();
      pending?.remove();
      if (this.writing?.abort === abort) this.setWriting(null);
    }
    return begun;
  }

  waiting(pending) {
    if (pending) this.list.append(pending);
    const wait = make("div", { className: "waiting", role: "status" }, make("i", {}), make("i", {}), make("i", {}));
    this.list.append(wait);
    this.toEnd(true);
    const loading = this.host.model()?.loaded === false;
    setTimeout(() => wait.isConnected && wait.append(make("span", {}, loading ? "The model is being loaded" : "Waiting")), 1200);
    return wait;
  }

  broken(error, begun, id) {
    if (error.name === "AbortError") {
      if (this.id === id && !this.messages.length) this.empty(true);
      return;
    }
    if (error.status === 0) {
      this.host.lost();
      return;
    }
    if (error.status === 401) {
      this.host.locked();
      return;
    }
    if (this.id === id) this.list.append(failure(error, this.messages));
    if (!begun && this.id === id) {
      const shown = this.messages.at(-1);
      // What was taken from the page is still there on the server.
      ask("GET", `conversations/${id}?count=${COUNT}`).then((read) => {
        if (this.id !== id || this.writing || read.messages.at(-1)?.id === shown?.id) return;
        const note = this.list.querySelector(".failure");
        this.show(read);
        if (note) this.list.append(note);
        this.toEnd(true);
      }).catch(() => {});
    }
    this.toEnd(true);
  }

  /** One event of the answer. */
  take(event) {
    if (event.type === "begun") this.begin(event);
    else if (event.type === "following") this.writing.answer = event.answer;
    else if (event.type === "delta") this.grow(event);
    else if (event.type === "finished") this.finish(event);
    else if (event.type === "lost") this.setWriting(null);
  }

  begin({ conversation, messages }) {
    this.setTitle(conversation.title);
    for (const message of messages) {
      if (this.find(message.id)) continue;
      this.messages.push(message);
      this.list.append(this.element(message));
    }
    this.writing.answer = messages.at(-1).id;
    const element = this.find(this.writing.answer);
    element.classList.add("writing");
    this.toEnd(true);
    this.host.said();
  }

  grow(event) {
    const element = this.find(this.writing.answer);
    if (!element) return;
    if (event.reasoning) {
      element.thought.hidden = false;
      element.thought.classList.add("thinking");
      element.reasoning.append(event.reasoning);
    }
    if (event.settled) {
      const nodes = rendered(event.settled);
      this.colour(nodes);
      element.settled.append(nodes);
    }
    if (event.tail !== undefined) element.tail.replaceChildren(rendered(event.tail));
    if (event.more) tailEnd(element.tail).append(event.more);
    if (event.settled || event.tail || event.more) element.thought.classList.remove("thinking");
    if (event.calls) this.showCalls(element, event.calls);
    if (event.tokens) {
      element.said = (element.said ?? []).concat(event.tokens);
      if (this.tokens && !element.view) {
        const message = this.messages.find(({ id }) => id === this.writing.answer);
        this.view(element, message).add(element.said);
      } else element.view?.add(event.tokens);
    }
    this.toEnd(false);
  }

  finish({ message, title }) {
    const old = this.find(message.id);
    const open = old?.thought?.open;
    const element = this.element(message);
    // The view has all tokens already; made anew it would blink.
    if (old?.view) {
      element.view = old.view;
      element.body.after(old.view.element);
    }
    if (open) element.thought.open = true;
    if (old) old.replaceWith(element);
    else this.list.append(element);
    const at = this.messages.findIndex(({ id }) => id === message.id);
    if (at >= 0) this.messages[at] = message;
    else this.messages.push(message);
    this.setTitle(title);
    this.setWriting(null);
    announce(message.state === "complete" ? "The answer is complete." : "The answer was broken off.");
    this.toEnd(false);
    this.host.said();
    if (this.host.model()?.loaded === false) this.host.begin().catch(() => {});
  }

  /** Ends the answer that is being written. */
  async stop() {
    if (!this.writing) return;
    const { answer, abort } = this.writing;
    if (!answer) {
      abort.abort();
      return;
    }
    try {
      await ask("POST", `answers/${answer}/stop`, {});
    } catch (error) {
      if (error.status !== 404) this.host.failed(error);
    }
  }

  setWriting(writing) {
    this.writing = writing;
    const button = byId("send");
    button.classList.toggle("stops", Boolean(writing));
    button.setAttribute("aria-label", writing ? "Stop (Esc)" : "Send");
    button.replaceChildren(icon(writing ? "stop" : "send"));
    document.body.classList.toggle("is-writing", Boolean(writing));
    this.composed();
  }
}

/** Where text is to be added to a block that is not rendered again yet. */
function tailEnd(tail) {
  const last = tail.lastElementChild;
  return last?.querySelector("code:last-of-type") ?? last ?? tail;
}

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
function remark(message, again) {
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
function measured(message) {
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
function failure(error) {
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
function welcome(suggest) {
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
    make("p", { className: "small" }, "Models can be wrong, and sound sure of it. What you write goes to this server, which keeps conversations until you delete them."),
  ];
}
