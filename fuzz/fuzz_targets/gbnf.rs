//! Reads any text as a grammar in GBNF and compiles what can be read.
#![no_main]

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use lucid_engine::TokenMask;
use lucid_provider::dialogue::{Begins, Format};
use lucid_provider::grammar::{Demand, Grammars};
use lucid_provider::{OutputFormat, Tools};
use lucid_tokenizer::{TokenKind, Tokenizer, Vocabulary};

fn grammars() -> &'static Grammars {
    static GRAMMARS: OnceLock<Grammars> = OnceLock::new();
    GRAMMARS.get_or_init(|| {
        let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
        tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
        let mut kinds = vec![TokenKind::Unknown, TokenKind::Control, TokenKind::Control];
        kinds.resize(tokens.len(), TokenKind::Byte);
        let vocabulary = Vocabulary {
            model: "llama".to_owned(),
            scores: vec![0.0; tokens.len()],
            tokens: tokens.iter().collect(),
            kinds,
            bos: Some(1),
            eos: Some(2),
            ..Vocabulary::default()
        };
        Grammars::new(&Arc::new(Tokenizer::new(vocabulary).expect("it is whole"))).expect("small")
    })
}

fuzz_target!(|data: &[u8]| {
    let format = OutputFormat::Gbnf(String::from_utf8_lossy(data).into_owned());
    let (tools, dialogue) = (Tools::default(), Format::default());
    let begins = Begins::Outside;
    let demand = Demand { format: &format, tools: &tools, dialogue: &dialogue, begins };
    if let Ok(Some(mut constraint)) = grammars().constraint(&demand) {
        for _ in 0..8 {
            let mut mask = TokenMask::new(259);
            let Ok(forced) = constraint.forced() else { return };
            let token = match forced.first() {
                Some(&token) => token,
                None if constraint.mask(&mut mask).is_err() => return,
                None => match (0..259).find(|&token| mask.allows(token)) {
                    Some(token) => token,
                    None => return,
                },
            };
            constraint.accept(token).expect("it was allowed");
        }
    }
});
