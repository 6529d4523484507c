//! The core: no sockets, no files, no clock. Time and random bytes come in as arguments.

pub mod compose;
pub mod report;
pub mod schedule;
pub mod send;
pub mod token;
pub mod verdict;
