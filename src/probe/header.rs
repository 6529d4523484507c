//! The header of a message as fields, whatever wrote it: bounded, unfolded, and never in error.

/// Of the header, so much is read. Chains of ARC and DKIM easily exceed 16 KiB.
pub const HEADER_LIMIT: usize = 256 * 1024;
/// So many fields are read.
pub const FIELD_LIMIT: usize = 2000;

/// One header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// As written.
    pub name: String,
    /// Unfolded: line breaks are gone, the white space behind them is there. Bytes beyond UTF-8 are replaced.
    pub value: String,
}

impl Field {
    /// Whether the field has this name, in any case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// The fields of a message, top to bottom, up to the first empty line. Lines end with LF or CRLF. A line that is neither
/// a field nor the continuation of one (an mbox's `From `, damage) is left out with what continues it.
#[must_use]
pub fn fields(raw: &[u8]) -> Vec<Field> {
    read(raw).0
}

/// Whether the header of a message goes on beyond what [`fields`] reads of it.
#[must_use]
pub fn is_cut(raw: &[u8]) -> bool {
    read(raw).1
}

fn read(raw: &[u8]) -> (Vec<Field>, bool) {
    let header = raw.get(..HEADER_LIMIT).unwrap_or(raw);
    let mut fields: Vec<Field> = Vec::new();
    let mut in_field = false;
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return (fields, false);
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            if in_field && let Some(field) = fields.last_mut() {
                field.value.push_str(&String::from_utf8_lossy(line));
            }
            continue;
        }
        if fields.len() == FIELD_LIMIT {
            return (fields, true);
        }
        let field = field(line);
        in_field = field.is_some();
        fields.extend(field);
    }
    (fields, raw.len() > HEADER_LIMIT)
}

/// RFC 5322 section 2.2; white space before the colon is the obsolete syntax.
fn field(line: &[u8]) -> Option<Field> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, rest) = line.split_at_checked(colon)?;
    let name = name.trim_ascii_end();
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let value = rest.get(1..).unwrap_or_default();
    Some(Field {
        name: String::from_utf8_lossy(name).into_owned(),
        value: String::from_utf8_lossy(value).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(raw: &[u8]) -> Vec<(String, String)> {
        fields(raw)
            .into_iter()
            .map(|field| (field.name, field.value))
            .collect()
    }

    #[test]
    fn fields_are_unfolded_and_end_at_the_first_empty_line() {
        let raw = "From x Mon Nov 23\r\nA: one\r\n\ttwo\r\nB:three\r\n  four\r\nC : five\r\n\r\nD: body\r\n";
        let expected = [("A", " one\ttwo"), ("B", "three  four"), ("C", " five")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs(raw.as_bytes()), expected);
        assert_eq!(pairs(raw.replace('\r', "").as_bytes()), expected);
    }

    #[test]
    fn damage_does_not_reach_the_next_field() {
        assert_eq!(
            pairs(b" lost\nno field\n more of it\n: nameless\nA: \xff\n"),
            [("A".to_owned(), " \u{fffd}".to_owned())]
        );
        assert_eq!(pairs(b""), []);
        assert_eq!(pairs(b"A"), []);
    }

    #[test]
    fn size_and_number_are_bounded() {
        let many = "A: b\n".repeat(FIELD_LIMIT + 10);
        assert_eq!(fields(many.as_bytes()).len(), FIELD_LIMIT);
        let long = format!("A: {}\nB: c\n", "x".repeat(HEADER_LIMIT));
        assert_eq!(fields(long.as_bytes()).len(), 1);
    }

    #[test]
    fn a_header_that_goes_on_beyond_what_is_read_is_cut_and_a_long_body_is_not() {
        let filled = |length: usize| format!("A: {}\n", "x".repeat(length - 4));
        for (raw, cut) in [
            (String::new(), false),
            ("A: b\n".to_owned(), false),
            (filled(HEADER_LIMIT), false),
            (filled(HEADER_LIMIT) + "B: c\n\n", true),
            (filled(HEADER_LIMIT - 1) + "\nbody", false),
            (filled(HEADER_LIMIT + 1), true),
            ("A: b\n".repeat(FIELD_LIMIT), false),
            ("A: b\n".repeat(FIELD_LIMIT) + "\nB: c", false),
            ("A: b\n".repeat(FIELD_LIMIT + 1), true),
            ("A: b\r\n\r\n".to_owned() + &"x".repeat(HEADER_LIMIT), false),
        ] {
            assert_eq!(is_cut(raw.as_bytes()), cut, "{} bytes", raw.len());
        }
    }
}
