// Elements, made without markup: text is always text.

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** An element with properties (or attributes, for names with a dash) and children. */
export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && !key.includes("-")) element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** One of the icons that stand in the page. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** A small button with an icon. */
export function iconButton(name, label, onclick) {
  const properties = { type: "button", className: "icon-button small", title: label, onclick };
  return make("button", { ...properties, "aria-label": label }, icon(name));
}

// The server's HTML is the only markup that is ever parsed. The page's policy (see the response's
// headers) forbids it everywhere else.
const policy = window.trustedTypes
  ? window.trustedTypes.createPolicy("lucid", { createHTML: (html) => html })
  : { createHTML: (html) => html };

/** Nodes of HTML that the server has rendered and sanitised. */
export function rendered(html) {
  const template = document.createElement("template");
  template.innerHTML = policy.createHTML(html);
  return template.content;
}

/** Tells people with screen readers. */
export function announce(text) {
  byId("live").textContent = text;
}

/** A short message at the edge of the page. */
export function toast(text) {
  // Said again it is the same message, not one more.
  for (const shown of [...byId("toasts").children]) if (shown.textContent === text) shown.remove();
  const element = make("div", { className: "toast" }, text);
  byId("toasts").append(element);
  setTimeout(() => element.remove(), 5000);
}

/** Puts text on the clipboard. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without TLS browsers have no clipboard for pages, but still this.
    const field = make("textarea", { value: text, className: "visually-hidden" });
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}
