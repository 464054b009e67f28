// The list of conversations, with search.

import { ask } from "/page/assets/api.js";
import { byId, iconButton, make } from "/page/assets/dom.js";
import { question } from "/page/assets/dialogs.js";

const COUNT = 50;

/** The list. `host` opens conversations and is told of those that are deleted. */
export class Sidebar {
  constructor(host) {
    this.host = host;
    this.items = [];
    this.more = false;
    this.run = 0;
    const search = byId("search");
    search.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.load(), 150);
    });
    search.addEventListener("keydown", (event) => this.key(event));
    byId("conversations").addEventListener("keydown", (event) => this.key(event));
    byId("sidebar-open").addEventListener("click", () => this.toggle());
    byId("sidebar-close").addEventListener("click", () => this.toggle(false));
    byId("veil").addEventListener("click", () => this.toggle(false));
    new IntersectionObserver(([entry]) => {
      if (entry.isIntersecting && this.more) this.load(true);
    }).observe(this.end = make("div", { className: "list-end" }));
  }

  /** Loads the list anew, or its next part. */
  async load(next = false) {
    const run = ++this.run;
    const query = new URLSearchParams({
      search: byId("search").value.trim(), skip: next ? this.items.length : 0, count: COUNT,
    });
    try {
      const { conversations, more } = await ask("GET", `conversations?${query}`);
      if (run !== this.run) return;
      this.items = next ? [...this.items, ...conversations] : conversations;
      this.more = more;
      this.show();
    } catch (error) {
      this.host.failed(error);
    }
  }

  show() {
    const list = byId("conversations");
    const parts = [];
    let group;
    let rows;
    for (const item of this.items) {
      const name = when(item.updated);
      if (name !== group) {
        group = name;
        rows = make("ul", {});
        parts.push(make("h2", {}, name), rows);
      }
      rows.append(this.row(item));
    }
    if (!parts.length) {
      const searched = byId("search").value.trim();
      parts.push(make("p", { className: "none" }, searched ? "Nothing found." : "Conversations will stand here."));
    }
    list.replaceChildren(...parts, this.end);
    this.mark(this.current);
  }

  row(item) {
    const title = item.title || "Without a title";
    const link = make("a", { href: `#${item.id}`, title }, title);
    link.addEventListener("click", () => this.toggle(false));
    return make("li", { "data-id": item.id }, link,
      make("span", { className: "row-tools" },
        iconButton("edit", `Rename ${title}`, () => this.rename(item)),
        iconButton("delete", `Delete ${title}`, () => this.remove(item))));
  }

  /** Marks the conversation that is shown. */
  mark(id) {
    this.current = id;
    for (const row of byId("conversations").querySelectorAll("li")) {
      const link = row.querySelector("a");
      if (row.dataset.id === id) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  async rename(item) {
    const title = await question({ title: "A new name", value: item.title, confirm: "Rename" });
    if (title === null || !title.trim()) return;
    try {
      await ask("PATCH", `conversations/${item.id}`, { title: title.trim() });
      this.host.renamed(item.id, title.trim());
      await this.load();
    } catch (error) {
      this.host.failed(error);
    }
  }

  async remove(item) {
    const sure = await question({
      title: "Delete this conversation?", text: `“${item.title || "Without a title"}” is deleted with all its branches. This cannot be undone.`,
      confirm: "Delete", danger: true,
    });
    if (!sure) return;
    try {
      await ask("DELETE", `conversations/${item.id}`);
      this.host.deleted(item.id);
      await this.load();
    } catch (error) {
      this.host.failed(error);
    }
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape" && event.target.id === "search" && event.target.value) {
      event.target.value = "";
      event.stopPropagation();
      this.load();
    }
    if (event.key === "Enter" && event.target.id === "search") {
      byId("conversations").querySelector("li a")?.click();
    }
    if (!step) return;
    event.preventDefault();
    const stops = [byId("search"), ...byId("conversations").querySelectorAll("li a")];
    stops[stops.indexOf(document.activeElement) + step]?.focus();
  }

  /** Shows or hides the list where there is no room for both. */
  toggle(open) {
    const narrow = window.matchMedia("(max-width: 800px)").matches;
    if (!narrow) {
      if (open === undefined) document.body.classList.toggle("without-sidebar");
      return;
    }
    const shown = document.body.classList.toggle("with-sidebar", open);
    byId("veil").hidden = !shown;
  }
}

function when(time) {
  const day = 86_400_000;
  const today = new Date().setHours(0, 0, 0, 0);
  if (time >= today) return "Today";
  if (time >= today - day) return "Yesterday";
  if (time >= today - 6 * day) return "This week";
  const date = new Date(time);
  const options = { month: "long", year: date.getFullYear() === new Date().getFullYear() ? undefined : "numeric" };
  return date.toLocaleDateString("en", options);
}
