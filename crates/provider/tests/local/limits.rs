//! What is refused, and by which name.

use lucid_provider::{
    LogProbs, Prompt, Provider as _, ProviderError, SAMPLES_MAX, Sampling, Stop, Tool, ToolChoice,
    Turn,
};

use crate::fixture::{answer, greedy, options, text, tiny, tiny_with};

#[test]
fn what_is_wrong_is_named() {
    let local = tiny();
    let check = |change: fn(&mut Turn), expected: &str| {
        let mut turn = text("ab", 2, greedy());
        change(&mut turn);
        assert!(local.check(&turn).is_err());
        let error = local.generate(turn).unwrap_err();
        assert!(matches!(error, ProviderError::Invalid { .. }), "{error:?}");
        assert!(error.to_string().starts_with(expected), "{error} is not {expected}");
    };
    check(|it| it.samples = SAMPLES_MAX + 1, "samples: 129 answers");
    check(|it| it.stops = vec![String::new()], "stops: text number 0 is empty");
    check(|it| it.stop_tokens = vec![260], "stop_tokens: there is no token 260");
    check(|it| it.stop_tokens = vec![1; 1025], "stop_tokens: 1025 tokens");
    check(|it| it.prompt = Prompt::Tokens(vec![1, 9999]), "prompt: there is no token 9999");
    check(|it| it.prompt = Prompt::Tokens(Vec::new()), "prompt: the prompt is empty");
    check(|it| it.prompt = Prompt::chat(Vec::new()), "prompt.messages: there is no message");
    let sampling = |it: &mut Turn, change: fn(&mut Sampling)| change(&mut it.sampling);
    check(|it| it.sampling.temperature = Some(f32::NAN), "sampling.temperature: NaN, expected");
    check(|it| it.sampling.top_p = Some(-1.0), "sampling.top_p: -1, expected a number from 0");
    check(|it| it.sampling.logit_bias = vec![(260, 1.0)], "sampling.logit_bias: there is no");
    check(|it| it.sampling.logit_bias = vec![(2, f32::INFINITY)], "sampling.logit_bias: inf");
    check(|it| it.sampling.logit_bias = vec![(2, 0.0); 4097], "sampling.logit_bias: 4097 tokens");
    check(|it| it.tools.choice = ToolChoice::Required, "tools: tools are called in conversations");
    check(|it| it.tools.list = vec![Tool::default()], "tools: tools are called in conversations");
    check(
        |it| it.log_probs = Some(LogProbs { alternatives: 21, prompt: false }),
        "log_probs.alternatives: 21",
    );
    let mut turn = text("ab", 2, greedy());
    sampling(&mut turn, |it| it.dry_breakers = Some(vec!["x".to_owned(); 65]));
    turn.sampling.dry_multiplier = Some(1.0);
    let error = local.generate(turn).unwrap_err().to_string();
    assert!(error.starts_with("sampling.dry_breakers: 65 texts"), "{error}");
}

#[test]
fn a_prompt_is_never_cut() {
    let mut options = options();
    options.compute.context = Some(70);
    let local = tiny_with(|tiny| tiny, &options);
    assert_eq!(local.card().context, 70);
    let error = local.generate(text(&"x".repeat(70), 1, greedy())).unwrap_err();
    assert_eq!(error, ProviderError::PromptTooLong { prompt_tokens: 70, context: 70 });
    let full = answer(&local, text(&"a".repeat(69), 9, greedy()));
    assert_eq!((full.text.as_str(), full.stop), ("b", Some(Stop::ContextFull)));
    let fits = answer(&local, text(&"a".repeat(68), 1, greedy()));
    assert_eq!(fits.stop, Some(Stop::Length));
}

#[test]
fn unknown_adapters_are_refused() {
    let local = tiny();
    let mut turn = text("ab", 2, greedy());
    turn.adapter = Some("pirate".to_owned());
    let error = local.generate(turn).unwrap_err();
    assert!(matches!(error, ProviderError::UnknownAdapter { name, .. } if name == "pirate"));
}
