//! What a check of eight mail ports costs, and how long it takes.

use super::Table;
use super::common::ways_in::{Settings, WaysIn};
use super::footprint::used;

const CHECKS: u32 = 20;

pub(crate) fn measure(table: &mut Table) {
    Table::title(&format!(
        "Eight listeners, `check --listeners`, {CHECKS} times: Postfix and Dovecot, four ports behind PROXY v2"
    ));
    let ways_in = WaysIn::start(Settings::default());
    let command = ways_in.command(&ways_in.listeners(), &["check", "--listeners"]);
    // The first one waits for the server's processes to start.
    used(&command, 1);
    let checks = used(&command, CHECKS);
    let each = |seconds: f64| seconds * 1000.0 / f64::from(CHECKS);
    table.at_most("all eight, elapsed", each(checks.elapsed), 1000.0, "ms");
    let processor = each(checks.processor);
    table.at_most("all eight, processor time", processor, 20.0, "ms");
}
