// The panel of settings. What is left empty is the model's own default.

import { byId, icon, make, toast } from "/page/assets/dom.js";

const NUMBERS = [
  { name: "temperature", label: "Temperature", min: 0, max: 5, step: 0.05, hint: "0 always takes the most probable token; higher is more daring." },
  { name: "top_p", label: "Top-p", min: 0, max: 1, step: 0.01, hint: "Keeps the likeliest tokens that together have this probability." },
  { name: "top_k", label: "Top-k", min: 0, max: 1000, step: 1, hint: "Keeps this many of the likeliest tokens; 0 keeps all." },
  { name: "min_p", label: "Min-p", min: 0, max: 1, step: 0.01, hint: "Drops tokens less probable than this part of the likeliest." },
  { name: "max_tokens", label: "Longest answer", min: 1, max: 1_000_000, step: 1, hint: "In tokens." },
  { name: "seed", label: "Seed", min: 0, max: 9007199254740991, step: 1, hint: "The same seed gives the same answer." },
];

/** Settings that not every model can keep to, by what its card calls that. */
const ABILITIES = { effort: "reasoning", schema: "formats" };

/** The panel. `current` gives the conversation, `save` stores settings and gives whether it could. */
export class Settings {
  constructor({ current, save }) {
    this.current = current;
    this.save = save;
    this.fields = {};
    this.hints = {};
    this.model = null;
    // Whose settings these are, and whether they were changed and are not stored yet.
    this.id = null;
    this.changed = false;
    this.pending = null;
    this.saving = Promise.resolve();
    this.panel = byId("settings");
    this.build();
  }

  build() {
    const close = make("button", {
      type: "button", className: "icon-button", "aria-label": "Close the settings", onclick: () => this.toggle(false),
    }, icon("close"));
    const head = make("div", { className: "panel-head" }, make("h2", {}, "Settings"), close);
    this.panel.replaceChildren(head, make("p", { className: "panel-note" },
      "For this conversation. What is empty is the model's own default."));
    this.text("system", "System prompt", 5, "How the model should behave, for example: Answer briefly.");
    const grid = make("div", { className: "panel-grid" });
    for (const number of NUMBERS) grid.append(this.number(number));
    this.panel.append(grid);
    this.choice("effort", "Reasoning", [["", "As the model has it"], ["off", "Off"], ["on", "On"]]);
    this.text("schema", "Answer as JSON of this schema", 5, '{"type": "object", ...}');
    this.panel.append(make("div", { className: "panel-foot" }, make("button", {
      type: "button", onclick: () => { this.value = {}; this.tell(); },
    }, "Back to defaults")));
  }

  field(name, label, input, hint) {
    input.id = `set-${name}`;
    this.fields[name] = input;
    input.addEventListener("input", () => this.tell());
    this.hints[name] = hint ?? "";
    const note = make("small", { id: `set-${name}-note` }, this.hints[name]);
    input.setAttribute("aria-describedby", note.id);
    return make("div", { className: "setting" }, make("label", { htmlFor: input.id }, label), input, note);
  }

  number({ name, label, min, max, step, hint }) {
    const input = make("input", { type: "number", min, max, step: step === 1 ? 1 : "any", placeholder: "default", inputMode: "decimal" });
    return this.field(name, label, input, hint);
  }

  text(name, label, rows, placeholder) {
    const input = make("textarea", { rows, placeholder, spellcheck: name === "system" });
    this.panel.append(this.field(name, label, input));
  }

  choice(name, label, options) {
    const input = make("select", {}, ...options.map(([value, text]) => make("option", { value }, text)));
    this.panel.append(this.field(name, label, input));
  }

  /** What is set, and the first field that is not valid. Marks those that are not. */
  read() {
    const value = {};
    let problem = null;
    for (const [name, input] of Object.entries(this.fields)) {
      const text = input.value.trim();
      let wrong = "";
      // What a browser cannot read as a number has no value, but is not valid.
      if (input.type === "number" && !input.checkValidity()) wrong = input.validationMessage;
      else if (text === "") { /* The default. */ }
      else if (input.type === "number") value[name] = Number(text);
      else if (name === "schema") [value.schema, wrong] = schemaOf(text);
      else value[name] = name === "system" ? input.value : text;
      if (wrong) problem ??= input;
      this.mark(name, wrong);
    }
    return { value, problem };
  }

  mark(name, wrong) {
    const input = this.fields[name];
    const cannot = this.model?.[ABILITIES[name]] === false;
    // What is set stays to be seen and cleared: the server refuses it rather than leave it out.
    input.disabled = cannot && !input.value;
    input.setAttribute("aria-invalid", wrong ? "true" : "false");
    const hint = cannot ? "The model that is chosen cannot do this." : this.hints[name];
    byId(`set-${name}-note`).textContent = wrong || hint;
  }

  get value() { return this.read().value; }

  set value(value) {
    for (const [name, input] of Object.entries(this.fields)) {
      const given = value?.[name];
      input.value = given === undefined || given === null ? ""
        : name === "schema" ? JSON.stringify(given, null, 2) : given;
    }
    this.read();
  }

  /** Shows a conversation's settings. What a person has changed and nobody stored yet stays. */
  show(id, value) {
    if (id === this.id && this.changed) return;
    this.id = id;
    this.changed = false;
    this.value = value;
  }

  /** The model that is to keep to them. */
  fit(model) {
    this.model = model;
    this.read();
  }

  /** Whether all fields are valid; leads to the first one that is not. */
  check() {
    const { problem } = this.read();
    if (!problem) return true;
    if (this.panel.hidden) this.toggle(true);
    problem.focus();
    toast("Nothing was sent: this setting is not valid.");
    return false;
  }

  tell() {
    this.read();
    this.id = this.current();
    this.changed = true;
    this.pending = this.id;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), 300);
  }

  /** Stores what was changed now. What is not valid is not stored, nor anything beside it. */
  flush() {
    clearTimeout(this.timer);
    const id = this.pending;
    this.pending = null;
    if (!id) return this.saving;
    const { value, problem } = this.read();
    if (problem) return this.saving;
    this.saving = this.save(id, value).then((stored) => {
      if (stored && this.id === id && !this.pending) this.changed = false;
    });
    return this.saving;
  }

  /** Shows or hides the panel. */
  toggle(open = this.panel.hidden) {
    this.panel.hidden = !open;
    byId("settings-open").setAttribute("aria-expanded", String(open));
    document.body.classList.toggle("with-settings", open);
    if (open) this.fields.system.focus();
    else byId("settings-open").focus();
  }
}

/** A schema, or what is wrong with it. */
function schemaOf(text) {
  try {
    const schema = JSON.parse(text);
    const isObject = typeof schema === "object" && schema !== null && !Array.isArray(schema);
    return isObject ? [schema, ""] : [undefined, "A schema is an object: { … }"];
  } catch (error) {
    return [undefined, `This is no JSON: ${error.message}`];
  }
}
