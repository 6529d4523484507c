//! Words, comments and semicolons of a structured header field, whatever it is (RFC 5322 section 3.2).

/// Longer fields are read up to here.
pub(super) const LONGEST: usize = 64 * 1024;

/// A piece of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// Text without white space. Where it was quoted, quotes and backslashes are undone.
    Word(String),
    /// What stands between two matching parentheses, those of comments inside it included.
    Comment(&'t str),
    /// A semicolon outside of both.
    Semicolon,
}

/// A piece, and where in the field the text behind it begins, counted in bytes.
pub(super) type Placed<'t> = (Token<'t>, usize);

/// Cuts a field up. A parenthesis or a quote without its partner is ordinary text. Linear in the length of the text.
pub(super) fn tokens(text: &str) -> Vec<Placed<'_>> {
    let text = bounded(text);
    let partners = partners(text);
    let mut tokens = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if let Some(end) = partners.get(at).copied().flatten() {
            let inside = text.get(at + 1..end).unwrap_or_default();
            while chars.next_if(|(next, _)| *next <= end).is_some() {}
            if c == '"' {
                word.get_or_insert_default().push_str(&unescaped(inside));
                continue;
            }
            tokens.extend(word.take().map(|word| (Token::Word(word), at)));
            tokens.push((Token::Comment(inside), end + 1));
        } else if c == ';' || c.is_whitespace() {
            tokens.extend(word.take().map(|word| (Token::Word(word), at)));
            if c == ';' {
                tokens.push((Token::Semicolon, at + 1));
            }
        } else {
            word.get_or_insert_default().push(c);
        }
    }
    tokens.extend(word.map(|word| (Token::Word(word), text.len())));
    tokens
}

fn bounded(text: &str) -> &str {
    if text.len() <= LONGEST {
        return text;
    }
    let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// For each byte that opens a comment or a quoted string outside of both, where it is closed.
fn partners(text: &str) -> Vec<Option<usize>> {
    let mut partners = vec![None; text.len()];
    let mut open = Vec::new();
    let mut quote = None;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match (byte, quote) {
            (b'\\', Some(_)) => escaped = true,
            (b'\\', None) => escaped = !open.is_empty(),
            (b'"', Some(start)) => {
                set(&mut partners, start, at);
                quote = None;
            }
            // Inside a comment a quote is ordinary text.
            (b'"', None) if open.is_empty() => quote = Some(at),
            (b'(', None) => open.push(at),
            (b')', None) => {
                if let Some(start) = open.pop() {
                    set(&mut partners, start, at);
                }
            }
            _ => {}
        }
    }
    partners
}

fn set(partners: &mut [Option<usize>], start: usize, end: usize) {
    if let Some(partner) = partners.get_mut(start) {
        *partner = Some(end);
    }
}

/// Quoted pairs undone (RFC 5322 section 3.2.4).
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' {
            chars.next().unwrap_or(c)
        } else {
            c
        });
    }
    plain
}

/// The beginning of a text: so many characters of what strangers wrote are kept.
pub(super) fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<String> {
        tokens(text)
            .into_iter()
            .map(|(token, _)| match token {
                Token::Word(word) => word,
                Token::Comment(comment) => format!("({comment})"),
                Token::Semicolon => ";".to_owned(),
            })
            .collect()
    }

    #[test]
    fn comments_nest_and_quotes_hide_what_is_in_them() {
        for (text, expected) in [
            ("a  b\t c", vec!["a", "b", "c"]),
            ("a(b (c) d)e;f", vec!["a", "(b (c) d)", "e", ";", "f"]),
            (r#"x="a;(b) \" c"d e"#, vec![r#"x=a;(b) " cd"#, "e"]),
            (r#"("a) b"#, vec![r#"("a)"#, "b"]),
            (r"(a\)b) c", vec![r"(a\)b)", "c"]),
            ("(a (b) c; d", vec!["(a", "(b)", "c", ";", "d"]),
            ("a) b; c", vec!["a)", "b", ";", "c"]),
            (r#"a "b; c"#, vec!["a", "\"b", ";", "c"]),
            (r#""" a"#, vec!["", "a"]),
            ("", vec![]),
        ] {
            assert_eq!(cut(text), expected, "{text}");
        }
    }

    #[test]
    fn the_text_behind_a_piece_is_found_again() {
        let text = "by host (a; b); Mon é; date";
        let last = tokens(text)
            .into_iter()
            .rfind(|(token, _)| *token == Token::Semicolon)
            .and_then(|(_, behind)| text.get(behind..));
        assert_eq!(last, Some(" date"));
    }

    #[test]
    fn ten_thousand_open_parentheses_take_no_time() {
        let begun = std::time::Instant::now();
        let opens = "(".repeat(LONGEST);
        assert_eq!(cut(&opens), [opens.as_str()]);
        let quotes = "\"(".repeat(LONGEST / 2);
        let _ = tokens(&quotes);
        assert!(begun.elapsed() < std::time::Duration::from_secs(2));
    }
}
