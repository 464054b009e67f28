// Questions to the person: leaving by a link, the API key, deleting, a new name.

import { ask, useKey } from "/page/assets/api.js";
import { byId, copy, make } from "/page/assets/dom.js";

/** Shows where a link leads before anything is fetched from there. */
export function watchLinks() {
  const caught = (event) => {
    const link = event.target.closest?.("a.outside");
    if (!link) return;
    event.preventDefault();
    // The middle button and Ctrl would open it without a question.
    if (event.type === "auxclick" && event.button !== 1) return;
    showLink(link.href);
  };
  for (const kind of ["click", "auxclick"]) document.addEventListener(kind, caught, true);
  document.addEventListener("dragstart", (event) => {
    if (event.target.closest?.("a.outside")) event.preventDefault();
  });
}

function showLink(href) {
  const address = new URL(href);
  const warnings = [];
  if (address.hostname.includes("xn--")) warnings.push("Its name has letters that can look like others.");
  if (address.username) warnings.push(`What stands before the @ is not where it leads.`);
  if (address.protocol === "http:") warnings.push("The connection would not be encrypted.");
  if (address.search.length > 200) warnings.push("It carries much text with it.");
  byId("link-host").textContent = address.protocol === "mailto:" ? address.pathname : address.host;
  byId("link-address").textContent = href;
  byId("link-warning").textContent = warnings.join(" ");
  byId("link-warning").hidden = warnings.length === 0;
  byId("link-copy").textContent = "Copy address";
  byId("link-copy").onclick = async () => {
    byId("link-copy").textContent = (await copy(href)) ? "Copied" : "Not copied";
  };
  byId("link-open").onclick = () => {
    byId("link-dialog").close();
    window.open(href, "_blank", "noopener,noreferrer");
  };
  byId("link-dialog").showModal();
}

/** Asks for the API key until the server takes one. */
export function askKey() {
  const dialog = byId("key-dialog");
  if (dialog.open) return Promise.resolve(null);
  return new Promise((resolve) => {
    dialog.oncancel = (event) => event.preventDefault();
    byId("key-form").onsubmit = async (event) => {
      event.preventDefault();
      useKey(byId("key").value.trim(), byId("key-keep").checked);
      try {
        const start = await ask("GET", "start");
        dialog.close();
        resolve(start);
      } catch (error) {
        byId("key-error").textContent = error.message;
        byId("key-error").hidden = false;
      }
    };
    dialog.showModal();
  });
}

/** Asks a question; gives the text, true, or null when the person does not want it. */
export function question({ title, text, value, confirm, danger }) {
  const dialog = byId("ask-dialog");
  byId("ask-title").textContent = title;
  byId("ask-text").textContent = text ?? "";
  byId("ask-text").hidden = !text;
  const input = byId("ask-input");
  input.hidden = value === undefined;
  input.value = value ?? "";
  const yes = make("button", { type: "submit", value: "yes", className: danger ? "danger" : "primary" },
    confirm);
  const no = make("button", { type: "submit", value: "no", formNoValidate: true }, "Cancel");
  byId("ask-actions").replaceChildren(no, yes);
  dialog.returnValue = "";
  dialog.showModal();
  // Enter in the field means yes, though the other button comes first.
  input.onkeydown = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    dialog.close("yes");
  };
  if (value !== undefined) input.select();
  return new Promise((resolve) => {
    dialog.onclose = () => {
      if (dialog.returnValue !== "yes") resolve(null);
      else resolve(value === undefined ? true : input.value);
    };
  });
}

/** A choice of a few things; gives its value or null. */
export function choose(title, choices) {
  const dialog = byId("ask-dialog");
  byId("ask-title").textContent = title;
  byId("ask-text").hidden = true;
  byId("ask-input").hidden = true;
  const buttons = choices.map(([value, label]) => make("button", { type: "submit", value }, label));
  byId("ask-actions").replaceChildren(make("button", { type: "submit", value: "" }, "Cancel"), ...buttons);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue || null);
  });
}
