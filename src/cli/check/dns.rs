//! The DNS records that mail depends on.

use super::finding::{Finding, Level};
use crate::config::plan::{DnsPlan, Plan};
use crate::dns::posture;
use crate::probe::dns_posture;

pub(super) async fn check(plan: &Plan, dns: &DnsPlan) -> Vec<Finding> {
    let found = posture(dns, &plan.dns_subject()).await;
    found.into_iter().map(finding).collect()
}

fn finding(found: dns_posture::Finding) -> Finding {
    let level = match found.level {
        dns_posture::Level::Ok => Level::Ok,
        dns_posture::Level::Warn => Level::Warn,
        dns_posture::Level::Fail => Level::Fail,
    };
    let finding = Finding::new("dns", level, found.summary);
    if found.hint.is_empty() {
        finding
    } else {
        finding.hint(found.hint)
    }
}
