//! Lines of JSON: one field of each is the text. Everything else in a line is passed over without
//! being kept, so that memory is bounded by the line.

use std::fmt;
use std::io::BufRead;
use std::mem;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::lines::{Line, next_line};
use super::{Refusal, Refused, Source, decode};

/// The texts of one file.
pub(super) struct Jsonl {
    reader: Box<dyn BufRead>,
    field: String,
    limit: usize,
    line: Vec<u8>,
    replaced: u64,
}

impl Jsonl {
    pub(super) fn new(reader: Box<dyn BufRead>, field: &str, limit: usize) -> Self {
        Self { reader, field: field.to_owned(), limit, line: Vec::new(), replaced: 0 }
    }

    fn read_line(&mut self) -> Result<String, Refused> {
        let line = decode(mem::take(&mut self.line), &mut self.replaced)?;
        let mut json = serde_json::Deserializer::from_str(&line);
        let found = Pick(&self.field)
            .deserialize(&mut json)
            .and_then(|found| json.end().map(|()| found))
            .map_err(|error| Refused::one(Refusal::NotJson, error.to_string()))?;
        match found {
            Picked { text: Some(text), .. } => Ok(text),
            Picked { conversation: true, .. } => {
                Err(Refused::one(Refusal::Conversation, "`messages`"))
            }
            _ => {
                let detail = format!("no text `{}`", self.field);
                Err(Refused::one(Refusal::NoField, detail))
            }
        }
    }
}

impl Source for Jsonl {
    fn next_text(&mut self) -> Option<Result<String, Refused>> {
        loop {
            let line = next_line(&mut *self.reader, self.limit, &mut self.line);
            return match line {
                Ok(Some(Line::Whole)) if self.line.trim_ascii().is_empty() => continue,
                Ok(Some(Line::Whole)) => Some(self.read_line()),
                Ok(Some(Line::TooLong(bytes))) => {
                    let detail = format!("a line of {bytes} bytes, at most {}", self.limit);
                    Some(Err(Refused::one(Refusal::TooLong, detail)))
                }
                Ok(None) => None,
                Err(error) => Some(Err(Refused::reading(&error))),
            };
        }
    }

    fn replaced(&mut self) -> u64 {
        mem::take(&mut self.replaced)
    }
}

/// What is looked for in an object.
struct Pick<'a>(&'a str);

#[derive(Default)]
struct Picked {
    text: Option<String>,
    conversation: bool,
}

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = Picked;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Picked, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = Picked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the field {}", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Picked, A::Error> {
        let mut picked = Picked::default();
        while let Some(key) = map.next_key::<String>()? {
            if key == self.0 {
                picked.text = map.next_value_seed(TextOrElse)?;
            } else {
                picked.conversation |= key == "messages";
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(picked)
    }
}

/// A text; `None` for anything else.
struct TextOrElse;

impl<'de> DeserializeSeed<'de> for TextOrElse {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextOrElse {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Some(text))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}
