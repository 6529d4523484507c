//! Everything that is shown against real servers. `tests/run` installs them and runs these; one binary, so that the
//! crate is linked once.

#[path = "../common/mod.rs"]
mod common;
mod listeners;
mod round_trip;
