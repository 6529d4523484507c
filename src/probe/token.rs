//! The signed mark that ties a message to a run: make it, find it, verify it.
//!
//! A token is `e2e-probe-` and 42 characters of lower-case base32 (RFC 4648 section 6, no padding) of 26 bytes, big-endian:
//!
//! | bytes | content |
//! | --- | --- |
//! | 0 | version in the low seven bits (1), flag `keep` in the highest |
//! | 1–4 | probe id: the first four bytes of SHA-256 of the probe's name |
//! | 5–10 | time of sending, Unix milliseconds |
//! | 11–13 | deadline: seconds after the time of sending |
//! | 14–17 | nonce |
//! | 18–25 | HMAC-SHA256 over the bytes before and the probe's recipient in lower case, cut to eight bytes |

use chrono::{DateTime, TimeDelta, Utc};
use data_encoding::BASE32_NOPAD;
use ring::{digest, hkdf, hmac};
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// What every token begins with.
pub const PREFIX: &str = "e2e-probe-";

/// Characters of base32 behind [`PREFIX`].
const ENCODED_LENGTH: usize = 42;
const VERSION: u8 = 1;
const KEEP: u8 = 0x80;
const SIGNED: usize = 18;
const MAC: usize = 8;
/// The deadline has three bytes.
const LONGEST_WAIT_SECONDS: u64 = 0x00ff_ffff;

/// A key that signs and verifies tokens.
#[derive(Clone)]
pub struct TokenKey(hmac::Key);

impl TokenKey {
    /// A key given by the operator; 16 bytes or more, which the config checks.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// A key derived from the sender's API key by HKDF-SHA256 (RFC 5869), for configs without `token_key`.
    #[must_use]
    pub fn derived_from(api_key: &str) -> Self {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"mailprobe");
        let secret = salt.extract(api_key.as_bytes());
        let mut bytes = [0; 32];
        // Both calls fail only for outputs of more than 255 blocks.
        if let Ok(output) = secret.expand(&[b"token key v1"], hkdf::HKDF_SHA256) {
            let _ = output.fill(&mut bytes);
        }
        Self::from_bytes(&bytes)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::secret::REDACTED)
    }
}

/// A probe as tokens know it: who signs, and for whom the message is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The probe's name.
    pub probe: String,
    /// The probe's configured recipient.
    pub to: String,
    /// The key that signs.
    pub key: TokenKey,
    /// Keys that verify and never sign.
    pub previous_keys: Vec<TokenKey>,
}

/// What a token says, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The token itself, lower case, prefix included.
    pub token: String,
    /// The name of the probe that sent it.
    pub probe: String,
    /// When the message was sent, by the sender's clock.
    pub sent_at: DateTime<Utc>,
    /// Until when its run waits.
    pub deadline: DateTime<Utc>,
    /// The message is to stay in the mailbox.
    pub keep: bool,
}

/// The probes whose tokens are ours.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    identities: Vec<Identity>,
    /// Where in the list those with this probe id are: with thousands of probes each message is held against one.
    by_id: HashMap<[u8; 4], Vec<usize>>,
}

impl Keyring {
    /// Tokens of these probes are ours, and no others.
    #[must_use]
    pub fn new(identities: Vec<Identity>) -> Self {
        let mut by_id: HashMap<[u8; 4], Vec<usize>> = HashMap::new();
        for (index, identity) in identities.iter().enumerate() {
            by_id
                .entry(probe_id(&identity.probe))
                .or_default()
                .push(index);
        }
        Self { identities, by_id }
    }

    /// The probes with this id: one, or by chance more.
    fn with_id(&self, id: [u8; 4]) -> impl Iterator<Item = &Identity> {
        let indices = self.by_id.get(&id).into_iter().flatten();
        indices.filter_map(|index| self.identities.get(*index))
    }

    /// The probe with this name.
    #[must_use]
    pub fn identity(&self, probe: &str) -> Option<&Identity> {
        self.with_id(probe_id(probe)).find(|one| one.probe == probe)
    }

    /// What a token says, if one of our keys signed it for one of our probes. Case and surrounding white space do
    /// not matter; anything else that is not exactly a token is none.
    #[must_use]
    pub fn verify(&self, text: &str) -> Option<Claims> {
        let token = text.trim().to_ascii_lowercase();
        let bytes = decode(&token)?;
        let (signed, mac) = bytes.split_at_checked(SIGNED)?;
        let (version, rest) = signed.split_first()?;
        let (id, rest) = rest.split_first_chunk::<4>()?;
        let (millis, rest) = rest.split_first_chunk::<6>()?;
        let (wait, _nonce) = rest.split_first_chunk::<3>()?;
        if version & !KEEP != VERSION {
            return None;
        }
        let identity = self.with_id(*id).find(|one| {
            std::iter::once(&one.key)
                .chain(&one.previous_keys)
                .any(|key| equal(mac, &sign(key, signed, &one.to)))
        })?;
        let [a, b, c, d, e, f] = *millis;
        let sent_at = i64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let sent_at = DateTime::from_timestamp_millis(sent_at)?;
        let [a, b, c] = *wait;
        let wait = TimeDelta::seconds(i64::from(u32::from_be_bytes([0, a, b, c])));
        Some(Claims {
            token,
            probe: identity.probe.clone(),
            sent_at,
            deadline: sent_at.checked_add_signed(wait)?,
            keep: version & KEEP != 0,
        })
    }
}

impl Identity {
    /// A new token. `wait` is how long its run waits, from `sent_at` (whole seconds, rounded up; at most 194 days);
    /// `nonce` are random bytes.
    #[must_use]
    pub fn mint(
        &self,
        sent_at: DateTime<Utc>,
        wait: Duration,
        keep: bool,
        nonce: [u8; 4],
    ) -> String {
        let millis = u64::try_from(sent_at.timestamp_millis()).unwrap_or(0);
        let [_, _, millis @ ..] = millis.to_be_bytes();
        let wait = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let [_, _, _, _, _, wait @ ..] = wait.min(LONGEST_WAIT_SECONDS).to_be_bytes();
        let mut bytes = Vec::with_capacity(SIGNED + MAC);
        bytes.push(if keep { VERSION | KEEP } else { VERSION });
        bytes.extend(probe_id(&self.probe));
        bytes.extend(millis);
        bytes.extend(wait);
        bytes.extend(nonce);
        let mac = sign(&self.key, &bytes, &self.to);
        bytes.extend(mac);
        format!(
            "{PREFIX}{}",
            BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()
        )
    }
}

/// The first token in a text that may contain anything, verified or not: `e2e-probe-` and 42 letters of base32.
#[must_use]
pub fn find(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    text.match_indices(PREFIX).find_map(|(at, _)| {
        let token: String = text
            .get(at..)?
            .chars()
            .take(PREFIX.len() + ENCODED_LENGTH)
            .collect();
        decode(&token).map(|_| token)
    })
}

fn decode(token: &str) -> Option<Vec<u8>> {
    let encoded = token.strip_prefix(PREFIX)?;
    if encoded.len() != ENCODED_LENGTH {
        return None;
    }
    BASE32_NOPAD
        .decode(encoded.to_ascii_uppercase().as_bytes())
        .ok()
        .filter(|bytes| bytes.len() == SIGNED + MAC)
}

fn probe_id(name: &str) -> [u8; 4] {
    let hash = digest::digest(&digest::SHA256, name.as_bytes());
    hash.as_ref()
        .first_chunk::<4>()
        .copied()
        .unwrap_or_default()
}

fn sign(key: &TokenKey, signed: &[u8], to: &str) -> [u8; MAC] {
    let mut context = hmac::Context::with_key(&key.0);
    context.update(signed);
    context.update(to.to_lowercase().as_bytes());
    let tag = context.sign();
    tag.as_ref()
        .first_chunk::<MAC>()
        .copied()
        .unwrap_or_default()
}

/// Compares in a time that does not depend on where the difference is.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(probe: &str, to: &str, key: u8) -> Identity {
        Identity {
            probe: probe.to_owned(),
            to: to.to_owned(),
            key: TokenKey::from_bytes(&[key; 16]),
            previous_keys: Vec::new(),
        }
    }

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(millis).unwrap()
    }

    fn sample() -> (Identity, String) {
        let identity = identity("external", "probe@example.org", 7);
        let token = identity.mint(
            at(1_795_000_000_123),
            Duration::from_millis(899_500),
            false,
            [1, 2, 3, 4],
        );
        (identity, token)
    }

    #[test]
    fn the_layout_never_changes_since_messages_of_earlier_versions_are_still_under_way() {
        let (_, token) = sample();
        assert_eq!(
            token,
            "e2e-probe-ae6emi4eagq64vs6pmaahbabaibqjwtq4gmzaorg7e"
        );
        assert_eq!(token.len(), PREFIX.len() + ENCODED_LENGTH);
    }

    #[test]
    fn a_token_tells_its_probe_its_time_and_its_deadline() {
        let (identity, token) = sample();
        let claims = Keyring::new(vec![identity]).verify(&token).unwrap();
        assert_eq!(claims.probe, "external");
        assert_eq!(claims.sent_at, at(1_795_000_000_123));
        assert_eq!(claims.deadline, at(1_795_000_900_123));
        assert!(!claims.keep);
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let (identity, token) = sample();
        let keyring = Keyring::new(vec![identity]);
        for position in 0..token.len() {
            for other in ["a", "7", "-", " "] {
                let mut changed = token.clone();
                changed.replace_range(position..=position, other);
                if changed != token {
                    assert_eq!(keyring.verify(&changed), None, "{changed}");
                }
            }
        }
    }

    #[test]
    fn another_key_another_recipient_and_an_unknown_probe_are_not_ours() {
        let (_, token) = sample();
        for other in [
            identity("external", "probe@example.org", 8),
            identity("external", "other@example.org", 7),
            identity("internal", "probe@example.org", 7),
        ] {
            assert_eq!(Keyring::new(vec![other]).verify(&token), None);
        }
        assert_eq!(Keyring::default().verify(&token), None);
    }

    #[test]
    fn the_case_of_the_recipient_does_not_matter() {
        let (_, token) = sample();
        let keyring = Keyring::new(vec![identity("external", "Probe@Example.ORG", 7)]);
        assert!(keyring.verify(&token).is_some());
    }

    #[test]
    fn a_previous_key_verifies_and_does_not_sign() {
        let (old, token) = sample();
        let mut new = identity("external", "probe@example.org", 9);
        new.previous_keys.push(old.key);
        let signed_anew = new.mint(
            at(1_795_000_000_123),
            Duration::from_millis(899_500),
            false,
            [1, 2, 3, 4],
        );
        assert_ne!(signed_anew, token);
        assert!(Keyring::new(vec![new]).verify(&token).is_some());
    }

    #[test]
    fn the_derived_key_depends_on_the_api_key_alone() {
        let sign = |api_key| sign(&TokenKey::derived_from(api_key), b"x", "y");
        assert_eq!(sign("xkeysib-1"), sign("xkeysib-1"));
        assert_ne!(sign("xkeysib-1"), sign("xkeysib-2"));
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(
            format!("{:?}", TokenKey::derived_from("xkeysib-1")),
            "<secret>"
        );
    }

    proptest! {
        #[test]
        fn what_is_minted_verifies_in_any_case_and_inside_any_text(
            millis in 0_i64..200_000_000_000_000, wait in 0_u64..0x00ff_ffff, keep: bool, nonce: [u8; 4],
            before in "[ -~é]{0,30}", after in "[^a-z2-7A-Z]{0,10}",
        ) {
            let identity = identity("external", "probe@example.org", 7);
            let token = identity.mint(at(millis), Duration::from_secs(wait), keep, nonce);
            let keyring = Keyring::new(vec![identity]);
            let claims = keyring.verify(&format!(" {}\r\n", token.to_ascii_uppercase())).unwrap();
            prop_assert_eq!(&claims.token, &token);
            prop_assert_eq!(claims.sent_at, at(millis));
            prop_assert_eq!((claims.deadline - claims.sent_at).num_seconds().cast_unsigned(), wait);
            prop_assert_eq!(claims.keep, keep);
            prop_assert_eq!(find(&format!("{before}{token}{after}")), Some(token));
        }

        #[test]
        fn nothing_else_verifies(text in "(e2e-probe-)?[a-z2-7]{0,60}|[ -~é]{0,60}") {
            let keyring = Keyring::new(vec![identity("external", "probe@example.org", 7)]);
            prop_assert_eq!(keyring.verify(&text), None);
            let _ = find(&text);
        }
    }
}
