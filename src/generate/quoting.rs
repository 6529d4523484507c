//! What a config names, written so that PromQL and Prometheus' templates take it for text and nothing else.

/// A string in PromQL, quotes included. Go, which reads it, unescapes as JSON does.
pub(super) fn promql(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    // YAML ends a line here.
    quoted
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// Text in a template: with no brace left that could begin an action, also together with what stands beside it.
pub(super) fn in_template(text: &str) -> String {
    text.replace('{', "{{\"{\"}}")
}

/// A query within an action of a template, quotes included.
pub(super) fn query_in_template(query: &str) -> String {
    // Backquotes are easier to read, as a selector has double quotes of its own.
    if query.contains('`') {
        promql(query)
    } else {
        format!("`{query}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_quotes_and_backquotes_end_nothing() {
        assert_eq!(promql(r#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(promql("a\u{2028}"), r#""a\u2028""#);
        assert_eq!(in_template("a{{x}}"), r#"a{{"{"}}{{"{"}}x}}"#);
        assert_eq!(query_in_template(r#"m{a="b"}"#), r#"`m{a="b"}`"#);
        assert_eq!(query_in_template(r#"m{a="`"}"#), r#""m{a=\"`\"}""#);
    }
}
