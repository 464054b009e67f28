//! Who may ask: names by which the server may be called, origins of pages, API keys and what each
//! key may use up.

mod host;
mod keys;
mod origin;
mod rates;

pub(crate) use host::check_host;
pub(crate) use keys::Keys;
pub use keys::{KeyError, KeyFile, KeyInfo, Limits};
pub(crate) use origin::{IsPage, allowed_origin, check_origin};
pub(crate) use rates::{Account, Rates};
