//! Logs to stderr: text or JSON, with every known secret taken out, and nothing in them that steers a terminal.

use crate::secret::Redacting;
use crate::visible::Visible;
use clap::ValueEnum;
use std::io::stderr;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// What needs attention.
    Warn,
    /// One line a run.
    Info,
    /// Each step of a run.
    Debug,
    /// Each command and request.
    Trace,
}

/// Sends the logs of this process to stderr.
pub fn init(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // async-imap writes passwords at trace level, others write bodies. Whatever is asked for, only our own lines
    // go below `warn`; they say what those would, without the secrets.
    let targets = Targets::new()
        .with_target("mailprobe", level)
        .with_default(level.min(LevelFilter::WARN));
    let registry = tracing_subscriber::registry().with(targets);
    let writer = || Redacting(Visible(stderr()));
    // Fails only where a logger is installed already.
    let _ = match format {
        LogFormat::Text => registry
            .with(fmt::layer().with_ansi(false).with_writer(writer))
            .try_init(),
        LogFormat::Json => registry
            .with(fmt::layer().json().flatten_event(true).with_writer(writer))
            .try_init(),
    };
}
