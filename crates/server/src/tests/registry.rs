//! Models that come and go: loaded once for all who wait, never taken from under a lease, and let
//! go of in the order in which they were left alone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use lucid_provider::Provider;
use lucid_provider::scripted::Scripted;

use crate::catalog::{Catalog, Entry, LoadError};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::refusal::{Kind, Refusal};
use crate::registry::Registry;

/// Any model of 100 bytes; takes its time. `lacking` says how often a load finds no memory.
#[derive(Default)]
struct Stock {
    loads: Mutex<HashMap<String, usize>>,
    loading: AtomicUsize,
    lacking: AtomicUsize,
    /// Models that are not let go of, and the most there were at once.
    there: Mutex<Vec<Weak<dyn Provider>>>,
    most: AtomicUsize,
}

impl Catalog for Stock {
    fn list(&self) -> Vec<Entry> {
        Vec::new()
    }

    fn resolve(&self, asked: &str) -> Option<Entry> {
        let name = asked.trim_end_matches('!');
        (name != "gone" && !name.contains(':')).then(|| Entry {
            name: name.to_owned(),
            bytes: 100,
            memory_bytes: if name == "huge" { 1000 } else { 100 },
            modified: None,
            source: String::new(),
        })
    }

    fn load(&self, name: &str) -> Result<Arc<dyn Provider>, LoadError> {
        assert_eq!(self.loading.fetch_add(1, SeqCst), 0, "loads go one at a time");
        std::thread::sleep(Duration::from_millis(20));
        self.loading.fetch_sub(1, SeqCst);
        *self.loads.lock().unwrap().entry(name.to_owned()).or_default() += 1;
        let refused = |lacking| LoadError { reason: "no".to_owned(), memory_lacking: lacking };
        if name == "broken" {
            return Err(refused(None));
        }
        let less = |left: usize| left.checked_sub(1);
        if self.lacking.fetch_update(SeqCst, SeqCst, less).is_ok() {
            return Err(refused(Some(1)));
        }
        let model: Arc<dyn Provider> = Arc::new(Scripted::new(name));
        let mut there = self.there.lock().unwrap();
        there.retain(|model| model.strong_count() > 0);
        there.push(Arc::downgrade(&model));
        self.most.fetch_max(there.len(), SeqCst);
        Ok(model)
    }
}

fn registry(options: &Options) -> (Arc<Stock>, Arc<Registry>) {
    let stock = Arc::new(Stock::default());
    let registry = Registry::new(stock.clone(), options, Arc::new(Metrics::default()));
    (stock, registry)
}

fn names(registry: &Registry) -> Vec<String> {
    registry.loaded().iter().map(|loaded| loaded.model.entry.name.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_loaded_once_for_all_who_wait() {
    let (stock, registry) = registry(&Options::default());
    let asked = (0..20).map(|at| {
        let registry = Arc::clone(&registry);
        let name = if at % 2 == 0 { "a" } else { "a!" };
        tokio::spawn(async move { registry.lease(name).await.map(|lease| lease.name().to_owned()) })
    });
    for one in asked.collect::<Vec<_>>() {
        assert_eq!(one.await.unwrap().unwrap(), "a");
    }
    assert_eq!(stock.loads.lock().unwrap()["a"], 1);
    all_returned(&registry).await;
}

/// Waits until nobody has a lease. The loader's own goes a moment after the last caller's.
async fn all_returned(registry: &Registry) {
    for _ in 0..1000 {
        if registry.loaded().iter().all(|loaded| loaded.leases == 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("leases are left: {:?}", registry.loaded());
}

#[tokio::test]
async fn who_asks_for_an_unknown_adapter_leaves_no_lease() {
    let (_, registry) = registry(&Options::default());
    for _ in 0..2 {
        let refusal = registry.lease("a:nope").await.map(|_| ()).unwrap_err();
        assert_eq!(refusal.kind, Kind::NotFound);
    }
    all_returned(&registry).await;
}

/// On one thread the next loader goes on before the callers of the model that was just loaded do.
#[tokio::test]
async fn a_model_is_not_taken_before_its_callers_have_it() {
    let (stock, registry) = registry(&Options { models_max: 1, ..Options::default() });
    let one = |at: usize| {
        let registry = Arc::clone(&registry);
        tokio::spawn(async move {
            let lease = registry.lease(&format!("m{at}")).await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
            drop(lease);
            Ok::<_, Refusal>(())
        })
    };
    for one in (0..6).map(one).collect::<Vec<_>>() {
        one.await.unwrap().unwrap();
    }
    assert_eq!(stock.most.load(SeqCst), 1, "models were there at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_goes_on_when_its_caller_goes_away() {
    let (stock, registry) = registry(&Options::default());
    let lease = registry.lease("a");
    assert!(tokio::time::timeout(Duration::from_millis(5), lease).await.is_err());
    registry.lease("a").await.unwrap();
    assert_eq!(stock.loads.lock().unwrap()["a"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_idle_model_makes_room_and_used_ones_stay() {
    let options = Options { memory_bytes: Some(250), ..Options::default() };
    let (_, registry) = registry(&options);
    let first = registry.lease("a").await.unwrap();
    drop(registry.lease("b").await.unwrap());
    drop(registry.lease("c").await.unwrap());
    assert_eq!(names(&registry), ["a", "c"], "`a` is in use, so `b` went");
    drop(first);
    drop(registry.lease("c").await.unwrap());
    drop(registry.lease("d").await.unwrap());
    assert_eq!(names(&registry), ["c", "d"], "`a` was idle longest");
    let refusal = registry.lease("huge").await.map(|_| ()).unwrap_err();
    assert_eq!(refusal.kind, Kind::Unavailable);
    assert_eq!(names(&registry), ["c", "d"], "nothing went for a model that never fits");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_room_waits_for_it() {
    let (_, registry) = registry(&Options { models_max: 1, ..Options::default() });
    let first = registry.lease("a").await.unwrap();
    let waiting = {
        let registry = Arc::clone(&registry);
        tokio::spawn(async move { registry.lease("b").await.map(|lease| lease.name().to_owned()) })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(names(&registry), ["a"]);
    drop(first);
    assert_eq!(waiting.await.unwrap().unwrap(), "b");
    assert_eq!(names(&registry), ["b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_lacks_memory_is_tried_again_without_an_idle_model() {
    let (stock, registry) = registry(&Options::default());
    drop(registry.lease("a").await.unwrap());
    stock.lacking.store(1, SeqCst);
    drop(registry.lease("b").await.unwrap());
    assert_eq!(names(&registry), ["b"]);
    let refusal = registry.lease("broken").await.map(|_| ()).unwrap_err();
    assert_eq!(refusal.kind, Kind::Internal);
    assert!(refusal.message.contains("`broken` cannot be loaded: no"), "{refusal:?}");
    let refusal = registry.lease("gone").await.map(|_| ()).unwrap_err();
    assert_eq!((refusal.kind, refusal.field.as_deref()), (Kind::NotFound, Some("model")));
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_models_go_when_their_time_is_over() {
    let (_, registry) = registry(&Options::default());
    let sweeper = tokio::spawn(Arc::clone(&registry).sweep());
    let kept = registry.lease("a").await.unwrap();
    kept.keep_alive(Some(Duration::ZERO));
    let other = registry.lease("b").await.unwrap();
    other.keep_alive(None);
    drop(other);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(names(&registry), ["a", "b"], "who is used stays");
    drop(kept);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(names(&registry), ["b"]);
    sweeper.abort();
}
