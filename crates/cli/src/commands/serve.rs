//! `lucid serve`: models of this machine over the protocols that programs speak.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use lucid_checkpoint::Checkpoint;
use lucid_engine::DiskOptions;
use lucid_hub::HubConfig;
use lucid_provider::Provider;
use lucid_provider::local::LocalOptions;
use lucid_provider::remote::Remote;
use lucid_server::{Access, Catalog, Entry, LoadError, Log, Options, Server, TlsFiles};
use lucid_sys::Memory;

use super::serve_disk;
use crate::env::Environment;
use crate::serve_args::{ListenArgs, LoadArgs, ServeArgs};
use crate::{clock, load, output, providers};

/// Keys and values of all sequences may take this part of the memory that is free.
const KV_SHARE: u64 = 4;

pub(crate) fn run(args: &ServeArgs, environment: &Environment) -> Result<i32> {
    let models = Models::find(args, environment)?;
    let options = options(args, environment, &models)?;
    let log: Log = Arc::new(|line: &str| output::note(line));
    let told = models.told();
    let notice: Log = Arc::new(|text: &str| output::warn(text));
    let log = args.verbose.then_some(log);
    let options = Options { log, notice: Some(notice), ..options };
    let server = Server::bind(options, Arc::new(models))?;
    let url = server.url();
    output::note(format_args!("Serving {told} at {url}"));
    output::note(format_args!("  a page for people     {url}/"));
    output::note(format_args!("  OpenAI's protocol     {url}/v1"));
    output::note(format_args!("  Anthropic's, Ollama's {url}"));
    output::note("Ctrl-C ends it; `lucid status` shows what it does");
    server.run()?;
    Ok(0)
}

fn options(args: &ServeArgs, environment: &Environment, models: &Models) -> Result<Options> {
    let ListenArgs { host, port, require_key, keys, allow_host, cors, .. } = &args.listen;
    for origin in cors {
        let plain = origin == "*"
            || origin.split_once("://").is_some_and(|(scheme, host)| {
                ["http", "https"].contains(&scheme) && !host.is_empty() && !host.contains('/')
            });
        if !plain {
            bail!(
                "--cors {origin}: expected an origin such as https://example.org, without a path"
            );
        }
    }
    let tls = args.listen.tls_cert.clone().zip(args.listen.tls_key.clone());
    let LoadArgs { models_max, keep_alive, queue, .. } = &args.load;
    Ok(Options {
        address: SocketAddr::new(*host, *port),
        hosts: allow_host.clone(),
        cors: cors.clone(),
        tls: tls.map(|(certificates, key)| TlsFiles { certificates, key }),
        keys: keys.clone().or_else(|| environment.keys.clone()),
        access: if *require_key { Access::Keys } else { Access::Open },
        store: args.listen.store.clone().or_else(|| environment.data.clone()),
        model: models.named.first().map(|model| model.name.clone()),
        memory_bytes: memory(&args.load, models),
        models_max: usize::from(*models_max),
        keep_alive: keep_alive.map(|minutes| Duration::from_secs(minutes.saturating_mul(60))),
        queue_max: *queue as usize,
        connections_max: args.listen.connections as usize,
        drain: Duration::from_secs(args.listen.drain),
        ..Options::default()
    })
}

/// What models may take together: what was said, or most of what is free; but one always fits.
fn memory(args: &LoadArgs, models: &Models) -> Option<u64> {
    args.memory.or_else(|| {
        let free = Memory::detect()?.available_bytes;
        let largest = models.list().iter().map(|entry| entry.memory_bytes).max().unwrap_or(0);
        Some((free - free / 10).max(largest))
    })
}

/// The models that are served: those that were named, or all that are on this machine.
struct Models {
    named: Vec<Named>,
    /// Where all others lie, if they are served.
    hub: Option<HubConfig>,
    /// Where prompts' keys and values are kept, if they are.
    disk: Option<DiskOptions>,
    /// What guesses for the first model.
    draft: Option<Checkpoint>,
    /// Models behind remote APIs, if they are served.
    remote: Vec<Arc<Remote>>,
    args: ServeArgs,
}

/// A model and the name it is served under.
struct Named {
    name: String,
    path: PathBuf,
}

impl Models {
    fn find(args: &ServeArgs, environment: &Environment) -> Result<Self> {
        let mut named: Vec<Named> = Vec::new();
        for model in &args.models {
            // A path may hold an equals sign as well.
            let (name, model) = match model.split_once('=') {
                Some((name, path)) if !Path::new(model).exists() => (Some(name), path),
                _ => (None, model.as_str()),
            };
            let path = load::find(environment, model)?;
            let name = name.map_or_else(|| name_of(model, &path), str::to_owned);
            if name.is_empty() || named.iter().any(|known| known.name == name) {
                bail!("`{name}` names no model, or two: give each a name of its own (NAME=MODEL)");
            }
            named.push(Named { name, path });
        }
        let hub = named.is_empty().then(|| environment.hub.clone());
        let disk = serve_disk::options(&args.load, environment)?;
        let draft = args.load.draft.as_ref().map(|draft| load::checkpoint(environment, draft));
        let draft = draft.transpose()?;
        let remote = if args.load.remote { providers::listed(environment)? } else { Vec::new() };
        let remote = remote.into_iter().map(|options| Ok(Arc::new(Remote::new(options)?)));
        let remote = remote.collect::<Result<_>>()?;
        let models = Self { named, hub, disk, draft, remote, args: args.clone() };
        if models.list().is_empty() {
            bail!("no model is on this machine: name a file, or `lucid pull ORG/REPO` first");
        }
        Ok(models)
    }

    /// What is served, in words.
    fn told(&self) -> String {
        match self.named.as_slice() {
            [] => format!("{} models, each loaded when asked for,", self.list().len()),
            [only] => only.name.clone(),
            [first, rest @ ..] => format!("{} and {} more", first.name, rest.len()),
        }
    }

    fn local_options(&self, name: &str, checkpoint: &Checkpoint) -> Result<LocalOptions> {
        let load = &self.args.load;
        let mut compute = load::compute(checkpoint, &self.args.compute)?;
        compute.sequences = usize::from(load.parallel);
        compute.kv_bytes_max = Memory::detect().map(|memory| memory.available_bytes / KV_SHARE);
        Ok(LocalOptions {
            compute,
            sequences_max: usize::from(load.parallel),
            stall: Duration::from_millis(load.stall_ms.into()),
            queue_max: load.queue as usize,
            tokenizer: self.args.compute.tokenizer.clone(),
            disk: self.disk.clone(),
            lookup: !load.no_speculation,
            draft: self.draft.clone().filter(|_| self.is_first(name)),
            now: clock::now,
            ..LocalOptions::default()
        })
    }

    fn is_first(&self, name: &str) -> bool {
        self.named.first().is_some_and(|first| first.name == name)
    }

    fn path_of(&self, name: &str) -> Option<PathBuf> {
        if let Some(model) = self.named.iter().find(|model| model.name == name) {
            return Some(model.path.clone());
        }
        let installed = lucid_hub::installed(self.hub.as_ref()?);
        installed.into_iter().find(|model| model.name == name).map(|model| model.path)
    }
}

/// The name of a model that was given by its path: the file's or folder's; else as it was given.
fn name_of(asked: &str, path: &Path) -> String {
    if !Path::new(asked).exists() {
        return asked.to_owned();
    }
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
    stem.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

impl Catalog for Models {
    fn list(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        let installed = self.hub.as_ref().map(lucid_hub::installed);
        entries.extend(installed.into_iter().flatten().map(|model| Entry {
            name: model.name,
            bytes: model.bytes,
            memory_bytes: memory_for(model.bytes),
            modified: model.modified,
            source: model.source.to_string(),
        }));
        entries.extend(self.named.iter().map(|model| {
            let (bytes, modified) = size(&model.path);
            Entry {
                name: model.name.clone(),
                bytes,
                memory_bytes: memory_for(bytes),
                modified,
                source: "this machine".to_owned(),
            }
        }));
        entries.extend(self.remote.iter().map(|remote| Entry {
            name: remote.card().name.clone(),
            bytes: 0,
            memory_bytes: 0,
            modified: None,
            source: remote.origin(),
        }));
        entries
    }

    /// Never a path: whoever asks may be far away. Exact names go before those without regard to
    /// case, Ollama's `:latest`, the folder or the ending.
    fn resolve(&self, asked: &str) -> Option<Entry> {
        let entries = self.list();
        if let Some(entry) = entries.iter().find(|entry| entry.name == asked) {
            return Some(entry.clone());
        }
        let bare = asked.strip_suffix(":latest").unwrap_or(asked).to_lowercase();
        let answers = |entry: &&Entry| {
            let name = entry.name.to_lowercase();
            let name = name.strip_suffix(":latest").unwrap_or(&name);
            let short = name.rsplit('/').next().unwrap_or(name);
            let stem = short.strip_suffix(".gguf").unwrap_or(short);
            [name, short, stem].contains(&bare.as_str())
        };
        let mut found = entries.iter().filter(answers);
        match (found.next(), found.next()) {
            (Some(only), None) => Some(only.clone()),
            _ => None,
        }
    }

    fn load(&self, name: &str) -> Result<Arc<dyn Provider>, LoadError> {
        let failed = |reason: String| LoadError { reason, memory_lacking: None };
        if let Some(remote) = self.remote.iter().find(|remote| remote.card().name == name) {
            return Ok(Arc::<Remote>::clone(remote));
        }
        let path = self
            .path_of(name)
            .ok_or_else(|| failed(format!("`{name}` is not on this machine any more")))?;
        let checkpoint = Checkpoint::open(&path).map_err(|error| failed(error.to_string()))?;
        let options =
            self.local_options(name, &checkpoint).map_err(|error| failed(format!("{error:#}")))?;
        let provider = load::provider(name, &checkpoint, &options)
            .map_err(|error| failed(format!("{error:#}")))?;
        if self.is_first(name) {
            for (adapter, file) in &self.args.load.lora {
                provider
                    .load_adapter(adapter, file, 1.0)
                    .map_err(|error| failed(format!("the adapter `{adapter}`: {error}")))?;
            }
        }
        Ok(Arc::new(provider))
    }
}

/// Weights, and what a model computes with.
fn memory_for(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 8)
}

/// Bytes of a file, or of a folder's files, and when the newest was written.
fn size(path: &Path) -> (u64, Option<SystemTime>) {
    let Ok(info) = fs::metadata(path) else { return (0, None) };
    if !info.is_dir() {
        return (info.len(), info.modified().ok());
    }
    let files = fs::read_dir(path).into_iter().flatten().flatten();
    let infos = files.filter_map(|file| file.metadata().ok()).filter(fs::Metadata::is_file);
    infos.fold((0, None), |(bytes, newest), info| {
        (bytes + info.len(), newest.max(info.modified().ok()))
    })
}
