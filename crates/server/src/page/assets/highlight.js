// Colours for code: comments, texts, numbers and words that many languages share. It knows no
// grammar, so it is sometimes wrong, never slow, and changes nothing but colours.

const BYTES_MAX = 60_000;
const WORDS = new Set(`abstract and as assert async await bool boolean break case catch char class
const continue crate def default del delete do double elif else end enum except export extends extern
false final finally float fn for from func function global go goto if impl implements import in
include instanceof int interface is lambda let local long loop match mod module move mut namespace
new nil none None not null or package pass private protected pub public raise range ref repeat
require return self Self short signed sizeof static string struct super switch then this throw trait
true True False try type typedef typeof undefined union unless unsafe unsigned until use using var
virtual void volatile where while with yield select insert update set values table create drop echo
fi done esac local`.split(/\s+/));

const HASH = new Set(["python", "py", "sh", "bash", "shell", "zsh", "console", "ruby", "rb", "yaml",
  "yml", "toml", "make", "makefile", "perl", "r", "julia", "dockerfile", "nix", "ini", "conf"]);
const DASH = new Set(["sql", "lua", "haskell", "hs", "elm", "ada", "vhdl"]);
const PLAIN = new Set(["text", "txt", "plain", "plaintext", "markdown", "md", "diff", "log"]);

function pattern(language) {
  let comment = "\\/\\/[^\\n]*|\\/\\*[\\s\\S]*?(?:\\*\\/|$)";
  if (HASH.has(language)) comment = "#[^\\n]*";
  if (DASH.has(language)) comment = "--[^\\n]*|\\/\\*[\\s\\S]*?(?:\\*\\/|$)";
  if (["html", "xml", "svg"].includes(language)) comment = "<!--[\\s\\S]*?(?:-->|$)";
  const text = `"""[\\s\\S]*?(?:"""|$)|"(?:[^"\\\\\\n]|\\\\.)*"|'(?:[^'\\\\\\n]|\\\\.)*'|\`[^\`]*\``;
  const number = "\\b(?:0[xXbBoO][\\da-fA-F_]+|\\d[\\d_]*(?:\\.\\d+)?(?:[eE][+-]?\\d+)?)\\b";
  return new RegExp(`(${comment})|(${text})|(${number})|([A-Za-z_][A-Za-z_0-9]*)(\\s*\\()?`, "g");
}

/** Colours one block, once. */
export function colour(code) {
  if (code.dataset.coloured) return;
  code.dataset.coloured = "1";
  const language = code.className.replace("language-", "");
  const text = code.textContent;
  if (PLAIN.has(language) || text.length > BYTES_MAX) return;
  const parts = [];
  let last = 0;
  const add = (from, to, kind) => {
    if (from > last) parts.push(text.slice(last, from));
    const span = document.createElement("span");
    span.className = kind;
    span.textContent = text.slice(from, to);
    parts.push(span);
    last = to;
  };
  for (const found of text.matchAll(pattern(language))) {
    const [whole, comment, string, number, word, call] = found;
    const at = found.index;
    if (comment) add(at, at + whole.length, "c-comment");
    else if (string) add(at, at + whole.length, "c-text");
    else if (number) add(at, at + whole.length, "c-number");
    else if (WORDS.has(word)) add(at, at + word.length, "c-word");
    else if (call) add(at, at + word.length, "c-call");
  }
  parts.push(text.slice(last));
  code.replaceChildren(...parts);
}
