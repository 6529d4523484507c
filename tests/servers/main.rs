//! Everything that is shown against real servers. `tests/run` installs them and runs these; one binary, so that the
//! crate is linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may fail"
)]

mod alert_rules;
mod alerts;
mod check;
#[path = "../common/mod.rs"]
mod common;
mod container;
mod crowded;
mod dashboard;
mod debian;
mod deploy;
mod faults;
mod figures;
mod incidents;
mod inhibitions;
mod installation;
mod interrupted;
mod listeners;
mod matrix;
mod page;
mod release;
mod round_trip;
mod serve;
mod smtp;
mod soak;
mod termination;
mod tools;
