//! `Received` fields, as servers really write them: one field, one [`Hop`].
//!
//! RFC 5321 section 4.4 has a grammar; in practice clauses are missing, in another order, or in comments, and comments
//! nest. So: the date stands behind the last semicolon outside comments; the rest is cut at the keywords; a word that
//! is no keyword belongs to the clause before it.

use super::dates;
use super::lexer::{Token, cut, tokens};
use super::report::{Hop, HopFrom, Tls};
// The types alone: sockets live in `std::net`, which the core does without.
use core::net::IpAddr;

/// No name, id or protocol is longer; what is, is cut off.
const LONGEST: usize = 255;

/// Reads the value of a field. Delay, skew and role are not in it.
#[must_use]
pub fn parse(value: &str) -> Hop {
    let pieces = tokens(value);
    let semicolon = pieces
        .iter()
        .rposition(|(token, _)| *token == Token::Semicolon);
    let date = semicolon
        .and_then(|index| value.get(pieces.get(index)?.1..))
        .and_then(dates::parse);
    let before = pieces
        .iter()
        .take(semicolon.unwrap_or(pieces.len()))
        .map(|(token, _)| token);
    let clauses = Clauses::of(before);
    let with = clauses.protocol();
    Hop {
        from: clauses.client(),
        by: clauses.by.words.first().map(|word| host(word)),
        id: clauses.queue_id(with.as_deref()),
        tls: clauses.tls(with.as_deref()),
        with,
        at: date,
        delay_seconds: None,
        skew_seconds: None,
        role: None,
    }
}

/// Whether the client of a hop had logged in: the protocol words of RFC 3848 and RFC 6531 that end in `A`.
#[must_use]
pub fn is_authenticated(hop: &Hop) -> bool {
    protocol_marks(hop.with.as_deref()).contains('A')
}

/// The words and comments of one clause.
#[derive(Default)]
struct Clause<'t> {
    words: Vec<&'t str>,
    comments: Vec<&'t str>,
}

#[derive(Default)]
struct Clauses<'t> {
    from: Clause<'t>,
    by: Clause<'t>,
    with: Clause<'t>,
    id: Clause<'t>,
    /// `via`, `for`, and what stands before the first keyword.
    others: Clause<'t>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keyword {
    From,
    By,
    With,
    Id,
    Other,
}

impl Keyword {
    fn of(word: &str) -> Option<Self> {
        let known = [
            ("from", Self::From),
            ("by", Self::By),
            ("with", Self::With),
            ("id", Self::Id),
            ("via", Self::Other),
            ("for", Self::Other),
        ];
        let found = known
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name));
        found.map(|(_, keyword)| *keyword)
    }
}

impl<'t> Clauses<'t> {
    fn of(tokens: impl Iterator<Item = &'t Token<'t>>) -> Self {
        let mut clauses = Self::default();
        let mut open = Keyword::Other;
        // A client may call itself `by`: what stands directly behind a keyword is its value, whatever it is.
        let mut is_value = false;
        for token in tokens {
            match token {
                Token::Word(word) => match Keyword::of(word).filter(|_| !is_value) {
                    // A second clause of a kind is text: a client that calls itself `x by y` has not been at y.
                    Some(keyword)
                        if keyword == Keyword::Other || clauses.clause(keyword).is_new() =>
                    {
                        open = keyword;
                        is_value = true;
                    }
                    _ => {
                        clauses.clause(open).words.push(word);
                        is_value = false;
                    }
                },
                Token::Comment(comment) => {
                    clauses.clause(open).comments.push(comment);
                    is_value = false;
                }
                Token::Semicolon => {}
            }
        }
        clauses
    }

    fn clause(&mut self, keyword: Keyword) -> &mut Clause<'t> {
        match keyword {
            Keyword::From => &mut self.from,
            Keyword::By => &mut self.by,
            Keyword::With => &mut self.with,
            Keyword::Id => &mut self.id,
            Keyword::Other => &mut self.others,
        }
    }

    fn comments(&self) -> impl Iterator<Item = &'t str> {
        [&self.with, &self.id, &self.by, &self.from, &self.others]
            .into_iter()
            .flat_map(|clause| clause.comments.iter().copied())
    }

    /// `with esmtps tls TLS_AES_256_GCM_SHA384` is Exim's; `with Microsoft SMTP Server` is one protocol.
    fn protocol(&self) -> Option<String> {
        let words: Vec<&str> = self
            .with
            .words
            .iter()
            .copied()
            .take_while(|word| !word.eq_ignore_ascii_case("tls"))
            .collect();
        (!words.is_empty()).then(|| cut(&words.join(" "), LONGEST))
    }

    /// Exchange writes its own version where others write what they call the message.
    fn queue_id(&self, with: Option<&str>) -> Option<String> {
        let id = self.id.words.first()?;
        let id = id.trim_start_matches('<').trim_end_matches('>');
        let is_exchange = with.is_some_and(|with| {
            with.eq_ignore_ascii_case("mapi") || with.to_ascii_lowercase().starts_with("microsoft")
        });
        let is_version = is_exchange
            && id.split('.').count() == 4
            && id.chars().all(|c| c.is_ascii_digit() || c == '.');
        (!id.is_empty() && !is_version).then(|| cut(id, LONGEST))
    }

    fn tls(&self, with: Option<&str>) -> Option<Tls> {
        let mut tls = self.comments().find_map(encryption);
        let cipher = self
            .with
            .words
            .iter()
            .skip_while(|word| !word.eq_ignore_ascii_case("tls"))
            .nth(1);
        if let Some(cipher) = cipher {
            let tls = tls.get_or_insert_default();
            tls.cipher.get_or_insert_with(|| cut(cipher, LONGEST));
        }
        tls.or_else(|| protocol_marks(with).contains('S').then(Tls::default))
    }

    /// Who handed the message over. The shapes, `rdns` being what the address resolves to:
    ///
    /// ```text
    /// HELO (rdns [ADDRESS])            Postfix, sendmail, Gmail, OpenSMTPD
    /// HELO ([ADDRESS])                 Dovecot
    /// HELO (ADDRESS)                   Exchange
    /// rdns ([ADDRESS] helo=HELO)       Exim; [ADDRESS] (helo=HELO) without a name
    /// rdns (HELO HELO) (ADDRESS)       qmail
    /// ```
    fn client(&self) -> HopFrom {
        let first = self.from.words.first().copied();
        let comments = &self.from.comments;
        let located = comments.iter().find_map(|comment| located(comment));
        let told = comments.iter().find_map(|comment| helo_in(comment));
        let in_word = first.and_then(|word| address(word.trim_matches(['[', ']'])));
        let address = located.map(|(_, address)| address).or(in_word);
        let resolved = located.and_then(|(before, _)| name(before));
        match (told, first) {
            (Some(helo), first) => HopFrom {
                helo: Some(cut(helo, LONGEST)),
                name: resolved.or_else(|| first.filter(|_| in_word.is_none()).and_then(name)),
                address,
            },
            (None, first) => HopFrom {
                helo: first
                    .filter(|word| !word.is_empty())
                    .map(|text| cut(text, LONGEST)),
                name: resolved,
                address,
            },
        }
    }
}

impl Clause<'_> {
    fn is_new(&self) -> bool {
        self.words.is_empty() && self.comments.is_empty()
    }
}

/// An address in a comment, and the word before it: `mx.example.net [192.0.2.1]`, `192.0.2.1`, `[192.0.2.1]:25 helo=a`.
fn located(comment: &str) -> Option<(&str, IpAddr)> {
    if let Some(address) = address(comment.trim()) {
        return Some(("", address));
    }
    let (before, rest) = comment.split_once('[')?;
    let (inside, _) = rest.split_once(']')?;
    let word = before.split_whitespace().next_back().unwrap_or_default();
    // `IDENT:user@rdns [ADDRESS]` is sendmail's.
    let word = word.rsplit('@').next().unwrap_or_default();
    Some((word, address(inside)?))
}

/// `IPv6:2001:db8::1`, `192.0.2.1:25`, `192.0.2.1`.
fn address(text: &str) -> Option<IpAddr> {
    let text = match text.split_at_checked(5) {
        Some((tag, rest)) if tag.eq_ignore_ascii_case("ipv6:") => rest,
        _ => text,
    };
    let without_port = || text.rsplit_once(':').map_or(text, |(address, _)| address);
    let zone = text.split('%').next().unwrap_or_default();
    zone.parse()
        .or_else(|_| without_port().parse())
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

/// `helo=HELO` (Exim), `HELO HELO` (qmail, CommuniGate).
fn helo_in(comment: &str) -> Option<&str> {
    let mut words = comment.split_whitespace();
    while let Some(word) = words.next() {
        if let Some((key, value)) = word.split_once('=')
            && key.eq_ignore_ascii_case("helo")
        {
            return (!value.is_empty()).then_some(value);
        }
        if word.eq_ignore_ascii_case("helo") || word.eq_ignore_ascii_case("ehlo") {
            return words.next();
        }
    }
    None
}

/// A host name; `unknown` is none.
fn name(word: &str) -> Option<String> {
    let name = word.trim_matches(['<', '>']).trim_end_matches('.');
    let is_name = name
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    (is_name && !name.is_empty() && !name.eq_ignore_ascii_case("unknown"))
        .then(|| cut(name, LONGEST))
}

fn host(word: &str) -> String {
    cut(word.trim_end_matches('.'), LONGEST)
}

/// `using TLSv1.3 with cipher C`, `version=TLS1_3 cipher=C`, `TLSv1.3:C:256`, `TLS1.3`, `C encrypted`.
fn encryption(comment: &str) -> Option<Tls> {
    let words = || {
        comment
            .split(|c: char| c.is_whitespace() || c == ',' || c == ';')
            .filter(|word| !word.is_empty())
    };
    let behind = |key: &str| {
        let mut words = words().skip_while(|word| !word.eq_ignore_ascii_case(key));
        words.nth(1)
    };
    let valued = |key: &str| {
        words().find_map(|word| {
            let (name, value) = word.split_once('=')?;
            name.eq_ignore_ascii_case(key).then_some(value)
        })
    };
    if let Some(cipher) = words().next()
        && words()
            .nth(1)
            .is_some_and(|word| word.eq_ignore_ascii_case("encrypted"))
    {
        // qmail with the TLS patch.
        return Some(Tls {
            version: None,
            cipher: Some(cut(cipher, LONGEST)),
        });
    }
    let version = behind("using").or_else(|| valued("version"));
    if let Some(version) = version.and_then(tls_version) {
        let cipher = behind("cipher").or_else(|| valued("cipher"));
        return Some(Tls {
            version: Some(version),
            cipher: cipher.map(|text| cut(text, LONGEST)),
        });
    }
    let mut parts = words().next()?.split(':');
    let version = tls_version(parts.next()?)?;
    Some(Tls {
        version: Some(version),
        cipher: parts.next().map(|text| cut(text, LONGEST)),
    })
}

/// `TLS1_3`, `TLSv1.3`, `TLS1.3` and `TLSv1` as `TLSv1.3` and `TLSv1`.
fn tls_version(word: &str) -> Option<String> {
    let word = word.to_ascii_lowercase().replace('_', ".");
    let (protocol, number) = if let Some(rest) = word.strip_prefix("tls") {
        ("TLSv", rest.trim_start_matches('v'))
    } else {
        ("SSLv", word.strip_prefix("ssl")?.trim_start_matches('v'))
    };
    let is_number = number.len() <= 3
        && number.starts_with(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    is_number.then(|| format!("{protocol}{number}"))
}

/// `S` for TLS and `A` for AUTH, as the registered protocol words say it (RFC 3848, RFC 6531).
fn protocol_marks(with: Option<&str>) -> String {
    let word = with.unwrap_or_default().to_ascii_uppercase();
    let word = word.strip_prefix("UTF8").unwrap_or(&word);
    let marks = ["ESMTP", "LMTP", "SMTP"]
        .iter()
        .find_map(|base| word.strip_prefix(base))
        .unwrap_or_default();
    if matches!(marks, "S" | "A" | "SA") {
        marks.to_owned()
    } else {
        String::new()
    }
}

#[cfg(test)]
#[path = "received_tests.rs"]
mod tests;
