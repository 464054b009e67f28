//! The models that are loaded. One is loaded when it is first asked for, by one caller for all that
//! wait; who uses a model holds a lease, and only models without leases are let go of, the longest
//! idle first, when memory is needed for another or their time is over. Loads go one at a time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use lucid_provider::{Provider, ProviderError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use crate::catalog::{Catalog, Entry};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::refusal::{Kind, Refusal};

/// How long a model to be loaded waits for others to become idle.
const ROOM_WAIT: Duration = Duration::from_secs(60);
/// Over which time speed is told.
const LATELY: Duration = Duration::from_secs(5);
/// The longest time that a refused caller is asked to wait.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// The models that are loaded, and those that could be.
pub(crate) struct Registry {
    catalog: Arc<dyn Catalog>,
    metrics: Arc<Metrics>,
    bounds: Bounds,
    state: Mutex<State>,
    /// Loads go one at a time, so that each sees what the one before took.
    loads: tokio::sync::Mutex<()>,
    /// A model became idle.
    idle: Notify,
}

struct Bounds {
    memory_bytes: Option<u64>,
    models_max: usize,
    keep_alive: Option<Duration>,
    queue_max: usize,
}

#[derive(Default)]
struct State {
    loaded: HashMap<String, Arc<Model>>,
    loading: HashMap<String, watch::Receiver<Option<Outcome>>>,
    /// What loaded models were asked for as.
    aliases: HashMap<String, String>,
}

/// A model that was loaded is kept for those who wait by a lease of the loader's.
type Outcome = Result<Arc<Lease>, Refusal>;

/// A model that is loaded.
pub(crate) struct Model {
    /// What the catalogue says of it.
    pub(crate) entry: Entry,
    /// What answers.
    pub(crate) provider: Arc<dyn Provider>,
    /// Room for turns.
    turns: Arc<Semaphore>,
    turns_max: usize,
    /// Milliseconds that turns took lately.
    pace_ms: AtomicU64,
    in_use: Mutex<Use>,
    /// Turns under way, by who asked.
    serving: Mutex<BTreeMap<String, usize>>,
    /// Tokens of answers so far, at moments of the last seconds.
    lately: Mutex<VecDeque<(Instant, u64)>>,
}

/// Who uses a model.
#[derive(Clone, Copy, Debug)]
struct Use {
    leases: usize,
    since: Instant,
    /// How long it stays when it is idle; the last word counts.
    keep_alive: Option<Duration>,
}

/// The right to use a model. It stays loaded as long as anybody has one.
pub(crate) struct Lease {
    model: Arc<Model>,
    registry: Arc<Registry>,
    /// The adapter that the model's name asked for.
    pub(crate) adapter: Option<String>,
}

/// A model as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The model.
    pub(crate) model: Arc<Model>,
    /// Who uses it.
    pub(crate) leases: usize,
    /// When it is let go of if nobody asks for it; none is never.
    pub(crate) expires: Option<SystemTime>,
}

impl Registry {
    /// A registry without any model loaded.
    pub(crate) fn new(
        catalog: Arc<dyn Catalog>,
        options: &Options,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let bounds = Bounds {
            memory_bytes: options.memory_bytes,
            models_max: options.models_max.max(1),
            keep_alive: options.keep_alive,
            queue_max: options.queue_max.clamp(1, Semaphore::MAX_PERMITS),
        };
        Arc::new(Self {
            catalog,
            metrics,
            bounds,
            state: Mutex::default(),
            loads: tokio::sync::Mutex::default(),
            idle: Notify::new(),
        })
    }

    /// Loads a model if that is needed, and keeps it loaded for the caller. `NAME:ADAPTER` asks for
    /// an adapter as well.
    ///
    /// # Errors
    /// There is no such model, or it cannot be loaded.
    pub(crate) async fn lease(self: &Arc<Self>, asked: &str) -> Result<Lease, Refusal> {
        if let Some(lease) = self.known(asked) {
            return Ok(lease);
        }
        if let Some(entry) = self.resolve(asked).await? {
            return self.loaded_or_load(entry, asked).await;
        }
        let Some((base, adapter)) = asked.rsplit_once(':') else {
            return Err(Refusal::no_model(asked));
        };
        let entry = self.resolve(base).await?.ok_or_else(|| Refusal::no_model(asked))?;
        let mut lease = self.loaded_or_load(entry, base).await?;
        if !lease.provider().adapters().iter().any(|known| known.name == adapter) {
            return Err(Refusal::no_model(asked));
        }
        lease.adapter = Some(adapter.to_owned());
        Ok(lease)
    }

    /// The models there are, loaded or not.
    ///
    /// # Errors
    /// The catalogue panicked.
    pub(crate) async fn list(&self) -> Result<Vec<Entry>, Refusal> {
        let catalog = Arc::clone(&self.catalog);
        blocking(move || catalog.list()).await
    }

    /// What the catalogue knows under a name.
    ///
    /// # Errors
    /// The catalogue panicked.
    pub(crate) async fn resolve(&self, asked: &str) -> Result<Option<Entry>, Refusal> {
        let (catalog, asked) = (Arc::clone(&self.catalog), asked.to_owned());
        blocking(move || catalog.resolve(&asked)).await
    }

    /// The models that are loaded, by name.
    pub(crate) fn loaded(&self) -> Vec<Loaded> {
        let state = self.state();
        let mut list: Vec<Loaded> = state.loaded.values().map(Loaded::of).collect();
        list.sort_by(|a, b| a.model.entry.name.cmp(&b.model.entry.name));
        list
    }

    /// Lets go of a model as soon as it is idle. Returns whether it was loaded.
    pub(crate) fn unload(&self, name: &str) -> bool {
        let state = self.state();
        let found = state
            .loaded
            .get(name)
            .or_else(|| state.aliases.get(name).and_then(|name| state.loaded.get(name)));
        if let Some(model) = found {
            model.usage().keep_alive = Some(Duration::ZERO);
        }
        found.is_some()
    }

    /// Lets go of models whose time is over, for ever.
    pub(crate) async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            self.loaded().iter().for_each(|loaded| loaded.model.look());
            let over: Vec<Arc<Model>> = {
                let mut state = self.state();
                let names: Vec<String> = state
                    .loaded
                    .values()
                    .filter(|model| model.is_over())
                    .map(|model| model.entry.name.clone())
                    .collect();
                names.iter().filter_map(|name| state.remove(name)).collect()
            };
            for model in over {
                self.let_go(model).await;
            }
        }
    }

    /// A model that is loaded under the very name, or was asked for by it before.
    fn known(self: &Arc<Self>, asked: &str) -> Option<Lease> {
        let state = self.state();
        let name = state.aliases.get(asked).map_or(asked, String::as_str);
        Some(Lease::new(self, state.loaded.get(name)?))
    }

    async fn loaded_or_load(self: &Arc<Self>, entry: Entry, asked: &str) -> Result<Lease, Refusal> {
        let mut outcome = {
            let mut state = self.state();
            if let Some(model) = state.loaded.get(&entry.name).cloned() {
                state.remember(asked, &entry.name);
                return Ok(Lease::new(self, &model));
            }
            if let Some(outcome) = state.loading.get(&entry.name) {
                outcome.clone()
            } else {
                let (sender, outcome) = watch::channel(None);
                state.loading.insert(entry.name.clone(), outcome.clone());
                // On its own, so that it goes on when the caller goes away.
                let registry = Arc::clone(self);
                tokio::spawn(async move { registry.load(entry, sender).await });
                outcome
            }
        };
        let found = match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => (*outcome).clone(),
            Err(_) => None,
        };
        let gone = || Err(Refusal::new(Kind::Internal, "loading the model broke off"));
        // The loader's lease lasts as long as the outcome does: nobody took the model away.
        let loaded = found.unwrap_or_else(gone)?;
        self.state().remember(asked, loaded.name());
        Ok(Lease::new(self, &loaded.model))
    }

    async fn load(self: Arc<Self>, entry: Entry, sender: watch::Sender<Option<Outcome>>) {
        let name = entry.name.clone();
        // Held until the model is among those that are loaded: whoever comes next counts it.
        let _turn = self.loads.lock().await;
        let outcome = self.load_in_turn(entry).await;
        let counter = match outcome {
            Ok(_) => &self.metrics.loads,
            Err(_) => &self.metrics.load_failures,
        };
        counter.fetch_add(1, Relaxed);
        let mut state = self.state();
        state.loading.remove(&name);
        let outcome = outcome.map(|model| {
            let lease = Lease::new(&self, &model);
            state.loaded.insert(name, model);
            Arc::new(lease)
        });
        drop(state);
        // Nobody may wait any more.
        let _ = sender.send(Some(outcome));
    }

    async fn load_in_turn(&self, entry: Entry) -> Result<Arc<Model>, Refusal> {
        self.make_room(&entry).await?;
        loop {
            let (catalog, name) = (Arc::clone(&self.catalog), entry.name.clone());
            let error = match blocking(move || catalog.load(&name)).await? {
                Ok(provider) => return Ok(Arc::new(Model::new(entry, provider, &self.bounds))),
                Err(error) => error,
            };
            // Another idle model may stand in its way.
            if error.memory_lacking.is_some()
                && let Some(model) = self.take_idle()
            {
                self.let_go(model).await;
                continue;
            }
            let message = format!("the model `{}` cannot be loaded: {error}", entry.name);
            let kind =
                if error.memory_lacking.is_some() { Kind::Unavailable } else { Kind::Internal };
            return Err(Refusal::new(kind, message));
        }
    }

    /// Lets go of idle models until another fits.
    async fn make_room(&self, entry: &Entry) -> Result<(), Refusal> {
        let wanted = entry.memory_bytes;
        if let Some(most) = self.bounds.memory_bytes
            && wanted > most
        {
            let message = format!(
                "the model `{}` takes {} of memory, and the server may use {}: start it with more \
                 (--memory), or choose a smaller model",
                entry.name,
                gigabytes(wanted),
                gigabytes(most)
            );
            return Err(Refusal::new(Kind::Unavailable, message));
        }
        let deadline = tokio::time::Instant::now() + ROOM_WAIT;
        loop {
            let idle = self.idle.notified();
            if self.fits(wanted) {
                return Ok(());
            }
            if let Some(model) = self.take_idle() {
                self.let_go(model).await;
                continue;
            }
            if tokio::time::timeout_at(deadline, idle).await.is_err() {
                let message = format!(
                    "the model `{}` finds no room: those that are loaded are all in use",
                    entry.name
                );
                return Err(Refusal::busy(message, Duration::from_secs(10)));
            }
        }
    }

    fn fits(&self, wanted: u64) -> bool {
        let state = self.state();
        let taken: u64 = state.loaded.values().map(|model| model.memory_bytes()).sum();
        state.loaded.len() < self.bounds.models_max
            && self.bounds.memory_bytes.is_none_or(|most| taken.saturating_add(wanted) <= most)
    }

    /// The model that was idle longest, taken out.
    fn take_idle(&self) -> Option<Arc<Model>> {
        let mut state = self.state();
        let name = state
            .loaded
            .values()
            .filter_map(|model| {
                let usage = *model.usage();
                (usage.leases == 0).then(|| (usage.since, model.entry.name.clone()))
            })
            .min()?
            .1;
        state.remove(&name)
    }

    /// Frees a model's memory before it returns, unless a latecomer still has it.
    async fn let_go(&self, model: Arc<Model>) {
        self.metrics.evictions.fetch_add(1, Relaxed);
        // It may write to the disk and wait for threads.
        let _ = blocking(move || drop(model)).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Aliases are what callers typed: never more of them than a handful for each model.
    fn remember(&mut self, asked: &str, name: &str) {
        if asked != name && self.aliases.len() < 16 * self.loaded.len() {
            self.aliases.insert(asked.to_owned(), name.to_owned());
        }
    }

    fn remove(&mut self, name: &str) -> Option<Arc<Model>> {
        self.aliases.retain(|_, known| known != name);
        self.loaded.remove(name)
    }
}

impl Model {
    fn new(entry: Entry, provider: Arc<dyn Provider>, bounds: &Bounds) -> Self {
        Self {
            entry,
            provider,
            turns: Arc::new(Semaphore::new(bounds.queue_max)),
            turns_max: bounds.queue_max,
            pace_ms: AtomicU64::new(1000),
            serving: Mutex::default(),
            lately: Mutex::default(),
            in_use: Mutex::new(Use {
                leases: 0,
                since: Instant::now(),
                keep_alive: bounds.keep_alive,
            }),
        }
    }

    /// Bytes of memory it takes, as far as is known.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let own = self.provider.stats().memory_bytes;
        self.entry.memory_bytes.max(self.entry.bytes.saturating_add(own))
    }

    /// Turns under way or waiting.
    pub(crate) fn turns(&self) -> usize {
        self.turns_max - self.turns.available_permits().min(self.turns_max)
    }

    /// Who is served, with how many turns.
    pub(crate) fn serving(&self) -> BTreeMap<String, usize> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that somebody's turns are under way.
    pub(crate) fn serve(&self, who: &str, turns: usize) {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        *serving.entry(who.to_owned()).or_default() += turns;
    }

    /// Notes that they no longer are.
    pub(crate) fn served(&self, who: &str, turns: usize) {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = serving.get_mut(who) {
            *count = count.saturating_sub(turns);
            if *count == 0 {
                serving.remove(who);
            }
        }
    }

    /// Tokens of answers that were made in a second lately.
    pub(crate) fn tokens_per_second(&self) -> f64 {
        let lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some((then, before)), Some((now, tokens))) = (lately.front(), lately.back()) else {
            return 0.0;
        };
        let seconds = now.duration_since(*then).as_secs_f64();
        if seconds > 0.0 { tokens.saturating_sub(*before) as f64 / seconds } else { 0.0 }
    }

    fn look(&self) {
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        lately.push_back((Instant::now(), self.provider.stats().new_tokens));
        while lately.front().is_some_and(|(then, _)| then.elapsed() > LATELY) {
            lately.pop_front();
        }
    }

    fn usage(&self) -> MutexGuard<'_, Use> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        let usage = *self.usage();
        usage.leases == 0 && usage.keep_alive.is_some_and(|most| usage.since.elapsed() >= most)
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Model").field("entry", &self.entry).finish_non_exhaustive()
    }
}

impl Loaded {
    fn of(model: &Arc<Model>) -> Self {
        let usage = *model.usage();
        let left = |keep: Duration| keep.saturating_sub(usage.since.elapsed());
        let expires = usage.keep_alive.map(|keep| SystemTime::now() + left(keep));
        Self { model: Arc::clone(model), leases: usage.leases, expires }
    }
}

impl Lease {
    fn new(registry: &Arc<Registry>, model: &Arc<Model>) -> Self {
        model.usage().leases += 1;
        Self { model: Arc::clone(model), registry: Arc::clone(registry), adapter: None }
    }

    /// The model.
    pub(crate) fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The model's exact name.
    pub(crate) fn name(&self) -> &str {
        &self.model.entry.name
    }

    /// The name by which exactly this is asked for: the model's, and its adapter's.
    pub(crate) fn shown_name(&self) -> String {
        match &self.adapter {
            Some(adapter) => format!("{}:{adapter}", self.name()),
            None => self.name().to_owned(),
        }
    }

    /// What answers.
    pub(crate) fn provider(&self) -> &Arc<dyn Provider> {
        &self.model.provider
    }

    /// How long the model stays loaded once it is idle; none is until its memory is needed.
    pub(crate) fn keep_alive(&self, keep: Option<Duration>) {
        self.model.usage().keep_alive = keep;
    }

    /// Asks the provider for something that takes its time, on a thread that may block.
    ///
    /// # Errors
    /// The provider's.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Provider) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, Refusal> {
        // It goes on when the caller goes away, and the model is in use as long.
        let kept = Self::new(&self.registry, &self.model);
        Ok(blocking(move || ask(kept.provider().as_ref())).await??)
    }

    /// Room for a turn.
    ///
    /// # Errors
    /// The model's queue is full.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.model.turns).try_acquire_owned().map_err(|_| {
            let waiting = self.model.turns_max;
            let retry = Duration::from_millis(self.model.pace_ms.load(Relaxed));
            let message = format!("{waiting} requests wait for `{}` already", self.name());
            Refusal::busy(message, retry.clamp(Duration::from_secs(1), RETRY_MAX))
        })
    }

    /// Notes how long a turn took.
    pub(crate) fn note(&self, duration: Duration) {
        let pace = self.model.pace_ms.load(Relaxed);
        let now = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(3_600_000);
        self.model.pace_ms.store(pace - pace / 8 + now / 8, Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut usage = self.model.usage();
        usage.leases -= 1;
        usage.since = Instant::now();
        let idle = usage.leases == 0;
        drop(usage);
        if idle {
            self.registry.idle.notify_waiters();
        }
    }
}

/// Runs something that may block. A panic in it is told as our fault.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Refusal::new(Kind::Internal, "the server made a mistake; its log says more"))
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}
