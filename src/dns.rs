//! DNS: asks for the records that mail depends on. What they mean is judged in [`crate::probe::dns_posture`].

use crate::config::plan::{DnsPlan, Resolver};
use crate::log::About;
use crate::net::quotable;
use crate::probe::dns_posture::{
    Answer, Answered, Finding, Kind, Level, Question, Subject, drift, follow_up, judge, questions,
};
use futures_util::StreamExt;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::timeout;

/// One packet's answer.
const PACKET_LIMIT: Duration = Duration::from_secs(2);
/// One question, its repeats and the aliases on its way included.
const QUESTION_LIMIT: Duration = Duration::from_secs(6);
/// Questions under way at a time: resolvers drop what comes all at once.
const AT_A_TIME: usize = 16;
/// Rounds of questions: the first, what SPF includes and where hosts are, and so on.
const ROUNDS: usize = 4;
/// More records than these of one name are not looked at.
const MOST_RECORDS: usize = 50;

/// Everything there is to say about the records, with two resolvers held against each other where two are configured.
pub async fn posture(plan: &DnsPlan, subject: &Subject) -> Vec<Finding> {
    let asked = async |server: Resolver| match Asked::new(server) {
        Ok(asked) => Ok((asked.name.clone(), asked.answers(subject).await)),
        Err(reason) => Err(reason),
    };
    let other = async {
        match plan.compare_with {
            Some(server) => Some(asked(Resolver::Server(server)).await),
            None => None,
        }
    };
    let (ours, other) = tokio::join!(asked(plan.resolver), other);
    let (name, answers) = match ours {
        Ok(asked) => asked,
        Err(reason) => return vec![unusable(&reason)],
    };
    let mut findings = judge(subject, &answers);
    match other {
        Some(Ok((other, others))) => {
            findings.extend(drift((&name, &answers), (&other, &others)));
        }
        Some(Err(reason)) => findings.push(unusable(&reason)),
        None => {}
    }
    findings
}

fn unusable(reason: &str) -> Finding {
    Finding {
        level: Level::Fail,
        kind: Kind::Mx,
        fault: Some(crate::probe::dns_posture::Fault::Unknown),
        summary: format!("the resolver cannot be asked: {reason}"),
        hint: "set `[dns] resolver` to the address of one".to_owned(),
    }
}

/// A resolver.
struct Asked {
    name: String,
    resolver: TokioResolver,
}

impl Asked {
    fn new(server: Resolver) -> Result<Self, String> {
        let provider = TokioRuntimeProvider::default;
        let (name, mut builder) = match server {
            Resolver::System => {
                let builder = TokioResolver::builder_tokio()
                    .map_err(|error| format!("/etc/resolv.conf: {error}"))?;
                ("system".to_owned(), builder)
            }
            Resolver::Server(address) => {
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![servers(address)]);
                let builder = TokioResolver::builder_with_config(config, provider());
                (named(address), builder)
            }
        };
        limit(builder.options_mut());
        let resolver = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { name, resolver })
    }

    /// All answers about a subject, round by round.
    async fn answers(&self, subject: &Subject) -> Vec<Answered> {
        let mut answered = Vec::new();
        let mut open = questions(subject);
        for _ in 0..ROUNDS {
            if open.is_empty() {
                break;
            }
            let answers = open.into_iter().map(|question| self.ask(question));
            let round: Vec<Answered> = futures_util::stream::iter(answers)
                .buffered(AT_A_TIME)
                .collect()
                .await;
            answered.extend(round);
            open = follow_up(&answered);
        }
        answered
    }

    async fn ask(&self, question: Question) -> Answered {
        let answer = timeout(QUESTION_LIMIT, self.answer(&question)).await;
        let answer = answer.unwrap_or_else(|_| {
            Answer::Failed(format!("no answer within {} s", QUESTION_LIMIT.as_secs()))
        });
        let about = About::current();
        tracing::trace!(
            probe = about.probe,
            token = about.token(),
            resolver = self.name,
            ?question,
            ?answer,
            "dns"
        );
        Answered { question, answer }
    }

    async fn answer(&self, question: &Question) -> Answer {
        match question.kind {
            Kind::Mx => self.lookup(&question.name, RecordType::MX).await,
            Kind::Ptr => match question.name.parse::<IpAddr>() {
                Ok(address) => {
                    let name = Name::from(address).to_ascii();
                    self.lookup(&name, RecordType::PTR).await
                }
                Err(error) => Answer::Failed(error.to_string()),
            },
            Kind::Address => {
                let (v4, v6) = tokio::join!(
                    self.lookup(&question.name, RecordType::A),
                    self.lookup(&question.name, RecordType::AAAA)
                );
                both(v4, v6)
            }
            Kind::Dkim => match self.lookup(&question.name, RecordType::TXT).await {
                // Providers have keys looked up through an alias: a dangling one is told apart from none.
                Answer::Nothing(None) => match self.lookup(&question.name, RecordType::CNAME).await
                {
                    Answer::Records(aliases) => Answer::Nothing(aliases.into_iter().next()),
                    _ => Answer::Nothing(None),
                },
                answer => answer,
            },
            Kind::Spf | Kind::Dmarc | Kind::MtaSts | Kind::TlsRpt => {
                self.lookup(&question.name, RecordType::TXT).await
            }
        }
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Answer {
        // With the dot no search domain of this machine is tried.
        let name = format!("{}.", name.trim_end_matches('.'));
        match self.resolver.lookup(name, kind).await {
            Ok(lookup) => {
                let records = lookup.answers().iter().take(MOST_RECORDS);
                let mut texts: Vec<String> = records
                    .filter(|record| record.record_type() == kind)
                    .filter_map(|record| text(&record.data))
                    .collect();
                texts.sort();
                if texts.is_empty() {
                    Answer::Nothing(None)
                } else {
                    Answer::Records(texts)
                }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Answer::Nothing(None),
            Err(error) => Answer::Failed(quotable(&error.to_string())),
        }
    }
}

fn limit(options: &mut ResolverOpts) {
    options.timeout = PACKET_LIMIT;
    options.attempts = 2;
    options.edns0 = true;
    options.try_tcp_on_error = true;
    options.use_hosts_file = ResolveHosts::Never;
}

fn servers(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

/// The server as the config writes it.
fn named(address: SocketAddr) -> String {
    if address.port() == 53 {
        address.ip().to_string()
    } else {
        address.to_string()
    }
}

fn both(v4: Answer, v6: Answer) -> Answer {
    match (v4, v6) {
        (Answer::Records(mut addresses), Answer::Records(more)) => {
            addresses.extend(more);
            Answer::Records(addresses)
        }
        (Answer::Records(addresses), _) | (_, Answer::Records(addresses)) => {
            Answer::Records(addresses)
        }
        (Answer::Failed(reason), _) | (_, Answer::Failed(reason)) => Answer::Failed(reason),
        (Answer::Nothing(alias), Answer::Nothing(_)) => Answer::Nothing(alias),
    }
}

/// A record in text.
fn text(data: &RData) -> Option<String> {
    let host = |name: &Name| {
        let text = name.to_ascii().to_ascii_lowercase();
        match text.trim_end_matches('.') {
            "" => ".".to_owned(),
            name => name.to_owned(),
        }
    };
    Some(match data {
        RData::MX(mx) => format!("{} {}", mx.preference, host(&mx.exchange)),
        RData::A(address) => address.0.to_string(),
        RData::AAAA(address) => address.0.to_string(),
        RData::PTR(name) => host(&name.0),
        RData::CNAME(name) => host(&name.0),
        RData::TXT(txt) => {
            // The parts of one text belong together without a space (RFC 7208 section 3.3).
            let whole: Vec<u8> = txt.txt_data.iter().flatten().copied().collect();
            String::from_utf8_lossy(&whole).into_owned()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
