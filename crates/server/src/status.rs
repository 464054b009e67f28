//! `GET /status`: what is loaded, what it takes and whom it serves, for `lucid status`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use lucid_provider::ProviderStats;
use serde_json::{Value, json};

use crate::app::App;
use crate::metrics::Page;
use crate::registry::Loaded;

/// What is loaded, what it takes and whom it serves.
pub(crate) async fn status(State(app): State<Arc<App>>) -> Json<Value> {
    let models: Vec<Value> = app.registry.loaded().iter().map(|it| model(&app, it)).collect();
    let metrics = &app.metrics;
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": app.started.elapsed().as_secs(),
        "connections": metrics.connections.load(Relaxed),
        "requests_in_flight": metrics.in_flight.load(Relaxed),
        "evictions": metrics.evictions.load(Relaxed),
        "memory_budget_bytes": app.options.memory_bytes,
        "models": models,
    }))
}

fn model(app: &App, loaded: &Loaded) -> Value {
    let stats = loaded.model.provider.stats();
    let card = loaded.model.provider.card();
    let counts = app.metrics.of_model(&loaded.model.entry.name);
    let adapters: Vec<String> =
        loaded.model.provider.adapters().into_iter().map(|adapter| adapter.name).collect();
    json!({
        "name": loaded.model.entry.name,
        "description": card.description,
        "source": loaded.model.entry.source,
        "context": card.context,
        "memory_bytes": loaded.model.memory_bytes(),
        "users": loaded.leases,
        "turns": loaded.model.turns(),
        "running": stats.scheduler.running,
        "waiting": stats.scheduler.waiting,
        "serving": loaded.model.serving(),
        "tokens_per_second": loaded.model.tokens_per_second(),
        "kv_blocks": stats.kv_blocks,
        "kv_blocks_used": stats.kv_blocks_used,
        "kv_blocks_known": stats.kv_blocks_known,
        "disk_bytes": stats.disk_bytes,
        "disk_tokens": stats.disk_tokens,
        "proposed_tokens": stats.proposed_tokens,
        "accepted_tokens": stats.accepted_tokens,
        "prompt_tokens": counts.prompt_tokens,
        "cached_tokens": counts.cached_tokens,
        "new_tokens": counts.new_tokens,
        "computed_tokens": stats.new_tokens,
        "adapters": adapters,
        "expires_unix_seconds": loaded.expires.map(unix_seconds),
    })
}

/// Seconds since 1970.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

/// One of a provider's figures.
type StatOf = fn(&ProviderStats) -> u64;

/// Writes what loaded models do at present.
pub(crate) fn write_models(app: &App, page: &mut Page) {
    let loaded = app.registry.loaded();
    let stats: Vec<(String, ProviderStats, u64)> = loaded
        .iter()
        .map(|it| {
            let model = &it.model;
            (model.entry.name.clone(), model.provider.stats(), model.memory_bytes())
        })
        .collect();
    page.one("lucid_models_loaded", "gauge", "Models in memory.", loaded.len());
    page.head("lucid_model_memory_bytes", "gauge", "Memory that a model takes.");
    for (name, _, bytes) in &stats {
        page.sample("lucid_model_memory_bytes", &[("model", name)], bytes);
    }
    let fields: [(&str, &str, &str, StatOf); 13] = [
        ("lucid_queue_depth", "gauge", "Sequences that wait.", |it| it.scheduler.waiting as u64),
        ("lucid_sequences_running", "gauge", "Sequences that run.", |it| {
            it.scheduler.running as u64
        }),
        ("lucid_kv_blocks", "gauge", "KV blocks.", |it| it.kv_blocks as u64),
        ("lucid_kv_blocks_used", "gauge", "Of these, in use.", |it| it.kv_blocks_used as u64),
        ("lucid_kv_blocks_known", "gauge", "Of these, kept for later prompts.", |it| {
            it.kv_blocks_known as u64
        }),
        ("lucid_kv_disk_bytes", "gauge", "Keys and values on disk.", |it| it.disk_bytes),
        ("lucid_passes_total", "counter", "Passes.", |it| it.scheduler.passes),
        ("lucid_preemptions_total", "counter", "Sequences computed again.", |it| {
            it.scheduler.preemptions
        }),
        ("lucid_cache_hit_tokens_total", "counter", "Prompt tokens known.", |it| it.cached_tokens),
        ("lucid_cache_miss_tokens_total", "counter", "Prompt tokens computed.", |it| {
            it.prompt_tokens
        }),
        ("lucid_cache_disk_tokens_total", "counter", "Prompt tokens read from disk.", |it| {
            it.disk_tokens
        }),
        ("lucid_proposed_tokens_total", "counter", "Tokens speculated.", |it| it.proposed_tokens),
        ("lucid_accepted_tokens_total", "counter", "Of these, right.", |it| it.accepted_tokens),
    ];
    for (metric, kind, help, field) in fields {
        page.head(metric, kind, help);
        for (name, stats, _) in &stats {
            page.sample(metric, &[("model", name)], field(stats));
        }
    }
}
