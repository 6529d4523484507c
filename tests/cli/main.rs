//! What a person at a terminal, a script and a scheduler see: the program is run, and its output and exit code compared.
//! Needs no servers; the mail world is that of `mailprobe demo`. One binary, so that the crate is linked once.

// A test that fails panics; clippy allows that in test functions by itself, in their helpers by this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod architecture;
mod dashboard;
mod demo;
mod deploy;
mod dns;
mod errors;
mod find;
mod generate;
mod help;
mod hostile;
mod inspect;
mod logs;
mod output;
mod readme;
mod run;
mod secrets;
mod serve;
mod signals;
mod systemd;
mod terminal;
mod world;
