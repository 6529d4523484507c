//! What surrounds the program in an operator's installation, made from the operator's config: alert rules, dashboard,
//! manifests. Pure: a plan in, a text out.

mod dashboard;
mod inhibitions;
mod kubernetes;
mod mounts;
mod network;
mod pod;
mod quoting;
mod resources;
mod rules;
mod timing;
mod yaml;

pub use dashboard::grafana_dashboard;
pub use inhibitions::alertmanager_inhibitions;
pub use kubernetes::{ManifestError, Workload, kubernetes};
pub use rules::{RuleOptions, prometheus_rules};

/// A commented config with every key, good as it is and with every `#` of a setting taken away.
pub const EXAMPLE_CONFIG: &str = include_str!("example.toml");

/// JSON Schema (2020-12) of the config, for editors.
pub const CONFIG_SCHEMA: &str = include_str!("schema.json");
