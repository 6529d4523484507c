//! Logs to stderr: text or JSON, with every known secret taken out, and nothing in them that steers a terminal.

use crate::secret::Redacting;
use crate::visible::Visible;
use clap::ValueEnum;
use std::io::stderr;
use std::sync::{Arc, OnceLock};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

tokio::task_local! {
    static ABOUT: Arc<About>;
}

/// What a piece of work is for, as its log lines say wherever in the program they are written: `select(.token == …)`
/// finds every line of a run.
///
/// Not a span of tracing: its fields would stand in an object of their own in JSON, and twice in the lines of the runner,
/// which name probe and token themselves.
#[derive(Debug, Default)]
pub struct About {
    /// The config's name of the mailbox.
    pub mailbox: Option<String>,
    /// The folder, where it is about one.
    pub folder: Option<String>,
    /// The probe, or several, separated by commas.
    pub probe: Option<String>,
    token: OnceLock<String>,
}

impl About {
    /// About a run of this probe, whose token is not known yet.
    #[must_use]
    pub fn run_of(probe: &str) -> Self {
        Self {
            probe: Some(probe.to_owned()),
            ..Self::default()
        }
    }

    /// About a folder of a mailbox.
    #[must_use]
    pub fn folder_of(mailbox: &str, folder: &str) -> Self {
        Self {
            mailbox: Some(mailbox.to_owned()),
            folder: Some(folder.to_owned()),
            ..Self::default()
        }
    }

    /// The same with the token of the run, or several, separated by commas.
    #[must_use]
    pub fn with_token(self, token: String) -> Self {
        let _ = self.token.set(token);
        self
    }

    /// What the work that is being done is about; nothing where nobody said.
    #[must_use]
    pub fn current() -> Arc<Self> {
        ABOUT.try_with(Arc::clone).unwrap_or_default()
    }

    /// The token, once it is known.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.get().map(String::as_str)
    }

    /// The run has its token from now on.
    pub fn set_token(&self, token: &str) {
        self.token.get_or_init(|| token.to_owned());
    }

    /// Does work that is about this.
    pub async fn scope<F: Future>(self: Arc<Self>, work: F) -> F::Output {
        ABOUT.scope(self, work).await
    }
}

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
