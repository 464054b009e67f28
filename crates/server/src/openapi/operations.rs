//! The table of operations, with examples that are valid requests of a model named `tiny`. The
//! hostile tests change every field of every example: a field that is not here is not swept.

use serde_json::Value;

/// Something that can be asked.
#[derive(Debug)]
pub(crate) struct Operation {
    /// The HTTP method.
    pub(crate) method: &'static str,
    /// The path, with parameters in braces.
    pub(crate) path: &'static str,
    /// Whose protocol it is.
    pub(crate) family: &'static str,
    /// What it does.
    pub(crate) summary: &'static str,
    /// What comes back.
    pub(crate) answer: &'static str,
    /// Bodies as JSON, the plainest first; none where there is no body.
    bodies: &'static [&'static str],
    /// Further fields as JSON, each time put into the plainest body.
    more: &'static [&'static [&'static str]],
    /// Fields that must be there.
    pub(crate) required: &'static [&'static str],
}

impl Operation {
    /// The examples.
    pub(crate) fn examples(&self) -> Vec<Value> {
        let parsed = |text: &&str| -> Value { serde_json::from_str(text).unwrap_or_default() };
        let mut examples: Vec<Value> = self.bodies.iter().map(parsed).collect();
        let Some(plainest) = examples.first().cloned() else { return examples };
        for more in self.more.iter().copied().flatten().map(parsed) {
            let mut example = plainest.clone();
            if let (Value::Object(example), Value::Object(more)) = (&mut example, more) {
                example.extend(more);
            }
            examples.push(example);
        }
        examples
    }
}

/// What a POST without a body has.
const POST: Operation = Operation {
    method: "POST",
    path: "",
    family: "",
    summary: "",
    answer: "",
    bodies: &[],
    more: &[],
    required: &[],
};

const fn read(
    path: &'static str,
    family: &'static str,
    summary: &'static str,
    answer: &'static str,
) -> Operation {
    Operation { method: "GET", path, family, summary, answer, ..POST }
}

/// Everything that can be asked, by family.
pub(crate) const OPERATIONS: &[Operation] = &[
    read("/v1/models", "OpenAI", "The models there are.", "A list."),
    read("/v1/models/{name}", "OpenAI", "One model.", "The model."),
    Operation {
        path: "/v1/chat/completions",
        family: "OpenAI",
        summary: "Answers a conversation.",
        answer: "A completion, or its chunks as events.",
        bodies: CHAT_COMPLETIONS,
        more: &[SAMPLING, ENDS, FORMATS],
        required: &["messages"],
        ..POST
    },
    Operation {
        path: "/v1/completions",
        family: "OpenAI",
        summary: "Continues texts as they stand.",
        answer: "A completion, or its chunks as events.",
        bodies: COMPLETIONS,
        more: &[SAMPLING, ENDS, FORMATS],
        required: &["prompt"],
        ..POST
    },
    Operation {
        path: "/v1/responses",
        family: "OpenAI",
        summary: "Answers a conversation that the server may keep; in the background, if wanted.",
        answer: "A response, or its events.",
        bodies: RESPONSES,
        more: &[SAMPLING],
        required: &["input"],
        ..POST
    },
    read("/v1/responses/{id}", "OpenAI", "A response that is kept.", "The response."),
    read("/v1/responses/{id}/input_items", "OpenAI", "What it answers.", "A list."),
    Operation {
        path: "/v1/responses/{id}/cancel",
        family: "OpenAI",
        summary: "Ends a response that is made in the background.",
        answer: "The response.",
        ..POST
    },
    Operation {
        method: "DELETE",
        path: "/v1/responses/{id}",
        family: "OpenAI",
        summary: "Forgets a response.",
        answer: "That it is gone.",
        ..POST
    },
    Operation {
        path: "/v1/embeddings",
        family: "OpenAI",
        summary: "Vectors of texts or of tokens.",
        answer: "A list of vectors.",
        bodies: EMBEDDINGS,
        required: &["input"],
        ..POST
    },
    Operation {
        path: "/v1/messages",
        family: "Anthropic",
        summary: "Answers a conversation; one that ends with the assistant's words is continued.",
        answer: "A message, or its events.",
        bodies: MESSAGES,
        required: &["model", "max_tokens", "messages"],
        ..POST
    },
    Operation {
        path: "/v1/messages/count_tokens",
        family: "Anthropic",
        summary: "Counts the tokens of a conversation.",
        answer: "A number.",
        bodies: COUNT_TOKENS,
        required: &["model", "messages"],
        ..POST
    },
    Operation {
        path: "/api/generate",
        family: "Ollama",
        summary: "Answers or continues a text. Without one, the model is loaded or let go of.",
        answer: "Lines of JSON, or one object.",
        bodies: GENERATE,
        required: &["model"],
        ..POST
    },
    Operation {
        path: "/api/chat",
        family: "Ollama",
        summary: "Answers a conversation.",
        answer: "Lines of JSON, or one object.",
        bodies: CHAT,
        required: &["model"],
        ..POST
    },
    Operation {
        path: "/api/embed",
        family: "Ollama",
        summary: "Vectors of texts, of length 1.",
        answer: "A list of vectors.",
        bodies: EMBED,
        required: &["model", "input"],
        ..POST
    },
    Operation {
        path: "/api/embeddings",
        family: "Ollama",
        summary: "The vector of one text, as the model gives it.",
        answer: "A vector.",
        bodies: EMBED_ONE,
        required: &["model", "prompt"],
        ..POST
    },
    read("/api/tags", "Ollama", "The models there are.", "A list."),
    Operation {
        path: "/api/show",
        family: "Ollama",
        summary: "What a model is. It is loaded for it.",
        answer: "Its template, settings and abilities.",
        bodies: &[r#"{"model":"tiny","verbose":false}"#],
        required: &["model"],
        ..POST
    },
    read("/api/ps", "Ollama", "The models that are loaded.", "A list."),
    read("/api/version", "Ollama", "The server's version.", "The version."),
    Operation {
        path: "/v1/rerank",
        family: "Lucid",
        summary: "Ranks documents by what they say to a query. Also at /rerank.",
        answer: "The documents, the most relevant first.",
        bodies: RERANK,
        required: &["query", "documents"],
        ..POST
    },
    Operation {
        path: "/tokenize",
        family: "Lucid",
        summary: "The tokens of a text.",
        answer: "A list of numbers, or of numbers and pieces.",
        bodies: &[r#"{"model":"tiny","content":"Hi","add_special":true,"with_pieces":true,
            "parse_special":false}"#],
        required: &["content"],
        ..POST
    },
    Operation {
        path: "/detokenize",
        family: "Lucid",
        summary: "The text of tokens.",
        answer: "A text.",
        bodies: &[r#"{"model":"tiny","tokens":[72,105]}"#],
        required: &["tokens"],
        ..POST
    },
    Operation {
        path: "/apply-template",
        family: "Lucid",
        summary: "A conversation as the model's template writes it.",
        answer: "A text.",
        bodies: APPLY_TEMPLATE,
        required: &["messages"],
        ..POST
    },
    read("/lora-adapters", "Lucid", "The adapters of loaded models.", "A list."),
    Operation {
        path: "/lora-adapters",
        family: "Lucid",
        summary: "Loads an adapter, asked for as MODEL:NAME. From this machine only.",
        answer: "The adapter.",
        bodies: &[r#"{"model":"tiny","name":"a","path":"/no/such/adapter.gguf","scale":1.0}"#],
        required: &["name", "path"],
        ..POST
    },
    Operation {
        method: "DELETE",
        path: "/lora-adapters/{name}",
        family: "Lucid",
        summary: "Lets go of an adapter. From this machine only.",
        answer: "That it is gone.",
        ..POST
    },
    read("/health", "Lucid", "Whether the server answers.", "Its state."),
    read("/metrics", "Lucid", "Everything that is counted.", "Prometheus' text."),
    read("/status", "Lucid", "What is loaded and whom it serves.", "An object."),
];

/// How tokens are chosen, of OpenAI's protocol and of the servers that added to it.
const SAMPLING: &[&str] = &[
    r#"{"temperature":0.5,"top_k":40,"top_p":0.9,"min_p":0.05,"typical_p":0.9,"top_n_sigma":1.5,
        "repetition_penalty":1.1,"repeat_last_n":64,"frequency_penalty":0.5,
        "presence_penalty":0.5,"dry_multiplier":0.5,"dry_base":1.75,"dry_allowed_length":2,
        "dry_penalty_last_n":64,"dry_sequence_breakers":["||"],"xtc_probability":0.1,
        "xtc_threshold":0.1,"dynatemp_range":0.5,"logit_bias":{"5":-1.0},"seed":1,
        "ignore_eos":false}"#,
    r#"{"repeat_penalty":1.1}"#,
];

/// Where answers end, and what else is named by number or name.
const ENDS: &[&str] = &[r#"{"stop_token_ids":[7],"lora":"a"}"#];

/// What an answer must conform to, as llama.cpp's server and vLLM have it.
const FORMATS: &[&str] = &[
    r#"{"grammar":"root ::= \"a\""}"#,
    r#"{"json_schema":{}}"#,
    r#"{"guided_json":{}}"#,
    r#"{"guided_regex":"a+"}"#,
    r#"{"guided_choice":["a","b"]}"#,
    r#"{"guided_grammar":"start: \"a\""}"#,
    r#"{"structured_outputs":{"json":{}}}"#,
    r#"{"structured_outputs":{"regex":"a+"}}"#,
    r#"{"structured_outputs":{"choice":["a","b"]}}"#,
    r#"{"structured_outputs":{"grammar":"start: \"a\""}}"#,
    r#"{"response_format":{"type":"json_object"}}"#,
    r#"{"response_format":{"type":"json_object","schema":{}}}"#,
    r#"{"response_format":{"type":"regex","regex":"a+"}}"#,
    r#"{"response_format":{"type":"grammar","grammar":"start: \"a\""}}"#,
];

const CHAT_COMPLETIONS: &[&str] = &[
    r#"{"model":"tiny","messages":[{"role":"user","content":"Hi"}]}"#,
    r#"{"model":"tiny",
        "messages":[{"role":"system","content":"Be brief."},
            {"role":"user","name":"ann","content":[{"type":"text","text":"2+2?"}]},
            {"role":"assistant","content":null,"reasoning_content":"Add them.",
             "tool_calls":[{"id":"c1","type":"function",
                "function":{"name":"add","arguments":"{\"a\":2}"}}]},
            {"role":"tool","tool_call_id":"c1","content":"4"}],
        "tools":[{"type":"function","function":{"name":"add","description":"Adds.",
            "parameters":{"type":"object","properties":{"a":{"type":"integer"}}}}}],
        "tool_choice":"auto","parallel_tool_calls":false,
        "max_completion_tokens":16,"max_tokens":16,"temperature":0.5,"top_p":0.9,"top_k":40,
        "min_p":0.05,"n":2,"seed":1,"stop":["||"],"frequency_penalty":0.5,"presence_penalty":0.5,
        "repeat_penalty":1.1,"logit_bias":{"5":-1.0},"logprobs":true,"top_logprobs":2,
        "stream":true,"stream_options":{"include_usage":true},"reasoning_effort":"low",
        "chat_template_kwargs":{},"continue_final_message":false}"#,
    r#"{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"stop":"||",
        "response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{}}}}"#,
    r#"{"model":"tiny","messages":[{"role":"user","content":"Hi"}],
        "tools":[{"type":"function","function":{"name":"add"}}],
        "tool_choice":{"type":"function","function":{"name":"add"}}}"#,
];

const COMPLETIONS: &[&str] = &[
    r#"{"model":"tiny","prompt":"Once"}"#,
    r#"{"model":"tiny","prompt":["a","b"],"max_tokens":4,"n":1,"best_of":2,"echo":true,
        "logprobs":2,"stop":["||"],"seed":1,"stream":false,"temperature":0.5}"#,
    r#"{"model":"tiny","prompt":"fn ","suffix":"}","stop":"||","stream":true,
        "stream_options":{"include_usage":true}}"#,
    r#"{"model":"tiny","prompt":[72,105]}"#,
    r#"{"model":"tiny","prompt":[[72],[105]]}"#,
];

const RESPONSES: &[&str] = &[
    r#"{"model":"tiny","input":"Hi"}"#,
    r#"{"model":"tiny","instructions":"Be brief.",
        "input":[{"type":"message","role":"user","content":"2+2?"},
            {"type":"reasoning","content":[{"type":"reasoning_text","text":"Add them."}]},
            {"type":"function_call","call_id":"c1","name":"add","arguments":"{}"},
            {"type":"function_call_output","call_id":"c1","output":"4"}],
        "tools":[{"type":"function","name":"add","description":"Adds.","parameters":{}}],
        "tool_choice":"auto","parallel_tool_calls":false,"max_output_tokens":16,
        "temperature":0.5,"top_p":0.9,"top_logprobs":2,"store":false,"background":false,
        "stream":true,"truncation":"disabled","reasoning":{"effort":"low"},
        "metadata":{"a":"b"},"text":{"format":{"type":"text"}}}"#,
    r#"{"model":"tiny","instructions":[{"type":"input_text","text":"Be brief."}],
        "input":[{"role":"user","content":[{"type":"input_text","text":"Hi"}]},
            {"type":"function_call","call_id":"c2","name":"add","arguments":"{}"},
            {"type":"function_call_output","call_id":"c2",
             "output":[{"type":"input_text","text":"4"}]}],"store":false,
        "tools":[{"type":"function","name":"add"}],
        "tool_choice":{"type":"function","name":"add"}}"#,
];

const EMBEDDINGS: &[&str] = &[
    r#"{"model":"tiny","input":"Hi","encoding_format":"base64"}"#,
    r#"{"model":"tiny","input":["a","b"],"dimensions":2}"#,
    r#"{"model":"tiny","input":[[72],[105]]}"#,
    r#"{"model":"tiny","input":[72]}"#,
];

const MESSAGES: &[&str] = &[
    r#"{"model":"tiny","max_tokens":16,"messages":[{"role":"user","content":"Hi"}]}"#,
    r#"{"model":"tiny","max_tokens":64,
        "system":[{"type":"text","text":"Be brief."}],
        "messages":[{"role":"user","content":[{"type":"text","text":"2+2?"},
                {"type":"document","title":"t","source":{"type":"text","data":"d"}}]},
            {"role":"assistant","content":[
                {"type":"thinking","thinking":"Add them.","signature":""},
                {"type":"tool_use","id":"c1","name":"add","input":{"a":2}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"4",
                "is_error":false}]}],
        "tools":[{"type":"custom","name":"add","description":"Adds.",
            "input_schema":{"type":"object"}}],
        "tool_choice":{"type":"auto","disable_parallel_tool_use":true},
        "thinking":{"type":"enabled","budget_tokens":16},
        "stop_sequences":["||"],"temperature":0.5,"top_p":0.9,"top_k":40,"stream":true,
        "metadata":{"user_id":"u"},"mcp_servers":[]}"#,
    r#"{"model":"tiny","max_tokens":16,"system":"Be brief.",
        "messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"He"}],
        "tools":[{"name":"add","input_schema":{}}],"tool_choice":{"type":"tool","name":"add"},
        "output_config":{"format":{"type":"json_schema","schema":{}}},
        "thinking":{"type":"disabled"}}"#,
    r#"{"model":"tiny","max_tokens":16,
        "messages":[{"role":"user","content":"2+2?"},
            {"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"add"}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"c1",
                "content":[{"type":"text","text":"4"}]}]}]}"#,
];

const COUNT_TOKENS: &[&str] = &[
    r#"{"model":"tiny","messages":[{"role":"user","content":"Hi"}]}"#,
    r#"{"model":"tiny","system":"Be brief.","messages":[{"role":"user","content":"Hi"}],
        "tools":[{"name":"add","input_schema":{}}]}"#,
    r#"{"model":"tiny","system":[{"type":"text","text":"Be brief."}],
        "messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]}]}"#,
];

const GENERATE: &[&str] = &[
    r#"{"model":"tiny","prompt":"Hi"}"#,
    r#"{"model":"tiny","prompt":"Hi","system":"Be brief.","stream":false,"raw":false,
        "format":"json","think":false,"keep_alive":"5m","context":[1,2],"images":[],"template":"",
        "logprobs":true,"top_logprobs":2,
        "options":{"temperature":0.5,"top_k":40,"top_p":0.9,"min_p":0.05,"typical_p":1.0,
            "repeat_penalty":1.1,"repeat_last_n":64,"presence_penalty":0.5,
            "frequency_penalty":0.5,"seed":1,"num_predict":16,"stop":["||"],"num_ctx":512,
            "num_thread":2,"mirostat":0,"penalize_newline":false}}"#,
    r#"{"model":"tiny","prompt":"fn ","suffix":"}","keep_alive":60,"format":{"type":"string"},
        "think":"low","options":{"stop":"||"}}"#,
];

const CHAT: &[&str] = &[
    r#"{"model":"tiny","messages":[{"role":"user","content":"Hi"}]}"#,
    r#"{"model":"tiny","stream":false,
        "messages":[{"role":"user","content":"2+2?","images":[]},
            {"role":"assistant","content":"","thinking":"Add them.",
             "tool_calls":[{"id":"c1","function":{"name":"add","arguments":{"a":2}}}]},
            {"role":"tool","tool_name":"add","tool_call_id":"c1","content":"4"}],
        "tools":[{"type":"function","function":{"name":"add","description":"Adds.",
            "parameters":{"type":"object"}}}],
        "format":{"type":"object"},"think":true,"keep_alive":-1,"options":{"num_predict":-1}}"#,
    r#"{"model":"tiny","messages":[],"format":"json","keep_alive":"5m"}"#,
];

const EMBED: &[&str] = &[
    r#"{"model":"tiny","input":"Hi"}"#,
    r#"{"model":"tiny","input":["a","b"],"truncate":true,"dimensions":2,"keep_alive":"5m",
        "options":{"num_ctx":512}}"#,
    r#"{"model":"tiny","input":[],"keep_alive":60}"#,
];

const EMBED_ONE: &[&str] = &[
    r#"{"model":"tiny","prompt":"Hi"}"#,
    r#"{"model":"tiny","prompt":"Hi","keep_alive":60,"options":{"num_ctx":512}}"#,
    r#"{"model":"tiny","prompt":"Hi","keep_alive":"5m"}"#,
];

const RERANK: &[&str] = &[
    r#"{"model":"tiny","query":"q","documents":["a","b"]}"#,
    r#"{"model":"tiny","query":"q","documents":[{"text":"a"},"b"],"top_n":1,
        "return_documents":true}"#,
];

const APPLY_TEMPLATE: &[&str] = &[
    r#"{"model":"tiny","messages":[{"role":"user","content":"Hi"}]}"#,
    r#"{"model":"tiny","messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]}],
        "continue_final_message":false,"chat_template_kwargs":{}}"#,
];
