//! Compiled grammars, so that requests with the same format share one compilation.
//!
//! Invariant: an entry is found by the whole text that it was compiled from.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use serde_json::Value;

use super::conform::Compiled;
use super::{FORMAT_BYTES_MAX, refused};
use crate::ProviderError;

/// Grammars that are kept.
const ENTRIES_MAX: usize = 64;

/// Nested definitions are compiled by recursion. Pages that are not touched cost nothing.
const STACK_BYTES: usize = 256 << 20;

/// When there may be a thread again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What a grammar is compiled from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// A schema that `schema::prepare` has made.
    Schema(Value),
    /// Lark.
    Lark(String),
}

type Outcome = Result<Compiled, ProviderError>;

/// The grammars that were compiled last.
#[derive(Default)]
pub(super) struct Cache {
    /// The latest last.
    entries: Mutex<Vec<(String, Arc<OnceLock<Outcome>>)>>,
}

impl Cache {
    /// The grammar of this source, compiled unless it is known. Whoever asks for one that is being
    /// compiled waits for it.
    pub(super) fn compiled(&self, source: Source, factory: &ParserFactory) -> Outcome {
        let key = match &source {
            Source::Schema(schema) => format!("schema {schema}"),
            Source::Lark(text) => format!("lark {text}"),
        };
        if key.len() > 4 * FORMAT_BYTES_MAX {
            return Err(refused("it is too large; shorten it"));
        }
        let entry = self.entry(key);
        let outcome = entry.get_or_init(|| compile(source, factory)).clone();
        // What was no fault of the grammar's is not remembered of it.
        if matches!(outcome, Err(ProviderError::Busy { .. })) {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.retain(|(_, known)| !Arc::ptr_eq(known, &entry));
        }
        outcome
    }

    fn entry(&self, key: String) -> Arc<OnceLock<Outcome>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let found = entries.iter().position(|(known, _)| *known == key);
        let entry = match found {
            Some(index) => entries.remove(index),
            None => (key, Arc::default()),
        };
        let outcome = Arc::clone(&entry.1);
        entries.push(entry);
        if entries.len() > ENTRIES_MAX {
            entries.remove(0);
        }
        outcome
    }
}

/// On a thread of its own, for the sake of its stack.
fn compile(source: Source, factory: &ParserFactory) -> Outcome {
    let grammar = match source {
        Source::Schema(schema) => TopLevelGrammar::from_json_schema(schema),
        Source::Lark(text) => TopLevelGrammar::from_lark(text),
    };
    let work = || {
        let mut matcher = Matcher::new(factory.create_parser(grammar));
        match (matcher.get_error(), matcher.grammar_warnings().into_iter().next()) {
            (Some(error), _) | (None, Some(error)) => Err(refused(&error)),
            (None, None) => Ok(Arc::new(matcher)),
        }
    };
    let outcome = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let work = || catch_unwind(AssertUnwindSafe(work));
        thread.spawn_scoped(scope, work).map(std::thread::ScopedJoinHandle::join)
    });
    match outcome {
        Ok(Ok(Ok(outcome))) => outcome,
        Ok(_) => Err(refused("it cannot be compiled; simplify it")),
        // There is no thread to compile it.
        Err(_) => Err(ProviderError::Busy { retry_after: RETRY_AFTER }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grammars;
    use super::super::vocabulary::tests::vocabulary;
    use super::*;

    #[test]
    fn requests_at_once_share_one_compilation() {
        let grammars = Grammars::new(&vocabulary(&["ab"])).expect("a small vocabulary");
        let shared = &grammars.shared;
        let source = |text: &str| Source::Lark(format!("start: \"{text}\"\n"));
        let compiled: Vec<Compiled> = std::thread::scope(|scope| {
            let ask = || shared.cache.compiled(source("a"), &shared.factory).expect("it is right");
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(compiled.iter().all(|grammar| Arc::ptr_eq(grammar, &compiled[0])));
        // What was not used for long is compiled anew.
        for index in 0..ENTRIES_MAX {
            let text = format!("b{index}");
            shared.cache.compiled(source(&text), &shared.factory).expect("it is right");
        }
        let again = shared.cache.compiled(source("a"), &shared.factory).expect("it is right");
        assert!(!Arc::ptr_eq(&again, &compiled[0]));
    }
}
