//! The template of models made with Lucid, in the control tokens of [`crate::control`]. Format:
//! `<|bos|>` once; each message is its role's token, a line's worth of text or more, `<|end|>`. A
//! call within an answer is `<|call|>name {json}<|end|>`; the tool's message is
//! `<|result|>text<|end|>`, and the answer goes on in another `<|assistant|>`.

/// The Jinja source. Reasoning is kept for the turn in progress, the last user message onwards.
pub const LUCID_TEMPLATE: &str = "\
{{- '<|bos|>' -}}
{%- set turn = namespace(last_user=-1) -%}
{%- for message in messages -%}
    {%- if message.role == 'user' -%}{%- set turn.last_user = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- set has_system = messages and messages[0].role == 'system' -%}
{%- if tools or has_system -%}
    {{- '<|system|>' -}}
    {%- if has_system -%}{{- messages[0].content -}}{%- endif -%}
    {%- if tools -%}
        {%- if has_system -%}{{- '\\n\\n' -}}{%- endif -%}
        {{- 'Tools:' -}}
        {%- for tool in tools -%}{{- '\\n' + (tool.function or tool)|tojson -}}{%- endfor -%}
    {%- endif -%}
    {{- '<|end|>' -}}
{%- endif -%}
{%- for message in messages -%}
    {%- if message.role == 'system' -%}
        {%- if loop.index0 > 0 -%}{{- '<|system|>' + message.content + '<|end|>' -}}{%- endif -%}
    {%- elif message.role == 'user' -%}
        {{- '<|user|>' + message.content + '<|end|>' -}}
    {%- elif message.role == 'assistant' -%}
        {{- '<|assistant|>' -}}
        {%- if message.reasoning_content and loop.index0 > turn.last_user -%}
            {{- '<|think|>' + message.reasoning_content + '<|/think|>' -}}
        {%- endif -%}
        {{- message.content or '' -}}
        {%- for call in message.tool_calls or [] -%}
            {{- '<|call|>' + call.function.name + ' ' + call.function.arguments|tojson -}}
            {{- '<|end|>' -}}
        {%- endfor -%}
        {%- if not message.tool_calls -%}{{- '<|end|>' -}}{%- endif -%}
    {%- elif message.role == 'tool' -%}
        {{- '<|result|>' + message.content + '<|end|>' -}}
    {%- else -%}
        {{- raise_exception('a message has the unknown role ' + message.role) -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and (not messages or messages[-1].role != 'assistant') -%}
    {{- '<|assistant|>' -}}
{%- endif -%}
";
