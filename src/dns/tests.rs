//! Resolvers of our own on loopback, with zones that are right, lack records, are slow, or need TCP.

use super::*;
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::Record;
use hickory_resolver::proto::rr::rdata::{A, CNAME, MX, TXT};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

type Zone = Vec<(&'static str, RData)>;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn txt(text: &str) -> RData {
    // In parts, as long keys have to be.
    let parts: Vec<String> = text
        .as_bytes()
        .chunks(100)
        .map(|part| String::from_utf8(part.to_vec()).unwrap())
        .collect();
    RData::TXT(TXT::new(parts))
}

fn cname(text: &str) -> RData {
    RData::CNAME(CNAME(name(text)))
}

const KEY: &str = "k=rsa;p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDeMVIzrCa3T14JsNY0IRv5/2V1/v2itlviLQBwXsa7shBD6TrBkswsFUToPyMRWC9tbR/5ey0nRBH0ZVxp";

fn whole_zone() -> Zone {
    vec![
        (
            "example.org.",
            RData::MX(MX::new(10, name("Mail.example.org."))),
        ),
        ("mail.example.org.", RData::A(A::new(10, 0, 20, 1))),
        ("example.org.", txt("v=spf1 include:_spf.example.org -all")),
        (
            "_spf.example.org.",
            txt("v=spf1 include:spf.brevo.com -all"),
        ),
        ("spf.brevo.com.", txt("v=spf1 ip4:77.32.148.0/24 -all")),
        ("_dmarc.example.org.", txt("v=DMARC1; p=reject")),
        (
            "brevo1._domainkey.example.org.",
            cname("b1.example-org.dkim.brevo.com."),
        ),
        ("b1.example-org.dkim.brevo.com.", txt(KEY)),
    ]
}

/// Without what the incident's internal zone lacked.
fn poor_zone() -> Zone {
    let mut zone = whole_zone();
    zone.retain(|(name, data)| {
        let is_spf = *name == "example.org." && matches!(data, RData::TXT(_));
        !is_spf && !name.starts_with("brevo1.")
    });
    zone
}

/// How a server answers.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Usual,
    /// Over UDP it says that the answer does not fit.
    OnlyTcp,
    /// It refuses to answer.
    Refusing,
    /// It says nothing.
    Silent,
}

fn respond(packet: &[u8], zone: &Zone, manner: Manner, is_tcp: bool) -> Option<Vec<u8>> {
    if manner == Manner::Silent {
        return None;
    }
    let query = Message::from_vec(packet).ok()?;
    let asked = query.queries.first()?.clone();
    let mut response = Message::response(query.metadata.id, OpCode::Query);
    response.add_query(asked.clone());
    response.metadata.recursion_available = true;
    if manner == Manner::Refusing {
        response.metadata.response_code = ResponseCode::Refused;
        return response.to_vec().ok();
    }
    if manner == Manner::OnlyTcp && !is_tcp {
        response.metadata.truncation = true;
        return response.to_vec().ok();
    }
    let mut at = asked.name().clone();
    for _ in 0..4 {
        let here: Vec<&RData> = zone
            .iter()
            .filter(|(one, _)| name(one).eq_ignore_root_and_case(&at))
            .map(|(_, data)| data)
            .collect();
        let wanted = here
            .iter()
            .filter(|data| data.record_type() == asked.query_type());
        for data in wanted.clone() {
            response.add_answer(Record::from_rdata(at.clone(), 60, (**data).clone()));
        }
        let alias = here.iter().find_map(|data| match data {
            RData::CNAME(target) => Some(target.0.clone()),
            _ => None,
        });
        match alias {
            Some(target) if asked.query_type() != RecordType::CNAME => {
                response.add_answer(Record::from_rdata(
                    at,
                    60,
                    RData::CNAME(CNAME(target.clone())),
                ));
                at = target;
            }
            _ => break,
        }
    }
    if response.answers.is_empty() {
        response.metadata.response_code = ResponseCode::NXDomain;
    }
    response.to_vec().ok()
}

trait SameName {
    fn eq_ignore_root_and_case(&self, other: &Name) -> bool;
}

impl SameName for Name {
    fn eq_ignore_root_and_case(&self, other: &Name) -> bool {
        self.to_ascii().eq_ignore_ascii_case(&other.to_ascii())
    }
}

/// A resolver on loopback, over UDP and TCP.
async fn server(zone: Zone, manner: Manner) -> SocketAddr {
    let zone = Arc::new(zone);
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    let for_tcp = Arc::clone(&zone);
    tokio::spawn(async move {
        let mut packet = [0; 1500];
        while let Ok((count, from)) = udp.recv_from(&mut packet).await {
            if let Some(response) = respond(&packet[..count], &zone, manner, false) {
                udp.send_to(&response, from).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let zone = Arc::clone(&for_tcp);
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut packet = vec![0; usize::from(length)];
                    stream.read_exact(&mut packet).await.unwrap();
                    let Some(response) = respond(&packet, &zone, manner, true) else {
                        return;
                    };
                    stream
                        .write_u16(u16::try_from(response.len()).unwrap())
                        .await
                        .unwrap();
                    stream.write_all(&response).await.unwrap();
                }
            });
        }
    });
    address
}

fn subject() -> Subject {
    Subject {
        recipients: ["example.org".to_owned()].into(),
        senders: [crate::probe::dns_posture::SenderDomain {
            domain: "example.org".to_owned(),
            spf_includes: vec!["spf.brevo.com".to_owned()],
        }]
        .into(),
        selectors: ["brevo1".to_owned()].into(),
        ..Subject::default()
    }
}

async fn said(resolver: SocketAddr, other: Option<SocketAddr>) -> Vec<(Level, String)> {
    let plan = DnsPlan {
        resolver: Resolver::Server(resolver),
        compare_with: other,
        dkim_selectors: Vec::new(),
    };
    let findings = posture(&plan, &subject()).await;
    findings
        .into_iter()
        .map(|one| (one.level, one.summary))
        .collect()
}

#[tokio::test]
async fn a_whole_zone_is_ok_with_aliases_and_includes_followed() {
    let zone = server(whole_zone(), Manner::Usual).await;
    let said = said(zone, Some(zone)).await;
    let ok = |text: &str| (Level::Ok, text.to_owned());
    assert_eq!(
        said,
        [
            ok("MX of `example.org`: 10 mail.example.org"),
            ok("SPF of `example.org` includes spf.brevo.com"),
            ok("DMARC at `_dmarc.example.org`: p=reject"),
            ok("DKIM key `brevo1._domainkey.example.org` is there"),
        ]
    );
}

#[tokio::test]
async fn a_zone_that_lacks_what_the_other_has_is_found_out() {
    let inside = server(poor_zone(), Manner::Usual).await;
    let outside = server(whole_zone(), Manner::Usual).await;
    let said = said(inside, Some(outside)).await;
    let bad: Vec<&str> = said
        .iter()
        .filter(|(level, _)| *level == Level::Fail)
        .map(|(_, text)| text.as_str())
        .collect();
    assert_eq!(
        bad,
        [
            "`example.org` has no SPF record".to_owned(),
            "the DKIM key `brevo1._domainkey.example.org` does not exist".to_owned(),
            format!(
                "resolver {inside} lacks spf of `example.org`, which {outside} has: v=spf1 include:_spf.example.org -all"
            ),
            format!(
                "resolver {inside} lacks dkim of `brevo1._domainkey.example.org`, which {outside} has: {KEY}"
            ),
        ]
    );
}

#[tokio::test]
async fn keys_that_a_message_showed_are_asked_for_alone_and_at_both_resolvers() {
    let inside = server(poor_zone(), Manner::Usual).await;
    let outside = server(whole_zone(), Manner::Usual).await;
    let plan = DnsPlan {
        resolver: Resolver::Server(inside),
        compare_with: Some(outside),
        dkim_selectors: Vec::new(),
    };
    let seen = Subject {
        selectors: ["brevo1._domainkey.example.org".to_owned()].into(),
        ..Subject::default()
    };
    let findings = posture(&plan, &seen).await;
    let said: Vec<&str> = findings.iter().map(|one| one.summary.as_str()).collect();
    let drift = format!(
        "resolver {inside} lacks dkim of `brevo1._domainkey.example.org`, which {outside} has: {KEY}"
    );
    assert_eq!(
        said,
        [
            "the DKIM key `brevo1._domainkey.example.org` does not exist",
            drift.as_str()
        ]
    );
}

#[tokio::test]
async fn an_alias_that_leads_nowhere_is_told_apart_from_none() {
    let mut zone = whole_zone();
    zone.retain(|(name, _)| !name.starts_with("b1."));
    let said = said(server(zone, Manner::Usual).await, None).await;
    assert!(
        said.iter().any(|(_, text)| text.contains(
            "`brevo1._domainkey.example.org` leads to `b1.example-org.dkim.brevo.com`, which has no key"
        )),
        "{said:?}"
    );
}

#[tokio::test]
async fn an_answer_too_long_for_a_packet_is_asked_for_over_tcp() {
    let said = said(server(whole_zone(), Manner::OnlyTcp).await, None).await;
    assert!(
        said.iter().all(|(level, _)| *level == Level::Ok),
        "{said:?}"
    );
    assert_eq!(said.len(), 4);
}

#[tokio::test]
async fn a_resolver_that_refuses_or_says_nothing_is_unknown_and_in_time() {
    for manner in [Manner::Refusing, Manner::Silent] {
        let server = server(whole_zone(), manner).await;
        if manner == Manner::Silent {
            // Nothing will come that a clock which runs ahead could miss.
            tokio::time::pause();
        }
        let begun = tokio::time::Instant::now();
        let said = said(server, None).await;
        assert!(
            begun.elapsed() < QUESTION_LIMIT * 2,
            "{:?}",
            begun.elapsed()
        );
        assert!(
            said.iter()
                .all(|(level, text)| *level == Level::Warn && text.starts_with("cannot look up")),
            "{said:?}"
        );
    }
}
