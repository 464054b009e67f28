//! The syntaxes of tool calls, a file for each family. The first whose signs a template bears is
//! its own, so the more particular ones stand first.

mod action;
mod arg_key;
mod deepseek;
mod functionary;
mod functools;
mod gigachat;
mod harmony;
mod hermes;
mod kimi;
mod llama;
mod lucid;
mod mcp;
mod mistral;
mod prefixed_list;
mod python;
mod xml;

use super::syntax::{Marks, Syntax};

/// All syntaxes, the more particular ones first.
pub(super) const ALL: &[&Syntax] = &[
    &lucid::LUCID,
    &harmony::HARMONY,
    &deepseek::DSML,
    &deepseek::FENCED,
    &deepseek::PLAIN,
    &kimi::KIMI,
    &action::TURN,
    &action::FENCED,
    &prefixed_list::KEYED,
    &prefixed_list::TAGGED,
    &prefixed_list::GRANITE,
    &prefixed_list::PHI,
    &mistral::WITH_ARGS,
    &mistral::LIST,
    &gigachat::TOKEN,
    &gigachat::ROLE,
    &mcp::MCP,
    &xml::SEED,
    &xml::MINIMAX,
    &xml::FUNCTION,
    &arg_key::ARG_KEY,
    &functionary::TAGGED,
    &functionary::RECIPIENT,
    &functools::FUNCTOOLS,
    &hermes::HERMES,
    &python::LFM2,
    &llama::LLAMA,
];

/// Marks of reasoning, with what a template's source must contain. The more particular ones first.
pub(super) const REASONING: &[(&str, Marks)] = &[
    ("<|think|>", Marks { opener: "<|think|>", closer: "<|/think|>" }),
    ("<|channel|>analysis", Marks { opener: "<|channel|>analysis<|message|>", closer: "<|end|>" }),
    ("<seed:think>", Marks { opener: "<seed:think>", closer: "</seed:think>" }),
    ("<|START_THINKING|>", Marks { opener: "<|START_THINKING|>", closer: "<|END_THINKING|>" }),
    ("[THINK]", Marks { opener: "[THINK]", closer: "[/THINK]" }),
    (
        "[BEGIN FINAL RESPONSE]\\n",
        Marks { opener: "Here are my reasoning steps:", closer: "[BEGIN FINAL RESPONSE]" },
    ),
    ("<|inner_prefix|>", Marks { opener: "<|inner_prefix|>", closer: "<|inner_suffix|>" }),
    ("<thinking>", Marks { opener: "<thinking>", closer: "</thinking>" }),
    ("</think>", Marks { opener: "<think>", closer: "</think>" }),
];

/// Texts that frame what is said and are not part of it, with what a template's source must
/// contain.
pub(super) const FRAMES: &[(&str, &[&str])] = &[
    (
        "<|channel|>analysis",
        &["<|start|>assistant", "<|channel|>final<|message|>", "<|channel|>commentary<|message|>"],
    ),
    ("<|START_RESPONSE|>", &["<|START_RESPONSE|>", "<|END_RESPONSE|>"]),
    ("<|START_TEXT|>", &["<|START_TEXT|>", "<|END_TEXT|>"]),
    ("[BEGIN FINAL RESPONSE]", &["[END FINAL RESPONSE]"]),
    ("</response>", &["<response>", "</response>"]),
];
