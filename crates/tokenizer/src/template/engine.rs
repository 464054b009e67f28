//! Compiles templates with minijinja and runs them with every operation replaced by a bounded one
//! of ours. Invariant: no instruction that runs can make, compare, hash or print a value at
//! unbounded cost.
//!
//! minijinja meters instructions (fuel) but not what one instruction makes. So its instruction
//! stream is rewritten after compilation: operators, subscripts, list building and output become
//! calls of `operators`, constants become our values, and the few instructions that chat templates
//! have no use for are refused.

use super::filters::{FILTERS, FUNCTIONS, Operation, TESTS, test};
use super::host::{Host, invalid};
use super::operators::{self, compare, contains, is_method_name};
use super::provenance::ControlTokens;
use super::python::str_of;
use super::source;
use super::value::{adopt, list};
use super::{TemplateError, methods};
use minijinja::machinery::{
    CodeGenerator, Instruction, Instructions, eval, make_string_output, parse,
};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, ValueOrKwargs};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

const NAME: &str = "chat template";
/// A filter that is not cached by the engine.
const NOT_CACHED: u8 = !0;

const OPERATORS: &[(&str, Operation)] = &[
    ("{+}", operators::add),
    ("{*}", operators::multiply),
    ("{%}", operators::remainder),
    ("{~}", operators::concat),
    ("{[]}", operators::item),
    ("{[:]}", operators::slice),
    ("{.}", operators::attribute),
    ("{.=}", operators::set_attribute),
    ("{list}", operators::build_list),
    ("{tuple}", operators::build_tuple),
    ("{map}", operators::build_map),
    ("{iter}", operators::iterable),
    ("{in}", |host, args| contains(host, &args[1], &args[0]).map(Value::from)),
    ("{==}", |host, args| compare(host, "==", &args[0], &args[1]).map(Value::from)),
    ("{!=}", |host, args| compare(host, "!=", &args[0], &args[1]).map(Value::from)),
    ("{<}", |host, args| compare(host, "<", &args[0], &args[1]).map(Value::from)),
    ("{<=}", |host, args| compare(host, "<=", &args[0], &args[1]).map(Value::from)),
    ("{>}", |host, args| compare(host, ">", &args[0], &args[1]).map(Value::from)),
    ("{>=}", |host, args| compare(host, ">=", &args[0], &args[1]).map(Value::from)),
    ("{chain==}", |host, args| chain(host, "==", args)),
    ("{chain!=}", |host, args| chain(host, "!=", args)),
    ("{chain<}", |host, args| chain(host, "<", args)),
    ("{chain<=}", |host, args| chain(host, "<=", args)),
    ("{chain>}", |host, args| chain(host, ">", args)),
    ("{chain>=}", |host, args| chain(host, ">=", args)),
    ("{chainin}", |host, args| chain(host, "in", args)),
    ("{chain!in}", |host, args| chain(host, "not in", args)),
];

/// A comparison whose right side is compared again: the result, and the right side.
fn chain(host: &Host, operator: &str, args: &[Value]) -> Result<Value, Error> {
    let found = compare(host, operator, &args[0], &args[1])?;
    list(host, vec![Value::from(found), args[1].clone()])
}

/// The syntax that transformers asks of jinja2.
pub(super) fn syntax() -> Result<SyntaxConfig, TemplateError> {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .map_err(|e| syntax_error(&e))
}

fn syntax_error(error: &Error) -> TemplateError {
    TemplateError::Syntax { line: error.line().unwrap_or(0), message: message(error) }
}

fn message(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{} ({})", detail, error.kind()),
        None => error.kind().to_string(),
    }
}

fn environment(host: &Arc<Host>) -> Environment<'static> {
    let mut env = Environment::empty();
    for &(name, operation) in FILTERS.iter().chain(OPERATORS) {
        let host = host.clone();
        env.add_filter(name, move |args: Rest<ValueOrKwargs>| {
            operation(&host, &args.into_values())
        });
    }
    for &name in TESTS {
        let host = host.clone();
        env.add_test(name, move |args: Rest<ValueOrKwargs>| test(&host, name, &args.into_values()));
    }
    for &(name, operation) in FUNCTIONS {
        let host = host.clone();
        env.add_function(name, move |args: Rest<ValueOrKwargs>| {
            operation(&host, &args.into_values())
        });
    }
    let callback = host.clone();
    env.set_unknown_method_callback(move |_: &mut State, value, method, args| {
        methods::call(&callback, value, method, args)
    });
    let format = host.clone();
    env.set_formatter(move |out, _, value| {
        let text = str_of(&format, value)?;
        format.charge(text.len() as u64)?;
        out.write_str(&text).map_err(|_| Error::from(ErrorKind::WriteFailure))
    });
    env.set_recursion_limit(host.limits.recursion);
    env.set_fuel(Some(host.limits.instructions));
    env
}

/// Compiles `source` (as `source::prepare` gives it) to the engine's instructions.
pub(super) fn compile(source: &str) -> Result<Instructions<'_>, TemplateError> {
    source::check(source)?;
    let ast = parse(source, NAME, syntax()?).map_err(|e| syntax_error(&e))?;
    source::check_constants(&ast)?;
    let mut generator = CodeGenerator::new(NAME, source);
    generator.compile_stmt(&ast);
    let (instructions, blocks) = generator.finish();
    if blocks.is_empty() { Ok(instructions) } else { Err(unsupported("template inheritance")) }
}

fn unsupported(what: impl Into<String>) -> TemplateError {
    TemplateError::Unsupported { what: what.into() }
}

/// Renders compiled `instructions` with the variables of `root`.
pub(super) fn run(
    host: &Arc<Host>,
    source: &str,
    tokens: &ControlTokens,
    root: &Value,
) -> Result<String, TemplateError> {
    let env = environment(host);
    let instructions = bounded(host, source, &compile(source)?, tokens)?;
    let blocks = BTreeMap::new();
    let mut text = String::new();
    let outcome = {
        let mut out = make_string_output(&mut text);
        eval(&env, &instructions, root.clone(), &blocks, &mut out, AutoEscape::None).map(|_| ())
    };
    outcome.map_err(|error| host.take_failure().unwrap_or_else(|| render_error(host, &error)))?;
    Ok(text)
}

fn render_error(host: &Host, error: &Error) -> TemplateError {
    let limits = host.limits;
    let text = host.marks.plain_text(&message(error));
    if error.kind() == ErrorKind::OutOfFuel {
        return TemplateError::Limit { what: "work", limit: limits.instructions };
    }
    if text.contains("recursion limit exceeded") {
        return TemplateError::Limit { what: "recursion", limit: limits.recursion as u64 };
    }
    TemplateError::Render { line: error.line().unwrap_or(0), message: text }
}

/// What one instruction of the engine becomes.
enum Step<'a> {
    Keep(Instruction<'a>),
    Call(&'static str, Option<usize>),
    Many(Vec<Instruction<'a>>),
    Refuse(&'static str),
}

fn filter<'a>(
    name: &'static str,
    arguments: Option<usize>,
) -> Result<Instruction<'a>, TemplateError> {
    let arguments = arguments
        .map(u16::try_from)
        .transpose()
        .map_err(|_| TemplateError::Limit { what: "list literal", limit: u64::from(u16::MAX) })?;
    Ok(Instruction::ApplyFilter(name, arguments, NOT_CACHED))
}

fn step<'a>(
    host: &Host,
    instruction: &Instruction<'a>,
    tokens: &ControlTokens,
) -> Result<Step<'a>, Error> {
    use Instruction as I;
    let two = Some(2);
    let text = |text: &str| Value::from(tokens.trust(text).unwrap_or_else(|| text.to_owned()));
    Ok(match instruction {
        I::EmitRaw(raw) => Step::Many(vec![I::LoadConst(text(raw)), I::Emit]),
        I::LoadConst(value) => Step::Keep(I::LoadConst(constant(host, value, tokens)?)),
        I::GetAttr(name) if is_method_name(name) => Step::Many(vec![
            I::LoadConst(Value::from(*name)),
            I::ApplyFilter("{.}", Some(2), NOT_CACHED),
        ]),
        I::SetAttr(name) => Step::Many(vec![
            I::LoadConst(Value::from(*name)),
            I::ApplyFilter("{.=}", Some(3), NOT_CACHED),
            I::DiscardTop,
        ]),
        I::PushLoop(flags) => {
            Step::Many(vec![I::ApplyFilter("{iter}", Some(1), NOT_CACHED), I::PushLoop(*flags)])
        }
        I::GetItem => Step::Call("{[]}", two),
        I::Slice => Step::Call("{[:]}", Some(4)),
        I::BuildList(Some(0)) => Step::Keep(I::LoadConst(list(host, Vec::new())?)),
        I::BuildTuple(Some(0)) => Step::Refuse("an empty tuple"),
        I::BuildMap(0) => Step::Keep(I::LoadConst(super::value::dict(host, Vec::new())?)),
        I::BuildList(n) => Step::Call("{list}", *n),
        I::BuildTuple(n) => Step::Call("{tuple}", *n),
        I::BuildMap(n) => Step::Call("{map}", Some(n.saturating_mul(2))),
        I::Add => Step::Call("{+}", two),
        I::Mul => Step::Call("{*}", two),
        I::Rem => Step::Call("{%}", two),
        I::StringConcat => Step::Call("{~}", two),
        I::In => Step::Call("{in}", two),
        I::Eq => Step::Call("{==}", two),
        I::Ne => Step::Call("{!=}", two),
        I::Lt => Step::Call("{<}", two),
        I::Lte => Step::Call("{<=}", two),
        I::Gt => Step::Call("{>}", two),
        I::Gte => Step::Call("{>=}", two),
        I::CompareAndPreserve(op) => {
            Step::Many(vec![I::ApplyFilter(chain_name(op), Some(2), NOT_CACHED), I::UnpackList(2)])
        }
        I::CallMethod("changed", _) => Step::Refuse("loop.changed()"),
        I::CallMethod("cycle", Some(1)) => Step::Refuse("cycle() of nothing"),
        I::UnpackLists(_) | I::MergeKwargs(_) => Step::Refuse("unpacking of arguments"),
        I::PushAutoEscape => Step::Refuse("autoescape"),
        I::LoadBlocks | I::Include(_) | I::ExportLocals | I::CallBlock(_) | I::FastSuper => {
            Step::Refuse("template inheritance")
        }
        other => Step::Keep(other.clone()),
    })
}

/// The engine does not export the operator's type; its debug form names the variant.
fn chain_name(op: &impl std::fmt::Debug) -> &'static str {
    match format!("{op:?}").as_str() {
        "Eq" => "{chain==}",
        "Ne" => "{chain!=}",
        "Lt" => "{chain<}",
        "Lte" => "{chain<=}",
        "Gt" => "{chain>}",
        "Gte" => "{chain>=}",
        "In" => "{chainin}",
        _ => "{chain!in}",
    }
}

/// A constant as our value, with control tokens marked as the template's.
fn constant(host: &Host, value: &Value, tokens: &ControlTokens) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return Ok(tokens.trust(text).map_or_else(|| value.clone(), Value::from));
    }
    if value.is_kwargs() {
        let mut named = Vec::new();
        for key in value.try_iter()? {
            let item = constant(host, &value.get_item(&key)?, tokens)?;
            named.push((key.as_str().unwrap_or_default().to_owned(), item));
        }
        return Ok(Value::from(Kwargs::from_iter(named)));
    }
    let value = adopt(host, value)?;
    trusted(host, &value, tokens)
}

fn trusted(host: &Host, value: &Value, tokens: &ControlTokens) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return Ok(tokens.trust(text).map_or_else(|| value.clone(), Value::from));
    }
    if let Some(items) = super::value::as_list(value) {
        let made: Result<Vec<_>, _> =
            items.items.iter().map(|v| trusted(host, v, tokens)).collect();
        return super::value::sequence(host, made?, items.is_tuple);
    }
    if let Some(mapping) = super::value::as_dict(value) {
        let made: Result<Vec<_>, Error> = mapping
            .entries
            .iter()
            .map(|(k, v)| Ok((trusted(host, k, tokens)?, trusted(host, v, tokens)?)))
            .collect();
        return super::value::dict(host, made?);
    }
    Ok(value.clone())
}

/// Rewrites the instructions and moves the jumps to where their targets went.
fn bounded<'a>(
    host: &Host,
    source: &'a str,
    from: &Instructions<'a>,
    tokens: &ControlTokens,
) -> Result<Instructions<'a>, TemplateError> {
    let failed = |e: Error| host.take_failure().unwrap_or_else(|| render_error(host, &e));
    let mut steps = Vec::new();
    let mut places = vec![0u32];
    let mut at = 0;
    while let Some(instruction) = from.get(at) {
        let made = match step(host, instruction, tokens).map_err(failed)? {
            Step::Keep(instruction) => vec![instruction],
            Step::Call(name, arguments) => vec![filter(name, arguments)?],
            Step::Many(made) => made,
            Step::Refuse(what) => return Err(unsupported(what)),
        };
        places.push(places[at as usize] + made.len() as u32);
        steps.push(made);
        at += 1;
    }
    let place = |old: u32| {
        let place = places.get(old as usize).copied();
        place.ok_or_else(|| failed(invalid("a jump leaves the template")))
    };
    let mut to = Instructions::new(NAME, source);
    for (old, made) in steps.into_iter().enumerate() {
        let line = from.get_line(old as u32).unwrap_or(0).min(usize::from(u16::MAX)) as u16;
        for instruction in made {
            use Instruction as I;
            let moved = match instruction {
                I::Iterate(target) => I::Iterate(place(target)?),
                I::Jump(target) => I::Jump(place(target)?),
                I::JumpIfFalse(target) => I::JumpIfFalse(place(target)?),
                I::JumpIfFalseOrPop(target) => I::JumpIfFalseOrPop(place(target)?),
                I::JumpIfTrueOrPop(target) => I::JumpIfTrueOrPop(place(target)?),
                I::BuildMacro(name, offset, flags) => I::BuildMacro(name, place(offset)?, flags),
                other => other,
            };
            to.add_with_line(moved, line);
        }
    }
    Ok(to)
}
