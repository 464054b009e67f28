// Where the page begins: what is loaded, which conversation is shown, and keys for all of it.

import { ask, download } from "/page/assets/api.js";
import { Chat } from "/page/assets/chat.js";
import { askKey, choose, watchLinks } from "/page/assets/dialogs.js";
import { announce, byId, make, toast } from "/page/assets/dom.js";
import { Settings } from "/page/assets/settings.js";
import { Sidebar } from "/page/assets/sidebar.js";
import { watchCard } from "/page/assets/tokens.js";

const RETRY_MS = 2000;
const ID = /^[0-9a-f]{32}$/;

/** What all parts of the page share. */
const host = {
  start: null,
  models: [],
  down: false,

  /** Tells of a request that failed; gives true if it was dealt with here. */
  failed(error) {
    if (error.name === "AbortError") return true;
    if (error.status === 0) return this.lost(), true;
    if (error.status === 401) return this.locked(), true;
    toast(error.message);
    return false;
  },

  /** The server is gone: says so, and waits until it is there again. */
  lost() {
    if (this.down) return;
    this.down = true;
    notice("The server cannot be reached. What you wrote stays here; trying again…", "down");
    const again = async () => {
      try {
        await this.begin();
      } catch (error) {
        if (passes(error)) {
          setTimeout(again, (error.retryAfter ?? 0) * 1000 || RETRY_MS);
          return;
        }
        this.down = false;
        notice("");
        this.failed(error);
        return;
      }
      this.down = false;
      announce("The server is there again.");
      sidebar.load();
      // Where nothing was shown yet, the address says what is to be.
      if (shown) chat.reload();
      else show();
    };
    setTimeout(again, RETRY_MS);
  },

  async locked() {
    if (await askKey()) await go();
  },

  /** What the server is and has. */
  async begin() {
    this.start = await ask("GET", "start");
    this.models = this.start.models;
    showModels();
    notice(this.start.notice ?? "", "warning");
  },

  /** The model that is chosen. */
  model() {
    const name = byId("model").value;
    return this.models.find((model) => model.name === name);
  },

  choose(name) {
    if (name && ![...byId("model").options].some((option) => option.value === name)) {
      byId("model").append(make("option", { value: name }, `${name} (not here any more)`));
    }
    if (name) byId("model").value = name;
    modelChanged();
  },

  settings: () => settings.value,
  showSettings(id, value) { settings.show(id, value); },
  /** Whether something can be sent with these settings. */
  ready: () => settings.check(),
  /** Stores settings that were just changed, and waits until they are. */
  saved: () => settings.flush(),
  opened(id) {
    sidebar.mark(id);
    byId("export").disabled = !id;
    if (location.hash.slice(1) !== (id ?? "")) history.pushState(null, "", id ? `#${id}` : "#");
  },
  said() { sidebar.load(); },
  renamed(id, title) { if (id === chat.id) chat.setTitle(title); },
  deleted(id) { if (id === chat.id) chat.open(null); },
};

/** Whether a refusal is one that passes by itself. */
function passes({ status }) {
  return status === 0 || status === 429 || status >= 500;
}

function modelChanged() {
  chat.modelChanged();
  settings.fit(host.model());
}

function notice(text, kind = "") {
  const element = byId("notice");
  element.textContent = text;
  element.className = kind;
  element.hidden = !text;
}

function showModels() {
  const select = byId("model");
  const chosen = select.value || remembered("lucid-model") || host.start.model;
  const size = (bytes) => {
    if (bytes < 1e6) return "";
    return bytes < 1e9 ? ` · ${Math.round(bytes / 1e6)} MB` : ` · ${(bytes / 1e9).toFixed(1)} GB`;
  };
  const facts = ({ description, context, source }) =>
    [description, context && `${context.toLocaleString("en")} tokens of context`, source].filter(Boolean).join("\n");
  select.replaceChildren(...host.models.map((model) =>
    make("option", { value: model.name, title: facts(model) }, `${model.name}${size(model.bytes)}`)));
  if (!host.models.length) select.append(make("option", { value: "" }, "No model yet: lucid pull"));
  if (host.models.some((model) => model.name === chosen)) select.value = chosen;
  modelChanged();
}

function remembered(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

function remember(name, value) {
  try { localStorage.setItem(name, value); } catch { /* It is only forgotten. */ }
}

const chat = new Chat(host);
const sidebar = new Sidebar(host);
const settings = new Settings({
  current: () => chat.id,
  async save(id, value) {
    try {
      await ask("PATCH", `conversations/${id}`, { settings: value });
      return true;
    } catch (error) {
      host.failed(error);
      return false;
    }
  },
});

byId("model").addEventListener("change", async () => {
  remember("lucid-model", byId("model").value);
  modelChanged();
  if (!chat.id) return;
  try {
    await ask("PATCH", `conversations/${chat.id}`, { model: byId("model").value });
  } catch (error) { host.failed(error); }
});
byId("new").addEventListener("click", () => { chat.open(null); sidebar.toggle(false); });
byId("settings-open").addEventListener("click", () => settings.toggle());
byId("token-view").addEventListener("click", () => {
  const on = chat.toggleTokens();
  byId("token-view").setAttribute("aria-pressed", String(on));
  byId("legend").hidden = !on;
  remember("lucid-tokens", on ? "1" : "");
});

byId("export").addEventListener("click", async () => {
  const { id, title } = chat;
  const choices = [["markdown", "Markdown: what is shown"], ["json", "JSON: all branches"]];
  const format = await choose("Save this conversation", choices);
  if (!format) return;
  try {
    const file = await download(`conversations/${id}/export?format=${format}`);
    const address = URL.createObjectURL(file);
    const name = (title || "conversation").replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60);
    make("a", { href: address, download: `${name}.${format === "json" ? "json" : "md"}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  } catch (error) { host.failed(error); }
});

const THEMES = ["", "dark", "light"];
function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}
setTheme(remembered("lucid-theme"));
byId("theme").addEventListener("click", () => {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const now = document.documentElement.dataset.theme || system;
  const next = now === "dark" ? "light" : "dark";
  const theme = next === system ? THEMES[0] : next;
  setTheme(theme);
  remember("lucid-theme", theme);
});

document.addEventListener("keydown", (event) => {
  const command = event.ctrlKey || event.metaKey;
  if (command && event.key.toLowerCase() === "k") {
    event.preventDefault();
    document.body.classList.remove("without-sidebar");
    sidebar.toggle(true);
    byId("search").focus();
    byId("search").select();
  } else if (command && event.shiftKey && event.key.toLowerCase() === "o") {
    event.preventDefault();
    chat.open(null);
  } else if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    if (!byId("settings").hidden) settings.toggle(false);
    else if (document.body.classList.contains("with-sidebar")) sidebar.toggle(false);
    else chat.stop();
  }
});

// A fragment of its own would be taken for another conversation.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("text").focus();
});

let shown = false;

/** Shows the conversation that the address names. */
async function show() {
  const hash = location.hash.slice(1);
  const id = ID.test(hash) ? hash : null;
  // Another fragment is a place in the page, and what is shown already need not be opened.
  if (shown && ((!id && hash) || (id === chat.id && chat.loaded))) return;
  shown = true;
  await chat.open(id);
}

window.addEventListener("popstate", show);

async function go() {
  try {
    await host.begin();
  } catch (error) {
    if (passes(error)) host.lost();
    else if (!host.failed(error)) notice(error.message, "down");
    return;
  }
  shown = false;
  await Promise.all([sidebar.load(), show()]);
}

watchLinks();
watchCard(byId("scroller"));
if (remembered("lucid-tokens")) byId("token-view").click();
go();
