//! What is checked beside the runs, once for all of them: the mail ports, and the records that mail depends on.

use super::diagnosis::Listener;
use super::dns_posture::{Fault, Finding, Kind, Level};
use super::listener::ListenerCheck;
use super::verdict::{CauseCode, Warning};
use chrono::{DateTime, Utc};

/// What one round of checks found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Surroundings {
    /// When that was; none before the first round is over.
    pub checked_at: Option<DateTime<Utc>>,
    /// Each listener, in the order of the config; empty where there are none.
    pub listeners: Vec<ListenerCheck>,
    /// The DNS records; none where the config has no `[dns]`.
    pub dns: Option<Dns>,
}

/// What was found out about the records.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dns {
    /// One by one.
    pub findings: Vec<Finding>,
    /// Whether two resolvers were held against each other.
    pub is_compared: bool,
}

/// How many records of a kind are not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Which kind.
    pub kind: Kind,
    /// Missing, or not what they should be; none where one of them could not be asked for.
    pub faulty: Option<u32>,
    /// Answered otherwise by the other resolver.
    pub drifted: u32,
}

impl Surroundings {
    /// Whether there is anything to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.dns.is_none()
    }

    /// The listeners, as far as a diagnosis looks at them.
    #[must_use]
    pub fn evidence(&self) -> Vec<Listener> {
        let listener = |check: &ListenerCheck| Listener {
            name: check.listener.clone(),
            trouble: check
                .error
                .as_ref()
                .map(|error| format!("{} {error}", check.endpoint)),
        };
        self.listeners.iter().map(listener).collect()
    }

    /// The same with these findings about keys that messages were signed with, as far as they say something new.
    #[must_use]
    pub fn with_keys<'f>(&self, findings: impl IntoIterator<Item = &'f Finding>) -> Self {
        let mut whole = self.clone();
        for finding in findings {
            let dns = whole.dns.get_or_insert_default();
            if !dns.findings.contains(finding) {
                dns.findings.push(finding.clone());
            }
        }
        whole
    }

    /// What every run should tell: records over which mail is lost or filed as spam.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let findings = self.dns.iter().flat_map(|dns| &dns.findings);
        let severe = findings.filter(|one| {
            one.level == Level::Fail && one.fault.is_some_and(|fault| fault != Fault::Unknown)
        });
        severe
            .map(|one| Warning {
                code: CauseCode::DnsDrift,
                summary: one.summary.clone(),
                hint: one.hint.clone(),
                evidence: Vec::new(),
            })
            .collect()
    }
}

impl Dns {
    /// Every kind of record, and how many are not well.
    #[must_use]
    pub fn counts(&self) -> Vec<Count> {
        let count = |kind| {
            let of_kind = self.findings.iter().filter(|one| one.kind == kind);
            let with = |fault| {
                of_kind
                    .clone()
                    .filter(|one| one.fault == Some(fault))
                    .count()
            };
            let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
            let is_known = with(Fault::Unknown) == 0;
            Count {
                kind,
                faulty: is_known.then(|| number(with(Fault::Missing) + with(Fault::Wrong))),
                drifted: number(with(Fault::Drift)),
            }
        };
        Kind::ALL.into_iter().map(count).collect()
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;
    use crate::probe::listener::{Fault as PortFault, ShownCertificate, Step, StepTime};
    use std::time::Duration;

    /// A port that is well, and one that refuses the header; a zone that lacks SPF.
    pub(crate) fn surroundings() -> Surroundings {
        let at = |text: &str| text.parse().unwrap();
        let well = ListenerCheck {
            listener: "smtp-outside".to_owned(),
            ok: true,
            stages: vec![
                StepTime::new(Step::Connect, Duration::from_millis(2)),
                StepTime::new(Step::Greeting, Duration::from_millis(40)),
                StepTime::new(Step::Quit, Duration::from_secs(1)),
            ],
            certificate: Some(ShownCertificate {
                names: vec!["mail.example.org".to_owned()],
                issuer: "CN=Example CA".to_owned(),
                not_before: at("2026-10-01T00:00:00Z"),
                not_after: at("2026-12-30T00:00:00Z"),
                days_left: 35,
                valid: true,
            }),
            error: None,
            hint: None,
            endpoint: "smtp 10.0.20.1:25".to_owned(),
            fault: None,
        };
        let ill = ListenerCheck {
            listener: "smtp-proxy".to_owned(),
            ok: false,
            certificate: None,
            error: Some("refuses the PROXY header: `421 4.3.2 No system resources`".to_owned()),
            hint: Some("see the log".to_owned()),
            endpoint: "smtp 10.0.20.1:2525 behind PROXY v2".to_owned(),
            fault: Some(PortFault::HeaderRefused),
            ..well.clone()
        };
        let finding = |level, kind, fault, summary: &str| Finding {
            level,
            kind,
            fault,
            summary: summary.to_owned(),
            hint: "add the record".to_owned(),
        };
        let lacks = "resolver system lacks spf of `example.org`, which 1.1.1.1 has: v=spf1 -all";
        Surroundings {
            checked_at: Some(at("2026-11-25T06:00:01Z")),
            listeners: vec![well, ill],
            dns: Some(Dns {
                findings: vec![
                    finding(Level::Ok, Kind::Mx, None, "MX of `example.org`"),
                    finding(
                        Level::Fail,
                        Kind::Spf,
                        Some(Fault::Missing),
                        "`example.org` has no SPF record",
                    ),
                    finding(
                        Level::Warn,
                        Kind::Dmarc,
                        Some(Fault::Unknown),
                        "cannot look up dmarc",
                    ),
                    finding(Level::Fail, Kind::Spf, Some(Fault::Drift), lacks),
                ],
                is_compared: true,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnosis_hears_of_every_port_and_a_run_of_records_that_lose_mail() {
        let surroundings = samples::surroundings();
        let evidence = surroundings.evidence();
        assert_eq!(evidence[0].trouble, None);
        assert_eq!(
            evidence[1].trouble.as_deref(),
            Some(
                "smtp 10.0.20.1:2525 behind PROXY v2 refuses the PROXY header: `421 4.3.2 No system resources`"
            )
        );
        let warnings: Vec<String> = surroundings
            .warnings()
            .into_iter()
            .map(|one| one.summary)
            .collect();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[1].starts_with("resolver system lacks spf"));
    }

    #[test]
    fn keys_that_messages_showed_are_told_and_counted_once() {
        let faulty = |found: &Surroundings| {
            let counts = found.dns.as_ref().unwrap().counts();
            counts
                .iter()
                .find(|one| one.kind == Kind::Dkim)
                .unwrap()
                .faulty
        };
        let missing = Finding {
            level: Level::Fail,
            kind: Kind::Dkim,
            fault: Some(Fault::Missing),
            summary: "the DKIM key `s1._domainkey.example.org` does not exist".to_owned(),
            hint: "add it".to_owned(),
        };
        let before = samples::surroundings();
        let after = before.with_keys([&missing, &missing]).with_keys([&missing]);
        assert_eq!((faulty(&before), faulty(&after)), (Some(0), Some(1)));
        assert_eq!(after.warnings().len(), before.warnings().len() + 1);
        // Before the first round is over, the run's own findings are told all the same.
        assert_eq!(
            Surroundings::default()
                .with_keys([&missing])
                .warnings()
                .len(),
            1
        );
        assert!(Surroundings::default().with_keys([]).is_empty());
    }

    #[test]
    fn what_could_not_be_asked_for_is_counted_as_unknown_not_as_well() {
        let counts = samples::surroundings().dns.unwrap().counts();
        assert_eq!(counts.len(), Kind::ALL.len());
        let of = |kind| counts.iter().find(|one| one.kind == kind).unwrap();
        assert_eq!((of(Kind::Mx).faulty, of(Kind::Mx).drifted), (Some(0), 0));
        assert_eq!((of(Kind::Spf).faulty, of(Kind::Spf).drifted), (Some(1), 1));
        assert_eq!(of(Kind::Dmarc).faulty, None);
    }
}
