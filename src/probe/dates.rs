//! Dates as mail carries them, and as programs that should know better write them.
//!
//! RFC 5322 section 3.3 with its obsolete zones and years, months in full, and the forms of JavaScript and C.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

/// No date is longer; what is, is none.
const LONGEST: usize = 200;
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
/// RFC 5322 section 4.3, hours from UTC. Every other name is of no known zone, which counts as UTC.
const ZONES: [(&str, i64); 8] = [
    ("est", -5),
    ("edt", -4),
    ("cst", -6),
    ("cdt", -5),
    ("mst", -7),
    ("mdt", -6),
    ("pst", -8),
    ("pdt", -7),
];

/// The instant that a date names; none where a part is missing or out of range.
///
/// `Mon, 23 Nov 2026 22:54:32 +0000 (UTC)`, `Tue, 09 January 2024 00:53:07 +0000 (UTC)`,
/// `Tue Feb 28 2023 07:51:00 GMT+000`, `Thu Jan  1 00:00:00 2026`. The name of the day is not looked at.
#[must_use]
pub fn parse(text: &str) -> Option<DateTime<Utc>> {
    if text.len() > LONGEST {
        return None;
    }
    let text = without_comments(text).to_ascii_lowercase();
    let mut parts = Parts::default();
    for word in text.split(|c: char| c.is_whitespace() || c == ',') {
        parts.take(word)?;
    }
    parts.instant()
}

#[derive(Default)]
struct Parts {
    day: Option<u32>,
    month: Option<u32>,
    year: Option<i32>,
    /// Hour, minute, second.
    time: Option<(u32, u32, u32)>,
    /// Minutes east of UTC.
    zone: Option<i64>,
}

impl Parts {
    /// None where the word makes the whole no date.
    fn take(&mut self, word: &str) -> Option<()> {
        let first = word.chars().next();
        match first {
            None => {}
            Some('0'..='9') if word.contains(':') => {
                if self.time.is_none() {
                    self.time = Some(time(word)?);
                }
            }
            Some('0'..='9') => self.number(word)?,
            Some('+' | '-') if self.time.is_some() => self.zone = Some(offset(word)?),
            Some('a'..='z') => self.name(word)?,
            _ => return None,
        }
        Some(())
    }

    /// The day comes before the year in every form.
    fn number(&mut self, word: &str) -> Option<()> {
        if self.day.is_none() && word.len() <= 2 {
            self.day = Some(digits(word)?);
        } else if self.year.is_none() {
            self.year = Some(year(word)?);
        } else {
            return None;
        }
        Some(())
    }

    fn name(&mut self, word: &str) -> Option<()> {
        let is = |name: &str| word.len() >= 3 && name.starts_with(word.trim_end_matches('.'));
        if DAYS.into_iter().any(is) {
            return Some(());
        }
        if let Some(index) = MONTHS.iter().position(|name| is(name)) {
            self.month = u32::try_from(index + 1).ok();
            return Some(());
        }
        if word == "sept" {
            self.month = Some(9);
            return Some(());
        }
        // Only what stands behind the time is a zone.
        if self.time.is_some() && self.zone.is_none() {
            self.zone = Some(zone(word)?);
        }
        Some(())
    }

    fn instant(self) -> Option<DateTime<Utc>> {
        let (hour, minute, second) = self.time?;
        // A leap second has no place in Unix time.
        let second = second.min(59);
        let local = NaiveDate::from_ymd_opt(self.year?, self.month?, self.day?)?
            .and_hms_opt(hour, minute, second)?;
        let zone = TimeDelta::minutes(self.zone.unwrap_or(0));
        Some(local.checked_sub_signed(zone)?.and_utc())
    }
}

/// `7:51`, `07:51:00`, `07:51:00.123`.
fn time(word: &str) -> Option<(u32, u32, u32)> {
    let mut parts = word.split(':');
    let hour = digits(parts.next()?)?;
    let minute = digits(parts.next()?)?;
    let second = match parts.next() {
        Some(text) => digits(text.split('.').next().unwrap_or_default())?,
        None => 0,
    };
    let fits = parts.next().is_none() && hour < 24 && minute < 60 && second <= 60;
    fits.then_some((hour, minute, second))
}

/// Two digits and three are obsolete (RFC 5322 section 4.3).
fn year(word: &str) -> Option<i32> {
    let year = i32::try_from(digits(word)?).ok()?;
    let year = match word.len() {
        2 if year < 50 => 2000 + year,
        2 | 3 => 1900 + year,
        4 => year,
        _ => return None,
    };
    (1970..=2999).contains(&year).then_some(year)
}

/// `utc`, `pdt`, `gmt+0100`, `cest`.
fn zone(word: &str) -> Option<i64> {
    for prefix in ["gmt", "utc", "ut"] {
        if let Some(rest) = word.strip_prefix(prefix)
            && rest.starts_with(['+', '-'])
        {
            return offset(rest);
        }
    }
    let known = ZONES.iter().find(|(name, _)| *name == word);
    Some(known.map_or(0, |(_, hours)| hours * 60))
}

/// `+0100`, `-07:00`, `+1`, `+000`, in minutes.
fn offset(word: &str) -> Option<i64> {
    let (sign, rest) = match word.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some(pair) => pair,
        None if rest.len() <= 2 => (rest, "0"),
        None if rest.len() <= 4 => rest.split_at_checked(rest.len() - 2)?,
        None => return None,
    };
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * i64::from(hours * 60 + minutes))
}

/// A number of one to four digits, and nothing else.
fn digits(text: &str) -> Option<u32> {
    let is_number = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Comments nest (RFC 5322 section 3.2.2).
fn without_comments(text: &str) -> String {
    let mut depth = 0_usize;
    let mut outside = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => outside.push(c),
            _ => continue,
        }
        if matches!(c, '(' | ')') {
            outside.push(' ');
        }
    }
    outside
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_that_mail_carries_is_read() {
        for (text, expected) in [
            (
                "Mon, 23 Nov 2026 22:54:32 +0000 (UTC)",
                "2026-11-23T22:54:32Z",
            ),
            ("Mon, 23 Nov 2026 22:40:10 +0000", "2026-11-23T22:40:10Z"),
            (
                "Tue, 09 January 2024 00:53:07 +0000 (UTC)",
                "2024-01-09T00:53:07Z",
            ),
            ("Tue Feb 28 2023 07:51:00 GMT+000", "2023-02-28T07:51:00Z"),
            (
                "Tue Feb 28 2023 07:51:00 GMT+0100 (Central European Standard Time)",
                "2023-02-28T06:51:00Z",
            ),
            ("Tue Feb 28 2023 07:51:00 GMT-3", "2023-02-28T10:51:00Z"),
            (
                "Thu, 23 Oct 2025 02:42:30 -0700 (PDT)",
                "2025-10-23T09:42:30Z",
            ),
            ("23 Oct 2025 02:42 PDT", "2025-10-23T09:42:00Z"),
            ("1 Jan 2026 00:00:00 -0000", "2026-01-01T00:00:00Z"),
            ("Thu, 1 Jan 26 00:00:00 GMT", "2026-01-01T00:00:00Z"),
            ("Thu, 1 Jan 126 0:00:00 UT", "2026-01-01T00:00:00Z"),
            ("Fri, 1 Jan 99 00:00:00 Z", "1999-01-01T00:00:00Z"),
            ("Thu Jan  1 00:00:00 2026", "2026-01-01T00:00:00Z"),
            ("Wed, 31 Dec 2025 23:59:60 +0000", "2025-12-31T23:59:59Z"),
            ("Wed, 31 Dec 2025 18:30:00 -05:30", "2026-01-01T00:00:00Z"),
            (
                "(a (nested) one) Thu (first),1 Jan 2026(now)00:00:00 +0545",
                "2025-12-31T18:15:00Z",
            ),
            ("Thu, 1 Jan 2026 00:00:00 CEST", "2026-01-01T00:00:00Z"),
            ("Thu, 1 Jan 2026 00:00:00.250 +0000", "2026-01-01T00:00:00Z"),
            ("thursday, 1 sept 2026 00:00:00 est", "2026-09-01T05:00:00Z"),
            ("  29 Feb 2024 12:00:00 +0000 ", "2024-02-29T12:00:00Z"),
        ] {
            let read = parse(text).map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
            assert_eq!(read.as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_out_of_range_or_incomplete_is_no_date() {
        for text in [
            "",
            "(UTC)",
            "Mon, 23 Nov 2026",
            "22:54:32 +0000",
            "Nov 2026 22:54:32 +0000",
            "29 Feb 2023 12:00:00 +0000",
            "31 Nov 2026 12:00:00 +0000",
            "0 Nov 2026 12:00:00 +0000",
            "23 Nov 0 12:00:00 +0000",
            "23 Nov 20260 12:00:00 +0000",
            "23 Nov 1969 12:00:00 +0000",
            "23 Nov 2026 24:00:00 +0000",
            "23 Nov 2026 12:60:00 +0000",
            "23 Nov 2026 12:00:61 +0000",
            "23 Nov 2026 12:00:00:00 +0000",
            "23 Nov 2026 12:00:00 +2400",
            "23 Nov 2026 12:00:00 +00000",
            "23 Nov 2026 12:00:00 +",
            "23 Nov 2026 12 00 00 +0000",
            "23 Foo 2026 12:00:00 +0000",
            "23 Nov 2026 ١٢:00:00 +0000",
            "23/11/2026 12:00:00",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        let long = format!("Mon, 23 Nov 2026 22:54:32 +0000 ({})", "x".repeat(LONGEST));
        assert_eq!(parse(&long), None);
    }

    proptest! {
        #[test]
        fn every_instant_is_read_back_in_any_zone(seconds in 0_i64..4_000_000_000, quarter in -56_i32..=56) {
            let at = DateTime::from_timestamp(seconds, 0).unwrap();
            let zone = chrono::FixedOffset::east_opt(quarter * 900).unwrap();
            let local = at.with_timezone(&zone);
            prop_assert_eq!(parse(&local.to_rfc2822()), Some(at));
            prop_assert_eq!(parse(&local.format("%A, %d %B %Y %H:%M:%S %z (XYZ)").to_string()), Some(at));
            prop_assert_eq!(parse(&local.format("%a %b %d %Y %H:%M:%S GMT%z").to_string()), Some(at));
        }

        #[test]
        fn text_never_panics(text in "[ -~é]{0,40}|[0-9A-Za-z:+, -]{0,40}") {
            let _ = parse(&text);
        }
    }
}
