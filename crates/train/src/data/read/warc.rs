//! Web archives. Source: ISO 28500:2017 (WARC 1.1) and RFC 9112 for the HTTP messages within.
//!
//! Taken are pages and plain texts of `response`, `resource` and `conversion` records; payloads may
//! be chunked or gzipped. Every length is bounded before it is believed, and a record that is not
//! needed is passed over without being kept.

use std::io::{self, BufRead, Read as _};
use std::mem;

use flate2::bufread::GzDecoder;

use super::lines::{Line, next_line};
use super::{Refusal, Refused, Source, decode, page};

/// Bytes of a line of a header, and lines of a header.
const LINE_BYTES_MAX: usize = 1 << 16;
const LINES_MAX: usize = 1000;

/// The texts of one archive.
pub(super) struct Warc {
    reader: Box<dyn BufRead>,
    limit: usize,
    replaced: u64,
}

/// What a header says that matters here.
#[derive(Debug, Default)]
struct Header {
    first: String,
    kind: String,
    content_type: String,
    content_length: Option<u64>,
    transfer_encoding: String,
    content_encoding: String,
}

impl Warc {
    pub(super) fn new(reader: Box<dyn BufRead>, limit: usize) -> Self {
        Self { reader, limit, replaced: 0 }
    }

    /// The next record's text; `None` at the end or for a record that has none by its kind.
    fn record(&mut self) -> Result<Option<Record>, Refused> {
        let Some(header) = read_header(&mut *self.reader)? else { return Ok(None) };
        let broken = |detail: String| Refused::file(Refusal::BadRecord, detail);
        if !header.first.starts_with("WARC/") {
            let start: String = header.first.chars().take(40).collect();
            return Err(broken(format!("a record begins with {start:?}, not with WARC/")));
        }
        let Some(length) = header.content_length else {
            return Err(broken("a record without Content-Length".to_owned()));
        };
        let wanted = matches!(&*header.kind, "response" | "resource" | "conversion");
        if !wanted || length > self.limit as u64 {
            self.skip(length)?;
            if !wanted {
                return Ok(Some(Record::Other));
            }
            let detail = format!("a record of {length} bytes, at most {}", self.limit);
            return Err(Refused::one(Refusal::TooLong, detail));
        }
        let mut block = Vec::new();
        let count = self.reader.by_ref().take(length).read_to_end(&mut block);
        let count = count.map_err(|error| Refused::reading(&error))?;
        if (count as u64) < length {
            return Err(broken(format!("it ends {} bytes early", length - count as u64)));
        }
        let (content_type, body) = if header.kind == "response" {
            self.http(&block)?
        } else {
            (header.content_type, block)
        };
        let is_page = content_type.starts_with("text/html") || content_type.contains("xhtml");
        if !is_page && !content_type.starts_with("text/plain") {
            return Err(Refused::one(Refusal::OtherRecord, format!("{content_type:?}")));
        }
        let text = decode(body, &mut self.replaced)?;
        Ok(Some(Record::Text(if is_page { page::extract(&text)? } else { text })))
    }

    fn skip(&mut self, length: u64) -> Result<(), Refused> {
        let skipped = io::copy(&mut self.reader.by_ref().take(length), &mut io::sink());
        let skipped = skipped.map_err(|error| Refused::reading(&error))?;
        if skipped < length {
            let detail = format!("it ends {} bytes early", length - skipped);
            return Err(Refused::file(Refusal::BadRecord, detail));
        }
        Ok(())
    }

    /// The payload of an HTTP answer, unpacked.
    fn http(&self, block: &[u8]) -> Result<(String, Vec<u8>), Refused> {
        let bad = |detail: &str| Refused::one(Refusal::BadRecord, detail);
        let mut rest = block;
        // Within a record an error is the record's alone.
        let header = read_header(&mut rest).map_err(|refused| bad(&refused.detail))?;
        let Some(header) = header.filter(|header| header.first.starts_with("HTTP/")) else {
            return Err(bad("a response that is no HTTP message"));
        };
        if header.first.split(' ').nth(1) != Some("200") {
            return Err(Refused::one(Refusal::OtherRecord, header.first));
        }
        let mut body = rest.to_vec();
        if header.transfer_encoding.contains("chunked")
            && let Some(whole) = unchunk(&body)
        {
            // Crawlers differ in whether they keep the chunks that the header speaks of.
            body = whole;
        }
        match &*header.content_encoding {
            "" | "identity" => {}
            "gzip" | "x-gzip" => {
                if body.starts_with(&[0x1f, 0x8b]) {
                    body = self.gunzip(&body)?;
                }
            }
            other => return Err(Refused::one(Refusal::OtherRecord, format!("packed by {other}"))),
        }
        Ok((header.content_type, body))
    }

    fn gunzip(&self, body: &[u8]) -> Result<Vec<u8>, Refused> {
        let mut whole = Vec::new();
        let decoder = GzDecoder::new(body);
        if let Err(error) = decoder.take(self.limit as u64 + 1).read_to_end(&mut whole) {
            return Err(Refused::one(Refusal::BadRecord, error.to_string()));
        }
        if whole.len() > self.limit {
            let detail = format!("a payload of more than {} bytes", self.limit);
            return Err(Refused::one(Refusal::TooLong, detail));
        }
        Ok(whole)
    }
}

enum Record {
    Text(String),
    /// Of a kind that holds no text, which is not worth a count.
    Other,
}

impl Source for Warc {
    fn next_text(&mut self) -> Option<Result<String, Refused>> {
        loop {
            match self.record() {
                Ok(Some(Record::Text(text))) => return Some(Ok(text)),
                Ok(Some(Record::Other)) => {}
                Ok(None) => return None,
                Err(refused) => return Some(Err(refused)),
            }
        }
    }

    fn replaced(&mut self) -> u64 {
        mem::take(&mut self.replaced)
    }
}

/// A first line and fields up to a blank line; `None` at the end. Blank lines before are passed
/// over: they end the record before.
fn read_header(reader: &mut dyn BufRead) -> Result<Option<Header>, Refused> {
    let mut header = Header::default();
    let mut line = Vec::new();
    for _ in 0..LINES_MAX {
        let read = next_line(reader, LINE_BYTES_MAX, &mut line);
        match read.map_err(|error| Refused::reading(&error))? {
            None if header.first.is_empty() => return Ok(None),
            None => break,
            Some(Line::TooLong(bytes)) => {
                let detail = format!("a line of {bytes} bytes in a header");
                return Err(Refused::file(Refusal::BadRecord, detail));
            }
            Some(Line::Whole) => {}
        }
        let text = String::from_utf8_lossy(&line);
        if header.first.is_empty() {
            text.trim().clone_into(&mut header.first);
            continue;
        }
        if line.is_empty() {
            return Ok(Some(header));
        }
        let Some((name, value)) = text.split_once(':') else { continue };
        let value = value.trim().to_ascii_lowercase();
        match &*name.trim().to_ascii_lowercase() {
            "warc-type" => header.kind = value,
            "content-type" => header.content_type = value,
            "content-length" => header.content_length = value.parse().ok(),
            "transfer-encoding" => header.transfer_encoding = value,
            "content-encoding" => header.content_encoding = value,
            _ => {}
        }
    }
    Err(Refused::file(Refusal::BadRecord, "a header without an end"))
}

/// The payload of chunks; `None` if these are none.
fn unchunk(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::with_capacity(body.len());
    loop {
        let end = memchr::memmem::find(body.get(..body.len().min(1 << 10))?, b"\r\n")?;
        let size = std::str::from_utf8(&body[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        body = &body[end + 2..];
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(body.get(..size)?);
        body = body[size..].strip_prefix(b"\r\n")?;
    }
}
