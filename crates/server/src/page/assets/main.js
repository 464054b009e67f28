// Where the page begins: what is loaded, which conversation is shown, and keys for all of it.

import { ask, download } from "/page/assets/api.js";
import { Chat } from "/page/assets/chat.js";
import { askKey, choose, watchLinks } from "/page/assets/dialogs.js";
import { announce, byId, make, toast } from "/page/assets/dom.js";
import { Settings } from "/page/assets/settings.js";
import { Sidebar } from "/page/assets/sidebar.js";
import { watchCard } from "/page/assets/tokens.js";

const RETRY_MS = 2000;

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
        this.down = false;
        notice("");
        announce("The server is there again.");
        await Promise.all([sidebar.load(), chat.reload()]);
      } catch (error) {
        if (error.status === 0) setTimeout(again, RETRY_MS);
        else this.failed(error);
      }
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
    if (this.start.notice) notice(this.start.notice, "warning");
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
    chat.modelChanged();
  },

  settings: () => settings.value,
  showSettings(value) { settings.value = value; },
  opened(id) {
    sidebar.mark(id);
    byId("export").disabled = !id;
    if (location.hash.slice(1) !== (id ?? "")) history.pushState(null, "", id ? `#${id}` : "#");
  },
  said() { sidebar.load(); },
  renamed(id, title) { if (id === chat.id) chat.setTitle(title); },
  deleted(id) { if (id === chat.id) chat.open(null); },
};

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
  select.replaceChildren(...host.models.map((model) =>
    make("option", { value: model.name, title: model.description ?? "" }, `${model.name}${size(model.bytes)}`)));
  if (!host.models.length) select.append(make("option", { value: "" }, "No model yet: lucid pull"));
  if (host.models.some((model) => model.name === chosen)) select.value = chosen;
  chat.modelChanged();
}

function remembered(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

function remember(name, value) {
  try { localStorage.setItem(name, value); } catch { /* It is only forgotten. */ }
}

const chat = new Chat(host);
const sidebar = new Sidebar(host);
const settings = new Settings(async (value) => {
  if (!chat.id) return;
  try { await ask("PATCH", `conversations/${chat.id}`, { settings: value }); } catch (error) { host.failed(error); }
});

byId("model").addEventListener("change", async () => {
  remember("lucid-model", byId("model").value);
  chat.modelChanged();
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
  const choices = [["markdown", "Markdown: what is shown"], ["json", "JSON: all branches"]];
  const format = await choose("Save this conversation", choices);
  if (!format) return;
  try {
    const file = await download(`conversations/${chat.id}/export?format=${format}`);
    const address = URL.createObjectURL(file);
    const name = (chat.title || "conversation").replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60);
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

async function show() {
  const id = location.hash.slice(1);
  await chat.open(/^[0-9a-f]{32}$/.test(id) ? id : null);
}

window.addEventListener("popstate", show);

async function go() {
  try {
    await host.begin();
    await Promise.all([sidebar.load(), show()]);
  } catch (error) {
    host.failed(error);
    chat.open(null);
  }
}

watchLinks();
watchCard(byId("scroller"));
if (remembered("lucid-tokens")) byId("token-view").click();
go();
