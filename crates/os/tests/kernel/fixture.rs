//! A system whose processes are played by scripts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use lucid_os::log::MemoryStore;
use lucid_os::{Application, ContentId, Kernel, Settings, Step, Task, Time, syscall_names};
use lucid_policy::{ArgumentSpec, Capability, Effect, Party, Role, SourceKind};
use lucid_provider::{
    Answers, Capabilities, Card, Delta, Message, Prompt, Provider, ProviderError, Stop, Turn,
    Usage, answers,
};
use lucid_tools::{
    Arguments, Calculator, Clock, Grant, Outcome, Setting, Settled, Tool, ToolCard, ToolError,
};

/// What a process says in a turn.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    Text(String),
    Calls(Vec<(String, Value)>),
    Fails(ProviderError),
    /// A text that is cut off.
    Cut(String),
    /// A text, and then calls.
    Both(String, Vec<(String, Value)>),
}

pub(crate) fn text(text: impl Into<String>) -> Say {
    Say::Text(text.into())
}

pub(crate) fn call(name: &str, arguments: Value) -> Say {
    Say::Calls(vec![(name.to_owned(), arguments)])
}

/// A process as its script sees it: what it was told, and how often it has spoken.
pub(crate) struct Seen<'a> {
    pub(crate) messages: &'a [Message],
    pub(crate) turn: usize,
}

impl Seen<'_> {
    /// The last result of a call.
    pub(crate) fn result(&self) -> &str {
        let last = self.messages.iter().rev().find(|message| message.role == "tool");
        last.and_then(|message| message.content.as_deref()).unwrap_or_default()
    }

    /// All of it.
    pub(crate) fn all(&self) -> String {
        self.messages.iter().filter_map(|it| it.content.as_deref()).collect::<Vec<_>>().join("\n")
    }

    /// A number in the last result, after a word.
    pub(crate) fn number_after(&self, word: &str) -> u64 {
        let at = self.result().find(word).unwrap() + word.len();
        let digits = self.result()[at..].trim_start();
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse().unwrap()
    }
}

fn deltas_of(calls: Vec<(String, Value)>) -> Vec<Result<Delta, ProviderError>> {
    let mut deltas = Vec::new();
    for (index, (name, arguments)) in calls.into_iter().enumerate() {
        let id = index.to_string();
        deltas.push(Ok(Delta::CallBegun { sample: 0, index, id, name }));
        let json = arguments.to_string();
        deltas.push(Ok(Delta::CallArguments { sample: 0, index, json }));
    }
    deltas
}

/// Which of its process's turns a turn is: its seed tells. (Messages do not: old ones are out.)
fn number_of(seed: u64) -> usize {
    static KNOWN: Mutex<BTreeMap<u64, usize>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap();
    let mut pids = 64;
    while !known.contains_key(&seed) {
        for pid in 0..pids {
            for turn in 0..pids * 2 {
                let id = ContentId::of(format!("lucid turn {pid} {turn}").as_bytes());
                let bytes: [u8; 8] = id.as_bytes()[..8].try_into().unwrap();
                known.insert(u64::from_le_bytes(bytes) >> 1, turn);
            }
        }
        pids *= 2;
        assert!(pids < 1 << 12, "a seed that no turn has");
    }
    known[&seed]
}

type Script = Arc<dyn Fn(&Seen<'_>) -> Say + Send + Sync>;

/// Plays each process by the script that its instructions name.
#[derive(Default)]
pub(crate) struct Puppets {
    card: Card,
    /// Whether it neither counts turns nor remembers them.
    lean: bool,
    scripts: BTreeMap<String, Script>,
    pub(crate) turns: Mutex<Vec<Turn>>,
}

impl Provider for Puppets {
    fn card(&self) -> &Card {
        &self.card
    }

    fn generate(&self, turn: Turn) -> Result<Answers, ProviderError> {
        let Prompt::Chat { messages, .. } = &turn.prompt else {
            return Err(ProviderError::invalid("prompt", "a conversation is expected"));
        };
        let system = messages[0].content.clone().unwrap();
        let name = system.rsplit("script:").next().unwrap().trim().to_owned();
        let turn_number = if self.lean { 0 } else { number_of(turn.sampling.seed.unwrap()) };
        let said = self.scripts[&name](&Seen { messages, turn: turn_number });
        let (teller, answers) = answers();
        let mut script = vec![Ok(Delta::Begun { prompt_tokens: 1, cached_tokens: 0 })];
        let mut stop = Stop::End;
        match said {
            Say::Cut(text) => {
                stop = Stop::Length;
                script.push(Ok(Delta::Text { sample: 0, text, tokens: Vec::new() }));
            }
            Say::Both(text, calls) => {
                stop = Stop::ToolCalls;
                script.push(Ok(Delta::Text { sample: 0, text, tokens: Vec::new() }));
                script.extend(deltas_of(calls));
            }
            Say::Text(text) => {
                script.push(Ok(Delta::Text { sample: 0, text, tokens: Vec::new() }));
            }
            Say::Calls(calls) => {
                stop = Stop::ToolCalls;
                script.extend(deltas_of(calls));
            }
            Say::Fails(error) => {
                if !self.lean {
                    self.turns.lock().unwrap().push(turn);
                }
                return Err(error);
            }
        }
        let usage = Usage { new_tokens: 10, ..Usage::default() };
        script.push(Ok(Delta::Finished { sample: 0, stop, usage }));
        for delta in script {
            teller.tell(delta);
        }
        if !self.lean {
            self.turns.lock().unwrap().push(turn);
        }
        Ok(answers)
    }

    /// A token is a byte.
    fn count_tokens(&self, turn: &Turn) -> Result<usize, ProviderError> {
        Ok(match &turn.prompt {
            Prompt::Text(text) => text.text.len(),
            _ => turn.tools.list.len(),
        })
    }
}

/// Time that passes only when nothing else can be done.
#[derive(Default)]
pub(crate) struct Patience(pub(crate) AtomicI64);

impl Time for Patience {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn idle_until(&self, at_ms: i64) {
        self.0.fetch_max(at_ms, Ordering::SeqCst);
    }
}

/// A tool that writes down what it was called with: letters that went out.
pub(crate) struct Post {
    card: ToolCard,
    pub(crate) sent: Mutex<Vec<(String, Arguments)>>,
}

impl Default for Post {
    fn default() -> Self {
        let argument =
            |name: &str, role| ArgumentSpec { name: name.to_owned(), role, optional: false };
        Self {
            card: ToolCard {
                policy: lucid_policy::Tool {
                    name: "post".to_owned(),
                    effect: Effect::Outside,
                    arguments: vec![
                        argument("to", Role::Destination),
                        argument("text", Role::Content),
                    ],
                },
                description: "sends a letter".to_owned(),
                parameters: json!({"type": "object"}),
                source: SourceKind::Computed,
            },
            sent: Mutex::default(),
        }
    }
}

impl Tool for Post {
    fn card(&self) -> &ToolCard {
        &self.card
    }

    fn call(
        &self,
        _grant: Grant,
        arguments: &Arguments,
        setting: &Setting<'_>,
    ) -> Result<Outcome, ToolError> {
        self.sent.lock().unwrap().push((setting.key.to_owned(), arguments.clone()));
        Ok(Outcome::text("sent"))
    }

    fn settle(&self, key: &str) -> Settled {
        if self.sent.lock().unwrap().iter().any(|(sent, _)| sent == key) {
            Settled::Done(Outcome::text("sent"))
        } else {
            Settled::NotDone
        }
    }
}

/// A page of the web.
pub(crate) struct Web(ToolCard, pub(crate) String);

impl Web {
    pub(crate) fn new(page: &str) -> Self {
        let card = ToolCard {
            policy: lucid_policy::Tool {
                name: "web".to_owned(),
                effect: Effect::Read,
                arguments: Vec::new(),
            },
            description: "reads a page".to_owned(),
            parameters: json!({"type": "object"}),
            source: SourceKind::Web,
        };
        Self(card, page.to_owned())
    }
}

impl Tool for Web {
    fn card(&self) -> &ToolCard {
        &self.0
    }

    fn call(
        &self,
        _grant: Grant,
        _arguments: &Arguments,
        _setting: &Setting<'_>,
    ) -> Result<Outcome, ToolError> {
        let source = Some((SourceKind::Web, "web:example.org".to_owned()));
        Ok(Outcome { text: self.1.clone(), source })
    }
}

/// A folder that goes when the test is over.
pub(crate) struct Home(pub(crate) PathBuf);

impl Home {
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lucid-os-{name}-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A system to be.
pub(crate) struct World {
    pub(crate) home: Home,
    pub(crate) store: MemoryStore,
    pub(crate) post: Arc<Post>,
    pub(crate) time: Arc<Patience>,
    pub(crate) page: String,
    pub(crate) person: bool,
    pub(crate) window: usize,
    /// Whether scripts are not told their turn, and turns are not kept.
    pub(crate) lean: bool,
    pub(crate) snapshot_events: u64,
    /// Tools beside the usual ones.
    pub(crate) extra: Vec<Arc<dyn Tool>>,
    /// Rights beside those to call each tool.
    pub(crate) rights: Vec<Capability>,
    scripts: BTreeMap<String, Script>,
    pub(crate) puppets: Option<Arc<Puppets>>,
}

pub(crate) fn ann() -> Party {
    Party::new("ann")
}

impl World {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            home: Home::new(name),
            store: MemoryStore::default(),
            post: Arc::default(),
            time: Arc::default(),
            page: "nothing to be seen".to_owned(),
            person: false,
            window: 100_000,
            lean: false,
            snapshot_events: 10_000,
            extra: Vec::new(),
            rights: Vec::new(),
            scripts: BTreeMap::new(),
            puppets: None,
        }
    }

    /// Adds an application that is played by a script.
    pub(crate) fn play(
        mut self,
        name: &str,
        script: impl Fn(&Seen<'_>) -> Say + Send + Sync + 'static,
    ) -> Self {
        self.scripts.insert(name.to_owned(), Arc::new(script));
        self
    }

    pub(crate) fn settings(&mut self) -> Settings {
        let mut settings = Settings::new(self.home.0.clone());
        let capabilities = Capabilities {
            chat: true,
            tokens: true,
            reproducible: true,
            ..Capabilities::default()
        };
        let card = Card {
            name: "puppets".to_owned(),
            context: self.window,
            capabilities,
            ..Card::default()
        };
        let puppets = Arc::new(Puppets {
            card,
            lean: self.lean,
            scripts: self.scripts.clone(),
            turns: Mutex::default(),
        });
        self.puppets = Some(puppets.clone());
        settings.providers.insert("puppets".to_owned(), puppets);
        let mut tools: Vec<Arc<dyn Tool>> = vec![
            Arc::new(Calculator::default()),
            Arc::new(Clock::default()),
            self.post.clone(),
            Arc::new(Web::new(&self.page)),
        ];
        tools.extend(self.extra.iter().cloned());
        let names: Vec<String> = tools.iter().map(|tool| tool.card().policy.name.clone()).collect();
        for tool in tools {
            settings.add_tool(tool);
        }
        for name in self.scripts.keys() {
            let plain = names.iter().map(|name| Capability::plain(name));
            let application = Application {
                instructions: format!("script:{name}"),
                capabilities: plain.chain(self.rights.iter().cloned()).collect(),
                syscalls: syscall_names().map(str::to_owned).collect(),
                tools: names.clone(),
                provider: "puppets".to_owned(),
                answer_tokens_max: 100,
                ..Application::default()
            };
            settings.applications.insert(name.clone(), application);
        }
        settings.time = self.time.clone();
        settings.snapshot_events = self.snapshot_events;
        settings.person = self.person.then(ann);
        settings
    }

    pub(crate) fn boot(&mut self) -> Kernel {
        let settings = self.settings();
        Kernel::open(Box::new(self.store.clone()), settings).unwrap()
    }

    /// Runs one task to its end: the result.
    pub(crate) fn run(&mut self, goal: &str) -> (Kernel, String) {
        let mut kernel = self.boot();
        let pid = kernel.spawn(&Task::new("main", &ann(), goal)).unwrap();
        assert_eq!(kernel.run().unwrap(), Step::Over);
        let result = result_of(&kernel, pid);
        (kernel, result)
    }
}

pub(crate) fn result_of(kernel: &Kernel, pid: lucid_os::Pid) -> String {
    let exit = kernel.state().process(pid).unwrap().exit.clone().unwrap();
    match exit.value {
        Some(value) => kernel.content(value.content).unwrap().text(),
        None => format!("{:?}", exit.reason),
    }
}
