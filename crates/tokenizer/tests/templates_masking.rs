//! No control token of a rendering may contain a byte from a message: over every special token of
//! every vocabulary at hand, all templates, and messages built from the tokens' fragments in every
//! field. Oracle: the same conversation with each visible character replaced by one that occurs in
//! no token, rendered without any masking. The control tokens found there are the template's own;
//! the masked rendering must have the same ones, in the same order, outside its literal ranges.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

use lucid_tokenizer::control::ControlToken;
use lucid_tokenizer::template::{
    ChatTemplate, LUCID_TEMPLATE, Limits, Message, RenderOptions, TemplateError, ToolCall,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

fn shared() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let path = std::env::var_os("LUCID_SHARED").map_or_else(|| default.into(), PathBuf::from);
    path.join("templates").is_dir().then_some(path)
}

/// Reads just enough of GGUF to find the control and user-defined tokens.
struct Gguf<'a>(&'a [u8]);

impl<'a> Gguf<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        head
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> usize {
        u64::from_le_bytes(self.take(8).try_into().unwrap()) as usize
    }

    fn string(&mut self) -> &'a [u8] {
        let n = self.u64();
        self.take(n)
    }

    /// A value's elements: their bytes.
    fn value(&mut self, kind: u32) -> Vec<&'a [u8]> {
        let width = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8][kind as usize];
        match kind {
            8 => vec![self.string()],
            9 => {
                let kind = self.u32();
                let n = self.u64();
                (0..n).flat_map(|_| self.value(kind)).collect()
            }
            _ => vec![self.take(width)],
        }
    }

    fn special_tokens(bytes: &'a [u8]) -> Vec<String> {
        let mut file = Self(&bytes[8..]);
        file.u64();
        let count = file.u64();
        let mut found: HashMap<String, Vec<&[u8]>> = HashMap::new();
        for _ in 0..count {
            let key = String::from_utf8(file.string().to_vec()).unwrap();
            let kind = file.u32();
            found.insert(key, file.value(kind));
        }
        let (tokens, types) =
            (&found["tokenizer.ggml.tokens"], &found["tokenizer.ggml.token_type"]);
        let specials = tokens.iter().zip(types).filter(|(_, kind)| [3, 4].contains(&kind[0]));
        specials.map(|(token, _)| String::from_utf8_lossy(token).into_owned()).collect()
    }
}

fn words(list: &str) -> Vec<String> {
    list.split_whitespace().map(str::to_owned).collect()
}

fn own_vocabularies() -> Vec<(String, Vec<String>)> {
    let lucid = ControlToken::ALL.map(|token| token.spelling().to_owned()).to_vec();
    let openai = "<|endoftext|> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|endofprompt|> \
        <|start|> <|end|> \
        <|message|> <|channel|> <|return|> <|call|> <|constrain|>";
    let mistral = "<s> </s> [INST] [/INST] [TOOL_CALLS] [TOOL_RESULTS] [/TOOL_RESULTS] \
        [AVAILABLE_TOOLS] \
        [/AVAILABLE_TOOLS] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [THINK] [/THINK] [ARGS] [CALL_ID]";
    let thinking = "<think> </think> <|im_start|> <|im_end|> <tool_call> </tool_call> \
        <tool_response> \
        </tool_response> <start_of_turn> <end_of_turn> <|start_header_id|> \
        <|end_header_id|> <|eot_id|>";
    // Tokens within tokens, overlapping tokens, and an ordinary word.
    let nasty = "<s> <s><s> >< s><|a |a|> <|a|> a|> user <|user|> \u{f0000} \u{100000}x";
    vec![
        ("lucid".to_owned(), lucid),
        ("openai".to_owned(), words(openai)),
        ("mistral".to_owned(), words(mistral)),
        ("thinking".to_owned(), words(thinking)),
        ("nasty".to_owned(), words(nasty)),
    ]
}

fn vocabularies(shared: &Path) -> Vec<(String, Vec<String>)> {
    let mut all = own_vocabularies();
    let folder = shared.join("tokenizers");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "gguf") {
            let tokens = Gguf::special_tokens(&std::fs::read(&path).unwrap());
            all.push((path.file_name().unwrap().to_string_lossy().into_owned(), tokens));
        }
    }
    let qwen = std::fs::read_to_string(folder.join("qwen2/added_tokens.json")).unwrap();
    let qwen: Map<String, Value> = serde_json::from_str(&qwen).unwrap();
    all.push(("qwen2".to_owned(), qwen.into_iter().map(|(token, _)| token).collect()));
    let llama = std::fs::read_to_string(folder.join("llama3/llama3_1/prompt_format.md")).unwrap();
    let llama: BTreeSet<String> = llama
        .split("<|")
        .filter_map(|part| part.split_once("|>"))
        .filter(|(name, _)| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .map(|(name, _)| format!("<|{name}|>"))
        .collect();
    assert!(llama.contains("<|eot_id|>"));
    all.push(("llama3".to_owned(), llama.into_iter().collect()));
    all
}

/// Templates that glue, cut and turn message text in nasty ways.
const OWN: &[(&str, &str)] = &[
    ("lucid", LUCID_TEMPLATE),
    (
        "glue",
        "{% for m in messages %}\
        {{ '<|' ~ m.role ~ '|>' }}<{{ m.content }}|{{ m.content }}>{{ m.content }}\
         {{ m.name }}{{ m.tool_call_id }}{{ m.reasoning_content }}{% endfor %}{{ eos_token }}",
    ),
    (
        "turn",
        "{% for m in messages %}<s>{{ m.content|upper|lower }}{{ m.content[::-1][::-1] }}\
        {{ m.content[1:] }}\
         {{ m.content|replace('x', '')|trim('<') }}{{ m.content.split('|')|join('') }}</s>\
         {{ m.content|title }}\
         {{ m|tojson }}{{ m }}{{ '%s<%s' % (m.content, m.content) }}\
         {{ m.content|list|join }}<|im_end|>{% endfor %}",
    ),
    (
        "judge",
        "{% for m in messages %}<|im_start|>{% if '</think>' in m.content %}\
        {{ m.content.split('</think>')[-1] }}\
         {% else %}{{ m.content }}{% endif %}{{ '<' + 'think>' }}\
         {{ m.content|e }}<|im_end|>{% endfor %}",
    ),
];

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % n
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Whole tokens, pieces of tokens, and what stands between them.
    fn hostile(&mut self, tokens: &[String]) -> String {
        let mut text = String::new();
        for _ in 0..=self.below(4) {
            let token: Vec<char> = tokens[self.below(tokens.len())].chars().collect();
            let (a, b) = (self.below(token.len() + 1), self.below(token.len() + 1));
            match self.below(6) {
                0 | 1 => text.extend(&token),
                2 => text.extend(&token[..a]),
                3 => text.extend(&token[a..]),
                4 => text.extend(&token[a.min(b)..a.max(b)]),
                _ => text.push_str(self.pick(&[
                    " ",
                    "\n",
                    "x",
                    "<",
                    "|>",
                    "\"",
                    "\u{f0001}",
                    "ſ\u{212a}",
                ])),
            }
        }
        text
    }
}

/// A conversation with text from `text` in every field.
fn conversation(text: &mut dyn FnMut() -> String) -> (Vec<Message>, RenderOptions) {
    let mut message = |role: &str| Message::text(role, text());
    let mut messages = vec![
        message("system"),
        message("user"),
        message("assistant"),
        message("user"),
        message("assistant"),
        message("tool"),
        message("assistant"),
        message("user"),
    ];
    messages[2].reasoning = Some(text());
    messages[4].tool_calls = vec![ToolCall {
        id: "abcdefghi".to_owned(),
        name: text(),
        arguments: json!({"key": text(), "list": [text(), 1]}),
    }];
    if let Some(map) = messages[4].tool_calls[0].arguments.as_object_mut() {
        map.insert(text(), json!(text()));
    }
    messages[5].name = Some(text());
    messages[5].tool_call_id = Some("abcdefghi".to_owned());
    let tool = json!({"type": "function", "function": {
        "name": text(), "description": text(),
        "parameters": {"type": "object", "properties": {
            "key": {"type": "string", "description": text(), "enum": [text()]}},
            "required": ["key"]}}});
    let options = RenderOptions {
        add_generation_prompt: true,
        tools: vec![tool],
        limits: Limits { memory_bytes: 64 << 20, ..Limits::default() },
        ..RenderOptions::default()
    };
    (messages, options)
}

/// The fewest fields, for templates that take no tools.
fn plain(mut conversation: (Vec<Message>, RenderOptions)) -> (Vec<Message>, RenderOptions) {
    conversation.0.drain(4..7);
    conversation.1.tools.clear();
    conversation
}

/// All control tokens of `text` in order, overlapping ones too, that touch none of `literal`.
fn found<'a>(text: &str, literal: &[std::ops::Range<usize>], tokens: &'a [String]) -> Vec<&'a str> {
    let mut by_first: HashMap<u8, Vec<&str>> = HashMap::new();
    for token in tokens {
        by_first.entry(token.as_bytes()[0]).or_default().push(token);
    }
    let mut out = Vec::new();
    for at in 0..text.len() {
        let starting = by_first.get(&text.as_bytes()[at]).map_or(&[][..], Vec::as_slice);
        let touches = |end: usize| literal.iter().any(|r| r.start < end && at < r.end);
        out.extend(
            starting.iter().copied().filter(|t| {
                text.as_bytes()[at..].starts_with(t.as_bytes()) && !touches(at + t.len())
            }),
        );
    }
    out
}

/// Each character that is no whitespace, moved to where no token has one.
fn innocuous(text: &str) -> String {
    let step = |c: char| {
        if c.is_whitespace() { c } else { char::from_u32(0xE000 + (c as u32) % 6000).unwrap() }
    };
    text.chars().map(step).collect()
}

/// Compares one hostile conversation with its innocuous twin. None: they did not render. Otherwise
/// whether the template's own control tokens are all there: where a template assembles tokens from
/// pieces and judges text by pieces of tokens too, they may be fewer (the safe side).
fn check(
    masked: &ChatTemplate,
    bare: &ChatTemplate,
    tokens: &[String],
    seed: u64,
    case: &str,
) -> Option<bool> {
    let make = |twin: bool, is_plain: bool| {
        let mut random = Random(seed);
        let mut text = || {
            let text = random.hostile(tokens);
            if twin { innocuous(&text) } else { text }
        };
        let made = conversation(&mut text);
        if is_plain { plain(made) } else { made }
    };
    for is_plain in [false, true] {
        let (messages, options) = make(false, is_plain);
        let hostile = masked.render(&messages, &options);
        let (messages, options) = make(true, is_plain);
        let twin = bare.render(&messages, &options);
        match (hostile, twin) {
            (Ok(hostile), Ok(twin)) => {
                let left = found(&hostile.text, &hostile.literal, tokens);
                let right = found(&twin.text, &[], tokens);
                let mut rest = right.iter();
                let is_part = left.iter().all(|token| rest.any(|own| own == token));
                let text = &hostile.text;
                assert!(is_part, "{case}, seed {seed}: {left:?} of {right:?}\n{text}");
                return Some(left.len() == right.len());
            }
            (Err(TemplateError::Limit { what, .. }), _) => panic!("{case}: limit of {what}"),
            _ => {}
        }
    }
    None
}

fn run(templates: &[(String, String)], vocabularies: &[(String, Vec<String>)], seeds: u64) {
    let (mut rendered, mut complete) = (0, 0);
    for (name, source) in templates {
        let bare = ChatTemplate::new(source, [], Some("<s>"), Some("</s>")).unwrap();
        for (vocabulary, tokens) in vocabularies {
            let mut tokens = tokens.clone();
            tokens.extend(["<s>".to_owned(), "</s>".to_owned()]);
            let masked =
                ChatTemplate::new(source, tokens.clone(), Some("<s>"), Some("</s>")).unwrap();
            let case = format!("{name} with {vocabulary}");
            let found: Vec<bool> =
                (0..seeds).filter_map(|s| check(&masked, &bare, &tokens, s, &case)).collect();
            rendered += found.len();
            let whole = found.iter().filter(|&&whole| whole).count();
            complete += whole;
            // Where an ordinary word is a control token, a template that judges text loses some of
            // its own.
            let is_whole = whole == found.len() || vocabulary == "nasty";
            assert!(is_whole, "{case}: {whole} of {} keep the template's tokens", found.len());
        }
    }
    let all = templates.len() * vocabularies.len() * seeds as usize;
    eprintln!("{rendered} of {all} conversations rendered, {complete} keep all tokens");
    assert!(rendered * 2 > all, "too few conversations rendered: {rendered} of {all}");
}

fn own_templates() -> Vec<(String, String)> {
    OWN.iter().map(|(name, source)| ((*name).to_owned(), (*source).to_owned())).collect()
}

#[test]
fn own_templates_keep_messages_out_of_control_tokens() {
    run(&own_templates(), &own_vocabularies(), 200);
}

#[test]
fn templates_of_real_models_keep_messages_out_of_control_tokens() {
    let Some(shared) = shared() else {
        println!("skipped: ../shared/data is absent");
        return;
    };
    let mut templates = Vec::new();
    for folder in ["templates/jinja", "templates/other/chat_templates"] {
        for entry in std::fs::read_dir(shared.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let source = std::fs::read_to_string(&path).unwrap();
            templates.push((path.file_name().unwrap().to_string_lossy().into_owned(), source));
        }
    }
    run(&templates, &vocabularies(&shared), 3);
}

#[test]
fn every_special_token_of_every_vocabulary_stays_text() {
    let vocabularies = match shared() {
        Some(shared) => vocabularies(&shared),
        None => own_vocabularies(),
    };
    let source = "{% for m in messages %}[{{ m.content }}]{% endfor %}{{ messages[0].content }}\
    {{ messages[1].content }}";
    for (name, tokens) in vocabularies {
        let template = ChatTemplate::new(source, tokens.clone(), None, None).unwrap();
        for token in &tokens {
            for (cut, _) in token.char_indices() {
                let (head, tail) = token.split_at(cut);
                let messages = [Message::text("user", head), Message::text("user", tail)];
                let rendered = template.render(&messages, &RenderOptions::default()).unwrap();
                let wrong = found(&rendered.text, &rendered.literal, &tokens);
                assert!(wrong.is_empty(), "{name}: {token:?} cut at {cut}: {wrong:?}");
                if token.len() > 24 {
                    break;
                }
            }
        }
    }
}

#[test]
fn only_message_bytes_are_literal() {
    let tokens = || words("<|im_start|> <|im_end|> <think> </think>");
    let source =
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";
    let template = ChatTemplate::new(source, tokens(), None, None).unwrap();
    let check = |content: &str, expected: &[&str]| {
        let messages = [Message::text("user", content)];
        let rendered = template.render(&messages, &RenderOptions::default()).unwrap();
        assert_eq!(rendered.text, format!("<|im_start|>user\n{content}<|im_end|>\n"));
        let literal: Vec<&str> =
            rendered.literal.iter().map(|r| &rendered.text[r.clone()]).collect();
        assert_eq!(literal, expected);
    };
    check("hello", &[]);
    check("a <|im_end|> b", &["<|im_end|>"]);
    check("<think><think> </think>", &["<think><think>", "</think>"]);
    check("<|im_end|", &[]);
    check("\u{f0000}\u{f0001}<|im_start|>\u{10fffd}", &["<|im_start|>"]);
    // A piece that only the template completes.
    let source = "<{{ messages[0].content }}>{{ '<th' }}ink>";
    let template = ChatTemplate::new(source, tokens(), None, None).unwrap();
    let rendered =
        template.render(&[Message::text("user", "think")], &RenderOptions::default()).unwrap();
    assert_eq!(rendered.text, "<think><think>");
    assert!(rendered.literal.len() == 1 && rendered.literal[0] == (1..6));
}
