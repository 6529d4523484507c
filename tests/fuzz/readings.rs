//! What holds of every reading, whatever was read.

use super::inputs::{Corpus, Input, Kind};
use mailprobe::probe::arrival::{self, Arrival, MOST_HOPS, Trust};
use mailprobe::probe::auth_results::{self, Statement};
use mailprobe::probe::header::{self, FIELD_LIMIT, Field};
use mailprobe::probe::message::{self, Recognition};
use mailprobe::probe::path::{PathPlan, Pattern};
use mailprobe::probe::report::{Hop, MethodResult, Spam, TokenPlace};
use mailprobe::probe::token::{self, Identity, Keyring, TokenKey};
use mailprobe::probe::{dates, received, spam};
use std::sync::LazyLock;

/// How many paths there are to read with.
pub const PATHS: usize = 5;
/// Characters of the longest name, id or reason.
const LONGEST: usize = 255;
/// Bytes of all that the warnings of one message say.
const LONGEST_WARNINGS: usize = 64 * 1024;

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| Keyring::new(vec![identity()]));
static PLANS: LazyLock<[PathPlan; PATHS]> = LazyLock::new(|| {
    let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::new(text)).collect();
    let plan = |mx: &[&str], backup_mx: &[&str], border: &[&str], ids: &[&str]| PathPlan {
        mx: patterns(mx),
        backup_mx: patterns(backup_mx),
        border: patterns(border),
        authserv_ids: patterns(ids),
    };
    let mail = "mail.example.org";
    [
        PathPlan::default(),
        plan(&[mail], &["mx2.example.org"], &[], &[mail]),
        plan(&["mx.*"], &["*backup*"], &["mail.*.org"], &["*"]),
        plan(&[], &["*"], &["*"], &["m*l.example.*", ""]),
        plan(&[], &[], &["nowhere.example"], &["*"]),
    ]
});

fn identity() -> Identity {
    Identity {
        probe: "external".to_owned(),
        to: "smoke-test@example.org".to_owned(),
        key: TokenKey::from_bytes(&[7; 16]),
        previous_keys: Vec::new(),
    }
}

/// The one token that anybody signed.
pub fn token() -> String {
    let sent_at = chrono::DateTime::from_timestamp(1_795_000_000, 0).unwrap();
    let wait = std::time::Duration::from_secs(900);
    identity().mint(sent_at, wait, false, [1, 2, 3, 4])
}

/// Every reader reads the input, and what it says is held against its bounds.
pub fn check(input: &Input, corpus: &Corpus) {
    match input.kind {
        Kind::Value => value(&String::from_utf8_lossy(&input.bytes)),
        Kind::Message | Kind::Fields => {
            whole(&input.bytes, input.path);
            recognised(&input.bytes, &corpus.token);
        }
    }
}

/// A message read with the most ordinary path.
pub fn arrival(raw: &[u8], corpus: &Corpus) {
    let read = arrival::read(raw, &PLANS[1], None);
    assert!(std::hint::black_box(&read).hops.len() <= MOST_HOPS);
    std::hint::black_box(message::recognise(raw, &KEYRING));
    std::hint::black_box(&corpus.token);
}

fn value(text: &str) {
    hop(&received::parse(text));
    if let Some(date) = dates::parse(text) {
        let year = chrono::Datelike::year(&date);
        assert!((1969..=3000).contains(&year), "{date}");
    }
    let said = auth_results::parse(text);
    statement(&said);
    if let Some(result) = auth_results::parse_received_spf(text) {
        method(&result);
    }
    if let Some(combined) = auth_results::combine(&[said], Some("example.org")) {
        assert!(combined.dkim_signatures.len() <= 100);
        assert!(combined.dkim.is_none() == combined.dkim_signatures.is_empty());
    }
    let names = [
        "X-Spamd-Result",
        "X-Spam-Status",
        "X-Forefront-Antispam-Report",
        "X-Microsoft-Antispam",
        "X-Spam-Score",
    ];
    for name in names {
        let field = Field {
            name: name.to_owned(),
            value: text.to_owned(),
        };
        if let Some(opinion) = spam::read(std::iter::once(&field)) {
            points(&opinion);
        }
    }
    if let Some(found) = token::find(text) {
        let verified = KEYRING.verify(&found);
        assert!(verified.is_none() || found == token());
    }
}

fn whole(raw: &[u8], path: usize) {
    let plan = &PLANS[path];
    let sent_at =
        (path % 2 == 1).then(|| chrono::DateTime::from_timestamp(1_795_000_000, 0).unwrap());
    let read = arrival::read(raw, plan, sent_at);
    assert!(header::fields(raw).len() <= FIELD_LIMIT);
    assert!(read.hops.len() <= MOST_HOPS);
    read.hops.iter().for_each(hop);
    trust(&read, plan);
    for claim in &read.claims {
        statement(&claim.statement);
    }
    if let Some(opinion) = &read.spam {
        points(opinion);
    }
    for signature in &read.signatures {
        short(signature.domain.as_deref());
        short(signature.selector.as_deref());
    }
    let said: usize = read
        .warnings
        .iter()
        .map(|one| {
            one.summary.len() + one.hint.len() + one.evidence.iter().map(String::len).sum::<usize>()
        })
        .sum();
    assert!(said <= LONGEST_WARNINGS, "{said} bytes of warnings");
    if let Some((delay, _)) = read.slowest() {
        assert!(delay.is_finite() && delay >= 0.0);
    }
}

/// Nothing is believed without a border, and no hop has a role.
fn trust(read: &Arrival, plan: &PathPlan) {
    let has_roles = read.hops.iter().any(|hop| hop.role.is_some());
    let believes = read
        .claims
        .iter()
        .any(|claim| claim.trust == Trust::Believed);
    assert!(has_roles || (!believes && read.authentication.is_none()));
    assert!(plan.has_border() || !has_roles);
    assert!(!has_roles || read.hops.iter().all(|hop| hop.role.is_some()));
}

fn hop(hop: &Hop) {
    let tls = hop.tls.as_ref();
    for text in [
        &hop.from.helo,
        &hop.from.name,
        &hop.by,
        &hop.with,
        &hop.id,
        &tls.and_then(|tls| tls.version.clone()),
        &tls.and_then(|tls| tls.cipher.clone()),
    ] {
        short(text.as_deref());
    }
    for seconds in [
        hop.delay_seconds,
        hop.skew_seconds,
        hop.certain_delay_seconds(),
    ] {
        let seconds = seconds.unwrap_or(0.0);
        // No two dates are further apart.
        assert!(
            (0.0..=1031.0 * 366.0 * 86_400.0).contains(&seconds),
            "{seconds}"
        );
    }
}

fn statement(said: &Statement) {
    short(Some(&said.authserv_id));
    assert!(said.results.len() <= 100);
    said.results.iter().for_each(|(_, result)| method(result));
}

fn method(result: &MethodResult) {
    short(result.domain.as_deref());
    short(result.selector.as_deref());
    short(result.reason.as_deref());
}

fn points(opinion: &Spam) {
    assert!(opinion.symbols.len() <= 500);
    let symbols = opinion.symbols.iter();
    let all = symbols.filter_map(|(name, points)| {
        short(Some(name));
        *points
    });
    for points in all.chain(opinion.score).chain(opinion.threshold) {
        assert!(points.abs() <= 1_000_000.0, "{points}");
    }
    short(opinion.action.as_deref());
}

fn short(text: Option<&str>) {
    let length = text.map_or(0, |text| text.chars().count());
    assert!(length <= LONGEST, "{length} characters");
}

/// Only what was signed is ours, and only what shows every mark may be deleted.
fn recognised(raw: &[u8], token: &str) {
    let places = message::token_places(raw, token);
    assert!(places.is_sorted_by_key(|place| *place as u8) && places.len() <= 3);
    match message::recognise(raw, &KEYRING) {
        Recognition::Ours(ours) => {
            assert_eq!(ours.claims.token, token);
            let has = |place| places.contains(&place);
            assert!(has(TokenPlace::Header) || has(TokenPlace::Subject));
            assert!(!ours.deletable || (has(TokenPlace::Header) && has(TokenPlace::Subject)));
        }
        Recognition::Quoted { token: quoted, .. } => assert_eq!(quoted, token),
        Recognition::Foreign => {}
    }
}

/// Header blocks of 64 KiB: an ordinary one with a long way behind it, and those that cost the readers most.
pub fn blocks() -> Vec<(&'static str, Vec<u8>)> {
    const SIZE: usize = 64 * 1024;
    let filled = |part: &str| {
        let mut block = part.repeat(SIZE / part.len()).into_bytes();
        block.extend(b"X: ");
        block.resize(SIZE - 2, b'x');
        block.extend(b"\n\n");
        block
    };
    let hop = "Received: from mx1.example.net (mx1.example.net [198.51.100.9])\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\n\t key-exchange X25519 server-signature RSA-PSS (2048 bits) server-digest SHA256)\n\tby mail.example.org (Postfix) with ESMTPS id 4F2A11C0B2\n\tfor <smoke-test@example.org>; Mon, 23 Nov 2026 22:40:09 +0000 (UTC)\n";
    let results = "Authentication-Results: mail.example.org;\n\tdkim=pass (2048-bit key) header.d=example.org header.s=s1 header.b=x;\n\tspf=pass (sender is permitted) smtp.mailfrom=b@example.net;\n\tdmarc=pass (policy=none) header.from=example.org\n";
    let spam = "X-Spamd-Result: default: False [0.64 / 15.00];\n\tR_DKIM_ALLOW(-0.20)[example.org:s=s1];\n\tMIME_GOOD(-0.10)[multipart/alternative,text/plain];\n\tARC_NA(0.00)[]\n";
    let mixed = format!(
        "{hop}{results}{spam}DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s1;\n\tbh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=dzdVyOfAKCdLXdJOc9G2q8LoXSlEniSbav\n"
    );
    vec![
        ("hops, results, spam and signatures", filled(&mixed)),
        ("hops", filled(hop)),
        ("authentication results", filled(results)),
        (
            "open parentheses in one field",
            format!("Received: {}\n\n", "(".repeat(SIZE - 12)).into_bytes(),
        ),
    ]
}
