//! `Authentication-Results` (RFC 8601), as Gmail, Microsoft, Rspamd, OpenDKIM and OpenDMARC write them.
//!
//! One field, one [`Statement`]; which of them are to be believed is decided where their place in the message is known.

use super::lexer::{Token, cut, tokens};
use super::report::{AuthResult, Authentication, MethodResult};

/// So many results of one field are read.
const MOST_RESULTS: usize = 100;
/// No id, domain, selector or reason is longer; what is, is cut off.
const LONGEST: usize = 255;

/// What one field says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statement {
    /// The authserv-id; empty in the form of Microsoft, which has none.
    pub authserv_id: String,
    /// The results of the methods that we know, in order.
    pub results: Vec<(Method, MethodResult)>,
}

/// A method of authentication. Others (`iprev`, `compauth`, `dkim-atps`, …) are not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// RFC 7208.
    Spf,
    /// RFC 6376.
    Dkim,
    /// RFC 7489.
    Dmarc,
    /// RFC 8617.
    Arc,
}

impl Method {
    /// Every method, in the order in which documents list them.
    pub const ALL: [Self; 4] = [Self::Spf, Self::Dkim, Self::Dmarc, Self::Arc];

    /// The name in fields and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spf => "spf",
            Self::Dkim => "dkim",
            Self::Dmarc => "dmarc",
            Self::Arc => "arc",
        }
    }

    fn of(word: &str) -> Option<Self> {
        // `dkim/1`: the version of the method.
        let name = word.split('/').next().unwrap_or_default();
        Self::ALL
            .into_iter()
            .find(|method| name.eq_ignore_ascii_case(method.name()))
    }

    /// Where the domain that the result is about is told, best first.
    fn domain_properties(self) -> &'static [&'static str] {
        match self {
            Self::Spf => &["smtp.mailfrom", "smtp.mail", "smtp.helo"],
            Self::Dkim => &["header.d", "header.i"],
            Self::Dmarc => &["header.from"],
            Self::Arc => &["header.d"],
        }
    }
}

/// Reads the value of a field.
#[must_use]
pub fn parse(value: &str) -> Statement {
    let mut statement = Statement::default();
    for (index, clause) in clauses(value).into_iter().enumerate() {
        // Microsoft's begins with a result.
        if index == 0 && clause.pairs.is_empty() {
            // Behind it there may be a version.
            statement.authserv_id = clause
                .words
                .first()
                .map(|id| cut(id, LONGEST))
                .unwrap_or_default();
        } else if statement.results.len() < MOST_RESULTS {
            statement.results.extend(clause.result());
        }
    }
    statement
}

/// The value of `Received-SPF` (RFC 7208 section 9.1), an older way to say the same.
#[must_use]
pub fn parse_received_spf(value: &str) -> Option<MethodResult> {
    let clauses = clauses(value);
    let first = clauses.first()?;
    let result = result(first.words.first()?)?;
    let property = |name: &str| clauses.iter().find_map(|clause| clause.property(name));
    let domain = property("envelope-from").or_else(|| property("helo"));
    Some(MethodResult {
        result,
        domain: domain.and_then(domain_of),
        selector: None,
        reason: first.comment.map(|text| cut(text, LONGEST)),
    })
}

/// What believed statements say together, the upper ones first: of two results for one method the upper counts. `from`
/// is the domain in From, which decides whose DKIM signature matters.
#[must_use]
pub fn combine(statements: &[Statement], from: Option<&str>) -> Option<Authentication> {
    let first = statements.first()?;
    let of = |method| {
        statements
            .iter()
            .map(|statement| statement.of(method))
            .find(|results| !results.is_empty())
            .unwrap_or_default()
    };
    let one = |method| of(method).into_iter().next();
    let dkim_signatures = of(Method::Dkim);
    Some(Authentication {
        authserv_id: (!first.authserv_id.is_empty()).then(|| first.authserv_id.clone()),
        spf: one(Method::Spf),
        dkim: best(&dkim_signatures, from),
        dmarc: one(Method::Dmarc),
        arc: one(Method::Arc),
        dkim_signatures,
    })
}

impl Statement {
    fn of(&self, method: Method) -> Vec<MethodResult> {
        let results = self.results.iter();
        results
            .filter(|(one, _)| *one == method)
            .map(|(_, result)| result.clone())
            .collect()
    }
}

/// The signature that stands for the domain in From, if there is one; a good one before a bad one.
fn best(signatures: &[MethodResult], from: Option<&str>) -> Option<MethodResult> {
    let is_good = |one: &&MethodResult| one.result == AuthResult::Pass;
    let is_aligned = |one: &&MethodResult| match (&one.domain, from) {
        (Some(domain), Some(from)) => is_related(domain, from),
        _ => false,
    };
    let all = || signatures.iter();
    all()
        .filter(is_aligned)
        .find(is_good)
        .or_else(|| all().find(is_aligned))
        .or_else(|| all().find(is_good))
        .or_else(|| all().next())
        .cloned()
}

/// Relaxed alignment (RFC 7489 section 3.1) without a list of public suffixes: equal, or one below the other.
pub(super) fn is_related(a: &str, b: &str) -> bool {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let is_below = |a: &str, b: &str| a.strip_suffix(b).is_some_and(|sub| sub.ends_with('.'));
    a == b || is_below(&a, &b) || is_below(&b, &a)
}

/// What stands between two semicolons.
#[derive(Debug, Default)]
struct Clause<'t> {
    /// Words that are no `key=value`.
    words: Vec<String>,
    pairs: Vec<(String, String)>,
    comment: Option<&'t str>,
}

impl Clause<'_> {
    fn property(&self, name: &str) -> Option<&str> {
        let found = self
            .pairs
            .iter()
            .find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    fn result(&self) -> Option<(Method, MethodResult)> {
        let (method, word) = self.pairs.first()?;
        let method = Method::of(method)?;
        let mut domains = method.domain_properties().iter();
        let reason = self.property("reason").or(self.comment);
        Some((
            method,
            MethodResult {
                result: result(word)?,
                domain: domains.find_map(|name| domain_of(self.property(name)?)),
                selector: self.property("header.s").map(|text| cut(text, LONGEST)),
                reason: reason.map(|text| cut(text, LONGEST)),
            },
        ))
    }
}

fn clauses(value: &str) -> Vec<Clause<'_>> {
    let mut clauses = vec![Clause::default()];
    // `spf = pass` is allowed, white space and all.
    let mut key: Option<String> = None;
    for (token, _) in tokens(value) {
        let Some(clause) = clauses.last_mut() else {
            break;
        };
        match token {
            Token::Semicolon => {
                clause.words.extend(key.take());
                clauses.push(Clause::default());
            }
            Token::Comment(comment) => {
                clause.comment.get_or_insert(comment.trim());
            }
            Token::Word(word) => match (key.take(), word.split_once('=')) {
                (Some(before), Some(("", value))) => {
                    if value.is_empty() {
                        key = Some(format!("{before}="));
                    } else {
                        clause.pairs.push((before, value.to_owned()));
                    }
                }
                (Some(before), _) if before.ends_with('=') => {
                    let name = before.trim_end_matches('=').to_owned();
                    clause.pairs.push((name, word));
                }
                (before, Some((name, ""))) => {
                    clause.words.extend(before);
                    key = Some(format!("{name}="));
                }
                (before, Some((name, value))) => {
                    clause.words.extend(before);
                    clause.pairs.push((name.to_owned(), value.to_owned()));
                }
                (before, None) => {
                    clause.words.extend(before);
                    key = Some(word);
                }
            },
        }
    }
    if let Some(clause) = clauses.last_mut() {
        clause.words.extend(key);
    }
    clauses
}

fn result(word: &str) -> Option<AuthResult> {
    let word = word.to_ascii_lowercase();
    // The name of RFC 4408.
    if word == "hardfail" {
        return Some(AuthResult::Fail);
    }
    AuthResult::ALL
        .into_iter()
        .find(|result| result.name() == word)
}

/// The domain of an address, or a domain.
fn domain_of(value: &str) -> Option<String> {
    let value = value.trim_matches(['<', '>']);
    let domain = value.rsplit('@').next().unwrap_or_default();
    let domain = domain.trim_end_matches('.').to_ascii_lowercase();
    (!domain.is_empty()).then(|| cut(&domain, LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each result as `method=result domain selector (reason)`, `-` for what is not told.
    fn read(value: &str) -> (String, Vec<String>) {
        let statement = parse(value);
        let told = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let results = statement
            .results
            .iter()
            .map(|(method, one)| {
                format!(
                    "{}={} {} {} ({})",
                    method.name(),
                    one.result.name(),
                    told(&one.domain),
                    told(&one.selector),
                    told(&one.reason)
                )
            })
            .collect();
        (statement.authserv_id, results)
    }

    #[test]
    fn every_writer_is_read() {
        let cases: &[(&str, &str, &[&str])] = &[
            (
                "mx.google.com;\n dkim=pass header.i=@Example.org header.s=brevo1 header.b=\"dzd/V+=\";\n spf=pass (google.com: domain of b@example.net designates 192.0.2.1 as permitted sender) smtp.mailfrom=b@example.net;\n dmarc=pass (p=NONE sp=NONE dis=NONE) header.from=example.org",
                "mx.google.com",
                &[
                    "dkim=pass example.org brevo1 (-)",
                    "spf=pass example.net - (google.com: domain of b@example.net designates 192.0.2.1 as permitted sender)",
                    "dmarc=pass example.org - (p=NONE sp=NONE dis=NONE)",
                ],
            ),
            (
                "spf=pass (sender IP is 192.0.2.1)\n smtp.mailfrom=example.net; dkim=pass (signature was verified)\n header.d=example.org;dmarc=pass action=none\n header.from=example.org;compauth=pass reason=100",
                "",
                &[
                    "spf=pass example.net - (sender IP is 192.0.2.1)",
                    "dkim=pass example.org - (signature was verified)",
                    "dmarc=pass example.org - (-)",
                ],
            ),
            (
                "mail.example.org; dkim=fail (\"body hash did not verify\") header.d=example.org header.s=s1 header.b=x; dmarc=fail reason=\"no; valid SPF\" header.from=example.org (policy=quarantine); spf=softfail smtp.helo=relay.example.net",
                "mail.example.org",
                &[
                    "dkim=fail example.org s1 (\"body hash did not verify\")",
                    "dmarc=fail example.org - (no; valid SPF)",
                    "spf=softfail relay.example.net - (-)",
                ],
            ),
            (
                "mail.example.org/1 (a comment) 1; dkim/1 = pass(2048-bit key; unprotected) header.d = example.org header.s =s1; dkim-atps=neutral; iprev=pass",
                "mail.example.org/1",
                &["dkim=pass example.org s1 (2048-bit key; unprotected)"],
            ),
            ("mail.example.org; none", "mail.example.org", &[]),
            (
                "\"mail; example\"; spf=hardfail smtp.mailfrom=<>",
                "mail; example",
                &["spf=fail - - (-)"],
            ),
            (
                "i=1; mx.example.org; arc=none smtp.client-ip=192.0.2.1",
                "",
                &["arc=none - - (-)"],
            ),
            (
                "mail.example.org; spf=maybe; dkim=; =pass; dmarc",
                "mail.example.org",
                &[],
            ),
            ("", "", &[]),
        ];
        for (value, id, results) in cases {
            let (read_id, read_results) = read(value);
            assert_eq!(
                (read_id.as_str(), read_results),
                (*id, results.iter().map(|one| (*one).to_owned()).collect()),
                "{value}"
            );
        }
    }

    #[test]
    fn all_eight_results_are_known_by_name() {
        for result in AuthResult::ALL {
            let statement = parse(&format!("id; spf={}", result.name().to_uppercase()));
            assert_eq!(statement.results[0].1.result, result);
            assert_eq!(serde_json::to_value(result).unwrap(), result.name());
        }
    }

    #[test]
    fn received_spf_says_the_same() {
        let read = |text| parse_received_spf(text).map(|one| (one.result, one.domain, one.reason));
        assert_eq!(
            read(
                "Pass (mailfrom) identity=mailfrom; client-ip=192.0.2.1; helo=relay; envelope-from=b@example.net; receiver=<UNKNOWN>"
            ),
            Some((
                AuthResult::Pass,
                Some("example.net".to_owned()),
                Some("mailfrom".to_owned())
            ))
        );
        assert_eq!(
            read("softfail client-ip=192.0.2.1; envelope-from=\"\"; helo=relay;"),
            Some((AuthResult::Softfail, Some("relay".to_owned()), None))
        );
        assert_eq!(read("perhaps"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn the_signature_of_the_domain_in_from_decides_dkim() {
        let dkim = |value: &str, from| {
            let one = combine(&[parse(value)], Some(from)).unwrap();
            assert_eq!(one.dkim_signatures.len(), 2);
            let dkim = one.dkim.unwrap();
            (dkim.result, dkim.domain.unwrap())
        };
        let both = "id; dkim=pass header.d=esp.example.net; dkim=fail header.d=example.org";
        assert_eq!(
            dkim(both, "example.org"),
            (AuthResult::Fail, "example.org".to_owned())
        );
        assert_eq!(
            dkim(both, "a.example.org"),
            (AuthResult::Fail, "example.org".to_owned())
        );
        assert_eq!(
            dkim(both, "badexample.org"),
            (AuthResult::Pass, "esp.example.net".to_owned())
        );
        let twice = "id; dkim=fail header.d=example.org; dkim=pass header.d=mail.example.org";
        assert_eq!(
            dkim(twice, "EXAMPLE.org"),
            (AuthResult::Pass, "mail.example.org".to_owned())
        );
    }

    #[test]
    fn of_two_results_for_one_method_the_upper_counts() {
        let statements = [
            parse("id; spf=fail smtp.mailfrom=a"),
            parse("id; spf=pass smtp.mailfrom=a; dmarc=pass"),
        ];
        let combined = combine(&statements, None).unwrap();
        assert_eq!(combined.spf.unwrap().result, AuthResult::Fail);
        assert_eq!(combined.dmarc.unwrap().result, AuthResult::Pass);
        assert_eq!(combined.dkim, None);
        assert_eq!(combine(&[], None), None);
    }

    proptest! {
        #[test]
        fn results_like_text_never_panics(words in prop::collection::vec(prop::sample::select(vec![
            "spf", "dkim", "=", "pass", "fail", ";", "(", ")", "\"", "\\", "header.d", "smtp.mailfrom", "a@b", "@", "é",
            "reason", "/1", ".", "none",
        ]), 0..40), gap in prop::sample::select(vec![" ", ""])) {
            let statement = parse(&words.join(gap));
            let _ = combine(&[statement], Some("example.org"));
            let _ = parse_received_spf(&words.join(gap));
        }
    }
}
