//! `[path]`: who is who on the way.

use super::document::Section;
use crate::probe::path::{PathPlan, Pattern};

/// What the section says; nothing where there is none.
pub(super) fn path(file: &Section<'_>) -> PathPlan {
    let Some(section) = file.table("path") else {
        return PathPlan::default();
    };
    let patterns = |key| {
        let texts = section.strings(key).unwrap_or_default();
        if let Some(entry) = section.entry(key)
            && let Some(bad) = texts.iter().find(|text| !is_pattern(text))
        {
            entry.fault(&format!(
                "has {bad:?}, which is no host name; `*` stands for any text"
            ));
        }
        texts.iter().map(|text| Pattern::new(text)).collect()
    };
    let plan = PathPlan {
        mx: patterns("mx"),
        backup_mx: patterns("backup_mx"),
        border: patterns("border"),
        authserv_ids: patterns("authserv_ids"),
    };
    if !plan.authserv_ids.is_empty() && !plan.has_border() {
        section.fault(
            "`authserv_ids` needs `border` or `mx`: whatever stands below our own first hop can be forged, and nothing says which hop that is",
        );
    }
    section.end();
    plan
}

/// A name may have an underscore: Docker and Windows make such.
fn is_pattern(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || ".-_*:[]".contains(c);
    !text.is_empty() && text.len() <= 255 && text.chars().all(is_allowed)
}
