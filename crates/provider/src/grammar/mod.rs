//! What an answer must conform to, as a constraint over tokens: JSON schemas, regular expressions,
//! choices, Lark, GBNF, and the calls of tools in a template's own syntax. The parsing is
//! llguidance's; what is here says what is to be parsed, and keeps to it.
//!
//! Invariants: a format that cannot be kept to exactly is refused, never approximated; nothing in
//! it is ignored. What an answer may take depends on the answer alone, so all limits are amounts of
//! work and not of time.

mod cache;
mod calls;
mod conform;
mod gbnf;
mod lark;
mod schema;
mod vocabulary;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use llguidance::ParserFactory;
use llguidance::api::ParserLimits;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{InferenceCapabilities, TokEnv};

use lucid_engine::Constraint;
use lucid_tokenizer::Tokenizer;

use crate::dialogue::{Begins, Format};
use crate::{OutputFormat, ProviderError, ToolChoice, Tools};

use cache::{Cache, Source};
use conform::{Body, Conform, GoesOn, Plan, Reasoning};
pub(crate) use schema::Judge;
use vocabulary::Vocabulary;
use watch::Mark;

/// Bytes of a schema, grammar or expression at most.
pub const FORMAT_BYTES_MAX: usize = 512 << 10;

/// Characters of an error at most.
const REASON_MAX: usize = 600;

/// Formats for the answers of one vocabulary. Cheap to clone; clones share what is compiled.
#[derive(Clone)]
pub struct Grammars {
    shared: Arc<Shared>,
}

struct Shared {
    vocabulary: Arc<Vocabulary>,
    factory: ParserFactory,
    cache: Cache,
}

/// What is asked of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// What it must conform to.
    pub format: &'a OutputFormat,
    /// What it may call.
    pub tools: &'a Tools,
    /// How the model's template writes reasoning and calls.
    pub dialogue: &'a Format,
    /// Where the answer begins.
    pub begins: Begins,
}

impl Grammars {
    /// Builds the vocabulary's tree: a fraction of a second.
    ///
    /// # Errors
    /// `Unsupported`: the vocabulary is larger than grammars can be checked against.
    pub fn new(tokenizer: &Arc<Tokenizer>) -> Result<Self, ProviderError> {
        let vocabulary = Arc::new(Vocabulary::new(tokenizer)?);
        let environment: TokEnv = Arc::<Vocabulary>::clone(&vocabulary);
        let slices = SlicedBiasComputer::general_slices();
        let factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices);
        let mut factory = factory.map_err(|error| refused(&error.to_string()))?;
        *factory.limits_mut() = limits();
        factory.quiet();
        let shared = Shared { vocabulary, factory, cache: Cache::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The constraint of one answer; none where nothing is demanded. Text that the format does not
    /// speak of is whole: a leading space is a part of it, so such an answer is decoded with
    /// `Tokenizer::stream_decoder_continuing`.
    ///
    /// # Errors
    /// `Grammar`: the format is malformed, too large, or says something that cannot be kept to;
    /// `Invalid`: a tool is demanded that there is not, or that the template cannot call.
    pub fn constraint(
        &self,
        demand: &Demand<'_>,
    ) -> Result<Option<Box<dyn Constraint>>, ProviderError> {
        let Some(body) = self.body(demand)? else { return Ok(None) };
        let vocabulary = Arc::clone(&self.shared.vocabulary);
        let reasoning = demand.dialogue.reasoning().and_then(|marks| {
            let opener = match demand.begins {
                Begins::InReasoning => None,
                Begins::Outside => Some(vocabulary.only(marks.opener)?),
                Begins::AfterReasoning => return None,
            };
            Some(Reasoning { opener, closer: vec![Mark::new(marks.closer, &vocabulary)] })
        });
        let plan = Arc::new(Plan { vocabulary, reasoning, body });
        let conform = catch_unwind(AssertUnwindSafe(|| Conform::new(plan)));
        let conform = conform.map_err(|_| refused("the grammar has a defect"))?;
        let conform = conform.map_err(|error| refused(&error.to_string()))?;
        Ok(Some(Box::new(conform)))
    }

    fn body(&self, demand: &Demand<'_>) -> Result<Option<Body>, ProviderError> {
        let Demand { format, tools, dialogue, .. } = *demand;
        let answer = match format {
            OutputFormat::Free => None,
            format => Some(source(format)?),
        };
        if tools.list.is_empty() || tools.choice == ToolChoice::None {
            if matches!(tools.choice, ToolChoice::Required | ToolChoice::Named(_)) {
                return Err(ProviderError::invalid(
                    "tools",
                    "a call is required, but there is no tool",
                ));
            }
            return answer.map(|source| Ok(Body::Ruled(self.compiled(source)?))).transpose();
        }
        let calls = calls::Calls::new(tools, dialogue, &self.shared.vocabulary)?;
        match (&tools.choice, answer) {
            (ToolChoice::Required | ToolChoice::Named(_), _) => {
                Ok(Some(Body::Ruled(self.compiled(calls.required()?)?)))
            }
            (_, Some(answer)) => Ok(Some(Body::Ruled(self.compiled(calls.or(answer)?)?))),
            (_, None) => self.free(&calls, tools),
        }
    }

    /// Free text with calls in it.
    fn free(&self, calls: &calls::Calls<'_>, tools: &Tools) -> Result<Option<Body>, ProviderError> {
        let mut openers = Vec::new();
        let mut compiled = Vec::new();
        for (opener, source) in calls.opened()? {
            openers.push(Mark::new(&opener, &self.shared.vocabulary));
            compiled.push(self.compiled(source)?);
        }
        if openers.is_empty() {
            return Ok(None);
        }
        let goes_on = if tools.parallel { GoesOn::Yes } else { GoesOn::No };
        Ok(Some(Body::Free { openers, calls: compiled, goes_on }))
    }

    fn compiled(&self, source: Source) -> Result<conform::Compiled, ProviderError> {
        self.shared.cache.compiled(source, &self.shared.factory)
    }
}

/// What llguidance is to compile for an answer of this format.
fn source(format: &OutputFormat) -> Result<Source, ProviderError> {
    Ok(match format {
        OutputFormat::Free | OutputFormat::JsonObject => {
            Source::Schema(schema::prepare(&serde_json::json!({"type": "object"}))?)
        }
        OutputFormat::JsonSchema(value) => Source::Schema(schema::prepare(value)?),
        OutputFormat::Regex(pattern) => Source::Lark(lark::regex(pattern)?),
        OutputFormat::Choice(texts) => Source::Lark(lark::choice(texts)?),
        OutputFormat::Lark(text) => Source::Lark(lark::checked(text)?),
        OutputFormat::Gbnf(text) => Source::Lark(gbnf::to_lark(text)?),
    })
}

/// How much work a grammar may take. A step is one mask: some 15 ms at most.
fn limits() -> ParserLimits {
    ParserLimits { verbose_errors: false, ..ParserLimits::default() }
}

fn refused(reason: &str) -> ProviderError {
    ProviderError::Grammar { reason: plain(reason) }
}

/// An error of llguidance's without what it says for its own authors.
fn plain(reason: &str) -> String {
    let end = ["\n<non-verbose/>", "\n<state>", "\n<backtrace>"];
    let end = end.iter().filter_map(|mark| reason.find(mark)).min().unwrap_or(reason.len());
    let reason = reason[..end].trim_end();
    // It may quote the whole of what was given.
    match reason.char_indices().nth(REASON_MAX) {
        Some((end, _)) => format!("{} ...", &reason[..end]),
        None => reason.to_owned(),
    }
}
