//! stub
use super::token::{Claims, Keyring};
/// stub
pub const RECOGNITION_FIELDS: &[&str] = &["X-Mailprobe-Token", "Subject"];
/// stub
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    /// stub
    pub claims: Claims,
    /// stub
    pub deletable: bool,
}
/// stub
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recognition {
    /// stub
    Ours(Ours),
    /// stub
    Quoted {
        /// stub
        token: String,
        /// stub
        reason: &'static str,
    },
    /// stub
    Foreign,
}
/// stub
#[must_use]
pub fn recognise(_h: &[u8], _k: &Keyring) -> Recognition {
    Recognition::Foreign
}
