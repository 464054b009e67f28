//! What each client used of its limits: buckets that fill evenly over a minute.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lucid_provider::ClientId;

use super::Limits;
use crate::refusal::Refusal;

/// What all clients with limits used.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    clients: Mutex<HashMap<ClientId, Used>>,
}

#[derive(Debug)]
struct Used {
    /// Requests that are left; a fraction, because a bucket fills evenly.
    requests: f64,
    /// Tokens that are left; negative after an answer that was longer than what was left.
    tokens: f64,
    filled: Instant,
    under_way: u32,
}

/// What a request is charged to. The request counts as under way until the last copy is gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account(Option<Arc<Entry>>);

#[derive(Debug)]
struct Entry {
    rates: Arc<Rates>,
    client: ClientId,
    limits: Limits,
}

impl Rates {
    /// Charges a client for one more request.
    ///
    /// # Errors
    /// A limit is reached.
    pub(crate) fn begin(
        self: &Arc<Self>,
        client: ClientId,
        limits: Limits,
    ) -> Result<Account, Refusal> {
        if limits == Limits::default() {
            return Ok(Account::default());
        }
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let used = clients.entry(client).or_insert_with(|| Used::new(limits));
        used.fill(limits);
        if let Some(most) = limits.concurrent
            && used.under_way >= most
        {
            let message = format!("this key may ask {most} things at once");
            return Err(Refusal::busy(message, Duration::from_secs(1)));
        }
        if let Some(most) = limits.requests_per_minute {
            if used.requests < 1.0 {
                let message = format!("this key may ask {most} times a minute");
                return Err(Refusal::busy(message, until(1.0 - used.requests, f64::from(most))));
            }
            used.requests -= 1.0;
        }
        used.under_way += 1;
        let entry = Entry { rates: Arc::clone(self), client, limits };
        Ok(Account(Some(Arc::new(entry))))
    }
}

impl Account {
    /// Whether tokens are left.
    ///
    /// # Errors
    /// None are.
    pub(crate) fn tokens_left(&self) -> Result<(), Refusal> {
        let Some(entry) = &self.0 else { return Ok(()) };
        let Some(most) = entry.limits.tokens_per_minute else { return Ok(()) };
        let mut clients = entry.rates.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let used = clients.entry(entry.client).or_insert_with(|| Used::new(entry.limits));
        used.fill(entry.limits);
        if used.tokens > 0.0 {
            return Ok(());
        }
        let message = format!("this key may use {most} tokens a minute");
        Err(Refusal::busy(message, until(1.0 - used.tokens, most as f64)))
    }

    /// Charges tokens.
    pub(crate) fn spend(&self, tokens: usize) {
        let Some(entry) = &self.0 else { return };
        let mut clients = entry.rates.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = clients.get_mut(&entry.client) {
            used.tokens -= tokens as f64;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut clients = self.rates.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = clients.get_mut(&self.client) {
            used.under_way -= 1;
        }
    }
}

impl Used {
    fn new(limits: Limits) -> Self {
        Self {
            requests: limits.requests_per_minute.map_or(0.0, f64::from),
            tokens: limits.tokens_per_minute.unwrap_or(0) as f64,
            filled: Instant::now(),
            under_way: 0,
        }
    }

    fn fill(&mut self, limits: Limits) {
        let minutes = self.filled.elapsed().as_secs_f64() / 60.0;
        self.filled = Instant::now();
        let requests = limits.requests_per_minute.map_or(0.0, f64::from);
        self.requests = (self.requests + minutes * requests).min(requests);
        let tokens = limits.tokens_per_minute.unwrap_or(0) as f64;
        self.tokens = (self.tokens + minutes * tokens).min(tokens);
    }
}

/// How long it takes until so much has flown in.
fn until(lacking: f64, per_minute: f64) -> Duration {
    let seconds = (lacking / per_minute.max(1e-9) * 60.0).clamp(1.0, 3600.0);
    Duration::from_secs_f64(seconds.ceil())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_kept() {
        let rates = Arc::new(Rates::default());
        let limits = Limits {
            requests_per_minute: Some(3),
            tokens_per_minute: Some(10),
            concurrent: Some(2),
        };
        let one = rates.begin(ClientId(1), limits).unwrap();
        let two = rates.begin(ClientId(1), limits).unwrap();
        assert!(rates.begin(ClientId(1), limits).unwrap_err().message.contains("2 things at once"));
        assert!(rates.begin(ClientId(2), limits).is_ok(), "another's limits are its own");
        one.tokens_left().unwrap();
        one.spend(70);
        let refusal = two.tokens_left().unwrap_err();
        assert!(refusal.retry_after.unwrap() > Duration::from_secs(300), "{refusal:?}");
        drop((one, two));
        let three = rates.begin(ClientId(1), limits).unwrap();
        drop(three);
        assert!(rates.begin(ClientId(1), limits).unwrap_err().message.contains("3 times"));
        let free = rates.begin(ClientId(1), Limits::default()).unwrap();
        free.tokens_left().unwrap();
    }
}
