//! Chat templates against transformers' renderings (hashes made by `tools/templates/goldens.py`),
//! and the semantics of jinja2 and Python on templates of our own.
#![expect(clippy::unwrap_used, reason = "a test")]

use lucid_tokenizer::template::{
    ChatTemplate, LocalTime, Message, RenderOptions, TemplateError, ToolCall,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::PathBuf;

const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/templates");
const NOW: LocalTime = LocalTime { year: 2024, month: 7, day: 6, hour: 15, minute: 4, second: 5 };

fn shared() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let path = std::env::var_os("LUCID_SHARED").map_or_else(|| default.into(), PathBuf::from);
    path.join("templates").is_dir().then_some(path)
}

fn json(name: &str) -> Value {
    let text = std::fs::read_to_string(format!("{GOLDENS}/{name}")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn text_of(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn message(value: &Value) -> Message {
    let calls = value.get("tool_calls").and_then(Value::as_array).cloned().unwrap_or_default();
    let call = |call: &Value| ToolCall {
        id: text_of(call, "id").unwrap(),
        name: text_of(&call["function"], "name").unwrap(),
        arguments: call["function"]["arguments"].clone(),
    };
    Message {
        role: text_of(value, "role").unwrap(),
        content: text_of(value, "content"),
        reasoning: text_of(value, "reasoning_content"),
        tool_calls: calls.iter().map(call).collect(),
        tool_call_id: text_of(value, "tool_call_id"),
        name: text_of(value, "name"),
    }
}

fn options(conversation: &Value) -> RenderOptions {
    RenderOptions {
        add_generation_prompt: conversation["add_generation_prompt"].as_bool().unwrap(),
        tools: conversation.get("tools").and_then(Value::as_array).cloned().unwrap_or_default(),
        extra: conversation.get("extra").and_then(Value::as_object).cloned().unwrap_or_default(),
        now: NOW,
        ..RenderOptions::default()
    }
}

fn render(source: &str, conversation: &Value) -> Result<String, TemplateError> {
    let messages: Vec<Message> =
        conversation["messages"].as_array().unwrap().iter().map(message).collect();
    let template = ChatTemplate::new(source, [], Some("<s>"), Some("</s>"))?;
    Ok(template.render(&messages, &options(conversation))?.text)
}

fn outcome(result: &Result<String, TemplateError>) -> Value {
    match result {
        Ok(text) => {
            let digest = Sha256::digest(text.as_bytes());
            let hex = digest.iter().take(16).fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").unwrap();
                hex
            });
            serde_json::json!([hex, text.len()])
        }
        Err(TemplateError::Refused { .. }) => "refused".into(),
        Err(_) => "error".into(),
    }
}

#[test]
fn templates_of_real_models_render_as_transformers_does() {
    let Some(shared) = shared() else {
        println!("skipped: ../shared/data is absent");
        return;
    };
    let (conversations, goldens) = (json("conversations.json"), json("hashes.json"));
    let (mut equal, mut wrong) = (0, Vec::new());
    for (file, expected) in goldens.as_object().unwrap() {
        let source = std::fs::read_to_string(shared.join("templates").join(file)).unwrap();
        for conversation in conversations.as_array().unwrap() {
            let name = conversation["name"].as_str().unwrap();
            let result = render(&source, conversation);
            if outcome(&result) == expected[name] {
                equal += 1;
                continue;
            }
            if let Some(folder) = std::env::var_os("LUCID_TEMPLATE_DUMP") {
                let path = PathBuf::from(folder).join(format!("{}.{name}", file.replace('/', "_")));
                std::fs::write(path, format!("{result:?}").replace("\\n", "\n")).unwrap();
            }
            let short = result.map(|text| text.chars().take(60).collect::<String>());
            wrong.push(format!("{file} {name}: expected {}, found {short:?}", expected[name]));
        }
    }
    println!("{equal} of {} equal", equal + wrong.len());
    assert!(
        wrong.is_empty(),
        "{}\nto see a text: tools/templates/goldens.py --show TEMPLATE conversations.json NAME, \
         and this test with LUCID_TEMPLATE_DUMP=FOLDER",
        wrong.join("\n")
    );
}

/// Renders an expression or a template without messages.
fn check(source: &str, expected: &str) {
    let template = ChatTemplate::new(source, [], Some("<s>"), None).unwrap();
    let options = RenderOptions {
        now: NOW,
        extra: serde_json::json!({
            "n": 7, "x": 1.0, "big": 1e22, "small": 0.00001, "yes": true, "nil": null,
            "list": [1, "two", null, [true]], "map": {"b": 1, "a": {"c": "é\"\n"}, "items": "own"},
            "text": " Ab cd\n"
        })
        .as_object()
        .unwrap()
        .clone(),
        ..RenderOptions::default()
    };
    let messages = [Message::text("user", "hi")];
    let found = template.render(&messages, &options).map(|rendered| rendered.text);
    assert_eq!(found.as_deref(), Ok(expected), "{source}");
}

#[test]
fn values_print_as_in_python() {
    check(
        "{{ yes }} {{ nil }} {{ x }} {{ big }} {{ small }} {{ n / 2 }}",
        "True None 1.0 1e+22 1e-05 3.5",
    );
    check("{{ list }} {{ (1,) }} {{ ('a', 2) }}", "[1, 'two', None, [True]] (1,) ('a', 2)");
    check("{{ map.a }}{{ absent }}{{ {} }}", "{'c': 'é\"\\n'}{}");
    check("{{ list ~ n }}", "[1, 'two', None, [True]]7");
    check("{{ map|tojson }}", "{\"b\": 1, \"a\": {\"c\": \"é\\\"\\n\"}, \"items\": \"own\"}");
    check("{{ [n, {'k': nil}]|tojson(indent=2) }}", "[\n  7,\n  {\n    \"k\": null\n  }\n]");
    check("{{ map|tojson(separators=(',', ':'), sort_keys=true)|length }}", "39");
    check("{{ map.a|tojson(ensure_ascii=true) }}", "{\"c\": \"\\u00e9\\\"\\n\"}");
}

#[test]
fn operators_are_those_of_python() {
    check("{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }}", "-4 2 -2 1024");
    check("{{ 'ab' * 2 ~ [1] * 2 }} {{ [1] + [2] }}", "abab[1, 1] [1, 2]");
    check(
        "{{ 'abcdef'[1:4] }} {{ 'abcdef'[::-1] }} {{ list[-1] }} {{ 'abc'[-1] }}",
        "bcd fedcba [True] c",
    );
    check(
        "{{ list[1:] }} {{ list[:-1]|length }} {{ 'x'[5] is defined }}",
        "['two', None, [True]] 3 False",
    );
    check("{{ '%s is %05.1f%%, %(x)r' is string }} {{ '%s %03d' % ('a', 7) }}", "True a 007");
    check("{{ '%-5s|%5.2f' % ('ab', 1.005) }} {{ '%(k)s' % {'k': 1} }}", "ab   | 1.00 1");
    check(
        "{{ 'two' in list }} {{ 'b' in map }} {{ 'z' not in map }} {{ 1 == 1.0 }}",
        "True True True True",
    );
    check("{{ 1 < n < 10 }} {{ 1 < n < 5 }} {{ 9 < n < 10 }}", "True False False");
    check("{{ n if n > 3 else 'small' }} {{ 'x' if false }} {{ nil or 'or' }}", "7  or");
    check("{{ yes + 1 }} {{ [1, 2] == [1, 2] }} {{ {'a': 1} == {'a': 1.0} }}", "2 True True");
}

#[test]
fn methods_filters_and_tests_are_those_of_jinja() {
    check(
        "{{ text.strip() }}|{{ text.split() }}|{{ 'a-b'.split('-', 1)[-1] }}",
        "Ab cd|['Ab', 'cd']|b",
    );
    check(
        "{{ 'x'.join(['a', 'b']) }} {{ 'aXbX'.replace('X', '-', 1) }} \
         {{ 'ab'.startswith(('x', 'a')) }}",
        "axb a-bX True",
    );
    check(
        "{{ 'hello world'.title() }} {{ \"it's\"|title }} {{ 'ab'.upper() }} {{ 'É'.lower() }}",
        "Hello World It's AB é",
    );
    check("{{ '{} {1} {k:>4}|{:.2f}'.format(1, 2, k='z') }}", "1 2    z|2.00");
    check("{{ map.items() | list | length }} {{ map['items'] }} {{ map.get('zz', 5) }}", "3 own 5");
    check(
        "{% for k, v in map.items() %}{{ loop.index }}{{ k }}{{ ',' if not loop.last }}\
        {% endfor %}",
        "1b,2a,3items",
    );
    check(
        "{{ [3, 1, 2]|sort|join(',') }} {{ ['b', 'A']|sort }} {{ [1, 1]|unique|list }}",
        "1,2,3 ['A', 'b'] [1]",
    );
    check(
        "{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|first }}",
        "hi",
    );
    check(
        "{{ [1, 2, 3]|select('odd')|list }} {{ [0, 1]|reject|list }} {{ map|dictsort|first }}",
        "[1, 3] [0] ('a', {'c': 'é\"\\n'})",
    );
    check("{{ 'a\nb\n\nc'|indent(2) }}", "a\n  b\n\n  c");
    check(
        "{{ map is mapping }} {{ list is sequence }} {{ 'a' is iterable }} {{ n is number }}",
        "True True True True",
    );
    check(
        "{{ nil is none }} {{ zz is defined }} {{ zz|default('d') }} {{ ''|default('e', true) }}",
        "True False d e",
    );
    check(
        "{{ '12'|int + 1 }} {{ 'z'|int(9) }} {{ 2.567|round(1) }} {{ [1, 2]|sum }}",
        "13 9 2.6 3",
    );
    check(
        "{{ strftime_now('%d %b %Y, %H:%M') }} {{ range(2, 8, 3)|list }}",
        "06 Jul 2024, 15:04 [2, 5]",
    );
    check("{{ '<a>'|e }} {{ ' b '|trim }} {{ [1, 2]|last }} {{ [2, 1]|min }}", "&lt;a&gt; b 2 1");
}

#[test]
fn statements_are_those_of_jinja() {
    check("  {% if true %}\n  a\n  {% endif %}\nb\n", "  a\nb");
    check(
        "{% set ns = namespace(k=0) %}{% for i in range(9) %}{% if i == 2 %}{% continue %}\
        {% endif %}{% if i == 4 %}{% break %}{% endif %}{% set ns.k = ns.k + i %}{% endfor %}\
        {{ ns.k }}",
        "4",
    );
    check(
        "{% macro m(a, b='x') %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, b=2) }}\
        {{ m(b=3, a=0) }}",
        "[1x][12][03]",
    );
    check("{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in{% endcall %}", "<in>");
    check("a{% generation %}b{%- endgeneration -%} c", "abc");
    check(
        "{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is sequence else x }}{% endfor %}",
        "123",
    );
    check(
        "{% for x in list if x is string %}{{ x }}{{ loop.length }}{% else %}none{% endfor %}",
        "two1",
    );
    check(
        "{% for x in [] %}{% else %}none{% endfor %}{% set t %}cap{{ n }}{% endset %}\
        {{ t|length }}",
        "none4",
    );
    check("{% raw %}{{ n }}{% endraw %}{# gone #}{{ '}}' }}", "{{ n }}}}");
    check(
        "{% set a, b = (1, 2) %}{{ a + b }}{% filter upper %}x{% endfilter %}{{ bos_token }}",
        "3X<s>",
    );
}

fn check_error(source: &str, expected: fn(&TemplateError) -> bool) {
    let found = ChatTemplate::new(source, [], None, None)
        .and_then(|t| t.render(&[Message::text("user", "hi")], &RenderOptions::default()));
    let error = found.map(|r| r.text.chars().take(80).collect::<String>()).unwrap_err();
    assert!(expected(&error), "{source}: {error:?}");
}

#[test]
fn refusals_and_mistakes_are_typed() {
    check_error("{{ raise_exception('no ' ~ 1) }}", |e| {
        *e == TemplateError::Refused { message: "no 1".to_owned() }
    });
    check_error("a\n{% if %}", |e| matches!(e, TemplateError::Syntax { line: 2, .. }));
    check_error("a\n{{ absent.x }}", |e| matches!(e, TemplateError::Render { line: 2, .. }));
    for source in [
        "{{ 'a' + 1 }}",
        "{{ absent + 'a' }}",
        "{{ 1 // 0 }}",
        "{{ 'x'|from_json }}",
        "{{ 'x'.nope() }}",
        "{{ {[1]: 2} }}",
        "{{ messages < 'a' }}",
        "{% for x in 3 %}{% endfor %}",
        "{{ [1].append(2) }}",
        "{% for x in none %}{% endfor %}",
        "{{ absent() }}",
        "{{ none.x.y }}",
    ] {
        check_error(source, |e| matches!(e, TemplateError::Render { .. }));
    }
    for source in [
        "{% include 'x' %}",
        "{% extends 'x' %}",
        "{% block b %}{% endblock %}",
        "{{ range(*[1]) }}",
    ] {
        check_error(source, |e| matches!(e, TemplateError::Unsupported { .. }));
    }
}

#[test]
fn costly_templates_end_in_a_limit() {
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000));
    let sum = format!("{{{{ 1{} }}}}", " + n".repeat(100_000));
    let elifs = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif n %}x".repeat(50_000));
    let ifs = format!("{}{}", "{% if 1 %}".repeat(10_000), "{% endif %}".repeat(10_000));
    for source in [
        "{{ 'a' * 10**9 }}",
        "{% set n = 10**9 %}{{ 'a' * n }}",
        "{% set n = 10**9 %}{{ [] * n }}{{ [1] * n }}",
        "{{ range(10**9)|list }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ 'x'.center(10**9) }}{{ 'x'|indent(10**9, true) }}",
        "{{ 'x'.zfill(10**12) }}",
        "{{ [1]|tojson(indent=10**10) }}",
        "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}\
        {% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}\
        {% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(99) %}\
        {% set ns.s = ns.s.replace('a', 'aaaa') %}{% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s %}{{ ns.s }}\
        {{ ns.s }}{% endset %}{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}\
        {% endfor %}{{ ns.l == ns.l }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(50) %}{% set ns.l = [ns.l, ns.l] %}\
        {% endfor %}{{ ns.l }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(50) %}{% set ns.l = [ns.l, ns.l] %}\
        {% endfor %}{{ ns.l == ns.l }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(50) %}{% set ns.l = [ns.l, ns.l] %}\
        {% endfor %}{{ ns.l|tojson }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}\
        {% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}0123456789{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(a) %}{{ m(a ~ a) }}{% endmacro %}{{ m('x') }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% for x in range(99999) %}{{ 'y'.join(range(99999)|map('string')) }}{% endfor %}",
        &deep,
        &sum,
        &elifs,
        &ifs,
    ] {
        let start = std::time::Instant::now();
        check_error(source, |e| {
            matches!(e, TemplateError::Limit { .. })
                || matches!(e, TemplateError::Syntax { message: m, .. } if m.contains("recursion"))
        });
        let name: String = source.chars().take(60).collect();
        assert!(start.elapsed().as_secs() < 20, "{name} took {:?}", start.elapsed());
    }
}

#[test]
fn objects_of_the_engine_cannot_be_nested_or_broken() {
    for source in [
        "{% set n = namespace() %}{% set n.n = n %}",
        "{% set n = namespace() %}{% set n.l = [namespace()] %}",
        "{% macro m() %}{% endmacro %}{% set n = [m] %}",
        "{% for x in [1] %}{% set n = {'l': loop} %}{% endfor %}",
        "{% set n = namespace() %}{% set n.__class__ = 1 %}",
        "{% for x in [1] %}{{ loop.nope() }}{% endfor %}",
        "{{ loop(1) }}",
        "{{ caller() }}",
    ] {
        check_error(source, |e| matches!(e, TemplateError::Render { .. }));
    }
    check_error("{% for x in [1] %}{{ loop.cycle() }}{% endfor %}", |e| {
        matches!(e, TemplateError::Unsupported { .. })
    });
}

#[test]
fn lucid_template_renders_a_whole_conversation() {
    let template = ChatTemplate::lucid().unwrap();
    let call = ToolCall {
        id: "1".to_owned(),
        name: "add".to_owned(),
        arguments: serde_json::json!({"a": 1, "b": "é"}),
    };
    let messages = [
        Message::text("system", "Be brief."),
        Message::text("user", "1 + é?"),
        Message {
            reasoning: Some("add them".to_owned()),
            tool_calls: vec![call],
            ..Message { role: "assistant".to_owned(), ..Message::default() }
        },
        Message::text("tool", "<|end|>"),
    ];
    let tools = vec![serde_json::json!({"type": "function", "function": {"name": "add"}})];
    let options = RenderOptions { add_generation_prompt: true, tools, ..RenderOptions::default() };
    let rendered = template.render(&messages, &options).unwrap();
    let expected = "<|bos|><|system|>Be brief.\n\nTools:\n{\"name\": \"add\"}<|end|>\
        <|user|>1 + é?<|end|>\
        <|assistant|><|think|>add them<|/think|><|call|>add {\"a\": 1, \"b\": \"é\"}<|end|>\
        <|result|><|end|><|end|><|assistant|>";
    assert_eq!(rendered.text, expected);
    let start = expected.len() - "<|end|><|end|><|assistant|>".len();
    assert_eq!(rendered.literal.len(), 1);
    assert_eq!(rendered.literal[0], start..start + "<|end|>".len());
    // An answer after a result is written as it was asked for.
    let more = [&messages[..], &[Message::text("assistant", "3")]].concat();
    let whole = template.render(&more, &RenderOptions { add_generation_prompt: false, ..options });
    assert_eq!(whole.unwrap().text, format!("{expected}3<|end|>"));
    let plain = template.render(
        &[Message::text("user", "hi")],
        &RenderOptions { add_generation_prompt: true, ..RenderOptions::default() },
    );
    assert_eq!(plain.unwrap().text, "<|bos|><|user|>hi<|end|><|assistant|>");
}
