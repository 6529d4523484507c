//! Keys that a delivered message shows to be in use.

use crate::probe::auth_results::is_related;
use crate::probe::report::MethodResult;
use std::collections::BTreeSet;

/// More keys than these of one message are not asked for.
pub const MOST_SEEN_KEYS: usize = 4;
/// The longest name that DNS has (RFC 1035 section 2.3.4), in text.
const LONGEST_NAME: usize = 253;

/// The names of the keys that signed a message, as the border tells of its signatures: those that stand for the domain of
/// `from`, its own, above or below. A provider's signature for itself is the provider's business.
#[must_use]
pub fn seen_keys(from: &str, signatures: &[MethodResult]) -> BTreeSet<String> {
    let Some((_, from)) = from.rsplit_once('@') else {
        return BTreeSet::new();
    };
    signatures
        .iter()
        .filter_map(|one| one.selector.as_deref().zip(one.domain.as_deref()))
        // A top level is above every domain, and stands for none.
        .filter(|(_, domain)| domain.contains('.') && is_related(domain, from))
        .map(|(selector, domain)| format!("{selector}._domainkey.{domain}").to_ascii_lowercase())
        .filter(|name| is_name(name))
        .take(MOST_SEEN_KEYS)
        .collect()
}

/// What a header says is asked for only where it can be a name.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let of_names = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len()) && label.chars().all(of_names)
    };
    text.len() <= LONGEST_NAME && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::report::AuthResult;

    fn signature(selector: Option<&str>, domain: Option<&str>) -> MethodResult {
        MethodResult {
            result: AuthResult::Fail,
            domain: domain.map(str::to_owned),
            selector: selector.map(str::to_owned),
            reason: None,
        }
    }

    fn seen(signatures: &[(&str, &str)]) -> Vec<String> {
        let signatures: Vec<_> = signatures
            .iter()
            .map(|(selector, domain)| signature(Some(selector), Some(domain)))
            .collect();
        seen_keys("probe@news.example.org", &signatures)
            .into_iter()
            .collect()
    }

    #[test]
    fn keys_of_the_senders_domain_are_asked_for_and_no_others() {
        let signatures = [
            ("Brevo1", "News.Example.org"),
            ("s1.eu", "example.org"),
            ("s2", "a.news.example.org"),
            ("mail", "sendinblue.com"),
            ("org", "org"),
            ("near", "other-news.example.org.example.net"),
        ];
        assert_eq!(
            seen(&signatures),
            [
                "brevo1._domainkey.news.example.org",
                "s1.eu._domainkey.example.org",
                "s2._domainkey.a.news.example.org",
            ]
        );
    }

    #[test]
    fn a_signature_that_is_half_told_is_none() {
        let half = [
            signature(None, Some("news.example.org")),
            signature(Some("s1"), None),
        ];
        assert!(seen_keys("probe@news.example.org", &half).is_empty());
        let whole = [signature(Some("s1"), Some("news.example.org"))];
        assert!(seen_keys("no address", &whole).is_empty());
    }

    #[test]
    fn what_is_no_name_is_not_asked_for_and_keys_are_few() {
        let long = "x".repeat(64);
        for selector in ["", "a b", "a..b", "é", "a\r\n", long.as_str()] {
            assert!(
                seen(&[(selector, "example.org")]).is_empty(),
                "{selector:?}"
            );
        }
        let many: Vec<String> = (0..20).map(|number| format!("s{number}")).collect();
        let many: Vec<_> = many
            .iter()
            .map(|one| (one.as_str(), "example.org"))
            .collect();
        assert_eq!(seen(&many).len(), MOST_SEEN_KEYS);
    }
}
