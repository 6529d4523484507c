//! `mailprobe generate`: what surrounds the program, made from the config.

use super::{Common, USAGE, output};
use crate::config;
use crate::config::plan::Plan;
use crate::generate::{self, RuleOptions, Workload};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;

/// Print what surrounds the program, made from the config: alert rules, dashboard, manifests
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 printed whole · 2 wrong usage or config, or output that cannot be written

Examples:
  mailprobe generate config > mailprobe.toml
  mailprobe generate prometheus-rules > /etc/prometheus/mailprobe.yml
  mailprobe generate kubernetes --image registry.example.org/mailprobe:0.1.0 | kubectl apply -f -"
)]
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
        /// Your own alert for a lost way out to the internet, which silences all others but CertificateExpiring
        #[arg(long, value_name = "ALERT", default_value = "InternetDown")]
        outage: String,
    },
    /// A dashboard for Grafana, with colours that change where the alert rules' limits are
    GrafanaDashboard,
    /// Manifests for Kubernetes: a CronJob, its config, and the least that it may do
    Kubernetes {
        /// The scheduler, as a Deployment with a Service, in place of the CronJob
        #[arg(long)]
        serve: bool,
        /// The image that the pods run, as the cluster pulls it: registry.example.org/mailprobe:0.1.0
        #[arg(
            long,
            value_name = "REF",
            default_value = concat!("mailprobe:", env!("CARGO_PKG_VERSION")),
            value_parser = NonEmptyStringValueParser::new()
        )]
        image: String,
    },
    /// An example config that explains every key
    Config,
    /// JSON Schema of the config, for editors
    Schema,
    /// Completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// The manual page, of mailprobe itself or of one of its commands
    Man {
        /// Which command [default: mailprobe itself]
        command: Option<String>,
    },
}

/// Carries the command out; the exit code.
pub(super) fn run(arguments: &Arguments, common: &Common) -> u8 {
    match text(&arguments.what, common) {
        Ok(text) => {
            output::document(text.trim_end_matches('\n'));
            0
        }
        Err(error) => {
            output::error(error.trim_end());
            USAGE
        }
    }
}

fn text(what: &What, common: &Common) -> Result<String, String> {
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
        What::GrafanaDashboard => generate::grafana_dashboard(&plan(common)?),
        What::Kubernetes { serve, image } => {
            let workload = if *serve {
                Workload::Deployment
            } else {
                Workload::CronJob
            };
            let plan = plan(common)?;
            let text = std::fs::read_to_string(&plan.source)
                .map_err(|error| format!("error: cannot read the config: {error}"))?;
            generate::kubernetes(&plan, &text, workload, image)
                .map_err(|error| error.to_string())?
        }
        What::Config => generate::EXAMPLE_CONFIG.to_owned(),
        What::Schema => generate::CONFIG_SCHEMA.to_owned(),
        What::Completions { shell } => {
            let mut script = Vec::new();
            let mut program = super::Arguments::command();
            clap_complete::generate(*shell, &mut program, "mailprobe", &mut script);
            String::from_utf8_lossy(&script).into_owned()
        }
        What::Man { command } => man(command.as_deref())?,
    })
}

/// A page of the manual, in roff.
fn man(name: Option<&str>) -> Result<String, String> {
    let mut program = super::Arguments::command();
    program.build();
    let page = match name {
        None => program,
        Some(name) => match program.find_subcommand(name) {
            Some(command) => command.clone(),
            None => {
                let names = program.get_subcommands().map(clap::Command::get_name);
                let names: Vec<_> = names.filter(|name| *name != "help").collect();
                return Err(format!(
                    "error: there is no command `{name}`; there are: {}",
                    names.join(", ")
                ));
            }
        },
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        // An empty one, in quotes: without them the version would stand in its place.
        .date("\"\"")
        .source(concat!("mailprobe ", env!("CARGO_PKG_VERSION")))
        .render(&mut text)
        .map_err(|error| format!("error: cannot write the page: {error}"))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The plan of all probes, its secrets unread.
fn plan(common: &Common) -> Result<Plan, String> {
    let variable = |name: &str| std::env::var(name).ok();
    config::find(common.config.as_deref(), &variable)
        .and_then(|path| config::load_without_secrets(&path))
        .map_err(|error| error.to_string())
}
