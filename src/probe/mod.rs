//! The core: no sockets, no files, no clock. Time and random bytes come in as arguments.

pub mod compose;
pub mod looks;
pub mod message;
pub mod report;
pub mod run;
pub mod schedule;
pub mod send;
pub mod token;
pub mod verdict;
