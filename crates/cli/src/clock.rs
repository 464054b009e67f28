//! The wall clock, for templates that print today's date.

use lucid_tokenizer::template::LocalTime;

/// Now, in the zone of this machine; a fixed date where it does not say.
pub(crate) fn now() -> LocalTime {
    local_time().unwrap_or_default()
}

fn local_time() -> Option<LocalTime> {
    use chrono::{Datelike as _, Timelike as _};
    let now = chrono::Local::now();
    Some(LocalTime {
        year: now.year(),
        month: u8::try_from(now.month()).ok()?,
        day: u8::try_from(now.day()).ok()?,
        hour: u8::try_from(now.hour()).ok()?,
        minute: u8::try_from(now.minute()).ok()?,
        second: u8::try_from(now.second()).ok()?,
    })
}
