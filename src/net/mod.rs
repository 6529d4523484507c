//! What every edge needs of the network.

pub mod http;
pub mod proxy_protocol;
pub mod tls;

use std::time::Duration;

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
}
