//! What Brevo's answers, and their absence, mean.

use super::{Acceptance, Answer, BrevoPlan, Failure, Fault};
use crate::probe::send::{Retry, Taken};
use crate::probe::verdict::{Cause, CauseCode, Stage};
use serde::Deserialize;
use std::time::Duration;

/// Ids have about fifty characters; what is longer is none.
const LONGEST_ID: usize = 200;

#[derive(Deserialize)]
struct Accepted {
    #[serde(rename = "messageId")]
    message_id: Option<String>,
}

#[derive(Deserialize, Default)]
struct Refused {
    code: Option<String>,
    message: Option<String>,
}

/// What an attempt does.
pub(super) const SEND: &str = "hand the message to";

/// What every other request does.
pub(super) const ASK: &str = "ask";

/// Reads answers to requests of one account.
#[derive(Clone, Copy)]
pub(super) struct Classifier<'p> {
    pub(super) plan: &'p BrevoPlan,
    /// What was being done, for a sentence that begins with "cannot" and ends with the endpoint.
    pub(super) doing: &'static str,
}

/// ``brevo `https://api.brevo.com/v3` ``.
pub(super) fn endpoint(plan: &BrevoPlan) -> String {
    format!("brevo `{}`", plan.base_url.as_str().trim_end_matches('/'))
}

impl Classifier<'_> {
    /// What an answer to a send means. Codes come first: statuses vary (credits that ran out are 400 or 402).
    pub(super) fn of_answer(self, answer: &Answer) -> Result<Acceptance, Failure> {
        let refused: Refused = answer.json().unwrap_or_default();
        let code = refused
            .code
            .as_deref()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let text = refused
            .message
            .as_deref()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let says = |words: &str| code.contains(words) || text.contains(words);
        match answer.status {
            200..=299 => self.of_success(answer),
            _ if says("duplicate_request") || says("already processed") => Ok(Acceptance {
                message_id: None,
                queue_id: None,
                status: answer.status,
            }),
            402 => Err(self.quota_exhausted(answer)),
            _ if says("not_enough_credits") || says("insufficient credits") || says("not enough credits") => {
                Err(self.quota_exhausted(answer))
            }
            401 if says("ip address") || says("authorised_ip") || says("authorized_ip") => Err(self.failure(
                answer,
                CauseCode::SenderUnauthorized,
                "does not take requests from this machine's address",
                "add this machine's address at Brevo under Security, Authorised IPs, or switch the restriction off; an IPv6 address that changes comes and goes",
            )),
            401 => Err(self.failure(
                answer,
                CauseCode::SenderUnauthorized,
                "does not accept the API key",
                &format!(
                    "the key comes from {}: was it revoked, did it expire, or is it an SMTP key? make a new one at Brevo under SMTP & API",
                    self.plan.api_key.source
                ),
            )),
            _ if says("account_under_validation") || says("not activated") || says("not yet activated") => Err(self.failure(
                answer,
                CauseCode::SenderUnauthorized,
                "has not released the account for sending",
                "ask Brevo's support to activate transactional mail for the account",
            )),
            403 => Err(self.failure(
                answer,
                CauseCode::SenderUnauthorized,
                "does not allow this account or key to send",
                "look at Brevo for a suspension, the plan's limits and the scope of the API key",
            )),
            429 => Err(self.rate_limited(answer)),
            408 => Err(Failure { taken: Taken::Unknown, retry: Retry::Soon, ..self.failed(answer) }),
            300..=399 => Err(Failure {
                retry: Retry::Never,
                ..self.failure(
                    answer,
                    CauseCode::SenderFailed,
                    "answers with a redirect",
                    "set `base_url` to where the API is; redirects are not followed, since the API key must not go elsewhere",
                )
            }),
            404 | 405 => Err(self.failure(
                answer,
                CauseCode::SenderFailed,
                "does not know the request",
                "is `base_url` that of the API, such as https://api.brevo.com/v3?",
            )),
            400..=499 => Err(self.rejected(answer)),
            // The API itself says that it did not work.
            500 | 503 => Err(Failure { retry: Retry::Soon, ..self.failed(answer) }),
            // Something in front of the API lost the answer; the message may have got through.
            _ => Err(Failure { taken: Taken::Unknown, retry: Retry::Soon, ..self.failed(answer) }),
        }
    }

    fn of_success(self, answer: &Answer) -> Result<Acceptance, Failure> {
        let accepted = answer.json::<Accepted>();
        match &answer.cut {
            Some(cut) if accepted.is_none() => return Err(self.of_lost_end(answer, cut)),
            // Empty: taken, and the id is unknown.
            None if accepted.is_none() && !answer.body.is_empty() => {
                return Err(self.of_nonsense(answer));
            }
            _ => {}
        }
        let id = accepted.and_then(|accepted| accepted.message_id);
        Ok(Acceptance {
            message_id: id.filter(|id| {
                !id.is_empty()
                    && id.len() <= LONGEST_ID
                    && id.bytes().all(|byte| byte.is_ascii_graphic())
            }),
            queue_id: None,
            status: answer.status,
        })
    }

    /// A yes whose end is missing: what stands in front of the API may have said it.
    fn of_lost_end(self, answer: &Answer, cut: &str) -> Failure {
        let summary = format!(
            "{} began to answer HTTP {}, and the rest was lost: {cut}",
            endpoint(self.plan),
            answer.status
        );
        let hint = "the mailbox decides whether the message was taken; what stands between, such as a proxy?";
        let mut cause = Cause::new(CauseCode::SenderFailed, Stage::Send, summary, hint);
        if !answer.body.is_empty() {
            cause.evidence.push(said(answer));
        }
        Failure {
            cause,
            taken: Taken::Unknown,
            retry: Retry::Soon,
            status: Some(answer.status),
        }
    }

    /// An answer that Brevo would not give.
    pub(super) fn of_nonsense(self, answer: &Answer) -> Failure {
        Failure {
            taken: Taken::Unknown,
            retry: Retry::Soon,
            ..self.failure(
                answer,
                CauseCode::SenderFailed,
                "gives an answer that is not of the API",
                "does a proxy or a captive portal answer in its place? see `base_url` and HTTPS_PROXY",
            )
        }
    }

    /// What it means that there is no answer.
    pub(super) fn of_fault(self, fault: &Fault) -> Failure {
        let endpoint = endpoint(self.plan);
        let lost = if self.doing == SEND {
            "the mailbox decides whether the message was taken; see https://status.brevo.com"
        } else {
            "see https://status.brevo.com"
        };
        let (code, hint, taken, retry) = match fault {
            Fault::Unreachable(_) => (
                CauseCode::SenderUnreachable,
                "does this machine get out: name resolution, firewall, HTTPS_PROXY? is `base_url` right?".to_owned(),
                Taken::No,
                Retry::Soon,
            ),
            Fault::Certificate(certificate) => (
                CauseCode::SenderTlsInvalid,
                format!("{}; does a proxy open the connection on its way?", certificate.hint),
                Taken::No,
                Retry::Never,
            ),
            Fault::TimedOut(_) | Fault::Broken(_) => {
                (CauseCode::SenderFailed, lost.to_owned(), Taken::Unknown, Retry::Soon)
            }
        };
        let mut cause = Cause::new(
            code,
            Stage::Send,
            format!("cannot {} {endpoint}: {fault}", self.doing),
            hint,
        );
        if let Fault::Certificate(certificate) = fault {
            cause.evidence.clone_from(&certificate.evidence);
        }
        Failure {
            cause,
            taken,
            retry,
            status: None,
        }
    }

    fn quota_exhausted(self, answer: &Answer) -> Failure {
        let mut failure = self.failure(
            answer,
            CauseCode::SenderQuotaExhausted,
            "has no credits left for this account",
            "the free plan's 300 messages a day are shared with all other mail of the account, and come back at midnight; buy credits, or probe less often",
        );
        for name in ["x-sib-ratelimit-remaining", "x-sib-ratelimit-reset"] {
            if let Some(value) = answer
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
            {
                failure.cause.evidence.push(format!("{name}: {value}"));
            }
        }
        failure
    }

    fn rate_limited(self, answer: &Answer) -> Failure {
        let wait = answer
            .seconds("x-sib-ratelimit-reset")
            .or_else(|| answer.seconds("retry-after"));
        let asks = wait.map_or_else(
            || "asks to send less often".to_owned(),
            |wait| format!("asks to wait {} s", wait.as_secs()),
        );
        let failure = self.failure(
            answer,
            CauseCode::SenderRateLimited,
            &asks,
            "what else sends with this account's key? the limit is for all of it",
        );
        Failure {
            retry: wait.map_or(Retry::Soon, |wait| {
                Retry::After(wait.max(Duration::from_millis(100)))
            }),
            ..failure
        }
    }

    fn rejected(self, answer: &Answer) -> Failure {
        if self.doing == ASK {
            return self.failure(
                answer,
                CauseCode::SenderFailed,
                "refuses the question",
                "Brevo's words say why; nothing was sent",
            );
        }
        self.failure(
            answer,
            CauseCode::SenderRejectedMessage,
            "refuses the message",
            "Brevo's words say which part: is `from` a verified sender there, and `to` an address?",
        )
    }

    fn failed(self, answer: &Answer) -> Failure {
        self.failure(
            answer,
            CauseCode::SenderFailed,
            "fails",
            "see https://status.brevo.com; nothing is wrong with the way to the mailbox",
        )
    }

    /// A definite no, with what Brevo said.
    fn failure(self, answer: &Answer, code: CauseCode, what: &str, hint: &str) -> Failure {
        let said = said(answer);
        let mut cause = Cause::new(
            code,
            Stage::Send,
            format!("{} {what}: {said}", endpoint(self.plan)),
            hint,
        )
        .with_evidence(said);
        // Brevo's support asks for it.
        if let Some(id) = answer
            .headers
            .get("sib-request-id")
            .and_then(|id| id.to_str().ok())
        {
            cause.evidence.push(format!("sib-request-id: {id}"));
        }
        Failure {
            cause,
            taken: Taken::No,
            retry: Retry::Never,
            status: Some(answer.status),
        }
    }
}

/// `HTTP 401 unauthorized: Key not found`, or the beginning of a body of another kind.
fn said(answer: &Answer) -> String {
    let refused: Refused = answer.json().unwrap_or_default();
    let status = answer.status;
    let text = match (refused.code, refused.message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => answer.quote(),
    };
    crate::net::quotable(&format!("HTTP {status} {text}"))
}
