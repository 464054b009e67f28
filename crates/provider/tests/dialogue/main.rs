//! Answers read back: the templates of real models write calls, and the reader finds them again;
//! and whatever else comes in, however it is cut, nothing is lost and nothing panics.

#![expect(clippy::print_stdout, reason = "says what was skipped")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cuts;
mod formats;
mod hostile;
mod round_trip;

use lucid_provider::Tool;
use lucid_provider::dialogue::{Piece, Reader};
use serde_json::json;

/// The tools that tests call.
fn tools() -> Vec<Tool> {
    let parameters = json!({
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "where"},
            "days": {"type": "integer", "description": "for how long"},
            "units": {"type": "array", "items": {"type": "string"}, "description": "in what"},
        },
        "required": ["city"],
    });
    let description = Some("the weather".to_owned());
    let other = Tool {
        name: "stop".to_owned(),
        description: description.clone(),
        parameters: json!({"type": "object", "properties": {}}),
    };
    vec![Tool { name: "get_weather".to_owned(), description, parameters }, other]
}

/// What an answer consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Heard {
    text: String,
    reasoning: String,
    calls: Vec<(String, String)>,
}

impl Heard {
    fn add(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.text.push_str(&text),
                Piece::Reasoning(text) => self.reasoning.push_str(&text),
                Piece::CallBegun { name } => self.calls.push((name, String::new())),
                Piece::CallArguments(json) => {
                    self.calls.last_mut().expect("arguments follow a call").1.push_str(&json);
                }
            }
        }
    }
}

/// Reads an answer that comes in these parts.
fn hear<'a>(mut reader: Reader, parts: impl IntoIterator<Item = &'a str>) -> Heard {
    let mut heard = Heard::default();
    for part in parts {
        heard.add(reader.push(part));
    }
    heard.add(reader.finish());
    heard
}
