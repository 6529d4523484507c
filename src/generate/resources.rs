//! What the manifests ask a cluster for, from what runs were measured to take: README, "Figures".

/// The peak of a run with one probe, in KiB: 10.6 MiB, of which eight are the program. A mailbox of 10,000 messages and
/// every incident of the README's table take no more, as the size of everything that is read is bounded.
const RUN: u64 = 10_854;
/// What each further probe may add, in KiB: `serve` with 100 of them over 20 mailboxes, and its history, held 23.5 MiB.
const PROBE: u64 = 133;
/// Processor time of a run of a second, in milliseconds: so many thousandths of a processor while it lasts.
const PROCESSOR: u64 = 21;
/// However many probes there are, in thousandths: what they do at the same time then takes longer.
const PROCESSOR_MOST: u64 = 250;

/// Requests and limits of one container, as Kubernetes writes them. There is no limit of processor time: a run that is held
/// back would report the cluster's delay as the mail's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resources {
    /// In thousandths of a processor.
    pub(super) processor: String,
    /// What is reserved: the peak, and a fifth.
    pub(super) memory: String,
    /// Four times that. It reserves nothing, and only a fault gets there.
    pub(super) memory_limit: String,
}

impl Resources {
    /// Of a process with so many probes.
    pub(super) fn of(probes: usize) -> Self {
        let probes = u64::try_from(probes).unwrap_or(u64::MAX).max(1);
        let peak = PROBE.saturating_mul(probes - 1).saturating_add(RUN);
        let mebibytes = peak.saturating_add(peak / 5).div_ceil(1024);
        let processor = PROCESSOR.saturating_mul(probes).min(PROCESSOR_MOST);
        Self {
            processor: format!("{processor}m"),
            memory: format!("{mebibytes}Mi"),
            memory_limit: format!("{}Mi", mebibytes.saturating_mul(4)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_grow_with_the_probes_and_those_of_the_processor_to_a_quarter() {
        for (probes, processor, memory, limit) in [
            (0, "21m", "13Mi", "52Mi"),
            (1, "21m", "13Mi", "52Mi"),
            (10, "210m", "15Mi", "60Mi"),
            (12, "250m", "15Mi", "60Mi"),
            (100, "250m", "29Mi", "116Mi"),
            (1_000, "250m", "169Mi", "676Mi"),
        ] {
            let expected = Resources {
                processor: processor.to_owned(),
                memory: memory.to_owned(),
                memory_limit: limit.to_owned(),
            };
            assert_eq!(Resources::of(probes), expected, "{probes}");
        }
    }
}
