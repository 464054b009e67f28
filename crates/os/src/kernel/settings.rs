//! What a system is run with: applications, providers, tools, a clock.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lucid_policy::{Capability, Party};
use lucid_provider::{Effort, Provider, Sampling};
use lucid_tools::Tool;

/// Bytes of a file that processes read and write.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// What a system is run with.
pub struct Settings {
    /// What answers, by name.
    pub providers: BTreeMap<String, Arc<dyn Provider>>,
    /// What can be run, by name.
    pub applications: BTreeMap<String, Application>,
    /// What can be called, by name.
    pub tools: BTreeMap<String, Arc<dyn Tool>>,
    /// The folder in which each application has one of its own.
    pub files: PathBuf,
    /// The time.
    pub time: Arc<dyn Time>,
    /// Who can be asked; without anybody what has to be asked is refused.
    pub person: Option<Party>,
    /// Turns that run at once.
    pub slots: usize,
    /// Events after which the state is kept, so that a start need not fold them all.
    pub snapshot_events: u64,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("providers", &self.providers.keys())
            .field("applications", &self.applications)
            .field("tools", &self.tools.keys())
            .field("files", &self.files)
            .field("person", &self.person)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Nothing to run yet; files lie here.
    pub fn new(files: PathBuf) -> Self {
        Self {
            providers: BTreeMap::new(),
            applications: BTreeMap::new(),
            tools: BTreeMap::new(),
            files,
            time: Arc::new(SystemClock { offset_minutes: 0 }),
            person: None,
            slots: 1,
            snapshot_events: 10_000,
        }
    }

    /// Adds a tool under its own name.
    pub fn add_tool(&mut self, tool: Arc<dyn Tool>) {
        self.tools.insert(tool.card().policy.name.clone(), tool);
    }
}

/// What a process is an instance of.
#[derive(Clone, Debug, Default)]
pub struct Application {
    /// Its instructions.
    pub instructions: String,
    /// What its processes may do at the beginning.
    pub capabilities: Vec<Capability>,
    /// The syscalls that are offered to the model, by name.
    pub syscalls: Vec<String>,
    /// The tools that are offered to the model by their own names, beside `tool_call`.
    pub tools: Vec<String>,
    /// What answers.
    pub provider: String,
    /// How.
    pub sampling: Sampling,
    /// How much is thought before.
    pub effort: Effort,
    /// Tokens of an answer.
    pub answer_tokens_max: usize,
    /// Tokens of the window, where the provider has more or does not tell.
    pub window_tokens_max: Option<usize>,
}

/// The time.
pub trait Time: Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> i64;

    /// What the local clock is ahead of UTC, in minutes.
    fn offset_minutes(&self) -> i32 {
        0
    }

    /// Told when nothing can be done before a moment. A clock of tests goes there.
    fn idle_until(&self, at_ms: i64) {
        let _ = at_ms;
    }
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock {
    /// What the local clock is ahead of UTC, in minutes.
    pub offset_minutes: i32,
}

impl Time for SystemClock {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn offset_minutes(&self) -> i32 {
        self.offset_minutes
    }
}
