//! YAML as people write it, from a tree that keeps its order.

use std::fmt::Write as _;

/// A node of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// Keys in the order in which they are written.
    Map(Vec<(String, Node)>),
    /// Items.
    List(Vec<Node>),
    /// A string; of several lines as a block.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A truth value.
    Bool(bool),
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Node {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Node {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Node {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Vec<Node>> for Node {
    fn from(items: Vec<Node>) -> Self {
        Self::List(items)
    }
}

/// A map.
pub(super) fn map<const N: usize>(pairs: [(&str, Node); N]) -> Node {
    Node::Map(
        pairs
            .into_iter()
            .map(|(key, node)| (key.to_owned(), node))
            .collect(),
    )
}

/// A map of pairs that were collected.
pub(super) fn owned(pairs: Vec<(&str, Node)>) -> Node {
    let pairs = pairs.into_iter().map(|(key, node)| (key.to_owned(), node));
    Node::Map(pairs.collect())
}

/// A list of strings.
pub(super) fn texts<'t>(items: impl IntoIterator<Item = &'t str>) -> Node {
    Node::List(items.into_iter().map(Node::from).collect())
}

impl Node {
    /// The document, with a line break at its end.
    pub(super) fn to_yaml(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, 0, true);
        text
    }

    fn write(&self, text: &mut String, indent: usize, at_line_start: bool) {
        match self {
            Self::Map(pairs) if !pairs.is_empty() => {
                for (index, (key, node)) in pairs.iter().enumerate() {
                    if index > 0 || at_line_start {
                        text.push_str(&" ".repeat(indent));
                    }
                    text.push_str(&scalar(key));
                    text.push(':');
                    node.write_value(text, indent);
                }
            }
            Self::List(items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 || at_line_start {
                        text.push_str(&" ".repeat(indent));
                    }
                    text.push_str("- ");
                    item.write(text, indent + 2, false);
                }
            }
            other => {
                text.push_str(&other.inline(indent));
                text.push('\n');
            }
        }
    }

    /// Behind the colon of a key at this indent.
    fn write_value(&self, text: &mut String, indent: usize) {
        match self {
            Self::Map(pairs) if !pairs.is_empty() => {
                text.push('\n');
                self.write(text, indent + 2, true);
            }
            Self::List(items) if !items.is_empty() => {
                text.push('\n');
                self.write(text, indent + 2, true);
            }
            other => {
                let _ = writeln!(text, " {}", other.inline(indent));
            }
        }
    }

    /// What stands on the line of its key, and, for text of several lines, below it.
    fn inline(&self, indent: usize) -> String {
        match self {
            Self::Map(_) => "{}".to_owned(),
            Self::List(_) => "[]".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Text(text) if text.contains('\n') && !text.starts_with([' ', '\n']) => {
                let mut block = if text.ends_with('\n') { "|" } else { "|-" }.to_owned();
                for line in text.trim_end_matches('\n').split('\n') {
                    block.push('\n');
                    if !line.is_empty() {
                        block.push_str(&" ".repeat(indent + 2));
                        block.push_str(line);
                    }
                }
                block
            }
            Self::Text(text) => scalar(text),
        }
    }
}

/// Plain where YAML reads it as a string for certain, else in double quotes as JSON writes it.
fn scalar(text: &str) -> String {
    let is_plain_char = |c: char| c.is_ascii_alphanumeric() || " ._-/()$,;<>+".contains(c);
    let starts_well = text
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '/' || c == '$');
    let is_word_of_yaml = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n"
    );
    if starts_well && !is_word_of_yaml && !text.ends_with(' ') && text.chars().all(is_plain_char) {
        return text.to_owned();
    }
    if text.contains('"') && !text.contains(['\'', '\\']) && !text.contains(char::is_control) {
        return format!("'{text}'");
    }
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_written_as_people_write_it() {
        let tree = map([
            ("kind", "Thing".into()),
            ("on", "yes".into()),
            ("schedule", "*/20 * * * *".into()),
            ("empty", Node::List(Vec::new())),
            ("none", Node::Map(Vec::new())),
            ("text", "first\n  second\n\nlast\n".into()),
            (
                "list",
                vec![
                    map([("a", 1.into()), ("b", vec![Node::from("x")].into())]),
                    "y".into(),
                ]
                .into(),
            ),
        ]);
        assert_eq!(
            tree.to_yaml(),
            r#"kind: Thing
"on": "yes"
schedule: "*/20 * * * *"
empty: []
none: {}
text: |
  first
    second

  last
list:
  - a: 1
    b:
      - x
  - "y"
"#
        );
    }
}
