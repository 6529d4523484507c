//! What the operator writes (`raw`), and what the program uses ([`plan`]).

pub mod plan;
