//! Zones as they are found, and what is said of them.

use super::*;

fn records(kind: Kind, name: &str, records: &[&str]) -> Answered {
    Answered {
        question: Question {
            kind,
            name: name.to_owned(),
        },
        answer: Answer::Records(records.iter().map(|one| (*one).to_owned()).collect()),
    }
}

fn nothing(kind: Kind, name: &str) -> Answered {
    Answered {
        answer: Answer::Nothing(None),
        ..records(kind, name, &[])
    }
}

fn subject() -> Subject {
    Subject {
        recipients: ["example.org".to_owned()].into(),
        senders: [SenderDomain {
            domain: "example.org".to_owned(),
            spf_includes: vec!["spf.brevo.com".to_owned(), "spf.sendinblue.com".to_owned()],
        }]
        .into(),
        selectors: ["brevo1".to_owned()].into(),
        path: PathPlan::default(),
    }
}

/// A zone in which all is well.
fn zone() -> Vec<Answered> {
    vec![
        records(
            Kind::Mx,
            "example.org",
            &["10 mail.example.org", "20 mx2.example.org"],
        ),
        records(
            Kind::Address,
            "mail.example.org",
            &["198.51.100.7", "10.0.20.1"],
        ),
        records(Kind::Address, "mx2.example.org", &["198.51.100.8"]),
        records(
            Kind::Spf,
            "example.org",
            &[
                "google-site-verification=x",
                "v=spf1 include:_spf.example.org -all",
            ],
        ),
        records(
            Kind::Spf,
            "_spf.example.org",
            &["v=spf1 ip4:198.51.100.0/24 include:spf.brevo.com ~all"],
        ),
        records(
            Kind::Spf,
            "spf.brevo.com",
            &["v=spf1 ip4:77.32.148.0/24 -all"],
        ),
        records(
            Kind::Dmarc,
            "_dmarc.example.org",
            &["v=DMARC1; p=quarantine; rua=mailto:d@example.org"],
        ),
        records(
            Kind::Dkim,
            "brevo1._domainkey.example.org",
            &["k=rsa;p=MIGf"],
        ),
        records(
            Kind::MtaSts,
            "_mta-sts.example.org",
            &["v=STSv1; id=20260101"],
        ),
        nothing(Kind::TlsRpt, "_smtp._tls.example.org"),
    ]
}

/// The zone with another answer to one question.
fn with(answered: Answered) -> Vec<Answered> {
    let mut zone = zone();
    zone.retain(|one| one.question != answered.question);
    zone.push(answered);
    zone
}

/// What is not well.
fn faults(subject: &Subject, zone: &[Answered]) -> Vec<(Level, Kind, Fault, String)> {
    judge(subject, zone)
        .into_iter()
        .filter_map(|one| Some((one.level, one.kind, one.fault?, one.summary)))
        .collect()
}

#[test]
fn a_zone_in_which_all_is_well_is_ok_line_by_line() {
    let findings = judge(&subject(), &zone());
    let said: Vec<&str> = findings.iter().map(|one| one.summary.as_str()).collect();
    assert_eq!(
        said,
        [
            "MX of `example.org`: 10 mail.example.org, 20 mx2.example.org",
            "mta_sts at `_mta-sts.example.org`: v=STSv1; id=20260101",
            "SPF of `example.org` includes spf.brevo.com",
            "DMARC at `_dmarc.example.org`: p=quarantine",
            "DKIM key `brevo1._domainkey.example.org` is there",
        ]
    );
    assert!(
        findings
            .iter()
            .all(|one| one.level == Level::Ok && one.fault.is_none())
    );
}

type Row = (Answered, Level, Fault, &'static str);

fn spf(texts: &[&str]) -> Answered {
    records(Kind::Spf, "example.org", texts)
}

fn key(text: &str) -> Answered {
    records(Kind::Dkim, "brevo1._domainkey.example.org", &[text])
}

fn dmarc(texts: &[&str]) -> Answered {
    records(Kind::Dmarc, "_dmarc.example.org", texts)
}

fn missing_or_wrong_on_the_way_in() -> Vec<Row> {
    vec![
        (
            nothing(Kind::Mx, "example.org"),
            Level::Fail,
            Fault::Missing,
            "has no MX",
        ),
        (
            records(Kind::Mx, "example.org", &["0 ."]),
            Level::Fail,
            Fault::Wrong,
            "takes no mail",
        ),
        (
            nothing(Kind::Address, "mx2.example.org"),
            Level::Fail,
            Fault::Missing,
            "the MX `mx2.example.org` has no address",
        ),
        (
            nothing(Kind::Ptr, "198.51.100.7"),
            Level::Warn,
            Fault::Missing,
            "has no name (PTR)",
        ),
        (
            records(Kind::MtaSts, "_mta-sts.example.org", &["v=STSv1"]),
            Level::Warn,
            Fault::Wrong,
            "is not valid",
        ),
    ]
}

fn missing_or_wrong_of_the_sender() -> Vec<Row> {
    let alias = Answered {
        answer: Answer::Nothing(Some("b1.example.dkim.brevo.com".to_owned())),
        ..nothing(Kind::Dkim, "brevo1._domainkey.example.org")
    };
    vec![
        (
            spf(&["google-site-verification=x"]),
            Level::Fail,
            Fault::Missing,
            "has no SPF record",
        ),
        (
            spf(&["v=spf1 -all", "v=spf1 mx -all"]),
            Level::Fail,
            Fault::Wrong,
            "has 2 SPF records",
        ),
        (
            spf(&["v=spf1 mx -all"]),
            Level::Warn,
            Fault::Wrong,
            "does not include spf.brevo.com or spf.sendinblue.com",
        ),
        (
            spf(&["v=spf10 include:spf.brevo.com"]),
            Level::Fail,
            Fault::Missing,
            "has no SPF record",
        ),
        (
            alias,
            Level::Fail,
            Fault::Missing,
            "leads to `b1.example.dkim.brevo.com`, which has no key",
        ),
        (key("v=DKIM1; p="), Level::Fail, Fault::Wrong, "was revoked"),
        (key("hello"), Level::Fail, Fault::Wrong, "is no DKIM key"),
        (
            nothing(Kind::Dmarc, "_dmarc.example.org"),
            Level::Warn,
            Fault::Missing,
            "has no DMARC",
        ),
        (
            dmarc(&["v=DMARC1; rua=mailto:d@example.org"]),
            Level::Warn,
            Fault::Wrong,
            "has no policy",
        ),
        (
            dmarc(&["v=DMARC1; p=none", "v=DMARC1; p=reject"]),
            Level::Warn,
            Fault::Wrong,
            "has 2 DMARC records",
        ),
    ]
}

#[test]
fn each_record_that_is_missing_or_wrong_is_named() {
    let rows = missing_or_wrong_on_the_way_in().into_iter();
    for (answered, level, fault, words) in rows.chain(missing_or_wrong_of_the_sender()) {
        let found = faults(&subject(), &with(answered.clone()));
        assert_eq!(found.len(), 1, "{answered:?}: {found:?}");
        assert_eq!((found[0].0, found[0].2), (level, fault), "{found:?}");
        assert!(found[0].3.contains(words), "{found:?}");
    }
}

#[test]
fn a_resolver_that_cannot_tell_is_no_record_that_is_missing() {
    let failed = Answered {
        answer: Answer::Failed("request timed out".to_owned()),
        ..nothing(Kind::Spf, "example.org")
    };
    let found = faults(&subject(), &with(failed));
    assert_eq!(
        found,
        [(
            Level::Warn,
            Kind::Spf,
            Fault::Unknown,
            "cannot look up spf of `example.org`: request timed out".to_owned()
        )]
    );
}

#[test]
fn the_first_mx_has_to_be_ours_where_the_path_says_who_is() {
    let mut subject = subject();
    subject.path.mx = vec![super::super::path::Pattern::new("mail.example.org")];
    let found = faults(&subject, &zone());
    assert!(
        found[0]
            .3
            .contains("`[path]` does not know, `mx2.example.org`"),
        "{found:?}"
    );
    subject.path.backup_mx = vec![super::super::path::Pattern::new("mx2.*")];
    assert_eq!(faults(&subject, &zone()), []);
    let swapped = with(records(
        Kind::Mx,
        "example.org",
        &["10 mx2.example.org", "20 mail.example.org"],
    ));
    let found = faults(&subject, &swapped);
    assert!(
        found[0].3.contains("is none of `[path] mx`: 10 mx2"),
        "{found:?}"
    );
}

#[test]
fn the_zone_that_lacked_spf_and_dkim_inside_is_found_before_mail_is_junked() {
    let key = "brevo1._domainkey.example.org";
    let inside: Vec<Answered> = zone()
        .into_iter()
        .map(|one| match one.question.kind {
            Kind::Spf if one.question.name == "example.org" => nothing(Kind::Spf, "example.org"),
            Kind::Dkim => nothing(Kind::Dkim, key),
            Kind::Address => records(Kind::Address, &one.question.name, &["10.0.20.201"]),
            _ => one,
        })
        .collect();
    let found = drift(("system", &inside), ("1.1.1.1", &zone()));
    let said: Vec<&str> = found.iter().map(|one| one.summary.as_str()).collect();
    assert_eq!(
        said,
        [
            "resolver system lacks spf of `example.org`, which 1.1.1.1 has: v=spf1 include:_spf.example.org -all",
            "resolver system lacks dkim of `brevo1._domainkey.example.org`, which 1.1.1.1 has: k=rsa;p=MIGf",
        ]
    );
    assert!(found.iter().all(|one| one.level == Level::Fail));
    // The other way round it is a warning, and nothing where they agree.
    let found = drift(("system", &zone()), ("1.1.1.1", &inside));
    assert!(
        found.iter().all(|one| one.level == Level::Warn),
        "{found:?}"
    );
    assert_eq!(found.len(), 2);
    assert_eq!(drift(("system", &zone()), ("1.1.1.1", &zone())), []);
}

#[test]
fn what_is_asked_next_follows_from_the_answers_and_comes_to_an_end() {
    let first: Vec<String> = questions(&subject())
        .into_iter()
        .map(|one| format!("{} {}", one.kind.name(), one.name))
        .collect();
    assert_eq!(
        first,
        [
            "mx example.org",
            "spf example.org",
            "dkim brevo1._domainkey.example.org",
            "dmarc _dmarc.example.org",
            "mta_sts _mta-sts.example.org",
            "tls_rpt _smtp._tls.example.org",
        ]
    );
    let more: Vec<String> = follow_up(&zone()).into_iter().map(|one| one.name).collect();
    // The private address has no name in public, and what is known is not asked again.
    assert_eq!(more, Vec::<String>::new());
    let fresh = [records(
        Kind::Address,
        "mail.example.org",
        &["9.9.9.9", "10.0.20.1"],
    )];
    let more: Vec<String> = follow_up(&fresh).into_iter().map(|one| one.name).collect();
    assert_eq!(more, ["9.9.9.9"]);
    // A record that includes more and more.
    let mut chain = Vec::new();
    for round in 0..100 {
        let text = format!("v=spf1 include:a{round}.example.org include:b{round}.example.org");
        chain.push(records(
            Kind::Spf,
            &format!("n{round}.example.org"),
            &[&text],
        ));
        for question in follow_up(&chain) {
            chain.push(nothing(question.kind, &question.name));
        }
        if chain.len() >= MOST_SPF_RECORDS {
            break;
        }
    }
    assert_eq!(follow_up(&chain), []);
}

#[test]
fn names_of_subdomains_look_for_a_policy_upwards() {
    let names: Vec<&str> = parents("mail.news.example.co.uk").collect();
    assert_eq!(
        names,
        [
            "mail.news.example.co.uk",
            "news.example.co.uk",
            "example.co.uk",
            "co.uk"
        ]
    );
    assert_eq!(parents("localhost").count(), 0);
}
