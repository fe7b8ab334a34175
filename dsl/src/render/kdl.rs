//! KDL text of values and nodes.

use crate::syntax::Value;

use super::Item;

/// Writes a node at a depth, with its origin as a comment behind its first line.
pub(super) fn write(item: &Item, depth: usize, out: &mut String) {
    let indent = "    ".repeat(depth);
    let mut line = format!("{indent}{}", name(&item.name));
    for argument in &item.arguments {
        line.push(' ');
        line.push_str(&value(argument, depth));
    }
    for (key, argument) in &item.properties {
        line.push_str(&format!(" {}={}", name(key), value(argument, depth)));
    }
    if !item.children.is_empty() {
        line.push_str(" {");
    }
    if let Some(origin) = &item.origin {
        line.push_str(&format!(" // {origin}"));
    }
    out.push_str(&line);
    out.push('\n');
    for child in &item.children {
        write(child, depth + 1, out);
    }
    if !item.children.is_empty() {
        out.push_str(&format!("{indent}}}\n"));
    }
}

fn value(value: &Value, depth: usize) -> String {
    match value {
        Value::Text(content) => long_text(content, depth).unwrap_or_else(|| text(content)),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(truth) => format!("#{truth}"),
        Value::Null => "#null".to_owned(),
    }
}

/// A name, in quotes only where KDL wants them.
fn name(name: &str) -> String {
    const KEYWORDS: [&str; 6] = ["true", "false", "null", "inf", "-inf", "nan"];
    let bare = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
        && !KEYWORDS.contains(&name);
    if bare { name.to_owned() } else { text(name) }
}

/// A text in quotes.
fn text(content: &str) -> String {
    let mut quoted = String::from("\"");
    for c in content.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() || is_refused(c) => quoted.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Characters that KDL takes for the end of a line, or does not take at all.
fn is_refused(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text of several lines as such, where that loses nothing.
fn long_text(content: &str, depth: usize) -> Option<String> {
    let plain = |c: char| c == '\n' || !(c.is_control() || is_refused(c));
    let only_space = |line: &str| !line.is_empty() && line.trim().is_empty();
    if content.matches('\n').count() < 2
        || !content.chars().all(plain)
        || content.contains("\"\"\"")
        || content.split('\n').any(only_space)
    {
        return None;
    }
    let indent = "    ".repeat(depth + 1);
    let lines: Vec<String> = content
        .split('\n')
        .map(|line| {
            if line.is_empty() {
                String::new()
            } else {
                format!("{indent}{line}")
            }
        })
        .collect();
    Some(format!("#\"\"\"\n{}\n{indent}\"\"\"#", lines.join("\n")))
}
