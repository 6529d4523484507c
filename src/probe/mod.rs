//! The core: no sockets, no files, no clock. Time and random bytes come in as arguments.

pub mod arrival;
pub mod budget;
pub mod compose;
pub mod diagnosis;
pub mod header;
pub mod listener;
pub mod looks;
pub mod message;
pub mod path;
pub mod provider;
pub mod report;
pub mod run;
pub mod schedule;
pub mod send;
pub mod timetable;
pub mod token;
pub mod verdict;
