//! Texts with gaps: `{name}` is filled with what stands under that name.

/// Fills the gaps of a template. A gap that nothing fills is left as it stands, which a test finds.
pub(super) fn fill(template: &str, gaps: &[(&str, &str)]) -> String {
    let mut text = template.to_owned();
    for (name, with) in gaps {
        text = text.replace(&format!("{{{name}}}"), with);
    }
    text
}
