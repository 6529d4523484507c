//! The fields in which spam filters leave their opinion: Rspamd, SpamAssassin and amavis, Microsoft.

use super::header::Field;
use super::lexer::cut;
use super::report::Spam;
use std::collections::BTreeMap;

/// So many symbols are read.
const MOST_SYMBOLS: usize = 500;
/// No symbol and no action is longer; what is, is cut off.
const LONGEST: usize = 100;
/// No filter gives more points than this, for or against.
const MOST_POINTS: f64 = 1_000_000.0;

/// What a filter says in these fields, of which the first of each name counts; none where no filter left any. Rspamd's
/// word goes before SpamAssassin's, and that before Microsoft's, since each tells less than the one before.
#[must_use]
pub fn read<'f>(fields: impl Iterator<Item = &'f Field> + Clone) -> Option<Spam> {
    let found = |name: &str| {
        let field = fields.clone().find(|field| field.is(name));
        field.map(|field| field.value.trim())
    };
    let mut spam = found("X-Spamd-Result")
        .and_then(rspamd)
        .or_else(|| found("X-Spam-Status").and_then(spam_status))
        .or_else(|| microsoft(&found))
        .unwrap_or_default();
    let score = || {
        ["X-Rspamd-Score", "X-Spam-Score"]
            .into_iter()
            .find_map(|name| number(found(name)?.split_whitespace().next()?))
    };
    spam.score = spam.score.or_else(score);
    // What was decided is told best by the field that tells only this.
    if let Some(action) = found("X-Rspamd-Action").filter(|text| !text.is_empty()) {
        spam.action = Some(cut(action, LONGEST));
    }
    let flag = || {
        ["X-Spam", "X-Spam-Flag"].into_iter().find_map(|name| {
            let value = found(name)?;
            value
                .eq_ignore_ascii_case("yes")
                .then(|| format!("{name}: {value}"))
        })
    };
    spam.action = spam.action.or_else(flag);
    (spam != Spam::default()).then_some(spam)
}

/// `default: False [0.64 / 15.00]; SYMBOL(1.00)[option,option]; …`. `True` there means refused: a message that the
/// filter wants in Junk says `False`.
fn rspamd(value: &str) -> Option<Spam> {
    let (head, rest) = value.split_once(']')?;
    let (word, pair) = head.split_once('[')?;
    let (score, threshold) = pair.split_once('/')?;
    let is_refused = word
        .rsplit(':')
        .next()
        .is_some_and(|word| word.trim().eq_ignore_ascii_case("true"));
    Some(Spam {
        score: Some(number(score)?),
        threshold: number(threshold),
        action: is_refused.then(|| "reject".to_owned()),
        symbols: rspamd_symbols(rest),
    })
}

/// Options in square brackets may hold anything, semicolons too.
fn rspamd_symbols(text: &str) -> BTreeMap<String, Option<f64>> {
    let mut symbols = BTreeMap::new();
    let mut rest = text;
    while symbols.len() < MOST_SYMBOLS {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
        let Some((name, behind)) = rest.split_once('(') else {
            break;
        };
        let Some((points, behind)) = behind.split_once(')') else {
            break;
        };
        // What is no name is left out with what belongs to it.
        if is_symbol(name.trim()) {
            symbols.insert(cut(name.trim(), LONGEST), number(points));
        }
        rest = match behind
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
        {
            // A bracket inside the options ends them early; the next symbol begins behind a semicolon in any case.
            Some((_, behind)) => behind
                .find(';')
                .and_then(|at| behind.get(at..))
                .unwrap_or_default(),
            None => behind,
        };
    }
    symbols
}

/// `Yes, score=7.1 required=5.0 tests=A,B autolearn=ham`; `hits=` of old; `tests=[A=0.1, B=2]` of amavis; Rspamd's
/// `Yes, score=7.10`.
fn spam_status(value: &str) -> Option<Spam> {
    let (word, rest) = value.split_once(',').unwrap_or((value, ""));
    let is_verdict = ["yes", "no"].contains(&word.trim().to_ascii_lowercase().as_str());
    let valued = |key: &str| {
        let mut words = rest.split(|c: char| c.is_whitespace() || c == ',');
        words.find_map(|word| word.strip_prefix(key))
    };
    let score = valued("score=")
        .or_else(|| valued("hits="))
        .and_then(number);
    if !is_verdict && score.is_none() {
        return None;
    }
    Some(Spam {
        score,
        threshold: valued("required=").and_then(number),
        action: is_verdict.then(|| word.trim().to_owned()),
        symbols: tests(rest),
    })
}

/// Folding puts white space behind the commas; the list ends at the next key.
fn tests(text: &str) -> BTreeMap<String, Option<f64>> {
    let Some((_, list)) = text.split_once("tests=") else {
        return BTreeMap::new();
    };
    let is_weighed = list.starts_with('[');
    let list = list
        .trim_start_matches('[')
        .split(']')
        .next()
        .unwrap_or_default();
    let words = list.split(|c: char| c.is_whitespace() || c == ',');
    let mut symbols = BTreeMap::new();
    for word in words.filter(|word| !word.is_empty()) {
        let (name, points) = match word.split_once('=') {
            Some((name, points)) if is_weighed => (name, number(points)),
            // `autolearn=ham`: the list is over.
            Some(_) => break,
            None => (word, None),
        };
        if is_symbol(name) && name != "none" && symbols.len() < MOST_SYMBOLS {
            symbols.insert(cut(name, LONGEST), points);
        }
    }
    symbols
}

/// The spam confidence level as the score, −1 to 9; the verdict `SFV` as the action; category and bulk level as symbols.
fn microsoft<'f>(found: &impl Fn(&str) -> Option<&'f str>) -> Option<Spam> {
    let report = found("X-Forefront-Antispam-Report").unwrap_or_default();
    let pair = |text: &'f str, key: &str| {
        text.split(';').find_map(|pair| {
            let (name, value) = pair.split_once(':')?;
            let value = value.trim();
            (name.trim().eq_ignore_ascii_case(key) && !value.is_empty()).then_some(value)
        })
    };
    let level = found("X-MS-Exchange-Organization-SCL").or_else(|| pair(report, "SCL"));
    let score = level.and_then(number);
    let action = pair(report, "SFV").map(|value| cut(&format!("SFV:{value}"), LONGEST));
    let mut symbols = BTreeMap::new();
    if let Some(category) = pair(report, "CAT").filter(|one| is_symbol(one)) {
        symbols.insert(cut(&format!("CAT:{category}"), LONGEST), None);
    }
    let bulk = found("X-Microsoft-Antispam").and_then(|text| pair(text, "BCL"));
    if let Some(level) = bulk.and_then(number) {
        symbols.insert("BCL".to_owned(), Some(level));
    }
    let spam = Spam {
        score,
        threshold: None,
        action,
        symbols,
    };
    (spam != Spam::default()).then_some(spam)
}

fn is_symbol(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_-.:/+".contains(c);
    !name.is_empty() && name.chars().all(is_allowed)
}

/// A number of points; none where it is not one, never zero.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let is_plain = text
        .chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    let value: f64 = is_plain.then(|| text.parse().ok())??;
    (value.abs() <= MOST_POINTS).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::header;
    use proptest::prelude::*;

    fn spam(header: &str) -> Option<Spam> {
        super::read(header::fields(header.as_bytes()).iter())
    }

    fn told(
        score: f64,
        threshold: Option<f64>,
        action: Option<&str>,
        symbols: &[(&str, Option<f64>)],
    ) -> Option<Spam> {
        Some(Spam {
            score: Some(score),
            threshold,
            action: action.map(str::to_owned),
            symbols: symbols
                .iter()
                .map(|(name, points)| ((*name).to_owned(), *points))
                .collect(),
        })
    }

    #[test]
    fn rspamd_says_false_of_a_message_that_it_wants_in_junk() {
        let result = "X-Spamd-Result: default: False [6.09 / 15.00];\r\n\tR_DKIM_PERMFAIL(4.50)[example.org:s=brevo1;x];\r\n\tDMARC_POLICY_SOFTFAIL(1.50)[a(b), [c]];\r\n\tNEG(-0.10)[];\r\n\tARC_NA(0.00)[]\r\n";
        let symbols = [
            ("ARC_NA", Some(0.0)),
            ("DMARC_POLICY_SOFTFAIL", Some(1.5)),
            ("NEG", Some(-0.1)),
            ("R_DKIM_PERMFAIL", Some(4.5)),
        ];
        assert_eq!(spam(result), told(6.09, Some(15.0), None, &symbols));
        let with_action = format!("{result}X-Rspamd-Action: add header\r\n");
        assert_eq!(
            spam(&with_action),
            told(6.09, Some(15.0), Some("add header"), &symbols)
        );
        let with_flag = format!("{result}X-Spam: Yes\r\n");
        assert_eq!(
            spam(&with_flag),
            told(6.09, Some(15.0), Some("X-Spam: Yes"), &symbols)
        );
        assert_eq!(
            spam("X-Spamd-Result: default: True [16.00 / 15.00]\n"),
            told(16.0, Some(15.0), Some("reject"), &[])
        );
    }

    #[test]
    fn spamassassin_amavis_and_rspamd_share_a_field() {
        for (header, expected) in [
            (
                "X-Spam-Status: No, score=-1.9 required=5.0 tests=BAYES_00,HTML_MESSAGE,\n\tSPF_PASS autolearn=ham autolearn_force=no version=4.0.1\n",
                told(
                    -1.9,
                    Some(5.0),
                    Some("No"),
                    &[
                        ("BAYES_00", None),
                        ("HTML_MESSAGE", None),
                        ("SPF_PASS", None),
                    ],
                ),
            ),
            (
                "X-Spam-Status: Yes, score=7.284 tagged_above=-999 required=6.2\n\ttests=[BAYES_99=3.5, RDNS_NONE=0.793,\n\tNEG=-0.1] autolearn=no\nX-Spam-Flag: YES\n",
                told(
                    7.284,
                    Some(6.2),
                    Some("Yes"),
                    &[
                        ("BAYES_99", Some(3.5)),
                        ("NEG", Some(-0.1)),
                        ("RDNS_NONE", Some(0.793)),
                    ],
                ),
            ),
            (
                "X-Spam-Status: Yes, score=7.10\n",
                told(7.1, None, Some("Yes"), &[]),
            ),
            (
                "X-Spam-Status: No, hits=1.2 required=5.0 tests=none\n",
                told(1.2, Some(5.0), Some("No"), &[]),
            ),
            (
                "X-Spam-Score: 3.2\nX-Spam-Flag: YES\n",
                told(3.2, None, Some("X-Spam-Flag: YES"), &[]),
            ),
            ("X-Rspamd-Score: -0.5\n", told(-0.5, None, None, &[])),
        ] {
            assert_eq!(spam(header), expected, "{header}");
        }
    }

    #[test]
    fn microsoft_tells_levels() {
        let header = "X-Forefront-Antispam-Report: CIP:192.0.2.1;CTRY:DE;LANG:en;SCL:5;SRV:;IPV:NLI;SFV:SPM;H:a.example.net;CAT:SPM;DIR:INB;\nX-Microsoft-Antispam: BCL:7;ARA:1|2;\n";
        assert_eq!(
            spam(header),
            told(
                5.0,
                None,
                Some("SFV:SPM"),
                &[("BCL", Some(7.0)), ("CAT:SPM", None)]
            )
        );
        assert_eq!(
            spam("X-MS-Exchange-Organization-SCL: -1\n"),
            told(-1.0, None, None, &[])
        );
    }

    #[test]
    fn what_is_no_opinion_is_none_and_never_zero() {
        for header in [
            "",
            "X-Spam: No\n",
            "X-Spam-Status: unknown\n",
            "X-Spamd-Result: default: False [x / 15.00]\n",
            "X-Spamd-Result: nothing\n",
            "X-Spam-Score: inf\n",
            "X-Spam-Score: 1e999\n",
            "X-Spam-Score: NaN\n",
            "X-Spam-Level: \n",
            "X-Forefront-Antispam-Report: SCL:;SFV:;\n",
        ] {
            assert_eq!(spam(header), None, "{header}");
        }
    }

    #[test]
    fn the_number_of_symbols_is_bounded() {
        let mut header = "X-Spamd-Result: default: False [1.00 / 15.00]".to_owned();
        for number in 0..2 * MOST_SYMBOLS {
            header.push_str(&format!(";\n\tS{number}(0.01)[]"));
        }
        assert_eq!(
            spam(&format!("{header}\n")).unwrap().symbols.len(),
            MOST_SYMBOLS
        );
    }

    proptest! {
        #[test]
        fn filter_like_text_never_panics(words in prop::collection::vec(prop::sample::select(vec![
            "default", ":", "False", "[", "]", "/", "1.00", "(", ")", "SYM", ";", "Yes", ",", "score=", "required=", "tests=",
            "A", "B=1", "é", "SCL:1", "CAT:", "BCL:2", " ",
        ]), 0..40)) {
            for name in ["X-Spamd-Result", "X-Spam-Status", "X-Forefront-Antispam-Report", "X-Microsoft-Antispam", "X-Spam-Score"] {
                let _ = spam(&format!("{name}: {}\n", words.concat()));
            }
        }
    }
}
