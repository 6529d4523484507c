//! What every edge needs of the network.

pub mod http;
pub mod proxy_protocol;
pub mod tcp;
pub mod tls;

use crate::secret::redact;
use std::time::Duration;

/// A server's words in a report, in characters.
const LONGEST_QUOTED: usize = 300;

/// What a server says, or an error says of it, on one line, without secrets, at a length that a report can bear.
#[must_use]
pub fn quotable(text: &str) -> String {
    // rustls ends its sentence about a connection that was cut with the address of a manual for programmers.
    let text = text.split(": https://docs.rs/").next().unwrap_or_default();
    // Before anything is cut: half a secret is not recognised, and still half a secret.
    let text = redact(text);
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    // And once more: it may have been folded over two lines.
    let line = redact(&words.join(" ")).into_owned();
    if line.chars().count() <= LONGEST_QUOTED {
        return line;
    }
    let start: String = line.chars().take(LONGEST_QUOTED).collect();
    format!("{start}…")
}

/// A limit as people write it: `30 s`, `2.5 s`, `250 ms`; never zero for what is not nothing.
#[must_use]
pub fn spelled(limit: Duration) -> String {
    let milliseconds = limit.as_millis();
    if milliseconds < 950 {
        let at_least = u128::from(!limit.is_zero());
        return format!("{} ms", milliseconds.max(at_least));
    }
    let tenths = (milliseconds + 50) / 100;
    match tenths % 10 {
        0 => format!("{} s", tenths / 10),
        tenth => format!("{}.{tenth} s", tenths / 10),
    }
}

/// A time that something took, for logs: to a tenth of a millisecond.
#[must_use]
pub fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::remember;

    #[test]
    fn a_limit_is_never_told_as_nothing() {
        for (micros, expected) in [
            (0, "0 ms"),
            (40, "1 ms"),
            (1_999, "1 ms"),
            (300_000, "300 ms"),
            (949_999, "949 ms"),
            (950_000, "1 s"),
            (1_049_000, "1 s"),
            (2_500_000, "2.5 s"),
            (30_000_000, "30 s"),
            (29_999_000, "30 s"),
        ] {
            assert_eq!(spelled(Duration::from_micros(micros)), expected);
        }
    }

    #[test]
    fn a_time_in_the_log_has_one_digit_behind_the_point() {
        for (nanos, expected) in [
            (7_269_812, "7.3"),
            (49_999, "0.0"),
            (1_000_000_000, "1000.0"),
        ] {
            assert_eq!(
                format!("{:?}", milliseconds(Duration::from_nanos(nanos))),
                expected
            );
        }
    }

    #[test]
    fn a_secret_that_the_limit_of_a_quote_would_cut_is_hidden_whole() {
        let secret = "a-secret-at-the-edge-of-a-quote";
        remember(secret);
        for before in LONGEST_QUOTED - secret.len()..LONGEST_QUOTED {
            let quoted = quotable(&format!("{}{secret}", "x".repeat(before)));
            assert!(!quoted.contains("a-"), "{before}: {quoted}");
        }
    }

    #[test]
    fn what_is_quoted_fits_a_line() {
        assert_eq!(quotable("<html>\r\n\t<p>\u{0}no"), "<html> <p> no");
        assert_eq!(quotable(&"é".repeat(400)).chars().count(), 301);
    }

    #[test]
    fn a_secret_that_a_server_folds_over_two_lines_is_hidden_too() {
        remember("a secret with words that are folded");
        let quoted = quotable("535 you said a secret with\r\n words that are folded");
        assert!(!quoted.contains("folded"), "{quoted}");
    }

    #[test]
    fn a_manual_for_programmers_is_not_quoted() {
        let cut = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/latest/rustls/manual";
        assert_eq!(
            quotable(cut),
            "peer closed connection without sending TLS close_notify"
        );
    }
}
