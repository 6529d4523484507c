//! What every edge shares: TLS that checks certificates, and HTTP whose answers are bounded.

pub mod tls;
