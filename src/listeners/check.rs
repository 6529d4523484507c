//! One check: the conversation step by step, and the same port asked the other way.

use super::languages::TAG;
use super::lines::{Lines, NoLine};
use super::opening::{self, Connection, Header};
use super::{Listener, Opposite, WHOLE_LIMIT};
use crate::net::quotable;
use crate::probe::listener::{
    Fault, Language, ListenerCheck, Opening, ShownCertificate, Step, StepTime, Trouble,
    explained_by_serving_with, explained_by_serving_without, header_believed, header_not_demanded,
    judge_opening, taken_for_commands,
};
use chrono::Utc;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The first line. Name look-ups of the client's address can take a server this long.
const GREETING_LIMIT: Duration = Duration::from_secs(15);
/// The lines behind it: postscreen lets new clients wait, by 6 s as it is shipped.
const TEASER_LIMIT: Duration = Duration::from_secs(20);
/// An answer to a command.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// Goodbye is said and not waited for longer.
const QUIT_LIMIT: Duration = Duration::from_secs(2);
/// A port that demands a header waits for it, Postfix for 5 s.
const OPPOSITE_LIMIT: Duration = Duration::from_secs(8);
/// Nobody's: example.com takes no mail (RFC 7505), and none is sent.
const FOREIGN_RECIPIENT: &str = "mailprobe-relay-check@example.com";

/// Carries one check out.
pub(super) async fn check(listener: &Listener<'_>, opposite: Opposite) -> ListenerCheck {
    let mut check = Check {
        listener,
        steps: Vec::new(),
    };
    let is_asked_both_ways = opposite == Opposite::All || listener.plan.opposite_check;
    let outcome = timeout(WHOLE_LIMIT, check.both_ways(is_asked_both_ways)).await;
    let outcome = outcome.unwrap_or_else(|_| {
        Err(Trouble::new(
            Fault::Silent,
            format!("is not through after {} s", WHOLE_LIMIT.as_secs()),
            "the server answers, and slowly: is it overloaded?",
        ))
    });
    let plan = listener.plan;
    let trouble = outcome.err();
    let is_valid = trouble
        .as_ref()
        .is_none_or(|one| one.fault != Fault::Certificate);
    ListenerCheck {
        listener: plan.name.clone(),
        ok: trouble.is_none(),
        stages: check.steps,
        certificate: listener.tls.certificate().map(|shown| ShownCertificate {
            names: shown.names,
            issuer: shown.issuer,
            not_before: shown.not_before,
            not_after: shown.not_after,
            days_left: (shown.not_after - Utc::now()).num_days(),
            valid: is_valid,
        }),
        error: trouble.as_ref().map(|one| one.error.clone()),
        hint: trouble.as_ref().map(|one| one.hint.clone()),
        endpoint: plan.endpoint(),
        fault: trouble.map(|one| one.fault),
    }
}

struct Check<'l> {
    listener: &'l Listener<'l>,
    steps: Vec<StepTime>,
}

impl Check<'_> {
    async fn both_ways(&mut self, is_asked_both_ways: bool) -> Result<(), Trouble> {
        let outcome = self.converse().await;
        if !is_asked_both_ways {
            return outcome;
        }
        let listener = self.listener;
        match outcome {
            Ok(()) => self.step(Step::Opposite, opposite(listener)).await,
            Err(trouble) if trouble.fault.may_be_about_the_header() => {
                self.step(Step::Opposite, explain(listener, trouble)).await
            }
            Err(trouble) => Err(trouble),
        }
    }

    async fn converse(&mut self) -> Result<(), Trouble> {
        let listener = self.listener;
        let plan = listener.plan;
        let language = plan.protocol.language();
        let tcp = self.step(Step::Connect, opening::connect(plan)).await?;
        let introducing = opening::introduce(plan, tcp, Header::Configured);
        let Connection {
            tcp,
            client,
            is_local,
        } = if plan.proxy.is_some() {
            self.step(Step::Proxy, introducing).await?
        } else {
            introducing.await?
        };
        let opening = opening::lines(listener, tcp, Header::Configured);
        let mut lines = if plan.protocol.is_inside_tls() {
            self.step(Step::Tls, opening).await?
        } else {
            opening.await?
        };
        self.step(
            Step::Greeting,
            greeting(listener, &mut lines, Header::Configured),
        )
        .await?;
        let asking = capabilities(listener, &mut lines, client);
        let mut offers = language.offers(&self.step(Step::Capabilities, asking).await?);
        if !plan.protocol.is_inside_tls() {
            // Dovecot takes a client at its own address for one that nobody can listen to.
            if offers.auth && !(is_local && language == Language::Imap) {
                return Err(auth_in_clear());
            }
            if !offers.starttls {
                return Err(Trouble::new(
                    Fault::NoStarttls,
                    "does not offer STARTTLS",
                    "switch it on (`smtpd_tls_security_level = may`, `ssl = yes`); if it is on, something on the way takes it out of the answer",
                ));
            }
            let stream = self.step(Step::Starttls, starttls(language, lines)).await?;
            let securing = opening::secure(listener, stream, None);
            lines = self.step(Step::Tls, securing).await?;
            let asking = capabilities(listener, &mut lines, client);
            offers = language.offers(&self.step(Step::Capabilities, asking).await?);
        }
        if plan.protocol.needs_auth() && !offers.auth {
            return Err(Trouble::new(
                Fault::NoAuth,
                "offers no way to log in, even under TLS",
                "is the authentication service running and set for this port (`smtpd_sasl_auth_enable`, `auth_mechanisms`)?",
            ));
        }
        if plan.relay_check {
            self.step(Step::Relay, relay(&mut lines)).await?;
        }
        self.step(Step::Quit, quit(language, &mut lines)).await
    }

    /// Does the work and notes how long it took, whatever came of it.
    async fn step<T>(
        &mut self,
        step: Step,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let begun = Instant::now();
        let outcome = work.await;
        let took = begun.elapsed();
        match self.steps.iter_mut().find(|time| time.name == step) {
            // Capabilities are asked for twice where STARTTLS is in between.
            Some(time) => {
                let before = Duration::try_from_secs_f64(time.seconds).unwrap_or_default();
                *time = StepTime::new(step, before + took);
            }
            None => self.steps.push(StepTime::new(step, took)),
        }
        outcome
    }
}

fn auth_in_clear() -> Trouble {
    Trouble::new(
        Fault::AuthInClear,
        "offers AUTH before TLS, so clients hand passwords over in clear",
        "set `smtpd_tls_auth_only = yes` (Postfix), `disable_plaintext_auth = yes` (Dovecot)",
    )
}

/// Reads the greeting; its first line.
async fn greeting(
    listener: &Listener<'_>,
    lines: &mut Lines,
    header: Header,
) -> Result<String, Trouble> {
    let plan = listener.plan;
    let language = plan.protocol.language();
    let failed = |fault: NoLine| opening::no_greeting(plan, &fault, header);
    let first = lines.line(GREETING_LIMIT).await.map_err(failed)?;
    let mut last = first.clone();
    if !language.is_last(&first, "") && language.is_welcome(&first) {
        let rest = lines.until(TEASER_LIMIT, |line| language.is_last(line, ""));
        let rest = rest.await.map_err(|fault| {
            Trouble::new(
                Fault::Silent,
                format!(
                    "begins to greet (`{}`), and then: {fault}",
                    quotable(&first)
                ),
                "is this postscreen, and does it let clients wait so long?",
            )
        })?;
        last = rest.last().cloned().unwrap_or(last);
    }
    let said = quotable(&last);
    if language.is_welcome(&last) {
        Ok(said)
    } else if language.is_spoken(&last) {
        let version = plan.header_name().filter(|_| header == Header::Configured);
        Err(judge_opening(Opening::Said(&said), version, plan.protocol))
    } else {
        Err(Trouble::new(
            Fault::Broken,
            format!("answers `{said}`, which is not {}", plan.protocol.name()),
            "are `host`, `port` and `protocol` right?",
        ))
    }
}

/// EHLO, CAPABILITY or CAPA.
async fn capabilities(
    listener: &Listener<'_>,
    lines: &mut Lines,
    client: IpAddr,
) -> Result<Vec<String>, Trouble> {
    let plan = listener.plan;
    let language = plan.protocol.language();
    let command = language.ask(&literal(client));
    let answer = ask(lines, language, &command, ANSWER_LIMIT).await;
    let name = command
        .split(' ')
        .find(|word| *word != TAG)
        .unwrap_or_default();
    match (answer, plan.header_name()) {
        (Ok(answer), _) if language.is_yes(&answer) => Ok(answer),
        // What a server says to a header that it takes for commands.
        (Ok(answer), Some(version)) => Err(taken_for_commands(version, &quoted(&answer))),
        (Ok(answer), None) => Err(Trouble::new(
            Fault::TurnedAway,
            format!("refuses {name}: `{}`", quoted(&answer)),
            "the server's log says why",
        )),
        (Err(fault), _) => Err(no_answer(name, &fault)),
    }
}

/// A command and its whole answer.
async fn ask(
    lines: &mut Lines,
    language: Language,
    command: &str,
    limit: Duration,
) -> Result<Vec<String>, NoLine> {
    lines.say(command, limit).await?;
    // Behind a simple command a POP3 server says one line.
    let tag = if language == Language::Pop3 && command != "CAPA" {
        ""
    } else {
        TAG
    };
    lines.until(limit, |line| language.is_last(line, tag)).await
}

fn no_answer(command: &str, fault: &NoLine) -> Trouble {
    let (kind, hint) = match fault {
        NoLine::Silent(_) => (Fault::Silent, "is the server overloaded?"),
        _ => (Fault::Broken, "the server's log says why it ended there"),
    };
    Trouble::new(kind, format!("does not answer {command}: {fault}"), hint)
}

/// Asks for TLS; the stream on which it begins.
async fn starttls(
    language: Language,
    mut lines: Lines,
) -> Result<Box<dyn super::lines::Io>, Trouble> {
    let answer = ask(&mut lines, language, &language.starttls(), ANSWER_LIMIT)
        .await
        .map_err(|fault| no_answer("STARTTLS", &fault))?;
    if !language.is_yes(&answer) {
        return Err(Trouble::new(
            Fault::NoStarttls,
            format!("refuses STARTTLS: `{}`", quoted(&answer)),
            "can the server read its certificate and key? its log says why",
        ));
    }
    let (stream, is_more) = lines.into_inner();
    if is_more {
        return Err(Trouble::new(
            Fault::Injection,
            "sends clear text behind its answer to STARTTLS, as if it came from inside TLS",
            "somebody between here and the server writes into the connection, or the server is broken in this way (CVE-2011-0411)",
        ));
    }
    Ok(stream)
}

/// Tries to have mail for a foreign domain taken; ends before DATA.
async fn relay(lines: &mut Lines) -> Result<(), Trouble> {
    let language = Language::Smtp;
    for (command, is_decisive) in [
        ("MAIL FROM:<>".to_owned(), false),
        (format!("RCPT TO:<{FOREIGN_RECIPIENT}>"), true),
    ] {
        let answer = ask(lines, language, &command, ANSWER_LIMIT)
            .await
            .map_err(|fault| no_answer(command.split(':').next().unwrap_or_default(), &fault))?;
        if !language.is_yes(&answer) {
            return Ok(());
        }
        if is_decisive {
            return Err(Trouble::new(
                Fault::OpenRelay,
                format!("relays for strangers: `{}` to {command}", quoted(&answer)),
                "close it at once (`smtpd_relay_restrictions`); if this machine's network is trusted (`mynetworks`), take `relay_check` off this listener",
            ));
        }
    }
    Ok(())
}

/// Says goodbye. A server that does not answer it has done all that matters.
async fn quit(language: Language, lines: &mut Lines) -> Result<(), Trouble> {
    let _ = ask(lines, language, &language.quit(), QUIT_LIMIT).await;
    Ok(())
}

/// Asks the port the other way: it has to turn that away.
async fn opposite(listener: &Listener<'_>) -> Result<(), Trouble> {
    let demands_header = listener.plan.proxy.is_some();
    let header = if demands_header {
        Header::Absent
    } else {
        Header::Forged
    };
    match serves(listener, header).await {
        Some(words) if demands_header => Err(header_not_demanded(&words)),
        Some(words) => Err(header_believed(&words)),
        None => Ok(()),
    }
}

/// Looks whether a port that failed serves the other way; what is wrong with it is then the header.
async fn explain(listener: &Listener<'_>, trouble: Trouble) -> Result<(), Trouble> {
    let version = listener.plan.header_name();
    let header = version.map_or(Header::Local, |_| Header::Absent);
    Err(match (serves(listener, header).await, version) {
        (Some(words), Some(version)) => explained_by_serving_without(&trouble, version, &words),
        (Some(words), None) => explained_by_serving_with(&trouble, &words),
        (None, _) => trouble,
    })
}

/// Whether the port serves a client with this header, and with which words; none where it turns it away.
async fn serves(listener: &Listener<'_>, header: Header) -> Option<String> {
    let plan = listener.plan;
    let language = plan.protocol.language();
    let asking = async {
        let tcp = opening::connect(plan).await?;
        let connection = opening::introduce(plan, tcp, header).await?;
        let client = connection.client;
        let mut lines = match opening::lines(listener, connection.tcp, header).await {
            Ok(lines) => lines,
            // TLS was spoken, so the connection was taken as it was.
            Err(trouble) if trouble.fault == Fault::Certificate => {
                return Ok("a TLS handshake".to_owned());
            }
            Err(trouble) => return Err(trouble),
        };
        if header == Header::Absent && !plan.protocol.is_inside_tls() {
            // A port that waits for a header takes a command in its place, and says no at once.
            let command = language.ask(&literal(client));
            lines
                .say(&command, ANSWER_LIMIT)
                .await
                .map_err(|fault| no_answer("", &fault))?;
        }
        let greeting = greeting(listener, &mut lines, header).await?;
        if header != Header::Forged {
            return Ok(greeting);
        }
        // A stock port greets as well; the answer to the first command shows what became of the header.
        let command = language.ask(&literal(client));
        let answer = ask(&mut lines, language, &command, ANSWER_LIMIT).await;
        let answer = answer.map_err(|fault| no_answer(&command, &fault))?;
        if language.is_yes(&answer) {
            Ok(quoted(&answer))
        } else {
            Err(taken_for_commands("v1", &quoted(&answer)))
        }
    };
    timeout(OPPOSITE_LIMIT, asking).await.ok()?.ok()
}

/// What the client calls itself: its address, which every server takes (RFC 5321 section 4.1.3).
fn literal(client: IpAddr) -> String {
    match client {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

/// The decisive line of an answer.
fn quoted(lines: &[String]) -> String {
    quotable(lines.last().map_or("", String::as_str))
}
