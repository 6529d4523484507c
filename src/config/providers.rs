//! `[sender.NAME]` of the providers that are spoken to over HTTP, Brevo aside.

use super::Environment;
use super::document::Section;
use super::edges::warn_of_plaintext;
use super::plan::{ApiPlan, ProviderPlan, SecretPlan, SesPlan};
use super::values::{address, base_url, host, text};
use url::Url;

/// Which provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Provider {
    Mailgun,
    Postmark,
    Sendgrid,
    Ses,
    Resend,
    Mailjet,
}

/// A sender of one of these types; none where it has faults or its secrets were not asked for.
pub(super) fn provider(
    kind: Provider,
    name: &str,
    section: &Section<'_>,
    environment: Option<Environment<'_>>,
) -> Option<ApiPlan> {
    let from = section.required("from", address);
    let from_name = section.checked("from_name", text);
    let reader = Reader {
        section,
        environment,
        from: from.as_deref(),
    };
    let own = match kind {
        Provider::Mailgun => reader.mailgun(),
        Provider::Postmark => reader.postmark(),
        Provider::Sendgrid => reader.sendgrid(),
        Provider::Ses => reader.ses(),
        Provider::Resend => reader.resend(),
        Provider::Mailjet => reader.mailjet(),
    };
    let given = section.checked("base_url", base_url);
    let ca_file = section.ca_file();
    section.end();
    if let Some(url) = &given {
        warn_of_plaintext(section, url, "the key");
    }
    let is_given = section.entry("base_url").is_some();
    let (provider, usual_url) = own?;
    Some(ApiPlan {
        name: name.to_owned(),
        from: from?,
        from_name,
        base_url: if is_given { given? } else { usual_url },
        ca_file,
        provider,
    })
}

/// What each provider needs, and where its API usually is.
type Own = Option<(ProviderPlan, Url)>;

struct Reader<'r> {
    section: &'r Section<'r>,
    environment: Option<Environment<'r>>,
    from: Option<&'r str>,
}

impl Reader<'_> {
    /// A secret that goes into a header field.
    fn key(&self, name: &'static str) -> Option<SecretPlan> {
        let key = self.section.required_secret(name, self.environment)?;
        self.fit_for_a_header(name, key)
    }

    fn fit_for_a_header(&self, name: &'static str, key: SecretPlan) -> Option<SecretPlan> {
        let is_fit = key
            .value
            .expose()
            .bytes()
            .all(|byte| byte.is_ascii_graphic());
        if !is_fit && let Some(entry) = self.section.entry(name) {
            entry.hidden_fault("has a character in it that no key has, such as a space");
        }
        is_fit.then_some(key)
    }

    /// One of two places, by the key `region`.
    fn place(&self, places: [(&str, &str); 2]) -> Option<Url> {
        let place = self.section.choice("region", &places)?;
        Url::parse(place).ok()
    }

    fn mailgun(&self) -> Own {
        let api_key = self.key("api_key");
        let own_domain = self.from.and_then(|from| from.rsplit_once('@'));
        let domain = match self.section.entry("domain") {
            Some(_) => self.section.checked("domain", host),
            None => own_domain.map(|(_, domain)| domain.to_owned()),
        };
        let url = self.place([
            ("us", "https://api.mailgun.net"),
            ("eu", "https://api.eu.mailgun.net"),
        ]);
        let plan = ProviderPlan::Mailgun {
            api_key: api_key?,
            domain: domain?,
        };
        Some((plan, url?))
    }

    fn postmark(&self) -> Own {
        let server_token = self.key("server_token");
        let message_stream = match self.section.entry("message_stream") {
            Some(_) => self.section.checked("message_stream", text),
            None => Some("outbound".to_owned()),
        };
        let plan = ProviderPlan::Postmark {
            server_token: server_token?,
            message_stream: message_stream?,
        };
        Some((plan, Url::parse("https://api.postmarkapp.com").ok()?))
    }

    fn sendgrid(&self) -> Own {
        let api_key = self.key("api_key");
        let url = self.place([
            ("global", "https://api.sendgrid.com"),
            ("eu", "https://api.eu.sendgrid.com"),
        ]);
        Some((ProviderPlan::Sendgrid { api_key: api_key? }, url?))
    }

    fn ses(&self) -> Own {
        let region = self.section.required("region", |text| {
            let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if text.contains('-') && text.chars().all(is_allowed) {
                Ok(text.to_owned())
            } else {
                Err("is no region of AWS, such as \"eu-central-1\"".to_owned())
            }
        });
        let access_key_id = self.section.required("access_key_id", |text| {
            if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric()) {
                Ok(text.to_owned())
            } else {
                Err("is no access key id, such as \"AKIA…\"".to_owned())
            }
        });
        let secret_access_key = self.key("secret_access_key");
        let session_token = self.section.secret("session_token", self.environment);
        let configuration_set = self.section.checked("configuration_set", text);
        let region = region?;
        let url = Url::parse(&format!("https://email.{region}.amazonaws.com")).ok()?;
        let session_token = match session_token {
            Some(token) => Some(self.fit_for_a_header("session_token", token)?),
            None if self.section.entry("session_token").is_some() => return None,
            None => None,
        };
        let plan = SesPlan {
            region,
            access_key_id: access_key_id?,
            secret_access_key: secret_access_key?,
            session_token,
            configuration_set,
        };
        Some((ProviderPlan::Ses(plan), url))
    }

    fn resend(&self) -> Own {
        let api_key = self.key("api_key")?;
        let url = Url::parse("https://api.resend.com").ok()?;
        Some((ProviderPlan::Resend { api_key }, url))
    }

    fn mailjet(&self) -> Own {
        let api_key = self.key("api_key");
        let secret_key = self.key("secret_key");
        let url = self.place([
            ("eu", "https://api.mailjet.com"),
            ("us", "https://api.us.mailjet.com"),
        ]);
        let plan = ProviderPlan::Mailjet {
            api_key: api_key?,
            secret_key: secret_key?,
        };
        Some((plan, url?))
    }
}
