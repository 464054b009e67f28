// The conversation that is shown: its messages, the answer that is being written, and what can be
// done with both.

import { ask, events } from "/page/assets/api.js";
import { announce, byId, copy, icon, iconButton, make, rendered, toast } from "/page/assets/dom.js";
import { colour } from "/page/assets/highlight.js";
import { failure, measured, remark, welcome } from "/page/assets/pieces.js";
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
    // Whether what is shown is this conversation: only then something can be done with it.
    this.loaded = false;
    // Grows when the list is built anew: what was taken from an older one does not belong there.
    this.run = 0;
    // Messages that are being edited, by their numbers.
    this.edits = new Map();
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
    this.host.saved();
    this.drafts.set(this.id, this.text.value);
    this.leave();
    this.id = id;
    this.clear();
    this.setLoaded(!id);
    this.host.opened(id);
    this.text.value = this.drafts.get(id) ?? "";
    this.composed();
    if (id) {
      await this.read();
      return;
    }
    this.setTitle("");
    this.host.showSettings(null, {});
    this.empty(true);
    if (!matchMedia("(pointer: coarse)").matches) this.text.focus();
  }

  /** Reads what is shown anew. */
  async reload() {
    if (!this.id) return;
    this.leave();
    await this.host.saved();
    await this.read();
  }

  async read() {
    const { id } = this;
    try {
      const shown = await ask("GET", `conversations/${id}?count=${COUNT}`);
      if (this.id === id && !this.writing) this.show(shown);
    } catch (error) {
      if (this.id !== id) return;
      if (error.status === 404) {
        toast("This conversation is not there any more.");
        this.open(null);
      } else if (!this.host.failed(error) && !this.loaded) {
        const retry = make("button", { type: "button", className: "link", onclick: () => this.read() }, "Try again");
        const box = failure(error);
        box.append(retry);
        this.list.replaceChildren(box);
      }
    }
  }

  show({ conversation, messages, more }) {
    this.run += 1;
    this.setLoaded(true);
    this.setTitle(conversation.title);
    this.host.choose(conversation.model);
    this.host.showSettings(conversation.id, conversation.settings);
    this.empty(messages.length === 0);
    this.messages = messages;
    this.list.replaceChildren(...messages.map((message) => this.element(message)));
    this.setMore(more);
    for (const message of messages) if (this.edits.has(message.id)) this.edit(message, false);
    this.toEnd(true);
    const last = messages.at(-1);
    if (last?.state === "writing") this.follow("GET", `answers/${last.id}/events`);
  }

  clear() {
    this.run += 1;
    this.messages = [];
    this.loading = null;
    this.list.replaceChildren();
    this.setMore(false);
    this.empty(false);
    byId("latest").hidden = true;
  }

  setLoaded(loaded) {
    this.loaded = loaded;
    byId("model").disabled = !loaded;
    byId("settings").inert = !loaded;
    this.composed();
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
    const { id, run } = this;
    const loading = this.loading = {};
    try {
      const { messages, more } = await ask("GET", `conversations/${id}?count=${COUNT}&before=${this.messages[0].id}`);
      if (this.run !== run) return;
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
      if (this.loading === loading) this.loading = null;
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
    if (!is) return;
    const kept = this.host.start?.kept;
    element.replaceChildren(...welcome({ kept, suggest: (text) => this.suggest(text) }));
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
    const ready = this.loaded && this.text.value.trim() && this.host.models.length;
    byId("send").disabled = !this.writing && !ready;
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
    if (!this.tokens || element.view || element.asked || !message.id) return;
    if (message.state === "writing") {
      // Those that come later are added to these.
      if (element.said?.length) this.view(element, message).add(element.said);
      return;
    }
    element.asked = true;
    try {
      const tokens = await ask("GET", `messages/${message.id}/tokens`);
      if (tokens.length) this.view(element, message).add(tokens);
      else element.classList.add("no-tokens");
    } catch (error) {
      // Asked again when it is seen again.
      element.asked = false;
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
    if (message.role === "user") {
      // Where nothing follows, something went wrong before an answer was begun.
      const answer = iconButton("again", "Answer this", () => this.again(message));
      answer.classList.add("at-end");
      bar.append(iconButton("edit", "Edit", () => this.edit(message)), answer);
    } else bar.append(iconButton("again", "Answer again", () => this.again(message)));
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
    const { id } = this;
    try {
      await this.host.saved();
      const top = this.scroller.scrollTop;
      const shown = await ask("POST", `conversations/${id}/branch`, { message });
      if (this.id !== id || this.writing) return;
      this.show(shown);
      this.scroller.scrollTop = top;
      announce("Another branch is shown.");
    } catch (error) {
      this.host.failed(error);
    }
  }

  /** Opens an editor in place of a message. What is written there stays until it is sent. */
  edit(message, focus = true) {
    const element = this.find(message.id);
    if (!element || this.writing || element.querySelector(".edit")) return;
    const area = make("textarea", {
      value: this.edits.get(message.id) ?? message.text, "aria-label": "Edit the message",
      oninput: () => this.edits.set(message.id, area.value),
    });
    const close = () => {
      form.replaceWith(...parts);
      this.edits.delete(message.id);
      element.querySelector("[aria-label='Edit']")?.focus();
    };
    const save = async () => {
      const text = area.value;
      if (!text.trim() || this.writing || !this.host.ready()) return;
      close();
      if (text === message.text) return;
      this.edits.set(message.id, text);
      if (await this.say(text, message.parent, message)) {
        this.edits.delete(message.id);
        return;
      }
      this.edit(message);
      // Why it was refused is to be seen beside it.
      const note = this.list.querySelector(".failure");
      if (note) this.find(message.id)?.after(note);
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
    if (focus) area.focus();
  }

  // ---- Asking ----

  async send() {
    const text = this.text.value;
    if (!text.trim() || this.writing || !this.loaded || !this.host.ready()) return;
    this.text.value = "";
    this.composed();
    const id = this.id ?? (await this.create());
    if (!id) this.giveBack(null, text);
    else if (!(await this.say(text, this.messages.at(-1)?.id, null))) this.giveBack(id, text);
  }

  /** Puts a text that was not sent back where it was written. */
  giveBack(id, text) {
    const joined = (later) => (later ? `${text}\n\n${later}` : text);
    if (this.id !== id) {
      this.drafts.set(id, joined(this.drafts.get(id)));
      return;
    }
    this.text.value = joined(this.text.value);
    this.composed();
  }

  /** Says something behind `parent`, in place of `replaced` and what follows it. */
  async say(text, parent, replaced) {
    const restore = this.cutFrom(replaced);
    const body = { text, parent, ...this.choices() };
    const pending = make("article", { className: "message user pending" }, make("div", { className: "bubble" }, text));
    return this.follow("POST", `conversations/${this.id}/messages`, body, { pending, restore });
  }

  /** Another answer in place of this one, which may begin as that one did; or one to a question. */
  async again(message, from) {
    if (this.writing || !this.loaded || !this.host.ready()) return;
    const question = message.role === "user";
    const restore = this.cutFrom(question ? null : message);
    const parent = question ? message.id : message.parent;
    await this.follow("POST", `conversations/${this.id}/answers`, { parent, from, ...this.choices() }, { restore });
  }

  choices() {
    return { model: byId("model").value, settings: this.host.settings() };
  }

  /** Begins a conversation; gives its number, or nothing. */
  async create() {
    const { run } = this;
    this.setLoaded(false);
    try {
      const choices = this.choices();
      const { id } = await ask("POST", "conversations", choices);
      if (this.run !== run) {
        // The person has turned to another one: nothing will be said in this one.
        ask("DELETE", `conversations/${id}`).catch(() => {});
        return null;
      }
      this.id = id;
      this.drafts.delete(null);
      this.host.opened(id);
      this.host.showSettings(id, choices.settings);
      return id;
    } catch (error) {
      this.host.failed(error);
      return null;
    } finally {
      if (this.run === run) this.setLoaded(true);
    }
  }

  /**
   * Takes a message and all after it from the page: they are another branch now. Gives how they are
   * put back, for when it comes to nothing.
   */
  cutFrom(message) {
    this.list.querySelectorAll(".failure").forEach((element) => element.remove());
    const at = message ? this.messages.findIndex(({ id }) => id === message.id) : -1;
    if (at < 0) return () => {};
    const { run } = this;
    const cut = this.messages.splice(at);
    const elements = cut.map(({ id }) => this.find(id));
    elements.forEach((element) => element.remove());
    return () => {
      if (this.run !== run) return;
      this.messages.push(...cut);
      this.list.append(...elements);
    };
  }

  find(id) {
    return this.list.querySelector(`[data-id="${id}"]`);
  }

  /** Follows an answer. Gives whether it was begun; if it was not, the page is as it was before. */
  async follow(method, path, body, { pending, restore } = {}) {
    const abort = new AbortController();
    const { id } = this;
    const followed = () => this.id === id && this.writing?.abort === abort;
    this.setWriting({ abort, answer: null });
    this.empty(false);
    const wait = this.waiting(pending);
    let begun = false;
    let problem = null;
    try {
      for await (const event of events(method, path, body, abort.signal)) {
        begun = true;
        if (!followed()) break;
        wait.remove();
        pending?.remove();
        this.take(event);
      }
      if (followed() && this.writing.answer) problem = Object.assign(new Error("cut off"), { status: 0 });
    } catch (error) {
      problem = error;
    }
    wait.remove();
    pending?.remove();
    if (!begun) restore?.();
    const wasFollowed = followed();
    if (wasFollowed) this.setWriting(null);
    if (problem && wasFollowed && (await this.broken(problem, begun, id))) begun = true;
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

  /** Tells why an answer came to nothing. Gives whether the server has begun it all the same. */
  async broken(error, begun, id) {
    const stopped = error.name === "AbortError";
    if (!stopped && (error.status === 0 || error.status === 401)) {
      this.host.failed(error);
      return false;
    }
    if (!stopped) this.list.append(failure(error));
    else if (!this.messages.length) this.empty(true);
    this.toEnd(true);
    return begun ? false : this.compare(id, stopped);
  }

  /** Reads what the server has, which may be more than was heard of. Gives whether it is. */
  async compare(id, stopped) {
    const known = this.messages.at(-1);
    try {
      const read = await ask("GET", `conversations/${id}?count=${COUNT}`);
      const last = read.messages.at(-1);
      const more = last?.id !== known?.id;
      if (this.id !== id || this.writing || (!more && last?.state === known?.state && last?.state !== "writing")) return false;
      if (stopped && last?.state === "writing") await ask("POST", `answers/${last.id}/stop`, {}).catch(() => {});
      if (this.id !== id || this.writing) return more;
      const note = this.list.querySelector(".failure");
      this.show(read);
      if (note) this.list.append(note);
      this.toEnd(true);
      return more;
    } catch {
      return false;
    }
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
      element.said ??= [];
      for (const token of event.tokens) element.said.push(token);
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
    if (old?.view?.tokens.length) {
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

/** Elements that hold blocks or lines of text; what else ends a block is over already. */
const OPEN = "p, ul, ol, li, blockquote, h1, h2, h3, h4, h5, h6, .wide, table, thead, tbody, tr, th, td";

/** Where text is to be added to a block that is not rendered again yet. */
function tailEnd(tail) {
  let end = tail;
  for (;;) {
    const last = end.lastElementChild;
    if (last?.matches(".code")) return last.querySelector("pre > code");
    if (!last?.matches(OPEN)) return end;
    end = last;
  }
}
