//! The conversation at the prompt: lines in, answers streamed, `/commands` between.

use anyhow::Result;
use lucid_provider::{Message, Prompt, Provider, Turn};
use lucid_tensor::TokenId;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;

use crate::args::RunArgs;
use crate::env::Environment;
use crate::generate::{self, Outcome, Said, Stop};
use crate::style::Paint;
use crate::{interrupt, output, style};

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
    model: &'a dyn Provider,
    /// What the model is, for the greeting.
    about: String,
    /// Whether there are messages; else the model continues a document.
    has_template: bool,
    system: Option<String>,
    messages: Vec<Message>,
    /// Without a template: the document so far.
    document: Vec<TokenId>,
    /// What every turn has in common.
    turn: Turn,
    args: RunArgs,
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

impl<'a> Dialogue<'a> {
    pub(super) fn new(
        model: &'a dyn Provider,
        about: String,
        args: &RunArgs,
        environment: &'a Environment,
    ) -> Result<Self> {
        Ok(Self {
            model,
            about,
            has_template: model.card().capabilities.chat,
            system: args.system.clone(),
            messages: Vec::new(),
            document: Vec::new(),
            turn: super::run::turn(args)?,
            args: args.clone(),
            environment,
            paint: Paint::new(environment.colour),
            last: None,
        })
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
        let kind = if self.has_template {
            "/help lists what can be typed, Ctrl-C stops an answer, Ctrl-D leaves"
        } else {
            "no chat template: the model continues what you type; /reset begins a new text"
        };
        let (about, context) = (&self.about, self.model.card().context);
        output::line(self.paint.dim(format!("{about} · context {context} · {kind}")))
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
            "/system" if !self.has_template => {
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
        if !self.has_template {
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
        if !self.has_template {
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
        let system = self.system.iter().map(|text| Message::text("system", text));
        let messages: Vec<_> = system.chain(self.messages.iter().cloned()).collect();
        let turn = Turn { prompt: Prompt::chat(messages), ..self.turn.clone() };
        let asked = generate::ask(self.model, turn)?;
        let listening = interrupt::listen();
        let (mut answer, mut reasoning) = (String::new(), String::new());
        let (paint, progress) = (self.paint, self.environment.stderr_is_terminal);
        let answered = asked.listen(&listening, progress, &mut |said| {
            match said {
                Said::Text(text, _) => answer.push_str(text),
                Said::Reasoning(text) => reasoning.push_str(text),
            }
            show(said, paint)
        });
        // Also after an error, which begins a line of its own.
        let ended = output::line("");
        let outcome = answered?;
        ended?;
        self.finish(outcome)?;
        if outcome.answer_tokens == 0 {
            return Ok(Answered::No);
        }
        let reasoning = (!reasoning.is_empty()).then(|| reasoning.trim().to_owned());
        let content = if reasoning.is_some() { answer.trim_start() } else { &answer };
        self.messages.push(Message { reasoning, ..Message::text("assistant", content) });
        Ok(Answered::Yes)
    }

    fn continue_document(&mut self, text: &str) -> Result<()> {
        let before = self.document.len();
        let continued = self.continue_with(text);
        if continued.is_err() {
            self.document.truncate(before);
        }
        continued
    }

    fn continue_with(&mut self, text: &str) -> Result<()> {
        let tokens = self.tokens(text)?;
        // What begins a document stands there once.
        let begins =
            if self.document.is_empty() { 0 } else { self.tokens("").map_or(0, |it| it.len()) };
        self.document.extend_from_slice(tokens.get(begins..).unwrap_or_default());
        let prompt = Prompt::Tokens(self.document.clone());
        let asked = generate::ask(self.model, Turn { prompt, ..self.turn.clone() })?;
        let listening = interrupt::listen();
        output::show(&self.paint.dim(style::harmless(text)))?;
        let (paint, document) = (self.paint, &mut self.document);
        let progress = self.environment.stderr_is_terminal;
        let answered = asked.listen(&listening, progress, &mut |said| {
            if let Said::Text(_, tokens) = said {
                document.extend(tokens.iter().filter_map(|spoken| spoken.token));
            }
            show(said, paint)
        });
        let ended = output::line("");
        let outcome = answered?;
        ended?;
        self.finish(outcome)
    }

    /// The tokens of a text that begins a document.
    fn tokens(&self, text: &str) -> Result<Vec<TokenId>> {
        let turn = Turn { prompt: Prompt::text(text), ..Turn::default() };
        Ok(self.model.prompt_tokens(&turn)?)
    }

    fn finish(&mut self, outcome: Outcome) -> Result<()> {
        match outcome.stop {
            Stop::Interrupted => output::line(self.paint.dim("(stopped)"))?,
            Stop::Limit => output::line(self.paint.dim("(as many tokens as -n allows)"))?,
            Stop::Context => {
                let context = self.model.card().context;
                output::line(self.paint.dim(format!(
                    "(the context of {context} tokens is full: /reset begins anew, --ctx makes it \
                     larger)"
                )))?;
            }
            Stop::End | Stop::Text | Stop::Refused => {}
        }
        if let Some(why) = outcome.lacking(&self.turn.format) {
            output::error(why);
        }
        if self.args.stats {
            output::note(outcome.summary());
        }
        self.last = Some(outcome);
        // The next answer draws other random numbers; which ones, the first seed still decides.
        let seed = &mut self.turn.sampling.seed;
        *seed = seed.map(|seed| seed.wrapping_add(1));
        Ok(())
    }

    fn set(&mut self, rest: &str) -> Result<()> {
        let (name, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let value = value.trim();
        let turn = &mut self.turn;
        let before = (turn.sampling.clone(), turn.new_tokens_max);
        let sampling = &mut turn.sampling;
        let parsed = match name {
            "temp" => value.parse().map(|value| sampling.temperature = Some(value)).is_ok(),
            "top-k" => value.parse().map(|value| sampling.top_k = Some(value)).is_ok(),
            "top-p" => value.parse().map(|value| sampling.top_p = Some(value)).is_ok(),
            "min-p" => value.parse().map(|value| sampling.min_p = Some(value)).is_ok(),
            "seed" => value.parse().map(|value| sampling.seed = Some(value)).is_ok(),
            "n" => value.parse().map(|value| turn.new_tokens_max = Some(value)).is_ok(),
            _ => {
                output::error("/set knows temp, top-k, top-p, min-p, seed and n");
                return Ok(());
            }
        };
        if !parsed {
            output::error(format_args!("/set {name} needs a number, for example `/set {name} 1`"));
            return Ok(());
        }
        // What cannot be is said now, and not with the next answer.
        let prompt = if self.has_template {
            Prompt::chat(vec![Message::text("user", "x")])
        } else {
            Prompt::text("x")
        };
        match self.model.check(&Turn { prompt, ..self.turn.clone() }) {
            Ok(()) => output::line(self.paint.dim(format!("({name} is {value})"))),
            Err(error) => {
                (self.turn.sampling, self.turn.new_tokens_max) = before;
                Err(error.into())
            }
        }
    }

    fn stats(&self) -> Result<()> {
        let held = self.last.map_or(0, |last| last.held);
        let context = self.model.card().context;
        let kv = style::bytes(self.model.stats().memory_bytes);
        if let Some(last) = &self.last {
            output::line(last.summary())?;
        }
        output::line(format!("context {held} of {context} tokens, {kv} of keys and values"))
    }
}

/// Shows a part of an answer; reasoning paler than what is said.
pub(super) fn show(said: Said<'_>, paint: Paint) -> Result<()> {
    match said {
        Said::Text(text, _) => output::show(&style::harmless(text)),
        Said::Reasoning(text) => output::show(&paint.dim(style::harmless(text))),
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
