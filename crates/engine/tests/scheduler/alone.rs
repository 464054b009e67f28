//! What a request gets when it is the only one: token by token on a bare engine, straight from the
//! definition.

use std::collections::VecDeque;

use lucid_engine::sampler::{Sampler, Workspace, log_softmax};
use lucid_engine::{
    Engine, Feed, FinishReason, LogProb, Pooling, Purpose, Request, SequenceId, TokenMask, Wanted,
};
use lucid_tensor::TokenId;

/// One answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) tokens: Vec<(TokenId, Option<LogProb>)>,
    pub(crate) reason: FinishReason,
}

/// A copy, for a constraint can be given away only once.
pub(crate) fn copy(request: &Request) -> Request {
    Request {
        prompt: request.prompt.clone(),
        sampler: request.sampler.clone(),
        stop_tokens: request.stop_tokens.clone(),
        scope: request.scope.clone(),
        constraint: request.constraint.as_ref().map(|constraint| constraint.duplicate()),
        ..*request
    }
}

/// What a request comes to.
#[derive(Debug)]
pub(crate) struct Expected {
    /// What the prompt's tokens are given, if that was asked for.
    pub(crate) echo: Vec<Option<LogProb>>,
    pub(crate) answers: Vec<Answer>,
    /// The joined states of a prompt that is not answered.
    pub(crate) states: Option<Vec<f32>>,
}

/// What a request comes to where prompt and answer may have `capacity` tokens.
pub(crate) fn alone(engine: &mut Engine, request: &Request, capacity: usize) -> Expected {
    let sequence = engine.open_with(request.adapter).unwrap();
    if let Purpose::Embed(pooling) = request.purpose {
        let feed = Feed { sequence, tokens: &request.prompt, wanted: Wanted::Hidden };
        let states = joined(pooling, engine.forward(&[feed]).unwrap().hidden_of(0));
        engine.close(sequence).unwrap();
        let answers = vec![Answer { tokens: Vec::new(), reason: FinishReason::Limit }];
        return Expected { echo: Vec::new(), answers, states: Some(states) };
    }
    let rows = forward(engine, sequence, &request.prompt);
    let mut echo = Vec::new();
    if request.log_probs.is_some_and(|wanted| wanted.prompt) {
        echo.push(None);
        let pairs = rows.iter().zip(&request.prompt[1..]);
        echo.extend(pairs.map(|(row, &token)| log_prob(request, row, token)));
    }
    engine.close(sequence).unwrap();
    let answers = (0..request.samples).map(|index| answer(engine, request, capacity, index));
    Expected { echo, answers: answers.collect(), states: None }
}

/// The states of a text's tokens in one.
fn joined<'a>(pooling: Pooling, mut states: impl ExactSizeIterator<Item = &'a [f32]>) -> Vec<f32> {
    match pooling {
        Pooling::First => states.next().unwrap().to_vec(),
        Pooling::Last => states.last().unwrap().to_vec(),
        Pooling::Mean => {
            let count = states.len() as f64;
            let mut sums = Vec::new();
            for row in states {
                sums.resize(row.len(), 0.0);
                sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
            }
            sums.into_iter().map(|sum| (sum / count) as f32).collect()
        }
    }
}

fn answer(engine: &mut Engine, request: &Request, capacity: usize, index: usize) -> Answer {
    let mut config = request.sampler.clone();
    config.seed = config.seed.wrapping_add(index as u64);
    let mut sampler = Sampler::new(config).unwrap();
    request.prompt.iter().for_each(|&token| sampler.accept(token));
    let mut constraint = request.constraint.as_ref().map(|constraint| constraint.duplicate());
    let sequence = engine.open_with(request.adapter).unwrap();
    let mut workspace = Workspace::default();
    let mut row = forward(engine, sequence, &request.prompt).pop().unwrap();
    let mut tokens: Vec<(TokenId, Option<LogProb>)> = Vec::new();
    let mut forced = VecDeque::new();
    let reason = loop {
        if tokens.len() >= request.new_tokens_max {
            break FinishReason::Limit;
        }
        if request.prompt.len() + tokens.len() >= capacity {
            break FinishReason::ContextFull;
        }
        let mut logits = row.clone();
        if let Some(constraint) = &mut constraint {
            if forced.is_empty() {
                forced.extend(constraint.forced().unwrap());
            }
            if forced.is_empty() {
                let mut mask = TokenMask::new(row.len());
                constraint.mask(&mut mask).unwrap();
                for (token, logit) in logits.iter_mut().enumerate() {
                    let stop = request.stop_tokens.contains(&(token as TokenId));
                    let allowed = mask.allows(token as TokenId) && !stop;
                    if !(allowed || stop && constraint.may_end()) {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
        }
        let token = forced.pop_front();
        let token = token.unwrap_or_else(|| sampler.choose(&logits, &mut workspace).unwrap());
        if request.stop_tokens.contains(&token) {
            break FinishReason::EndToken(token);
        }
        sampler.accept(token);
        if let Some(constraint) = &mut constraint {
            constraint.accept(token).unwrap();
        }
        tokens.push((token, log_prob(request, &row, token)));
        row = forward(engine, sequence, &[token]).pop().unwrap();
    };
    engine.close(sequence).unwrap();
    Answer { tokens, reason }
}

fn log_prob(request: &Request, row: &[f32], token: TokenId) -> Option<LogProb> {
    let wanted = request.log_probs?;
    let mut workspace = Workspace::default();
    let (value, alternatives) =
        log_softmax(row, token, wanted.alternatives, &mut workspace).unwrap();
    Some(LogProb { value, alternatives })
}

fn forward(engine: &mut Engine, sequence: SequenceId, tokens: &[TokenId]) -> Vec<Vec<f32>> {
    let logits = engine.forward(&[Feed { sequence, tokens, wanted: Wanted::All }]).unwrap();
    logits.rows().map(<[f32]>::to_vec).collect()
}
