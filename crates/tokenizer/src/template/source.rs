//! Checks on a template's source before minijinja compiles it, and the one tag that minijinja
//! lacks. Invariant: what passes compiles without deep recursion and without folding constants into
//! large values.

use super::TemplateError;
use super::engine::syntax;
use minijinja::Value;
use minijinja::machinery::{Token, ast, tokenize};
use minijinja::value::ValueKind;

/// Longest template source in bytes; the longest in use are around 20 KB.
const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Most operators, subscripts and brackets in one tag: each may nest the syntax tree one deeper.
const NESTING_MAX: usize = 600;
/// Most `elif` in one template, as each nests in the one before.
const ELIF_MAX: usize = 400;
/// Largest folded constant, in bytes or entries.
const CONSTANT_MAX: u64 = 1 << 12;

/// Makes line breaks `\n`, as jinja2 does, and replaces transformers' `{% generation %}` (it marks
/// what to train on) by a plain scope.
pub(super) fn prepare(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        rest = tag;
        let sign = &tag[..usize::from(tag.starts_with(['-', '+']))];
        let body = tag[sign.len()..].trim_start();
        let Some((name, scope)) = [("generation", "with"), ("endgeneration", "endwith")]
            .into_iter()
            .find(|(name, _)| body.starts_with(name))
        else {
            continue;
        };
        let tail = body[name.len()..].trim_start();
        if tail.starts_with("%}") || tail.starts_with("-%}") || tail.starts_with("+%}") {
            out.push_str(sign);
            out.push(' ');
            out.push_str(scope);
            out.push(' ');
            rest = tail;
        }
    }
    out.push_str(rest);
    out
}

fn limit(what: &'static str, limit: u64) -> TemplateError {
    TemplateError::Limit { what, limit }
}

/// Refuses sources whose syntax tree could be too deep.
pub(super) fn check(source: &str) -> Result<(), TemplateError> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err(limit("source", SOURCE_BYTES_MAX as u64));
    }
    let (mut nesting, mut elifs) = (0, 0);
    for token in tokenize(source, false, syntax()?) {
        // The parser reports what is wrong here with its position.
        let Ok((token, _)) = token else { break };
        match token {
            Token::BlockStart | Token::VariableStart => nesting = 0,
            Token::Ident("elif") => elifs += 1,
            Token::Ident("not" | "and" | "or" | "in" | "is" | "if" | "else") => nesting += 1,
            Token::Comma
            | Token::Colon
            | Token::Ident(_)
            | Token::Str(_)
            | Token::String(_)
            | Token::Int(_) => {}
            _ => nesting += 1,
        }
        if nesting > NESTING_MAX {
            return Err(limit("operators in one tag", NESTING_MAX as u64));
        }
        if elifs > ELIF_MAX {
            return Err(limit("elif", ELIF_MAX as u64));
        }
    }
    Ok(())
}

/// Refuses constant expressions that the engine would fold into large values while compiling.
pub(super) fn check_constants(template: &ast::Stmt) -> Result<(), TemplateError> {
    use ast::Stmt as S;
    let all = |body: &[S]| body.iter().try_for_each(check_constants);
    match template {
        S::Template(t) => all(&t.children),
        S::EmitExpr(e) => expression(&e.expr),
        S::ForLoop(f) => {
            expression(&f.iter)?;
            optional(f.filter_expr.as_ref())?;
            all(&f.body)?;
            all(&f.else_body)
        }
        S::IfCond(i) => {
            expression(&i.expr)?;
            all(&i.true_body)?;
            all(&i.false_body)
        }
        S::WithBlock(w) => {
            w.assignments.iter().try_for_each(|(_, value)| expression(value))?;
            all(&w.body)
        }
        S::Set(s) => expression(&s.expr),
        S::SetBlock(s) => {
            optional(s.filter.as_ref())?;
            all(&s.body)
        }
        S::AutoEscape(a) => {
            expression(&a.enabled)?;
            all(&a.body)
        }
        S::FilterBlock(f) => {
            expression(&f.filter)?;
            all(&f.body)
        }
        S::Macro(m) => {
            m.defaults.iter().try_for_each(expression)?;
            all(&m.body)
        }
        S::CallBlock(c) => {
            call(&c.call)?;
            c.macro_decl.defaults.iter().try_for_each(expression)?;
            all(&c.macro_decl.body)
        }
        S::Do(d) => call(&d.call),
        S::EmitRaw(_) | S::Continue(_) | S::Break(_) => Ok(()),
        S::Block(_) | S::Import(_) | S::FromImport(_) | S::Extends(_) | S::Include(_) => {
            Err(TemplateError::Unsupported { what: "template inheritance".to_owned() })
        }
    }
}

fn optional(found: Option<&ast::Expr>) -> Result<(), TemplateError> {
    found.map_or(Ok(()), expression)
}

fn call(found: &ast::Call) -> Result<(), TemplateError> {
    expression(&found.expr)?;
    arguments(&found.args)
}

fn arguments(found: &[ast::CallArg]) -> Result<(), TemplateError> {
    found.iter().try_for_each(|argument| match argument {
        ast::CallArg::Pos(e)
        | ast::CallArg::Kwarg(_, e)
        | ast::CallArg::PosSplat(e)
        | ast::CallArg::KwargSplat(e) => expression(e),
    })
}

/// Children first, so that the operands of a product are known to be small when it is judged.
fn expression(found: &ast::Expr) -> Result<(), TemplateError> {
    use ast::Expr as E;
    let all = |items: &[E]| items.iter().try_for_each(expression);
    match found {
        E::Var(_) | E::Const(_) => Ok(()),
        E::Slice(s) => {
            expression(&s.expr)?;
            [&s.start, &s.stop, &s.step].into_iter().try_for_each(|e| optional(e.as_ref()))
        }
        E::UnaryOp(u) => expression(&u.expr),
        E::BinOp(b) => {
            expression(&b.left)?;
            expression(&b.right)?;
            binary(b)
        }
        E::Compare(c) => {
            expression(&c.expr)?;
            c.ops.iter().try_for_each(|op| expression(&op.expr))
        }
        E::IfExpr(i) => {
            expression(&i.test_expr)?;
            expression(&i.true_expr)?;
            optional(i.false_expr.as_ref())
        }
        E::Filter(f) => {
            optional(f.expr.as_ref())?;
            arguments(&f.args)
        }
        E::Test(t) => {
            expression(&t.expr)?;
            arguments(&t.args)
        }
        E::GetAttr(g) => expression(&g.expr),
        E::GetItem(g) => {
            expression(&g.expr)?;
            expression(&g.subscript_expr)
        }
        E::Call(c) => call(c),
        E::List(l) => all(&l.items),
        E::Tuple(t) => all(&t.items),
        E::Map(m) => {
            all(&m.keys)?;
            all(&m.values)
        }
    }
}

fn size(value: &Value) -> u64 {
    match value.kind() {
        ValueKind::Number | ValueKind::Bool | ValueKind::None => 1,
        _ => value.as_str().map(str::len).or_else(|| value.len()).map_or(u64::MAX, |n| n as u64),
    }
}

fn binary(operation: &ast::BinOp) -> Result<(), TemplateError> {
    let is_product = match operation.op {
        ast::BinOpKind::Mul => true,
        ast::BinOpKind::Add | ast::BinOpKind::Concat => false,
        _ => return Ok(()),
    };
    let (Some(left), Some(right)) = (operation.left.as_const(), operation.right.as_const()) else {
        return Ok(());
    };
    let count = |value: &Value| value.as_usize().map(|n| n as u64);
    let folded = match (is_product, count(&left), count(&right)) {
        (true, Some(_), Some(_)) => 1,
        (true, None, Some(n)) => size(&left).saturating_mul(n),
        (true, Some(n), None) => size(&right).saturating_mul(n),
        _ => size(&left).saturating_add(size(&right)),
    };
    // A long text that is written out is no concern; only one that grows beyond its operands.
    if folded > CONSTANT_MAX.max(size(&left).saturating_add(size(&right)))
        || nested(&left)
        || nested(&right)
    {
        return Err(limit("constant expression", CONSTANT_MAX));
    }
    Ok(())
}

/// A sequence of sequences times a number would be walked at each comparison and printing.
fn nested(value: &Value) -> bool {
    let is_sequence = |v: &Value| matches!(v.kind(), ValueKind::Seq | ValueKind::Iterable);
    is_sequence(value)
        && value.try_iter().is_ok_and(|mut items| items.any(|item| is_sequence(&item)))
}
