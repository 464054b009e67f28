//! What templates show of their formats.

use lucid_provider::dialogue::{Begins, Format};

use super::round_trip::{shared, templates};

/// What is found in each template at hand: the syntax of calls, and what opens reasoning.
const FOUND: &[(&str, &str, &str)] = &[
    ("Apertus-8B-Instruct.jinja", "apertus", "<|inner_prefix|>"),
    ("GLM-4.6.jinja", "argument keys", "<think>"),
    ("Mistral-Small-3.2-24B-Instruct-2506.jinja", "mistral with arguments", ""),
    ("Qwen-Qwen2.5-7B-Instruct.jinja", "hermes", ""),
    ("Qwen-Qwen3-0.6B.jinja", "hermes", "<think>"),
    ("Qwen3-Coder.jinja", "function tags", ""),
    ("ByteDance-Seed-OSS.jinja", "seed", "<seed:think>"),
    ("Cohere2MoE.jinja", "action", "<|START_THINKING|>"),
    ("deepseek-ai-DeepSeek-V3.1.jinja", "deepseek", "<think>"),
    ("deepseek-ai-DeepSeek-V4.jinja", "deepseek tags", "<think>"),
    ("fireworks-ai-llama-3-firefunction-v2.jinja", "functools", ""),
    ("google-gemma-2-2b-it.jinja", "", ""),
    ("HuggingFaceTB-SmolLM3-3B.jinja", "", "<think>"),
    ("ibm-granite-granite-3.3-2B-Instruct.jinja", "granite", "<think>"),
    ("LFM2-8B-A1B.jinja", "python calls", ""),
    ("llama-cpp-deepseek-r1.jinja", "deepseek fenced", "<think>"),
    ("lucid", "lucid", "<|think|>"),
    ("meetkai-functionary-medium-v3.1.jinja", "functionary tags", ""),
    ("meetkai-functionary-medium-v3.2.jinja", "functionary recipients", ""),
    ("meta-llama-Llama-3.1-8B-Instruct.jinja", "llama", ""),
    ("microsoft-Phi-3.5-mini-instruct.jinja", "", ""),
];

#[test]
fn templates_show_their_formats() {
    let all = templates();
    for (name, calls, opener) in FOUND {
        let Some((_, source)) = all.iter().find(|(known, _)| known == name) else {
            assert!(shared().is_none(), "{name} is not there");
            continue;
        };
        let format = Format::of_template(source);
        assert_eq!(format.call_syntax().unwrap_or_default(), *calls, "{name}");
        let found = format.reasoning_marks().map_or("", |(opener, _)| opener);
        assert_eq!(found, *opener, "{name}");
    }
}

#[test]
fn a_prompt_opens_reasoning() {
    let format = Format::of_template("<think></think>");
    let check = |prompt: &str, expected: Begins| {
        assert_eq!(format.begins(prompt, &[]), expected, "{prompt}");
    };
    check("<|assistant|><think>\n", Begins::InReasoning);
    check("<|assistant|>", Begins::Outside);
    check("<think>\n\n</think>\n\n", Begins::AfterReasoning);
    // The last message as it was typed.
    let typed = format.begins("user: <think>\n", std::slice::from_ref(&(6..13)));
    assert_eq!(typed, Begins::Outside);
    assert_eq!(Format::default().begins("<think>", &[]), Begins::Outside);
}
