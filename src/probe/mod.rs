//! The core: no sockets, no files, no clock. Time and random bytes come in as arguments.

pub mod arrival;
pub mod auth_results;
pub mod budget;
pub mod compose;
pub mod dates;
pub mod diagnosis;
pub mod dns_posture;
pub mod header;
mod lexer;
pub mod listener;
pub mod looks;
pub mod message;
pub mod path;
pub mod provider;
pub mod received;
pub mod report;
pub mod run;
pub mod schedule;
pub mod send;
pub mod spam;
pub mod surroundings;
pub mod timetable;
pub mod token;
pub mod verdict;
pub mod whereabouts;
