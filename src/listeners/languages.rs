//! What each protocol says: greeting, capabilities, STARTTLS, goodbye. No sockets here.

use crate::probe::listener::Language;

/// A server's offers, as far as a check looks at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Offers {
    pub(super) starttls: bool,
    /// A password can be handed over.
    pub(super) auth: bool,
}

impl Language {
    /// Whether more lines of this answer follow. `tag` is the command's, where the language has tags.
    pub(super) fn is_last(self, line: &str, tag: &str) -> bool {
        match self {
            // A hyphen behind the code means that there is more (RFC 5321 section 4.2.1).
            Self::Smtp => line.as_bytes().get(3) != Some(&b'-'),
            // A BAD that belongs to no command of ours, or a BYE, is all that comes.
            Self::Imap => {
                let mut words = line.split(' ');
                tag.is_empty()
                    || words.next() == Some(tag)
                    || words
                        .next()
                        .is_some_and(|word| ["BAD", "BYE"].contains(&word))
            }
            Self::Pop3 => tag.is_empty() || line == "." || line.starts_with("-ERR"),
        }
    }

    /// Whether a greeting welcomes the client.
    pub(super) fn is_welcome(self, line: &str) -> bool {
        match self {
            Self::Smtp => line.starts_with("220"),
            Self::Imap => line.starts_with("* OK"),
            Self::Pop3 => line.starts_with("+OK"),
        }
    }

    /// Whether this begins like any answer of the language at all.
    pub(super) fn is_spoken(self, line: &str) -> bool {
        match self {
            Self::Smtp => line
                .get(..3)
                .is_some_and(|code| code.bytes().all(|b| b.is_ascii_digit())),
            Self::Imap => line.starts_with("* "),
            Self::Pop3 => line.starts_with("+OK") || line.starts_with("-ERR"),
        }
    }

    /// The question for capabilities. `name` is the client's, for EHLO.
    pub(super) fn ask(self, name: &str) -> String {
        match self {
            Self::Smtp => format!("EHLO {name}"),
            Self::Imap => format!("{TAG} CAPABILITY"),
            Self::Pop3 => "CAPA".to_owned(),
        }
    }

    /// Whether an answer to a command says yes.
    pub(super) fn is_yes(self, lines: &[String]) -> bool {
        match self {
            Self::Smtp => lines.last().is_some_and(|line| line.starts_with('2')),
            Self::Imap => lines.last().is_some_and(|line| {
                let rest = line.strip_prefix(TAG).unwrap_or_default();
                rest.to_ascii_uppercase().starts_with(" OK")
            }),
            Self::Pop3 => lines.first().is_some_and(|line| line.starts_with("+OK")),
        }
    }

    /// What an answer to [`Language::ask`] offers.
    pub(super) fn offers(self, lines: &[String]) -> Offers {
        let mut offers = Offers::default();
        for line in lines {
            let line = line.to_ascii_uppercase();
            match self {
                Self::Smtp => {
                    let keyword = line.get(4..).unwrap_or_default();
                    offers.starttls |= keyword == "STARTTLS";
                    // `AUTH=` is what old clients wanted to see.
                    offers.auth |= keyword.starts_with("AUTH ") || keyword.starts_with("AUTH=");
                }
                Self::Imap => {
                    let Some(list) = line.strip_prefix("* CAPABILITY") else {
                        continue;
                    };
                    let has = |name: &str| list.split(' ').any(|word| word == name);
                    offers.starttls |= has("STARTTLS");
                    // Without LOGINDISABLED there is LOGIN (RFC 3501 section 6.2.3).
                    offers.auth |= list.contains(" AUTH=") || !has("LOGINDISABLED");
                }
                Self::Pop3 => {
                    offers.starttls |= line == "STLS";
                    offers.auth |= line == "USER" || line.starts_with("SASL ");
                }
            }
        }
        offers
    }

    /// The request to begin with TLS.
    pub(super) fn starttls(self) -> String {
        match self {
            Self::Smtp => "STARTTLS".to_owned(),
            Self::Imap => format!("{TAG} STARTTLS"),
            Self::Pop3 => "STLS".to_owned(),
        }
    }

    /// Goodbye.
    pub(super) fn quit(self) -> String {
        match self {
            Self::Smtp | Self::Pop3 => "QUIT".to_owned(),
            Self::Imap => format!("{TAG} LOGOUT"),
        }
    }
}

/// The tag of every IMAP command: one is under way at a time.
pub(super) const TAG: &str = "m1";

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn postscreens_teaser_is_not_the_end_of_its_greeting() {
        assert!(!Language::Smtp.is_last("220-mail.example.org ESMTP Postfix", ""));
        assert!(Language::Smtp.is_last("220 mail.example.org ESMTP Postfix", ""));
        assert!(Language::Smtp.is_welcome("220-mail.example.org ESMTP Postfix"));
    }

    #[test]
    fn offers_are_read_in_every_language() {
        for (language, answer, starttls, auth) in [
            (
                Language::Smtp,
                "250-mail\n250-STARTTLS\n250 8BITMIME",
                true,
                false,
            ),
            (
                Language::Smtp,
                "250-mail\n250 AUTH PLAIN LOGIN",
                false,
                true,
            ),
            (Language::Smtp, "250-mail\n250 auth=PLAIN", false, true),
            (
                Language::Smtp,
                "250-AUTHENTIC\n250 X-STARTTLS",
                false,
                false,
            ),
            (
                Language::Imap,
                "* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\nm1 OK",
                true,
                false,
            ),
            (
                Language::Imap,
                "* CAPABILITY IMAP4rev1 AUTH=PLAIN\nm1 OK",
                false,
                true,
            ),
            (Language::Imap, "* CAPABILITY IMAP4rev1\nm1 OK", false, true),
            (Language::Pop3, "+OK\nSASL PLAIN\n.", false, true),
            (Language::Pop3, "+OK\nSTLS\nUIDL\n.", true, false),
        ] {
            let offers = language.offers(&lines(answer));
            assert_eq!((offers.starttls, offers.auth), (starttls, auth), "{answer}");
        }
    }

    #[test]
    fn a_yes_is_the_tagged_or_coded_one() {
        assert!(Language::Smtp.is_yes(&lines("250-mail\n250 HELP")));
        assert!(!Language::Smtp.is_yes(&lines("502 5.5.2 Error")));
        assert!(Language::Imap.is_yes(&lines("* CAPABILITY X\nm1 OK done")));
        assert!(!Language::Imap.is_yes(&lines("* CAPABILITY X\nm1 BAD no")));
        assert!(!Language::Imap.is_yes(&lines("* BYE gone")));
        assert!(!Language::Pop3.is_yes(&lines("-ERR no")));
    }
}
