// The token view: an answer as the pieces it was made of, each shaded by how probable the model
// found it, with what it might have said instead.
//
// A token comes as [text, probability, [[text, probability], ...]].

import { announce, byId, make } from "/page/assets/dom.js";

const STEPS = [0.9, 0.6, 0.3, 0.1, 0.03];

function shade(probability) {
  if (probability === null || probability === undefined) return "unknown";
  const step = STEPS.findIndex((bound) => probability >= bound);
  return `p${step < 0 ? STEPS.length : step}`;
}

/** A probability for people. */
export function percent(probability) {
  if (probability >= 0.9995) return "100 %";
  if (probability >= 0.1) return `${(probability * 100).toFixed(1)} %`;
  if (probability >= 0.0001) return `${(probability * 100).toPrecision(2)} %`;
  return "< 0.01 %";
}

/** A token's text with its blanks to be seen. */
export function visible(text) {
  if (text === "") return "(a part of a character)";
  return text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "␣");
}

/** The view of one answer; more tokens may come. */
export class TokenView {
  constructor(onchoose) {
    this.tokens = [];
    this.onchoose = onchoose;
    this.at = -1;
    this.element = make("div", {
      className: "tokens", tabIndex: 0, role: "group",
      "aria-label": "Tokens of the answer; arrow keys go from one to the next",
    });
    this.element.addEventListener("pointerover", (event) => this.hover(event));
    this.element.addEventListener("pointerleave", () => card.leave());
    this.element.addEventListener("click", (event) => this.click(event));
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("focus", () => {
      // A press on a token focuses the view before it is a click: then nothing may move.
      if (this.at >= 0 && !this.returning && this.element.matches(":focus-visible")) this.go(this.at);
    });
    this.element.addEventListener("blur", () => this.mark(null));
  }

  /** Adds tokens. */
  add(tokens) {
    const fragment = document.createDocumentFragment();
    for (const token of tokens) {
      const span = document.createElement("span");
      span.className = `token ${shade(token[1])}`;
      span.textContent = token[0];
      span.dataset.at = this.tokens.length;
      this.tokens.push(token);
      fragment.append(span);
      if (token[0].includes("\n")) fragment.append(document.createElement("wbr"));
    }
    this.element.append(fragment);
  }

  hover(event) {
    const span = event.target.closest(".token");
    if (span && event.pointerType !== "touch") card.show(this, Number(span.dataset.at), span, false);
  }

  click(event) {
    const span = event.target.closest(".token");
    if (!span) return;
    this.at = Number(span.dataset.at);
    this.mark(span);
    card.show(this, this.at, span, true);
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10 }[event.key];
    if (step) this.go(Math.min(Math.max(this.at + step, 0), this.tokens.length - 1));
    else if (event.key === "Home") this.go(0);
    else if (event.key === "End") this.go(this.tokens.length - 1);
    else if (event.key === "Enter" && this.at >= 0) card.focus();
    else if (event.key === "Escape" && card.open) card.hide();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  go(at) {
    this.at = at;
    const span = this.element.querySelector(`[data-at="${at}"]`);
    if (!span) return;
    this.mark(span);
    span.scrollIntoView({ block: "nearest" });
    card.show(this, at, span, true);
    const [text, probability] = this.tokens[at];
    announce(`${visible(text)}, ${probability === null ? "unknown" : percent(probability)}`);
  }

  /** Takes the keyboard back from the card. */
  back() {
    this.returning = true;
    this.element.focus({ preventScroll: true });
    this.returning = false;
    this.mark(this.element.querySelector(`[data-at="${this.at}"]`));
  }

  mark(span) {
    this.element.querySelector(".token.current")?.classList.remove("current");
    span?.classList.add("current");
  }
}

/** The card beside a token. There is one for the page. */
const card = {
  open: false,
  pinned: false,
  view: null,
  span: null,

  show(view, at, span, pinned) {
    if (this.pinned && !pinned) return;
    this.pinned = pinned;
    this.open = true;
    this.view = view;
    this.span = span;
    const element = byId("token-card");
    element.replaceChildren(...this.content(view, at));
    element.hidden = false;
    this.place(element, span);
  },

  /** Stays beside its token while that moves, as long as it is to be seen. */
  follow(scroller) {
    if (!this.open) return;
    const [spot] = this.span.getClientRects();
    const { top, bottom } = scroller.getBoundingClientRect();
    if (spot && spot.bottom > top && spot.top < bottom) this.place(byId("token-card"), this.span);
    else this.hide();
  },

  content(view, at) {
    const [text, probability, others] = view.tokens[at];
    const known = probability !== null && probability !== undefined;
    const head = make("p", { className: "card-head" },
      make("code", {}, visible(text)),
      make("span", {}, known ? percent(probability) : "its probability was not told"));
    const parts = [head];
    if (known && probability < 0.5) {
      const odds = Math.round(1 / Math.max(probability, 1e-9));
      parts.push(make("p", { className: "card-note" }, `about one in ${odds.toLocaleString("en")}`));
    }
    if (!others?.length) return parts;
    const rows = others.map(([other, chance], index) => ({ other, chance, index }));
    if (!rows.some((row) => row.other === text)) rows.push({ other: text, chance: probability, index: -1 });
    const rest = 1 - rows.reduce((sum, row) => sum + row.chance, 0);
    const list = make("ul", { className: "bars" });
    for (const row of rows) list.append(this.row(view, at, row, row.other === text));
    parts.push(list);
    if (rest > 0.0005) {
      parts.push(make("p", { className: "card-note" }, `all other tokens together: ${percent(rest)}`));
    }
    return parts;
  },

  row(view, at, { other, chance, index }, said) {
    const bar = make("span", { className: "bar" });
    bar.style.setProperty("--part", `${Math.max(chance * 100, 0.5)}%`);
    const inner = [bar, make("code", {}, visible(other)), make("span", {}, percent(chance))];
    if (said || index < 0 || !view.onchoose) {
      return make("li", { className: said ? "said" : "" }, make("div", { className: "row" }, ...inner));
    }
    const button = make("button", {
      type: "button", className: "row", title: "Go on from here with this token instead",
      onclick: () => { this.hide(); view.onchoose(at, index); },
    }, ...inner);
    return make("li", {}, button);
  },

  place(element, span) {
    const [spot] = span.getClientRects();
    if (!spot) return;
    const { width, height } = element.getBoundingClientRect();
    const left = Math.min(Math.max(spot.left - 12, 8), window.innerWidth - width - 8);
    const below = spot.bottom + 8 + height < window.innerHeight;
    element.style.left = `${left}px`;
    element.style.top = `${below ? spot.bottom + 6 : Math.max(spot.top - height - 6, 8)}px`;
  },

  focus() { byId("token-card").querySelector("button")?.focus(); },
  leave() {
    if (!this.pinned) setTimeout(() => !this.pinned && !byId("token-card").matches(":hover") && this.hide(), 150);
  },
  /** Goes; the keyboard, if it was in the card, returns to the tokens. */
  hide() {
    const element = byId("token-card");
    const view = element.contains(document.activeElement) ? this.view : null;
    this.open = this.pinned = false;
    this.view = this.span = null;
    element.hidden = true;
    view?.back();
  },
};

/** The card goes when the person turns to something else. */
export function watchCard(scroller) {
  const element = byId("token-card");
  element.addEventListener("pointerleave", () => card.leave());
  scroller.addEventListener("scroll", () => card.follow(scroller), { passive: true });
  document.addEventListener("pointerdown", (event) => {
    if (card.open && !element.contains(event.target) && !event.target.closest(".token")) card.hide();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && card.open) {
      event.stopImmediatePropagation();
      card.hide();
    }
  }, true);
}
