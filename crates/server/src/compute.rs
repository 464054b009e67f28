//! What is computed of texts and answered in numbers: embeddings and ranks. Each keeps a thread
//! that may block as long as it lasts, so only some run at once and the rest wait; and it is
//! charged even if nobody waits for it any more.

use std::sync::Arc;

use lucid_provider::{ClientId, Embeddings, Provider, ProviderError, Ranking};

use crate::app::{App, Caller};
use crate::refusal::{Kind, Refusal};
use crate::registry::Lease;

/// Computations at once. Far fewer than there are threads that may block: prompts are rendered and
/// models are loaded on those as well.
pub(crate) const COMPUTING_MAX: usize = 32;

/// What was computed, and is paid for by its tokens.
pub(crate) trait Computed: Send + 'static {
    /// Tokens of all texts.
    fn tokens(&self) -> usize;
}

impl Computed for Embeddings {
    fn tokens(&self) -> usize {
        self.tokens
    }
}

impl Computed for Ranking {
    fn tokens(&self) -> usize {
        self.tokens
    }
}

impl App {
    /// Has a model compute something of texts.
    ///
    /// # Errors
    /// An adapter was named, the queue is full, the caller's tokens are used up, or the provider
    /// refuses.
    pub(crate) async fn compute<T: Computed>(
        &self,
        caller: &Caller,
        lease: &Lease,
        work: impl FnOnce(&dyn Provider, ClientId) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, Refusal> {
        if let Some(adapter) = &lease.adapter {
            let model = lease.name();
            let message = format!(
                "adapters change answers only: ask for `{model}` instead of `{model}:{adapter}`"
            );
            let refusal = Refusal::new(Kind::Unsupported, message);
            return Err(Refusal { field: Some("model".to_owned()), ..refusal });
        }
        caller.account.tokens_left()?;
        let room = lease.admit()?;
        // The semaphore is never closed.
        let turn = Arc::clone(&self.computing).acquire_owned().await.ok();
        let caller = caller.clone();
        let charged = move |provider: &dyn Provider| {
            let _held = (room, turn);
            let found = work(provider, caller.client)?;
            caller.account.spend(found.tokens());
            Ok(found)
        };
        lease.run(charged).await
    }
}
