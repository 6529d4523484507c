//! `mailprobe generate`: what surrounds the program, made from the config.

use super::{Common, USAGE, output};
use crate::config::plan::Plan;
use crate::config::{self, ConfigError};
use crate::generate::{self, RuleOptions};
use clap::{Args, Subcommand};

/// Print what surrounds the program, made from the config: alert rules, dashboard, manifests
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mailprobe generate config > mailprobe.toml
  mailprobe generate prometheus-rules > /etc/prometheus/mailprobe.yml
  mailprobe generate kubernetes | kubectl apply -f -")]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Alert rules for Prometheus, with thresholds that follow from schedules and timeouts
    PrometheusRules {
        /// Name the three alerts that the old script had as it did: EmailRoundtripFailing, …Stale, …NeverRun
        #[arg(long)]
        old_names: bool,
        /// As an object for the Prometheus operator
        #[arg(long)]
        operator: bool,
        /// Where the alerts' `runbook_url` leads: the address of the README
        #[arg(long, value_name = "URL", default_value = "README.md")]
        runbook: String,
    },
    /// Inhibitions for Alertmanager: of several alerts with one cause, one is heard
    AlertmanagerInhibitions {
        /// For rules that were generated with --old-names
        #[arg(long)]
        old_names: bool,
        /// Your own alert for a lost way out to the internet, which silences all others
        #[arg(long, value_name = "ALERT", default_value = "InternetDown")]
        outage: String,
    },
}

/// Carries the command out; the exit code.
pub(super) fn run(arguments: &Arguments, common: &Common) -> u8 {
    match text(&arguments.what, common) {
        Ok(text) => {
            output::line(text.trim_end_matches('\n'));
            0
        }
        Err(error) => {
            output::error(error.to_string().trim_end());
            USAGE
        }
    }
}

fn text(what: &What, common: &Common) -> Result<String, ConfigError> {
    Ok(match what {
        What::PrometheusRules {
            old_names,
            operator,
            runbook,
        } => {
            let options = RuleOptions {
                old_names: *old_names,
                operator: *operator,
                runbook: runbook.clone(),
            };
            generate::prometheus_rules(&plan(common)?, &options)
        }
        What::AlertmanagerInhibitions { old_names, outage } => {
            generate::alertmanager_inhibitions(&plan(common)?, *old_names, outage)
        }
    })
}

/// The plan of all probes, its secrets unread.
fn plan(common: &Common) -> Result<Plan, ConfigError> {
    let variable = |name: &str| std::env::var(name).ok();
    let path = config::find(common.config.as_deref(), &variable)?;
    config::load_without_secrets(&path)
}
