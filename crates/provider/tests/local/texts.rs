//! From tokens to text: characters, stop texts, log-probabilities.

use lucid_provider::{Answer, Delta, LogProbs, Prompt, Provider as _, Sampling, Stop, Text, Turn};

use crate::fixture::{answer, answers, greedy, seeded, stories, text, tiny};

#[test]
fn a_conversation_is_answered() {
    let local = tiny();
    let messages = vec![lucid_provider::Message::text("user", "x")];
    let turn = Turn { prompt: Prompt::chat(messages), sampling: greedy(), ..Turn::default() };
    let answer = answer(&local, turn);
    assert_eq!((answer.text.as_str(), answer.stop), ("Hi!", Some(Stop::End)));
    assert_eq!((answer.usage.prompt_tokens, answer.usage.new_tokens), (20, 3));
    assert_eq!(answer.tokens.len(), 3);
}

#[test]
fn pieces_are_whole_characters_and_tokens_are_their_bytes() {
    let Some(local) = stories(&crate::fixture::options()) else { return };
    for seed in 0..8 {
        // Hot enough for tokens that stand for single bytes.
        let sampling = Sampling {
            temperature: Some(5.0),
            top_k: Some(0),
            top_p: Some(1.0),
            min_p: Some(0.0),
            ..seeded(seed)
        };
        let mut turn = text("Once upon", 100, sampling);
        turn.ignore_end = true;
        let answer = answer(&local, turn);
        let bytes: Vec<u8> = answer.tokens.iter().flat_map(|it| it.bytes.clone()).collect();
        let control = answer.tokens.iter().any(|it| it.token.is_some_and(|id| id < 3));
        if !control {
            assert_eq!(answer.text, String::from_utf8_lossy(&bytes), "seed {seed}");
        }
        assert_eq!((answer.tokens.len(), answer.usage.new_tokens), (100, 100));
        assert_eq!(answer.stop, Some(Stop::Length));
    }
}

/// Bytes of one character come as tokens of their own here.
#[test]
fn characters_are_never_split() {
    let local = tiny();
    // The byte after 0xc3 is 0xc4, then 0xc5: none of them is a character.
    let turn = Turn {
        prompt: Prompt::Text(Text { text: "\u{c3}".to_owned(), control: false }),
        new_tokens_max: Some(5),
        sampling: greedy(),
        ..Turn::default()
    };
    let mut pieces = local.generate(turn).unwrap();
    let (mut text, mut tokens) = (String::new(), 0);
    while let Some(delta) = pieces.wait() {
        if let Delta::Text { text: piece, tokens: spoken, .. } = delta.unwrap() {
            text.push_str(&piece);
            tokens += spoken.len();
        }
    }
    // 0x83 is the last byte of "\u{c3}"; what follows continues nothing.
    assert_eq!((text.as_str(), tokens), ("\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}", 5));
}

/// What is left of a text that is cut at the first stop text, found the slow way.
fn cut<'a>(text: &str, stops: &[&'a str]) -> (String, Option<&'a str>) {
    for end in 1..=text.len() {
        let ends = |stop: &&&str| text.as_bytes()[..end].ends_with(stop.as_bytes());
        if let Some(stop) = stops.iter().filter(ends).max_by_key(|stop| stop.len()) {
            return (text[..end - stop.len()].to_owned(), Some(stop));
        }
    }
    (text.to_owned(), None)
}

#[test]
fn stop_texts_cut_whatever_the_tokens_are() {
    let Some(local) = stories(&crate::fixture::options()) else { return };
    let whole = answer(&local, text("Once upon a time", 80, seeded(3)));
    let said = whole.text.as_str();
    assert!(said.len() > 100 && said.is_ascii(), "{said}");
    let word = |from: usize, len: usize| &said[from..from + len];
    let lists: [&[&str]; 8] = [
        &[word(30, 5)],
        &[word(61, 1)],
        &[word(50, 7), word(52, 2)],
        &["\u{1f600}", word(20, 11)],
        &["nowhere to be found"],
        &[word(0, 1)],
        &[word(said.len() - 4, 4)],
        &[word(33, 3), word(40, 9), "x"],
    ];
    for stops in lists {
        let mut turn = text("Once upon a time", 80, seeded(3));
        turn.stops = stops.iter().map(|&stop| stop.to_owned()).collect();
        let stopped = answer(&local, turn);
        let (expected, found) = cut(said, stops);
        let stop = found.map_or(Stop::Length, |text| Stop::Text(text.to_owned()));
        assert_eq!((&stopped.text, &stopped.stop), (&expected, &Some(stop)), "{stops:?}");
        // The tokens are the first ones of the whole answer, as far as they are part of the text.
        let count = stopped.tokens.len();
        assert_eq!(stopped.tokens, whole.tokens[..count], "{stops:?}");
        let bytes = |tokens: &Answer, count: usize| -> usize {
            tokens.tokens[..count].iter().map(|it| it.bytes.len()).sum()
        };
        assert!(bytes(&stopped, count) >= expected.len(), "{stops:?}");
        assert!(count == 0 || bytes(&stopped, count - 1) < expected.len(), "{stops:?}");
        let all = stopped.usage.new_tokens;
        assert!(bytes(&whole, all) >= expected.len() + found.map_or(0, str::len), "{stops:?}");
    }
}

#[test]
fn one_stopped_answer_does_not_stop_the_others() {
    let Some(local) = stories(&crate::fixture::options()) else { return };
    let mut turn = text("Once upon a time", 60, seeded(10));
    turn.samples = 4;
    let free = answers(&local, turn.clone());
    turn.stops = vec![free[1].text[10..18].to_owned()];
    let stopped = answers(&local, turn.clone());
    for (free, stopped) in free.iter().zip(&stopped) {
        let (expected, found) = cut(&free.text, &[&turn.stops[0]]);
        assert_eq!(stopped.text, expected);
        assert_eq!(matches!(stopped.stop, Some(Stop::Text(_))), found.is_some());
    }
    assert!(matches!(stopped[1].stop, Some(Stop::Text(_))));
}

#[test]
fn log_probabilities_lie_beside_their_tokens() {
    let Some(local) = stories(&crate::fixture::options()) else { return };
    let mut turn = text("Once upon a time", 12, greedy());
    turn.log_probs = Some(LogProbs { alternatives: 3, prompt: true });
    let answer = answer(&local, turn.clone());
    for spoken in &answer.tokens {
        let log_prob = spoken.log_prob.as_ref().unwrap();
        // Greedy takes the best one.
        let (best, bytes, value) = &log_prob.alternatives[0];
        assert_eq!((best, bytes, value), (&spoken.token, &spoken.bytes, &log_prob.value));
        assert!(log_prob.alternatives.len() == 3 && log_prob.value <= 0.0);
    }
    let tokens: Vec<_> = answer.prompt.iter().map(|it| it.token.unwrap()).collect();
    assert_eq!(tokens, local.prompt_tokens(&turn).unwrap());
    assert!(answer.prompt[0].log_prob.is_none() && answer.prompt[1].log_prob.is_some());
}
