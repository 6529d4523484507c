//! The command line: one file a command, what it prints and its help text.

mod check;
mod demo;
mod find;
mod generate;
mod inspect;
mod live;
mod nagios;
mod output;
mod run;
mod serve;
mod termination;
mod text;

use crate::config::{self, ConfigError};
use crate::log::{self, LogFormat, LogLevel};
use crate::net::tls;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// Wrong usage or config; nothing was sent. Of all commands but `run` also: the output could not be written.
const USAGE: u8 = 2;

/// Does mail that is sent to me arrive, how fast, and if not, why?
#[derive(Debug, Parser)]
#[command(
    name = "mailprobe",
    version,
    after_help = "Examples:
  mailprobe demo                        a whole mail world inside the process, and a run through it
  mailprobe check                       is everything set up? sends nothing
  mailprobe run external                one run of the probe `external`
  mailprobe serve                       every probe on its schedule, with metrics and a status page
  mailprobe run --output json --push    every probe, report on stdout, sinks told"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
struct Common {
    /// The config [default: $MAILPROBE_CONFIG, ./mailprobe.toml, /etc/mailprobe/mailprobe.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How log lines look
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// How much is logged to stderr [default: info for serve, else warn]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Serve(serve::Arguments),
    Check(check::Arguments),
    Find(find::Arguments),
    Demo(demo::Arguments),
    Inspect(inspect::Arguments),
    Generate(generate::Arguments),
}

/// Reads the arguments, carries out the command, and says how the process is to end.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let printed = error.print();
            if error.use_stderr() {
                return ExitCode::from(USAGE);
            }
            // Help and version are no errors, and go to stdout.
            output::written(printed);
            return ExitCode::from(if output::is_lost() { USAGE } else { 0 });
        }
    };
    let usual_level = match &arguments.command {
        Command::Serve(_) => LogLevel::Info,
        _ => LogLevel::Warn,
    };
    log::init(
        arguments.common.log_format,
        arguments.common.log_level.unwrap_or(usual_level),
    );
    tls::install_crypto_provider();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output::error(&format!("error: cannot start: {error}"));
            return ExitCode::from(USAGE);
        }
    };
    let unheard = match &arguments.command {
        Command::Run(arguments) => arguments.unheard(),
        _ => USAGE,
    };
    let code = match runtime.block_on(carry_out(arguments)) {
        0 if output::is_lost() => unheard,
        code => code,
    };
    // A name look-up that hangs in a thread must not hold the process.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn carry_out(arguments: Arguments) -> u8 {
    let common = arguments.common;
    match arguments.command {
        Command::Run(arguments) => run::run(&arguments, &common).await,
        Command::Serve(_) => serve::run(&common).await,
        Command::Inspect(arguments) => inspect::run(&arguments, &common),
        Command::Check(arguments) => check::run(&arguments, &common).await,
        Command::Find(arguments) => find::run(&arguments, &common).await,
        Command::Demo(arguments) => demo::run(&arguments).await,
        Command::Generate(arguments) => generate::run(&arguments, &common),
    }
}

/// What stdout gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// The plan of the config that the options name, for these probes.
fn plan(common: &Common, probes: &[String]) -> Result<config::plan::Plan, ConfigError> {
    let variable = |name: &str| std::env::var(name).ok();
    let path = config::find(common.config.as_deref(), &variable)?;
    config::load(&path, probes, &variable)
}

/// The plan of that config for all probes, where its secrets need not be there.
fn plan_without_secrets(common: &Common) -> Result<config::plan::Plan, ConfigError> {
    let variable = |name: &str| std::env::var(name).ok();
    config::load_without_secrets(&config::find(common.config.as_deref(), &variable)?)
}
