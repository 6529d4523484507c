//! What the readers are given: a message of the corpus or a single field, mutated by chance that comes from a number.

use std::path::{Path, PathBuf};

/// Longer than what is read of any header.
const LONGEST: usize = 280 * 1024;
/// The largest message of the corpus that whole messages are made from: time goes into many, not into large ones.
const LARGEST_BASE: usize = 16 * 1024;

/// Words that mean something to one of the readers.
const WORDS: &[&str] = &[
    "from",
    "by",
    "via",
    "with",
    "id",
    "for",
    "FROM ",
    " by ",
    "Received: from a by b; ",
    "Mon, 23 Nov 2026 22:54:32 +0000",
    "Tue Feb 28 2023 07:51:00 GMT+000",
    "31 Dec 2999 23:59:60 -2359",
    "1 Jan 1970 00:00 +2359",
    "29 Feb 2027",
    "+9999",
    "-0000",
    "(UTC)",
    "GMT",
    "PDT",
    "CEST",
    "1 Jan 70 0:0",
    "ESMTPSA",
    "UTF8LMTPS",
    "Microsoft SMTP Server",
    "helo=",
    "HELO ",
    "unknown",
    "[192.0.2.1]",
    "[IPv6:fe80::1%eth0]",
    "[::ffff:10.0.0.1]",
    "([10.1.2.3])",
    "[100.127.0.1]:25",
    "(using TLSv1.3 with cipher C (1/1 bits))",
    "version=TLS1_3 cipher=",
    "tls ",
    "mail.example.org",
    "mx.example.org",
    "mail.example.org; ",
    "spf=pass",
    "dkim=fail",
    "dmarc=none",
    "arc = pass",
    "hardfail",
    "permerror",
    "policy.",
    "header.d=",
    "header.i=@",
    "header.s=",
    "header.from=",
    "smtp.mailfrom=",
    "smtp.helo=",
    "reason=\"",
    "Authentication-Results: ",
    "ARC-Authentication-Results: i=1; ",
    "Received-SPF: pass ",
    "DKIM-Signature: d=",
    "X-Spamd-Result: default: False [",
    "X-Spam-Status: Yes, score=",
    "X-Rspamd-Action: ",
    "X-Forefront-Antispam-Report: SCL:9;",
    "default: True [1e9 / 0]",
    "tests=[",
    "required=",
    "SYMBOL(1.00)[a;b]; ",
    "SCL:",
    "BCL:",
    "Subject: [E2E Monitor] ",
    "X-Mailprobe-Token: ",
    "e2e-probe-",
    "In-Reply-To: ",
    "Auto-Submitted: no",
    "Resent-",
    "From: <a@b>",
    "Content-Type: multipart/mixed; boundary=a\n\n--a\n",
    "Content-Type: message/rfc822\n\n",
    "Content-Transfer-Encoding: base64\n\n",
    "=?utf-8?q?",
    "=?utf-8?b?",
    "?=",
    "(",
    ")",
    "((((",
    "\"",
    "\\",
    "\\\"",
    ";",
    "=",
    ":",
    ",",
    "@",
    "<",
    ">",
    "[",
    "]",
    "/",
    "*",
    "%",
    "\r\n\t",
    "\n ",
    "\r\n",
    "\n",
    "\n\n",
    "\r",
    "\t",
    " ",
    "\0",
    "\u{7f}",
    "é",
    "😀",
    "\u{fffd}",
    "\u{2028}",
    "0",
    "-1",
    "00000000",
    "999999999999999999999999",
    "-9223372036854775808",
    "1e308",
    "NaN",
    "inf",
    ".",
    "..",
    "-",
    "_",
];

/// Chance: xorshift64*, begun with the number of the execution.
pub struct Chance(u64);

impl Chance {
    pub fn new(number: u64) -> Self {
        // Neighbouring numbers are to have nothing in common (the last step of SplitMix64).
        let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((mixed ^ (mixed >> 31)).max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Below the limit.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).unwrap() % limit.max(1)
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// What an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole message.
    Message,
    /// One field or several, name and all.
    Fields,
    /// The value of a field, which every reader of values gets.
    Value,
}

/// One input, and which of the paths it is read with.
pub struct Input {
    pub kind: Kind,
    pub bytes: Vec<u8>,
    pub path: usize,
}

/// The messages of `fixtures/messages`.
pub struct Corpus {
    messages: Vec<Vec<u8>>,
    /// Fields that a reader looks at, each with its name and folding; none twice.
    fields: Vec<Vec<u8>>,
    /// The token that the messages carry.
    pub token: String,
}

impl Corpus {
    pub fn load() -> Self {
        let token = super::readings::token();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/messages");
        let kinds = std::fs::read_dir(root).unwrap();
        let mut files: Vec<PathBuf> = kinds
            .map(|kind| kind.unwrap().path())
            .filter(|path| path.is_dir())
            .flat_map(|kind| std::fs::read_dir(kind).unwrap())
            .map(|file| file.unwrap().path())
            .filter(|path| path.extension().is_some_and(|one| one == "eml"))
            .collect();
        files.sort();
        let messages: Vec<Vec<u8>> = files
            .iter()
            .map(|file| filled(&std::fs::read(file).unwrap(), &token))
            .collect();
        assert!(messages.len() >= 100, "only {} messages", messages.len());
        let mut fields: Vec<Vec<u8>> = messages.iter().flat_map(|raw| unread(raw)).collect();
        fields.sort();
        fields.dedup();
        Self {
            messages: messages
                .into_iter()
                .filter(|raw| raw.len() <= LARGEST_BASE)
                .collect(),
            fields,
            token,
        }
    }
}

/// The token where a message says that one belongs.
fn filled(raw: &[u8], token: &str) -> Vec<u8> {
    let (head, tail) = token.split_at(30);
    let upper = token.to_ascii_uppercase();
    let mut out = raw.to_vec();
    for (placeholder, value) in [
        ("%TOKEN_UPPER%", upper.as_str()),
        ("%TOKEN_HEAD%", head),
        ("%TOKEN_TAIL%", tail),
        ("%TOKEN%", token),
    ] {
        let sought = placeholder.as_bytes();
        while let Some(at) = out.windows(sought.len()).position(|one| one == sought) {
            out.splice(at..at + sought.len(), value.bytes());
        }
    }
    out
}

/// The fields of a message as they stand there, those that one of the readers looks at.
fn unread(raw: &[u8]) -> Vec<Vec<u8>> {
    let mut fields: Vec<Vec<u8>> = Vec::new();
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        if line.trim_ascii().is_empty() {
            break;
        }
        match fields.last_mut() {
            Some(field) if line[0].is_ascii_whitespace() => field.extend(line),
            _ => fields.push(line.to_vec()),
        }
    }
    let is_read = |field: &Vec<u8>| {
        let name = String::from_utf8_lossy(field).to_ascii_lowercase();
        let starts = [
            "received",
            "authentication-results",
            "arc-",
            "dkim-",
            "date",
            "from",
            "x-spam",
            "x-rspamd",
            "x-ms",
            "x-micro",
            "x-forefront",
            "x-mailprobe",
            "subject",
            "content-type",
            "auto-",
            "resent-",
        ];
        field.len() <= 4096 && starts.iter().any(|start| name.starts_with(start))
    };
    fields.into_iter().filter(is_read).collect()
}

impl Input {
    /// Most are small: a reader's branches are reached by what a field says, not by how much stands around it.
    pub fn of(chance: &mut Chance, corpus: &Corpus) -> Self {
        let (kind, mut bytes) = match chance.below(16) {
            0 | 1 => (Kind::Message, chance.pick(&corpus.messages).clone()),
            2..=8 => {
                let number = 1 + chance.below(4);
                let fields = (0..number).flat_map(|_| chance.pick(&corpus.fields).clone());
                (Kind::Fields, fields.collect())
            }
            9..=14 => {
                let field = chance.pick(&corpus.fields);
                let colon = field.iter().position(|byte| *byte == b':').unwrap_or(0);
                (Kind::Value, field[(colon + 1).min(field.len())..].to_vec())
            }
            _ => (Kind::Value, Vec::new()),
        };
        for _ in 0..=chance.below(6) {
            mutate(&mut bytes, chance, corpus);
        }
        if chance.one_in(2000) {
            repeat_to_the_limits(&mut bytes, chance);
        }
        bytes.truncate(LONGEST);
        Self {
            kind,
            bytes,
            path: chance.below(super::readings::PATHS),
        }
    }
}

fn mutate(bytes: &mut Vec<u8>, chance: &mut Chance, corpus: &Corpus) {
    let at = chance.below(bytes.len() + 1);
    let length = 1 + chance.below(32);
    let end = (at + length).min(bytes.len());
    match chance.below(12) {
        0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
        1 if at < bytes.len() => bytes[at] = u8::try_from(chance.below(256)).unwrap(),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let part = bytes[at..end].to_vec();
            for _ in 0..=chance.below(8) {
                bytes.splice(at..at, part.iter().copied());
            }
        }
        5 => {
            let other = chance.pick(&corpus.fields);
            let from = chance.below(other.len());
            let part = other[from..].iter().copied();
            bytes.splice(at..end, part);
        }
        6 => {
            let other = chance.pick(&corpus.messages);
            let from = chance.below(other.len());
            let to = (from + chance.below(400)).min(other.len());
            bytes.splice(at..at, other[from..to].iter().copied());
        }
        7 => {
            let digits = chance.below(12);
            let number: String = (0..=digits)
                .map(|_| char::from(b'0' + u8::try_from(chance.below(10)).unwrap()))
                .collect();
            bytes.splice(at..at, number.bytes());
        }
        8 => {
            // White space becomes folding.
            if let Some(space) = bytes[at..].iter().position(|byte| *byte == b' ') {
                let folding: &[u8] = if chance.one_in(2) { b"\r\n\t" } else { b"\n " };
                bytes.splice(at + space..=at + space, folding.iter().copied());
            }
        }
        9 => drop(bytes.splice(at..end, chance.pick(WORDS).bytes())),
        _ => drop(bytes.splice(at..at, chance.pick(WORDS).bytes())),
    }
}

/// A word or a part of the input, until a limit of the readers is passed.
fn repeat_to_the_limits(bytes: &mut Vec<u8>, chance: &mut Chance) {
    let at = chance.below(bytes.len() + 1);
    let part = if chance.one_in(2) {
        chance.pick(WORDS).as_bytes().to_vec()
    } else {
        bytes[at..(at + 1 + chance.below(200)).min(bytes.len())].to_vec()
    };
    let limit = *chance.pick(&[300, 4 * 1024, 64 * 1024 + 10, LONGEST]);
    let times = limit / part.len().max(1);
    let all: Vec<u8> = part
        .iter()
        .copied()
        .cycle()
        .take(times * part.len())
        .collect();
    bytes.splice(at..at, all);
}
