//! A file that is a page: its main text.

use std::io::{BufRead, Read as _};
use std::mem;

use super::{Refusal, Refused, Source, decode, main_text};

/// The one text of a file.
pub(super) struct Page {
    reader: Option<Box<dyn BufRead>>,
    limit: usize,
    replaced: u64,
}

impl Page {
    pub(super) fn new(reader: Box<dyn BufRead>, limit: usize) -> Self {
        Self { reader: Some(reader), limit, replaced: 0 }
    }
}

impl Source for Page {
    fn next_text(&mut self) -> Option<Result<String, Refused>> {
        let reader = self.reader.take()?;
        let mut bytes = Vec::new();
        if let Err(error) = reader.take(self.limit as u64 + 1).read_to_end(&mut bytes) {
            return Some(Err(Refused::reading(&error)));
        }
        if bytes.len() > self.limit {
            let detail = format!("a page of more than {} bytes", self.limit);
            return Some(Err(Refused::one(Refusal::TooLong, detail)));
        }
        Some(decode(bytes, &mut self.replaced).and_then(|html| extract(&html)))
    }

    fn replaced(&mut self) -> u64 {
        mem::take(&mut self.replaced)
    }
}

pub(super) fn extract(html: &str) -> Result<String, Refused> {
    let text = main_text(html);
    if text.is_empty() {
        let detail = format!("no block of text in {} bytes", html.len());
        return Err(Refused::one(Refusal::NoMainText, detail));
    }
    Ok(text)
}
