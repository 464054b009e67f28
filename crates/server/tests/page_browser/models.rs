//! The models of these tests: they say the same each time, and do what the question tells them to.

use std::sync::Arc;
use std::time::Duration;

use lucid_provider::{
    Answers, Capabilities, Card, Delta, Prompt, Provider, ProviderError, Spoken, SpokenLogProb,
    Stop, Teller, Turn, Usage, answers,
};
use lucid_server::{Catalog, Entry, LoadError};

/// Two models: `tiny`, and `plain`, which tells no tokens and keeps to no format.
pub(crate) struct Shelf;

impl Catalog for Shelf {
    fn list(&self) -> Vec<Entry> {
        let entry = |name: &str| Entry {
            name: name.to_owned(),
            bytes: 1,
            memory_bytes: 1,
            modified: None,
            source: "tests".to_owned(),
        };
        vec![entry("tiny"), entry("plain")]
    }

    fn resolve(&self, asked: &str) -> Option<Entry> {
        self.list().into_iter().find(|entry| entry.name == asked)
    }

    fn load(&self, name: &str) -> Result<Arc<dyn Provider>, LoadError> {
        let is_tiny = name == "tiny";
        let capabilities = Capabilities {
            chat: true,
            log_probs: is_tiny,
            formats: is_tiny,
            reasoning: is_tiny,
            ..Capabilities::default()
        };
        Ok(Arc::new(Typist(Card { capabilities, ..Card::default() })))
    }
}

/// Says the same each time, a few letters at once, and tells how probable they were.
struct Typist(Card);

/// What is said to every question.
pub(crate) const SAID: &str = "## A heading\n\nSome *words*, and \
    [a link](https://elsewhere.example/page).\n\n\
    <img src=x onerror=\"window.hacked = 1\"><script>window.hacked = 1</script>\n\n\
    ![a picture](https://elsewhere.example/picture.png)\n\n\
    ```rust\nfn main() {\n    println!(\"hello\");\n}\n```\n\n\
    | a | b |\n|---|--:|\n| 1 | 2 |\n\nAnd a last sentence that goes on for a while, so that there \
    is time to stop it before it comes to its end.\n";

impl Provider for Typist {
    fn card(&self) -> &Card {
        &self.0
    }

    fn generate(&self, turn: Turn) -> Result<Answers, ProviderError> {
        let Prompt::Chat { messages, .. } = &turn.prompt else {
            return Err(ProviderError::invalid("prompt", "no conversation"));
        };
        let asked = |message: &&lucid_provider::Message| message.role == "user";
        let question = messages.iter().rfind(asked).and_then(|message| message.content.as_deref());
        let said = match question.unwrap_or_default() {
            "busy" => return Err(ProviderError::Busy { retry_after: Duration::from_secs(3) }),
            "slow" => {
                std::thread::sleep(Duration::from_millis(700));
                SAID.to_owned()
            }
            // One block that is so long that it is not rendered again with each letter.
            "long" => format!("Write `first` and {}.", "then some more words ".repeat(400)),
            _ => SAID.to_owned(),
        };
        let (teller, answers) = answers();
        let letters = if said.len() > 1000 { 64 } else { 4 };
        let tells = if self.0.capabilities.log_probs { type_out } else { speak };
        std::thread::spawn(move || tells(&teller, &said, letters));
        Ok(answers)
    }
}

const PACE: Duration = Duration::from_millis(12);

/// With tokens.
fn type_out(teller: &Teller, said: &str, letters: usize) {
    teller.tell(Ok(Delta::Begun { prompt_tokens: 9, cached_tokens: 0 }));
    for (index, text) in parts(said, letters).into_iter().enumerate() {
        let chance = [0.95f64, 0.4, 0.05, 0.7][index % 4];
        let told = |text: &str, chance: f64| (None, text.as_bytes().to_vec(), chance.ln());
        let alternatives = vec![told(" other", 0.5), told(" words", 0.2)];
        let log_prob = Some(SpokenLogProb { value: chance.ln(), alternatives });
        let tokens = vec![Spoken { token: None, bytes: text.clone().into_bytes(), log_prob }];
        if !teller.tell(Ok(Delta::Text { sample: 0, text, tokens })) {
            return;
        }
        std::thread::sleep(PACE);
    }
    finish(teller, said.len() / letters);
}

/// Without.
fn speak(teller: &Teller, said: &str, letters: usize) {
    for text in parts(said, letters) {
        if !teller.tell(Ok(Delta::Text { sample: 0, text, tokens: Vec::new() })) {
            return;
        }
        std::thread::sleep(PACE / 4);
    }
    finish(teller, said.len() / letters);
}

fn finish(teller: &Teller, count: usize) {
    let usage = Usage { prompt_tokens: 9, new_tokens: count, ..Usage::default() };
    teller.tell(Ok(Delta::Finished { sample: 0, stop: Stop::End, usage }));
}

fn parts(said: &str, letters: usize) -> Vec<String> {
    let characters: Vec<char> = said.chars().collect();
    characters.chunks(letters).map(|part| part.iter().collect()).collect()
}
