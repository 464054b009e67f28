//! What is counted, and its text in Prometheus' format (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lucid_provider::Usage;

/// Upper bounds of histograms' buckets, in seconds.
const BOUNDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// What is counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    models: Mutex<BTreeMap<String, ModelCounts>>,
    /// From a request's arrival to the first piece of its answer.
    pub(crate) first_token: Histogram,
    /// Between the pieces of one answer.
    pub(crate) between_tokens: Histogram,
    /// From a request's arrival to the end of its answer.
    pub(crate) whole: Histogram,
    /// Connections that are open.
    pub(crate) connections: AtomicI64,
    /// Connections so far.
    pub(crate) accepted: AtomicU64,
    /// Requests under way.
    pub(crate) in_flight: AtomicI64,
    /// Models loaded so far.
    pub(crate) loads: AtomicU64,
    /// Models that could not be loaded.
    pub(crate) load_failures: AtomicU64,
    /// Models let go of.
    pub(crate) evictions: AtomicU64,
    /// Turns that nobody waited for any more.
    pub(crate) cancelled: AtomicU64,
    /// Connections that were closed because the peer was too slow.
    pub(crate) cut_off: AtomicU64,
    /// Panics that were caught.
    pub(crate) panics: AtomicU64,
}

/// What one model was asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ModelCounts {
    /// Turns that were answered to the end.
    pub(crate) turns: u64,
    /// Tokens of prompts, each prompt once.
    pub(crate) prompt_tokens: u64,
    /// Of these, tokens that were known.
    pub(crate) cached_tokens: u64,
    /// Tokens of answers.
    pub(crate) new_tokens: u64,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With the end of its answers.
    Whole,
    /// Before it, because nobody waited any more or the provider failed.
    BrokenOff,
}

/// One of the counts.
type CountOf = fn(&ModelCounts) -> u64;

/// How often durations fell into which range.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    /// Counts a duration.
    pub(crate) fn add(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        if let Some(bucket) = BOUNDS.iter().position(|&bound| seconds <= bound) {
            self.buckets[bucket].fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Relaxed);
    }

    fn write(&self, page: &mut Page, name: &str, help: &str) {
        page.head(name, "histogram", help);
        let mut sum = 0;
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS) {
            sum += bucket.load(Relaxed);
            let _ = writeln!(page.0, "{name}_bucket{{le=\"{bound}\"}} {sum}");
        }
        let count = self.count.load(Relaxed).max(sum);
        let seconds = self.micros.load(Relaxed) as f64 / 1e6;
        let _ = writeln!(page.0, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(page.0, "{name}_sum {seconds}\n{name}_count {count}");
    }
}

impl Metrics {
    /// Counts an answered request. `route` is the route's pattern, never the path as it came.
    pub(crate) fn answered(&self, route: &str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = requests.get_mut(&(route.to_owned(), status)) {
            *count += 1;
        } else {
            requests.insert((route.to_owned(), status), 1);
        }
    }

    /// Counts what a turn took: of all its answers together.
    pub(crate) fn took(&self, model: &str, usage: &Usage, end: End) {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = models.entry(model.to_owned()).or_default();
        counts.turns += u64::from(end == End::Whole);
        counts.prompt_tokens += usage.prompt_tokens as u64;
        counts.cached_tokens += usage.cached_tokens as u64;
        counts.new_tokens += usage.new_tokens as u64;
    }

    /// What a model was asked so far.
    pub(crate) fn of_model(&self, model: &str) -> ModelCounts {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.get(model).copied().unwrap_or_default()
    }

    /// Writes everything that is counted here.
    pub(crate) fn write(&self, page: &mut Page) {
        page.head("lucid_requests_total", "counter", "Requests answered, by route and status.");
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((route, status), count) in &requests {
            let labels = [("route", route.as_str()), ("status", &status.to_string())];
            page.sample("lucid_requests_total", &labels, *count);
        }
        self.write_models(page);
        self.first_token.write(
            page,
            "lucid_time_to_first_token_seconds",
            "From a request's arrival to the first piece of its answer.",
        );
        self.between_tokens.write(
            page,
            "lucid_inter_token_seconds",
            "Between the pieces of one answer.",
        );
        self.whole.write(page, "lucid_turn_seconds", "From a turn's arrival to its end.");
        page.one("lucid_connections", "gauge", "Open connections.", self.connections.load(Relaxed));
        page.one("lucid_requests_in_flight", "gauge", "Under way.", self.in_flight.load(Relaxed));
        let counters = [
            ("lucid_connections_total", "Connections so far.", &self.accepted),
            ("lucid_model_loads_total", "Models loaded.", &self.loads),
            ("lucid_model_load_failures_total", "Models not loadable.", &self.load_failures),
            ("lucid_model_evictions_total", "Models let go of.", &self.evictions),
            ("lucid_turns_cancelled_total", "Turns that nobody waited for.", &self.cancelled),
            ("lucid_connections_cut_off_total", "Peers that were too slow.", &self.cut_off),
            ("lucid_panics_total", "Faults of the server's own.", &self.panics),
        ];
        for (name, help, counter) in counters {
            page.one(name, "counter", help, counter.load(Relaxed));
        }
    }

    fn write_models(&self, page: &mut Page) {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fields: [(&str, &str, CountOf); 4] = [
            ("lucid_turns_total", "Turns answered.", |it| it.turns),
            ("lucid_prompt_tokens_total", "Tokens of prompts.", |it| it.prompt_tokens),
            ("lucid_cached_tokens_total", "Tokens of prompts known before.", |it| it.cached_tokens),
            ("lucid_completion_tokens_total", "Tokens of answers.", |it| it.new_tokens),
        ];
        for (name, help, field) in fields {
            page.head(name, "counter", help);
            for (model, counts) in &models {
                page.sample(name, &[("model", model)], field(counts));
            }
        }
    }
}

/// A page in Prometheus' format.
#[derive(Debug, Default)]
pub(crate) struct Page(pub(crate) String);

impl Page {
    /// The lines before a measurement's samples.
    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample.
    pub(crate) fn sample(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        value: impl std::fmt::Display,
    ) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let separator = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{separator}{label}=\"{text}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    /// A measurement of one sample.
    pub(crate) fn one(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        value: impl std::fmt::Display,
    ) {
        self.head(name, kind, help);
        self.sample(name, &[], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative_and_labels_are_escaped() {
        let metrics = Metrics::default();
        metrics.first_token.add(Duration::from_millis(2));
        metrics.first_token.add(Duration::from_millis(40));
        metrics.first_token.add(Duration::from_secs(1000));
        metrics.answered("/v1/\"x\"\n", 200);
        let mut page = Page::default();
        metrics.write(&mut page);
        for line in [
            "lucid_time_to_first_token_seconds_bucket{le=\"0.001\"} 0",
            "lucid_time_to_first_token_seconds_bucket{le=\"0.0025\"} 1",
            "lucid_time_to_first_token_seconds_bucket{le=\"0.05\"} 2",
            "lucid_time_to_first_token_seconds_bucket{le=\"300\"} 2",
            "lucid_time_to_first_token_seconds_bucket{le=\"+Inf\"} 3",
            "lucid_requests_total{route=\"/v1/\\\"x\\\"\\n\",status=\"200\"} 1",
        ] {
            assert!(page.0.lines().any(|found| found == line), "{line}\n{}", page.0);
        }
    }
}
