//! End-to-end mail delivery probe: does mail that is sent to me arrive, and how fast, and if not, why.
//!
//! Data flows one way:
//!
//! ```text
//! config (what the operator writes) -> Plan
//!   -> scheduler (in `serve`: each probe at its time; history, http)
//!   -> runner: one run of one probe
//!        probe::run  the state machine: what next?
//!        senders     hand the message over
//!        mailboxes   wait for it, read it, delete it
//!   -> probe::report (one finished run as data)
//!   -> sinks, stdout
//! ```

pub mod cli;
pub mod config;
pub mod demo;
pub mod dns;
pub mod files;
pub mod generate;
pub mod history;
pub mod http;
pub mod listeners;
pub mod log;
pub mod mailboxes;
pub mod metrics;
pub mod net;
pub mod probe;
pub mod runner;
pub mod scheduler;
pub mod secret;
pub mod senders;
pub mod sinks;
pub mod visible;
