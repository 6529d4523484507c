//! Who is who on the way of a message, as the operator says it: `[path]`.

// The types alone: sockets live in `std::net`, which the core does without.
use core::net::IpAddr;

/// Our hosts on the way of a message. Everything is empty where the config has no `[path]`: then no hop has a role,
/// and no verdict of a filter is believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PathPlan {
    /// The servers that the MX records name.
    pub mx: Vec<Pattern>,
    /// Servers that take mail while those are away, and hand it on later.
    pub backup_mx: Vec<Pattern>,
    /// Our first own hop; what stands below its `Received` field can be forged.
    pub border: Vec<Pattern>,
    /// Whose Authentication-Results are believed (the authserv-id of RFC 8601 section 2.5).
    pub authserv_ids: Vec<Pattern>,
}

impl PathPlan {
    /// Whether this host is our border; the MX is, where no border is named.
    #[must_use]
    pub fn is_border(&self, host: &str) -> bool {
        if self.border.is_empty() {
            any(&self.mx, host)
        } else {
            any(&self.border, host)
        }
    }

    /// Whether a border can be told at all.
    #[must_use]
    pub fn has_border(&self) -> bool {
        !self.border.is_empty() || !self.mx.is_empty()
    }

    /// Whether this host is a backup MX.
    #[must_use]
    pub fn is_backup_mx(&self, host: &str) -> bool {
        any(&self.backup_mx, host)
    }

    /// Whether this host is one of ours, whatever it does.
    #[must_use]
    pub fn is_ours(&self, host: &str) -> bool {
        [&self.mx, &self.backup_mx, &self.border]
            .into_iter()
            .any(|patterns| any(patterns, host))
    }

    /// Whether what bears this authserv-id is to be believed, if it stands where only we can have written it.
    #[must_use]
    pub fn is_authserv(&self, id: &str) -> bool {
        any(&self.authserv_ids, id)
    }
}

fn any(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

/// A host name in which `*` stands for any text, also none. Case and a dot at the end do not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Any text is a pattern.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(normal(text))
    }

    /// Whether the text is what the pattern says, as a whole.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let text = normal(text);
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else {
            return false;
        };
        let mut last = None;
        for part in parts {
            // What stands before this one is between two stars: its first place is as good as any.
            if let Some(middle) = last.replace(part) {
                match rest.split_once(middle) {
                    Some((_, behind)) => rest = behind,
                    None => return false,
                }
            }
        }
        match last {
            Some(end) => rest.ends_with(end),
            None => rest.is_empty(),
        }
    }
}

fn normal(text: &str) -> String {
    text.trim().trim_end_matches('.').to_ascii_lowercase()
}

/// Not reachable from the internet, and so no client of a server there.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => {
            let [a, b, ..] = four.octets();
            // Carrier-grade NAT: RFC 6598.
            let is_shared = a == 100 && b & 0xc0 == 64;
            four.is_private() || four.is_loopback() || four.is_link_local() || is_shared
        }
        IpAddr::V6(six) => {
            six.is_loopback() || six.is_unique_local() || six.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_and_everything_else_for_itself() {
        for (pattern, text, matches) in [
            ("mail.example.org", "Mail.Example.ORG.", true),
            ("mail.example.org", "mail.example.org.evil.net", false),
            ("mail.example.org", "a.mail.example.org", false),
            ("mailserver-*", "mailserver-0", true),
            ("mailserver-*", "mailserver-", true),
            ("mailserver-*", "evil-mailserver-0", false),
            ("*.example.org", "mx.example.org", true),
            ("*.example.org", "example.org", false),
            ("mx*.*.example.org", "mx1.eu.example.org", true),
            ("mx*.*.example.org", "mx1.example.org", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*ab*ab", "ab", false),
            ("*ab*ab", "abab", true),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
        ] {
            let read = Pattern::new(pattern).matches(text);
            assert_eq!(read, matches, "{pattern} against {text}");
        }
    }

    #[test]
    fn the_mx_is_the_border_where_none_is_named() {
        let mx = vec![Pattern::new("mx.example.org")];
        let mut path = PathPlan {
            mx,
            ..PathPlan::default()
        };
        assert!(path.is_border("mx.example.org"));
        path.border.push(Pattern::new("edge.example.org"));
        assert!(!path.is_border("mx.example.org"));
        assert!(path.is_border("edge.example.org"));
    }
}
