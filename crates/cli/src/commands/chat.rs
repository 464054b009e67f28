//! The conversation at the prompt: lines in, answers streamed, `/commands` between.

use anyhow::{Context as _, Result};
use lucid_tensor::TokenId;
use lucid_tokenizer::template::{ChatTemplate, Message, RenderOptions, Rendered};
use lucid_tokenizer::{AddSpecial, ParseSpecial, ShowSpecial, TokenKind, Tokenizer};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;

use crate::args::RunArgs;
use crate::env::Environment;
use crate::generate::{Limits, Outcome, Session, Stop};
use crate::style::Paint;
use crate::{generate, interrupt, output, style};

const HELP: &str = "\
/help             this text
/reset            forget the conversation and begin anew
/system TEXT      set the instructions that stand before the conversation, and begin anew
/again            answer the last message once more
/set NAME VALUE   change temp, top-k, top-p, min-p, seed or n for what follows
/stats            how fast the last answer was, and how full the context is
/exit             leave (also Ctrl-D)

Several lines: begin and end with \"\"\". Ctrl-C stops an answer.
Up and down walk through the history.";

/// Binds a template's source to the control tokens of a vocabulary.
pub(super) fn template(source: &str, tokenizer: &Tokenizer) -> Result<ChatTemplate> {
    let spelling = |id: TokenId| {
        tokenizer.token_text(id).map(|text| String::from_utf8_lossy(text).into_owned())
    };
    let control = (0..tokenizer.len() as TokenId).filter(|&id| {
        let kind = tokenizer.vocabulary().kind(id);
        matches!(kind, TokenKind::Control | TokenKind::Unknown)
            || (kind == TokenKind::UserDefined && is_marked(tokenizer.token_text(id)))
    });
    let bos = tokenizer.bos().and_then(spelling);
    let eos = tokenizer.eos().and_then(spelling);
    let control = control.filter_map(spelling).collect::<Vec<_>>();
    Ok(ChatTemplate::new(source, control, bos.as_deref(), eos.as_deref())?)
}

/// Added tokens such as `<think>` or `[TOOL_CALLS]` are structure; added runs of spaces are not.
fn is_marked(text: Option<&[u8]>) -> bool {
    matches!(text, Some([b'<', .., b'>'] | [b'[', .., b']']))
}

/// Renders a conversation up to where the answer begins.
pub(super) fn render(template: &ChatTemplate, messages: &[Message]) -> Result<Rendered> {
    let options = RenderOptions {
        add_generation_prompt: true,
        now: crate::clock::local_time().unwrap_or_default(),
        ..RenderOptions::default()
    };
    template.render(messages, &options).context("the chat template")
}

/// A rendered conversation as tokens. The template writes begin-of-text itself, where it is wanted.
pub(super) fn encode(
    tokenizer: &Tokenizer,
    text: &str,
    literal: &[std::ops::Range<usize>],
) -> Vec<TokenId> {
    let mut tokens = tokenizer.encode(text.as_bytes(), literal, AddSpecial::No, ParseSpecial::Yes);
    if let Some(bos) = tokenizer.bos()
        && tokenizer.adds_bos()
        && tokens.first() != Some(&bos)
    {
        tokens.insert(0, bos);
    }
    tokens
}

/// The line editor of a conversation.
pub(super) type LineEditor = rustyline::Editor<(), FileHistory>;

/// An editor that remembers earlier conversations. Made before anything is computed or fetched: it
/// takes Ctrl-C for itself, and we take it back.
pub(super) fn editor(environment: &Environment) -> Result<LineEditor> {
    let mut editor = LineEditor::new()?;
    interrupt::install();
    if let Some(history) = &environment.history {
        // A missing or broken history is no reason not to talk.
        let _ = editor.load_history(history);
    }
    Ok(editor)
}

/// A conversation with a person.
pub(super) struct Dialogue<'a> {
    session: Session<'a>,
    template: Option<ChatTemplate>,
    system: Option<String>,
    messages: Vec<Message>,
    /// Without a template: the document so far.
    document: Vec<TokenId>,
    args: RunArgs,
    limits: Limits,
    environment: &'a Environment,
    paint: Paint,
    last: Option<Outcome>,
}

/// What a line asks for.
enum Next {
    Continue,
    Leave,
}

/// Whether the model said anything.
enum Answered {
    Yes,
    No,
}

/// Where an answer begins, as far as its reasoning goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    /// Inside a reasoning that the prompt has opened.
    InReasoning,
    /// Outside.
    Outside,
}

impl<'a> Dialogue<'a> {
    pub(super) fn new(
        session: Session<'a>,
        template: Option<ChatTemplate>,
        args: &RunArgs,
        limits: Limits,
        environment: &'a Environment,
    ) -> Self {
        Self {
            session,
            template,
            system: args.system.clone(),
            messages: Vec::new(),
            document: Vec::new(),
            args: args.clone(),
            limits,
            environment,
            paint: Paint::new(environment.colour),
            last: None,
        }
    }

    /// Reads and answers until the person leaves.
    pub(super) fn converse(mut self, mut editor: LineEditor) -> Result<i32> {
        self.greet()?;
        loop {
            match read(&mut editor) {
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => {
                    let _ = editor.add_history_entry(&text);
                    self.remember(&mut editor);
                    match self.handle(&text) {
                        Ok(Next::Continue) => {}
                        Ok(Next::Leave) => break,
                        Err(error) if output::is_reader_gone(&error) => return Err(error),
                        Err(error) => output::error(format_args!("{error:#}")),
                    }
                }
                Err(ReadlineError::Interrupted) => {
                    output::line(self.paint.dim("(Ctrl-D or /exit leaves)"))?;
                }
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(0)
    }

    fn greet(&self) -> Result<()> {
        let config = self.session.engine.config();
        let kind = if self.template.is_some() {
            "/help lists what can be typed, Ctrl-C stops an answer, Ctrl-D leaves"
        } else {
            "no chat template: the model continues what you type; /reset begins a new text"
        };
        output::line(self.paint.dim(format!(
            "{} · {} layers · context {} · {kind}",
            config.architecture,
            config.layer_count,
            self.session.engine.options().context
        )))
    }

    /// The history is kept for the next time, readable by its owner alone as far as the editor sees
    /// to it.
    fn remember(&self, editor: &mut LineEditor) {
        if let Some(history) = &self.environment.history {
            if let Some(folder) = history.parent() {
                let _ = std::fs::create_dir_all(folder);
            }
            let _ = editor.save_history(history);
        }
    }

    fn handle(&mut self, text: &str) -> Result<Next> {
        let trimmed = text.trim();
        let (command, rest) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
        let rest = rest.trim();
        match command {
            "/exit" | "/quit" | "/bye" => return Ok(Next::Leave),
            "/help" | "/?" => output::line(HELP)?,
            "/reset" | "/clear" | "/new" => self.reset()?,
            "/system" if self.template.is_none() => {
                output::error(
                    "this model has no chat template, so there is no place for a system text",
                );
            }
            "/system" => {
                self.system = (!rest.is_empty()).then(|| rest.to_owned());
                self.reset()?;
            }
            "/again" => self.again()?,
            "/set" => self.set(rest)?,
            "/stats" => self.stats()?,
            _ if command.starts_with('/') && !command[1..].contains('/') && command.len() > 1 => {
                output::error(format_args!("there is no {command}; /help lists what there is"));
            }
            _ => self.say(text)?,
        }
        Ok(Next::Continue)
    }

    fn reset(&mut self) -> Result<()> {
        self.messages.clear();
        self.document.clear();
        output::line(self.paint.dim("(a new conversation)"))
    }

    fn again(&mut self) -> Result<()> {
        if self.template.is_none() {
            output::error("without a chat template there are no messages to answer again");
            return Ok(());
        }
        let asked = self.messages.iter().rposition(|message| message.role == "user");
        let Some(asked) = asked else {
            output::error("there is no message to answer again");
            return Ok(());
        };
        let before = self.messages.split_off(asked + 1);
        let answered = self.answer_messages();
        if !matches!(answered, Ok(Answered::Yes)) {
            // The old answer stands until there is a new one.
            self.messages.extend(before);
        }
        answered.map(|_| ())
    }

    fn say(&mut self, text: &str) -> Result<()> {
        if self.template.is_none() {
            return self.continue_document(text);
        }
        self.messages.push(Message::text("user", text));
        let answered = self.answer_messages();
        if !matches!(answered, Ok(Answered::Yes)) {
            // What could not be answered is not part of the conversation.
            self.messages.pop();
        }
        answered.map(|_| ())
    }

    /// Answers the messages and keeps the answer, where there is one.
    fn answer_messages(&mut self) -> Result<Answered> {
        let Some(template) = &self.template else { return Ok(Answered::No) };
        let system = self.system.iter().map(|text| Message::text("system", text));
        let messages: Vec<_> = system.chain(self.messages.iter().cloned()).collect();
        let Rendered { text, literal } = render(template, &messages)?;
        let reasons = opens_reasoning(&text, &literal);
        let prompt = encode(self.session.tokenizer, &text, &literal);
        let decoder = self.session.tokenizer.stream_decoder(ShowSpecial::No);
        let listening = interrupt::listen();
        let mut answer = String::new();
        let answered =
            self.session.answer(&prompt, decoder, self.limits, &listening, &mut |_, text| {
                answer.push_str(text);
                output::show(&style::harmless(text))
            });
        // Also after an error, which begins a line of its own.
        let ended = output::line("");
        let outcome = answered?;
        ended?;
        self.finish(outcome)?;
        if outcome.answer_tokens == 0 {
            return Ok(Answered::No);
        }
        self.messages.push(reply(&answer, reasons));
        Ok(Answered::Yes)
    }

    fn continue_document(&mut self, text: &str) -> Result<()> {
        let add = if self.document.is_empty() { AddSpecial::Yes } else { AddSpecial::No };
        let tokenizer = self.session.tokenizer;
        let tokens = tokenizer.encode(text.as_bytes(), &[], add, ParseSpecial::No);
        let before = self.document.len();
        self.document.extend(tokens);
        let prompt = self.document.clone();
        let decoder = tokenizer.stream_decoder_continuing(ShowSpecial::No);
        let listening = interrupt::listen();
        output::show(&self.paint.dim(style::harmless(text)))?;
        let document = &mut self.document;
        let mut count = 0;
        let answered =
            self.session.answer(&prompt, decoder, self.limits, &listening, &mut |token, text| {
                count += 1;
                document.push(token);
                output::show(&style::harmless(text))
            });
        let ended = output::line("");
        let outcome = match answered {
            Ok(outcome) => outcome,
            Err(error) => {
                self.document.truncate(before);
                return Err(error);
            }
        };
        ended?;
        // The decoder's last word is text without a token of its own.
        self.document.truncate(prompt.len() + outcome.answer_tokens.min(count));
        self.finish(outcome)
    }

    fn finish(&mut self, outcome: Outcome) -> Result<()> {
        match outcome.stop {
            Stop::Interrupted => output::line(self.paint.dim("(stopped)"))?,
            Stop::Limit => output::line(self.paint.dim("(as many tokens as -n allows)"))?,
            Stop::Context => {
                let context = self.session.engine.options().context;
                output::line(self.paint.dim(format!(
                    "(the context of {context} tokens is full: /reset begins anew, --ctx makes it \
                     larger)"
                )))?;
            }
            Stop::End => {}
        }
        if self.args.stats {
            output::note(outcome.summary());
        }
        self.last = Some(outcome);
        Ok(())
    }

    fn set(&mut self, rest: &str) -> Result<()> {
        let (name, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let value = value.trim();
        let sampling = &mut self.args.sampling;
        let before = sampling.clone();
        let parsed = match name {
            "temp" => value.parse().map(|value| sampling.temp = value).is_ok(),
            "top-k" => value.parse().map(|value| sampling.top_k = value).is_ok(),
            "top-p" => value.parse().map(|value| sampling.top_p = value).is_ok(),
            "min-p" => value.parse().map(|value| sampling.min_p = value).is_ok(),
            "seed" => value.parse().map(|value| sampling.seed = Some(value)).is_ok(),
            "n" => value.parse().map(|value| self.limits.max_tokens = Some(value)).is_ok(),
            _ => {
                output::error("/set knows temp, top-k, top-p, min-p, seed and n");
                return Ok(());
            }
        };
        if !parsed {
            output::error(format_args!("/set {name} needs a number, for example `/set {name} 1`"));
            return Ok(());
        }
        match generate::sampler(&self.args.sampling, self.session.tokenizer) {
            Ok(sampler) => {
                self.session.sampler = sampler;
                output::line(self.paint.dim(format!("({name} is {value})")))
            }
            Err(error) => {
                self.args.sampling = before;
                Err(error)
            }
        }
    }

    fn stats(&self) -> Result<()> {
        let held = self.session.engine.tokens(self.session.sequence)?.len();
        let context = self.session.engine.options().context;
        let kv = style::bytes(self.session.engine.kv_bytes() as u64);
        if let Some(last) = &self.last {
            output::line(last.summary())?;
        }
        output::line(format!("context {held} of {context} tokens, {kv} of keys and values"))
    }
}

/// One entry: a line, or several between `"""`.
fn read(editor: &mut LineEditor) -> Result<String, ReadlineError> {
    let first = editor.readline("> ")?;
    let Some(mut text) = first.trim_start().strip_prefix("\"\"\"").map(str::to_owned) else {
        return Ok(first);
    };
    loop {
        if let Some((inside, after)) = text.split_once("\"\"\"") {
            return Ok(format!("{inside}{after}").trim_matches('\n').to_owned());
        }
        text.push('\n');
        text.push_str(&editor.readline("… ")?);
    }
}

/// Whether the prompt ends with a `<think>` of the template's own, as those of DeepSeek-R1, QwQ and
/// Qwen3-Thinking do. One that a person wrote (`literal`) opens nothing.
fn opens_reasoning(prompt: &str, literal: &[std::ops::Range<usize>]) -> Begins {
    let prompt = prompt.trim_end();
    let written =
        literal.iter().any(|range| range.start < prompt.len() && range.end >= prompt.len());
    if prompt.ends_with("<think>") && !written { Begins::InReasoning } else { Begins::Outside }
}

/// An answer as the template wants to see it next time: reasoning apart from what was said. A
/// reasoning that was cut short has nothing said after it.
fn reply(answer: &str, begins: Begins) -> Message {
    let opened = answer.trim_start().strip_prefix("<think>");
    let inside = match begins {
        Begins::InReasoning => opened.or(Some(answer)),
        Begins::Outside => opened,
    };
    let Some(inside) = inside else { return Message::text("assistant", answer) };
    let (reasoning, content) = inside.split_once("</think>").unwrap_or((inside, ""));
    let reasoning = Some(reasoning.trim().to_owned());
    Message { reasoning, ..Message::text("assistant", content.trim_start()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_kept_apart() {
        let check = |answer: &str, begins: Begins, reasoning: Option<&str>, content: &str| {
            let message = reply(answer, begins);
            assert_eq!(message.reasoning.as_deref(), reasoning, "{answer}");
            assert_eq!(message.content.as_deref(), Some(content), "{answer}");
        };
        let (inside, outside) = (Begins::InReasoning, Begins::Outside);
        check("<think>\nhm\n</think>\n\nFour.", outside, Some("hm"), "Four.");
        check("a </think> b", outside, None, "a </think> b");
        check("hm\n</think>\n\nFour.", inside, Some("hm"), "Four.");
        check("<think>hm</think>Four.", inside, Some("hm"), "Four.");
        check("hm, </think>a </think> b", inside, Some("hm,"), "a </think> b");
        check("cut short", inside, Some("cut short"), "");
        check("<think>cut short", outside, Some("cut short"), "");
    }

    #[test]
    fn a_prompt_opens_reasoning() {
        assert_eq!(opens_reasoning("<|assistant|><think>\n", &[]), Begins::InReasoning);
        assert_eq!(opens_reasoning("<|assistant|>", &[]), Begins::Outside);
        assert_eq!(opens_reasoning("<think>\n\n</think>\n\n", &[]), Begins::Outside);
        // The last message as it was typed.
        assert_eq!(
            opens_reasoning("user: <think>\n", std::slice::from_ref(&(6..13))),
            Begins::Outside
        );
    }

    #[test]
    fn marked_tokens_are_structure() {
        assert!(is_marked(Some(b"<think>")) && is_marked(Some(b"[INST]")));
        assert!(!is_marked(Some(b"    ")) && !is_marked(Some(b"a")) && !is_marked(None));
    }
}
