//! Adding texts to windows: pages with labels, and large texts in parts.

use lucid_policy::{Label, SourceKind, SourceName, default_label};
use lucid_provider::{Prompt, Turn};

use crate::error::OsError;
use crate::event::{Event, Status};
use crate::ids::{PageId, Pid};
use crate::kernel::Kernel;
use crate::page::{Page, PageKind, Speaker};

/// Tokens that a message has beside its text: the template's. A guess; the window leaves room.
const MESSAGE_TOKENS: u64 = 8;
/// Bytes of a token, where nobody tells.
const TOKEN_BYTES: u64 = 3;
/// A page has at most this part of the window.
const PAGE_SHARE: u64 = 8;
/// The least tokens of a part of a text.
const PART_TOKENS_MIN: u64 = 64;

/// What is known of a text that becomes pages.
#[derive(Clone, Debug)]
pub(crate) struct TextPage {
    pub(crate) kind: PageKind,
    pub(crate) speaker: Speaker,
    pub(crate) source: String,
    pub(crate) source_kind: Option<SourceKind>,
    pub(crate) label: Label,
}

/// What a call has to say.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) status: Status,
    pub(crate) text: String,
    pub(crate) kind: PageKind,
    pub(crate) source: String,
    pub(crate) source_kind: Option<SourceKind>,
    pub(crate) label: Label,
    /// Whether the process gets it to hold, and does not read it.
    pub(crate) hold: bool,
    /// The page whose text this is.
    pub(crate) copy_of: Option<PageId>,
}

impl Said {
    /// What the system itself says.
    pub(crate) fn system(text: impl Into<String>) -> Self {
        Self {
            status: Status::Done,
            text: text.into(),
            kind: PageKind::ToolOutput,
            source: "system".to_owned(),
            source_kind: Some(SourceKind::Computed),
            label: Label::unlimited(),
            hold: false,
            copy_of: None,
        }
    }

    /// That something was not done.
    pub(crate) fn not(status: Status, text: impl Into<String>) -> Self {
        Self { status, ..Self::system(text) }
    }
}

impl Kernel {
    /// The label of a text from such a place, in the hands of a process's principal.
    pub(crate) fn label_of(&self, pid: Pid, kind: SourceKind, name: &str) -> Label {
        let owner = self.state.process(pid).map(|process| process.principal.clone());
        let owner = owner.unwrap_or_else(|| lucid_policy::Party::new("nobody"));
        default_label(kind, SourceName::new(name), &owner)
    }

    /// A page, with its text in the log. `made` counts pages whose events were not written yet.
    pub(crate) fn make_page(&mut self, pid: Pid, of: &TextPage, text: &str, made: u64) -> Page {
        let tokens = self.count_tokens(pid, text);
        Page {
            id: self.state.next_page(pid, made),
            kind: of.kind,
            speaker: of.speaker.clone(),
            source: of.source.clone(),
            source_kind: of.source_kind,
            content: self.log.put(text.as_bytes()),
            bytes: text.len() as u64,
            tokens,
            label: of.label.clone(),
            copy_of: None,
        }
    }

    /// Adds a text to a window, in parts if it is large.
    pub(crate) fn append_text(
        &mut self,
        pid: Pid,
        of: &TextPage,
        text: &str,
    ) -> Result<(), OsError> {
        for part in self.parts(pid, text) {
            let page = self.make_page(pid, of, part, 0);
            self.emit(Event::Appended { pid, page })?;
        }
        Ok(())
    }

    /// A text in parts that are small enough for pages, cut at ends of lines where there are some.
    pub(crate) fn parts<'a>(&self, pid: Pid, text: &'a str) -> Vec<&'a str> {
        let tokens_max = (self.room(pid) / PAGE_SHARE).max(PART_TOKENS_MIN);
        if self.count_tokens(pid, text) <= tokens_max {
            return vec![text];
        }
        // A third of a token's bytes less than a token has: numbers and code have short tokens.
        let bytes_max = (tokens_max * 2) as usize;
        let mut parts = Vec::new();
        let mut rest = text;
        while rest.len() > bytes_max {
            let mut end = bytes_max;
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let cut = rest[..end].rfind('\n').map_or(end, |at| at + 1);
            let (part, behind) = rest.split_at(cut);
            parts.push(part);
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(rest);
        }
        parts
    }

    /// Tokens of a text in a process's window.
    pub(crate) fn count_tokens(&self, pid: Pid, text: &str) -> u64 {
        let provider = self.state.process(pid).map_or("", |process| &process.provider);
        self.count_tokens_with(provider, text)
    }

    /// Tokens of a text in the window of a provider's model.
    pub(crate) fn count_tokens_with(&self, provider: &str, text: &str) -> u64 {
        let guess = (text.len() as u64).div_ceil(TOKEN_BYTES);
        let provider = self.settings.providers.get(provider);
        let counted = provider.filter(|it| it.card().capabilities.tokens).and_then(|provider| {
            let turn = Turn { prompt: Prompt::text(text), ..Turn::default() };
            provider.count_tokens(&turn).ok()
        });
        counted.map_or(guess, |tokens| tokens as u64) + MESSAGE_TOKENS
    }

    /// Ends the call under way with what it has to say.
    pub(crate) fn answer_call(&mut self, pid: Pid, said: &Said) -> Result<(), OsError> {
        let Some(call) = self.process(pid)?.call().map(|call| call.id) else { return Ok(()) };
        let of = TextPage {
            kind: said.kind,
            speaker: Speaker::Result { call },
            source: said.source.clone(),
            source_kind: said.source_kind,
            label: said.label.clone(),
        };
        if said.hold {
            return self.answer_held(pid, &of, said);
        }
        let parts = self.parts(pid, &said.text);
        let (first, rest) =
            parts.split_first().map_or(("", &[][..]), |(first, rest)| (*first, rest));
        let mut page = self.make_page(pid, &of, first, 0);
        page.copy_of = said.copy_of.filter(|_| rest.is_empty());
        let status = said.status;
        self.emit(Event::Returned { pid, call, status, page, held: None })?;
        for part in rest {
            let of = TextPage { speaker: Speaker::Person, ..of.clone() };
            let page = self.make_page(pid, &of, part, 0);
            self.emit(Event::Appended { pid, page })?;
        }
        Ok(())
    }

    /// The text goes beside the window; the process is told its number, where it is from and how
    /// long it is, and nothing that it says.
    fn answer_held(&mut self, pid: Pid, of: &TextPage, said: &Said) -> Result<(), OsError> {
        let Speaker::Result { call } = of.speaker else { return Ok(()) };
        let held = self.make_page(pid, of, &said.text, 0);
        let note = held_note(&held);
        let system = Said::system("");
        let of = TextPage {
            kind: PageKind::ToolOutput,
            speaker: Speaker::Result { call },
            source: system.source,
            source_kind: system.source_kind,
            label: system.label,
        };
        let page = self.make_page(pid, &of, &note, 1);
        let status = said.status;
        self.emit(Event::Returned { pid, call, status, page, held: Some(held) })
    }
}

/// What a process is told of a text that it holds: nothing that the text says.
pub(crate) fn held_note(page: &Page) -> String {
    let Page { id, bytes, source, .. } = page;
    // Not its length to the byte: that is somebody else's word, too.
    let bytes = bytes.next_power_of_two();
    format!(
        "held#{id}: up to {bytes} bytes from {source}, not read. Pass it on as \
         {{\"held\": {id}}}; `read` reads it."
    )
}
