// The panel of settings. What is left empty is the model's own default.

import { byId, icon, make } from "/page/assets/dom.js";

const NUMBERS = [
  { name: "temperature", label: "Temperature", min: 0, max: 5, step: 0.05, hint: "0 always takes the most probable token; higher is more daring." },
  { name: "top_p", label: "Top-p", min: 0, max: 1, step: 0.01, hint: "Keeps the likeliest tokens that together have this probability." },
  { name: "top_k", label: "Top-k", min: 0, max: 1000, step: 1, hint: "Keeps this many of the likeliest tokens; 0 keeps all." },
  { name: "min_p", label: "Min-p", min: 0, max: 1, step: 0.01, hint: "Drops tokens less probable than this part of the likeliest." },
  { name: "max_tokens", label: "Longest answer", min: 1, max: 1_000_000, step: 1, hint: "In tokens." },
  { name: "seed", label: "Seed", min: 0, max: 9007199254740991, step: 1, hint: "The same seed gives the same answer." },
];

/** The panel. `onchange` is called with the settings whenever they are valid. */
export class Settings {
  constructor(onchange) {
    this.onchange = onchange;
    this.fields = {};
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
    const note = make("small", { id: `set-${name}-note` }, hint ?? "");
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

  /** What is set. Fields that are not valid are left out and marked. */
  get value() {
    const value = {};
    for (const [name, input] of Object.entries(this.fields)) {
      const text = input.value.trim();
      let problem = "";
      if (input.type === "number" && !input.checkValidity()) problem = input.validationMessage;
      else if (text === "") { /* The default. */ }
      else if (input.type === "number") value[name] = Number(text);
      else if (name === "schema") {
        try { value.schema = JSON.parse(text); } catch (error) { problem = `This is no JSON: ${error.message}`; }
      } else value[name] = name === "system" ? input.value : text;
      input.setAttribute("aria-invalid", problem ? "true" : "false");
      if (input.type !== "number" && name === "schema") byId("set-schema-note").textContent = problem;
    }
    return value;
  }

  set value(value) {
    for (const [name, input] of Object.entries(this.fields)) {
      const given = value?.[name];
      input.value = given === undefined || given === null ? ""
        : name === "schema" ? JSON.stringify(given, null, 2) : given;
      input.setAttribute("aria-invalid", "false");
    }
  }

  tell() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.onchange(this.value), 300);
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
