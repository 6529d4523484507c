//! Two resolvers that should say the same, and do not: an internal zone that lacks what the public one has.

use super::{Answer, Answered, Fault, Finding, Kind, Level, texts};
use std::collections::BTreeSet;

/// Holds the answers of `resolver` (first) against those of `other`, both by name.
#[must_use]
pub fn drift(resolver: (&str, &[Answered]), other: (&str, &[Answered])) -> Vec<Finding> {
    let (here, ours) = resolver;
    let (there, theirs) = other;
    ours.iter()
        .filter_map(|mine| {
            let yours = theirs.iter().find(|one| one.question == mine.question)?;
            let difference = Difference {
                mine,
                here,
                there,
                lacks: is_nothing(mine),
                is_lacked: is_nothing(yours),
            };
            match (records(mine), records(yours)) {
                (Some(my), Some(your)) if my != your => difference.finding(&my, &your),
                _ => None,
            }
        })
        .collect()
}

struct Difference<'a> {
    mine: &'a Answered,
    here: &'a str,
    there: &'a str,
    lacks: bool,
    is_lacked: bool,
}

impl Difference<'_> {
    fn finding(&self, my: &BTreeSet<&str>, your: &BTreeSet<&str>) -> Option<Finding> {
        let Self { here, there, .. } = self;
        let (kind, name) = (self.mine.question.kind, &self.mine.question.name);
        // Inside, a mail host may well be reached at other addresses and under other names.
        if matches!(kind, Kind::Address | Kind::Ptr) && !self.lacks {
            return None;
        }
        let what = format!("{} of `{name}`", kind.name());
        let list =
            |records: &BTreeSet<&str>| records.iter().copied().collect::<Vec<_>>().join(", ");
        Some(if self.lacks {
            Finding::bad(
                Level::Fail,
                Fault::Drift,
                kind,
                format!(
                    "resolver {here} lacks {what}, which {there} has: {}",
                    list(your)
                ),
                "add the record to the internal zone, a CNAME as CNAME: a mail server that asks there takes our own mail for forged",
            )
        } else if self.is_lacked {
            Finding::bad(
                Level::Warn,
                Fault::Drift,
                kind,
                format!(
                    "resolver {there} lacks {what}, which {here} has: {}",
                    list(my)
                ),
                "add the record to the public zone, if the world is to see it",
            )
        } else {
            Finding::bad(
                Level::Warn,
                Fault::Drift,
                kind,
                format!(
                    "{what} differs: {} at resolver {here}, {} at {there}",
                    list(my),
                    list(your)
                ),
                "make the zones agree; within the records' lifetime after a change they may differ",
            )
        })
    }
}

fn is_nothing(answered: &Answered) -> bool {
    records(answered).is_some_and(|records| records.is_empty())
}

/// The records of the question's own kind; none where they are not known.
fn records(answered: &Answered) -> Option<BTreeSet<&str>> {
    match &answered.answer {
        Answer::Records(records) => Some(texts(answered.question.kind, records).collect()),
        Answer::Nothing(_) => Some(BTreeSet::new()),
        Answer::Failed(_) => None,
    }
}
