//! `lucid bench MODEL`: what this machine can do at most, and how near the model comes to it.
//!
//! The flags are those of llama.cpp's llama-bench where it has them. Every share is against the
//! ceilings of the same run, because a shared machine's change from hour to hour.

pub(crate) mod ceilings;
mod cost;
mod measure;

use anyhow::{Context as _, Result, bail};
use lucid_model::Config;
use lucid_sys::{ThreadPool, Topology};
use serde_json::{Value, json};

use crate::args::{BenchArgs, ComputeArgs};
use crate::env::Environment;
use crate::style::{self, Paint};
use crate::{interrupt, load, output};

use ceilings::Ceilings;
use cost::{Cost, Work};
use measure::{Interrupted, Runner};

/// One row of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Test {
    kind: Kind,
    tokens: usize,
    depth: usize,
    sequences: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Prompt,
    Generate,
}

/// What came out of the repetitions of a test.
struct Outcome {
    test: Test,
    /// Tokens per second: smallest, middle, largest.
    speed: [f64; 3],
    bytes_per_second: f64,
    share: f64,
}

pub(crate) fn run(args: &BenchArgs, environment: &Environment) -> Result<i32> {
    let tests = tests(args);
    if tests.is_empty() {
        bail!("there is nothing to measure: -p and -n are both 0");
    }
    let checkpoint = load::checkpoint(environment, &args.model)?;
    let config = Config::read(&checkpoint).with_context(|| load::name(&checkpoint))?;
    let level = load::level(args.compute.simd)?;
    let threads = args.compute.threads.map(usize::from);
    let threads = threads.unwrap_or_else(|| Topology::detect().default_threads());
    let paint = Paint::new(environment.colour && !args.json);
    let listening = interrupt::listen();
    let progress = Progress { shows: environment.stderr_is_terminal };

    progress.say("measuring what this machine can do");
    let ceilings = ceilings::measure(&ThreadPool::new(threads), level, &|| listening.interrupted());
    progress.clear();
    let Some(ceilings) = ceilings? else { return Ok(interrupt::EXIT_INTERRUPTED) };
    if !args.json {
        let title = format!("{}, {threads} threads, {}", load::name(&checkpoint), level.name());
        output::line(paint.bold(title))?;
        output::line(ceilings.line())?;
        output::line(paint.dim(header()))?;
    }
    let context = tests.iter().map(|test| test.depth + test.tokens).max().unwrap_or(1);
    let sequences = tests.iter().map(|test| test.sequences).max().unwrap_or(1);
    let compute = ComputeArgs { ctx: Some(context as u32), ..args.compute.clone() };
    let engine = load::engine_for(&checkpoint, &compute, sequences, load::When::Now)?;
    let cost = Cost::new(&checkpoint, &config, engine.options().kv_dtype);
    let mut runner = Runner::new(engine, &listening, progress);
    let mut outcomes = Vec::new();
    for test in tests {
        let seconds = match runner.seconds(test, usize::from(args.repetitions)) {
            Ok(seconds) => seconds,
            Err(error) if error.is::<Interrupted>() => return Ok(interrupt::EXIT_INTERRUPTED),
            Err(error) => return Err(error),
        };
        let outcome = outcome(test, &seconds, &cost.work(test), &ceilings);
        if !args.json {
            output::line(row(&outcome))?;
        }
        outcomes.push(outcome);
    }
    if args.json {
        output::json(&report(&ceilings, &outcomes))?;
    }
    Ok(0)
}

/// Every prompt, then every answer, at every depth; zeros and repetitions are left out.
fn tests(args: &BenchArgs) -> Vec<Test> {
    let mut tests = Vec::new();
    let mut add = |kind, tokens: u32, depth: u32, sequences: usize| {
        let test = Test { kind, tokens: tokens as usize, depth: depth as usize, sequences };
        if tokens > 0 && !tests.contains(&test) {
            tests.push(test);
        }
    };
    for &depth in &args.depth {
        for &tokens in &args.prompt {
            add(Kind::Prompt, tokens, depth, 1);
        }
        for &tokens in &args.generate {
            for &sequences in &args.batch {
                add(Kind::Generate, tokens, depth, usize::from(sequences));
            }
        }
    }
    tests
}

impl Test {
    /// `pp512`, `tg64`, `tg64@4096`, `tg64x16`, `tg64x16@4096`.
    fn name(self) -> String {
        let kind = if self.kind == Kind::Prompt { "pp" } else { "tg" };
        let suffix = |mark: char, count: usize, silent: usize| {
            if count == silent { String::new() } else { format!("{mark}{count}") }
        };
        let (sequences, depth) = (suffix('x', self.sequences, 1), suffix('@', self.depth, 0));
        format!("{kind}{}{sequences}{depth}", self.tokens)
    }
}

fn outcome(test: Test, seconds: &[f64], work: &Work, ceilings: &Ceilings) -> Outcome {
    let tokens = (test.tokens * test.sequences) as f64;
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    };
    let (fastest, slowest) = (sorted[0], sorted[sorted.len() - 1]);
    Outcome {
        test,
        speed: [slowest, median, fastest].map(|seconds| tokens / seconds),
        bytes_per_second: work.bytes / median,
        share: work.seconds_at(ceilings) / median,
    }
}

fn header() -> String {
    format!(
        "{:16} {:>9} {:>9} {:>9}   {:>7}  share of ceiling",
        "test", "min", "tok/s", "max", "GB/s"
    )
}

fn row(outcome: &Outcome) -> String {
    let [min, median, max] = outcome.speed;
    let (gb, percent) = (outcome.bytes_per_second / 1e9, outcome.share * 100.0);
    let name = outcome.test.name();
    let bar = style::bar(outcome.share, 10);
    format!("{name:16} {min:9.2} {median:9.2} {max:9.2}   {gb:7.2}  {percent:4.0} % {bar}")
}

fn report(ceilings: &Ceilings, outcomes: &[Outcome]) -> Value {
    let results: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            let [min, median, max] = outcome.speed;
            json!({
                "test": outcome.test.name(),
                "tok_s": {"min": min, "median": median, "max": max},
                "share_of_ceiling": outcome.share,
            })
        })
        .collect();
    json!({"ceilings": ceilings.json(), "results": results})
}

/// One line on the screen that is written over.
#[derive(Clone, Copy)]
struct Progress {
    shows: bool,
}

impl Progress {
    fn say(self, what: &str) {
        if self.shows {
            output::replace_line(&format!("{what} ..."));
        }
    }

    fn clear(self) {
        if self.shows {
            output::replace_line("");
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};

    fn bench_args(line: &str) -> BenchArgs {
        let words = ["lucid", "bench", "x.gguf"].into_iter().chain(line.split_whitespace());
        match Args::try_parse_from(words).unwrap().command {
            Command::Bench(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn check(line: &str, expected: &[&str]) {
        let names: Vec<_> = tests(&bench_args(line)).into_iter().map(Test::name).collect();
        assert_eq!(names, expected, "{line}");
    }

    #[test]
    fn tests_from_flags() {
        check("", &["pp512", "tg64"]);
        check("-p 512,4096 -n 0", &["pp512", "pp4096"]);
        check("-p 0 -n 64 -d 0,4096", &["tg64", "tg64@4096"]);
        check("-p 8 -n 64 -b 1,16 -d 5", &["pp8@5", "tg64@5", "tg64x16@5"]);
        check("-p 0 -n 0", &[]);
        check("-p 7,7 -n 0", &["pp7"]);
    }

    #[test]
    fn the_shape_of_the_report() {
        let ceilings =
            Ceilings { read_gb_s: 50.0, f32_gflop_s: 500.0, bf16_gflop_s: 1000.0, int8_gop_s: 2e3 };
        let test = Test { kind: Kind::Generate, tokens: 64, depth: 0, sequences: 16 };
        // 1.6 GB in 0.064 s: half of the ceiling.
        let work = Work { bytes: 1.6e9, ops: [0.0; 3] };
        let outcome = outcome(test, &[0.128, 0.032, 0.064], &work, &ceilings);
        let expected = json!({
            "ceilings": {
                "read_gb_s": 50.0, "f32_gflop_s": 500.0,
                "bf16_gflop_s": 1000.0, "int8_gop_s": 2000.0
            },
            "results": [{
                "test": "tg64x16",
                "tok_s": {"min": 8000.0, "median": 16000.0, "max": 32000.0},
                "share_of_ceiling": 0.5,
            }],
        });
        assert_eq!(report(&ceilings, &[outcome]), expected);
    }

    #[test]
    fn the_median_of_an_even_number() {
        let ceilings =
            Ceilings { read_gb_s: 1.0, f32_gflop_s: 1.0, bf16_gflop_s: 1.0, int8_gop_s: 1.0 };
        let test = Test { kind: Kind::Prompt, tokens: 12, depth: 0, sequences: 1 };
        let work = Work { bytes: 0.0, ops: [0.0; 3] };
        assert_eq!(outcome(test, &[4.0, 2.0], &work, &ceilings).speed, [3.0, 4.0, 6.0]);
    }
}
