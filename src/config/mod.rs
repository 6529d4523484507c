//! What the operator writes, read in one go with every fault of meaning, and what the program uses ([`plan`]).

mod dns;
mod document;
mod edges;
mod listeners;
mod load;
mod path;
pub mod plan;
mod providers;
mod serve;
mod smtp;
mod values;

pub use load::{LONGEST_TIMEOUT, SHORTEST_TIMEOUT, load, load_to_serve, load_without_secrets};

use std::path::{Path, PathBuf};

/// A function that answers with the value of an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why there is no plan. Displays as one `error: …` line a fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no file at any of the places where one is looked for.
    #[error(
        "error: no config found: looked for {}\nhint: name one with --config FILE, or begin with `mailprobe generate config > mailprobe.toml`; `mailprobe demo` needs none",
        .0.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(" and ")
    )]
    NotFound(Vec<PathBuf>),
    /// The file cannot be read.
    #[error("error: cannot read the config `{path}`: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        reason: String,
    },
    /// A probe was asked for that the file does not have.
    #[error("error: {path}: there is no probe `{name}`; there are: {}", .known.join(", "))]
    UnknownProbe {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The file was read, and this is wrong with it: `FILE:LINE: …`, in the order of the file.
    #[error("{}", .0.iter().map(|fault| format!("error: {fault}")).collect::<Vec<_>>().join("\n"))]
    Faulty(Vec<String>),
}

/// The config to read: the one named, else `$MAILPROBE_CONFIG`, else the first that exists of `./mailprobe.toml` and
/// `/etc/mailprobe/mailprobe.toml`.
///
/// # Errors
/// None is named and none exists.
pub fn find(named: Option<&Path>, variable: Environment<'_>) -> Result<PathBuf, ConfigError> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    if let Some(path) = variable("MAILPROBE_CONFIG").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let places = ["mailprobe.toml", "/etc/mailprobe/mailprobe.toml"].map(PathBuf::from);
    match places.iter().find(|path| path.exists()) {
        Some(path) => Ok(path.clone()),
        None => Err(ConfigError::NotFound(places.to_vec())),
    }
}

#[cfg(test)]
mod tests;
