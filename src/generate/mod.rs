//! What surrounds the program in an operator's installation, made from the operator's config: alert rules, dashboard,
//! manifests. Pure: a plan in, a text out.

mod inhibitions;
mod rules;
mod timing;
mod yaml;

pub use inhibitions::alertmanager_inhibitions;
pub use rules::{RuleOptions, prometheus_rules};
