//! `[sender.NAME]`, `[mailbox.NAME]` and `[[sink]]`.

use super::Environment;
use super::document::Section;
use super::plan::{
    BrevoPlan, HttpCredentials, JunkFolder, MailboxAuth, MailboxPlan, PushgatewayPlan, SecretPlan,
    SenderPlan, SinkPlan, TlsMode, UptimeKumaPlan,
};
use super::providers::{Provider, provider};
use super::smtp::smtp;
use super::values::{address, base_url, host, is_loopback, label, push_url, text};
use std::collections::BTreeMap;
use toml::de::DeValue;
use url::Url;

/// Brevo cuts longer names off (its reference of `sender.name`).
const LONGEST_FROM_NAME: usize = 70;

/// A sender; none where it has faults or its secrets were not asked for.
pub(super) fn sender(
    name: &str,
    section: &Section<'_>,
    environment: Option<Environment<'_>>,
) -> Option<SenderPlan> {
    // The keys of a type that is not known cannot be checked.
    match section.required("type", sender_type)? {
        SenderType::Brevo => brevo(name, section, environment).map(SenderPlan::Brevo),
        SenderType::Smtp => smtp(name, section, environment).map(SenderPlan::Smtp),
        SenderType::Api(kind) => provider(kind, name, section, environment).map(SenderPlan::Api),
    }
}

#[derive(Clone, Copy)]
enum SenderType {
    Brevo,
    Smtp,
    Api(Provider),
}

const SENDER_TYPES: [(&str, SenderType); 8] = [
    ("brevo", SenderType::Brevo),
    ("smtp", SenderType::Smtp),
    ("mailgun", SenderType::Api(Provider::Mailgun)),
    ("postmark", SenderType::Api(Provider::Postmark)),
    ("sendgrid", SenderType::Api(Provider::Sendgrid)),
    ("ses", SenderType::Api(Provider::Ses)),
    ("resend", SenderType::Api(Provider::Resend)),
    ("mailjet", SenderType::Api(Provider::Mailjet)),
];

fn sender_type(name: &str) -> Result<SenderType, String> {
    let found = SENDER_TYPES.iter().find(|(one, _)| *one == name);
    found.map(|(_, kind)| *kind).ok_or_else(|| {
        let names = SENDER_TYPES.map(|(name, _)| format!("\"{name}\""));
        format!("is no type of sender; there are: {}", names.join(", "))
    })
}

/// Whether senders of this type have an API key, from which the key of tokens can be derived. An unknown type has a fault
/// of its own.
pub(super) fn has_api_key(kind: &str) -> bool {
    !matches!(sender_type(kind), Ok(SenderType::Smtp))
}

fn brevo(
    name: &str,
    section: &Section<'_>,
    environment: Option<Environment<'_>>,
) -> Option<BrevoPlan> {
    let api_key = section.required_secret("api_key", environment);
    if let (Some(key), Some(entry)) = (&api_key, section.entry("api_key"))
        && !key
            .value
            .expose()
            .bytes()
            .all(|byte| byte.is_ascii_graphic())
    {
        entry.hidden_fault("has a character in it that no API key has, such as a space");
    }
    let from = section.required("from", address);
    let from_name = section.checked("from_name", |name| {
        if name.chars().count() > LONGEST_FROM_NAME {
            return Err(format!("is longer than {LONGEST_FROM_NAME} characters"));
        }
        text(name)
    });
    let unblock_recipient = section.boolean("unblock_recipient", true);
    let base = match section.entry("base_url") {
        Some(_) => section.checked("base_url", base_url),
        None => Url::parse("https://api.brevo.com/v3").ok(),
    };
    let ca_file = section.ca_file();
    let daily_limit = section.integer("daily_limit", 1, u32::MAX);
    section.end();
    if let Some(base) = &base {
        warn_of_plaintext(section, base, "the API key");
    }
    Some(BrevoPlan {
        name: name.to_owned(),
        api_key: api_key?,
        from: from?,
        from_name,
        unblock_recipient,
        base_url: base?,
        ca_file,
        daily_limit,
    })
}

/// A mailbox; none where it has faults or its secrets were not asked for.
pub(super) fn mailbox(
    name: &str,
    section: &Section<'_>,
    environment: Option<Environment<'_>>,
) -> Option<MailboxPlan> {
    let is_imap = section.required("type", |kind| match kind {
        "imap" => Ok(true),
        _ => Err("is no type of mailbox; there is: \"imap\"".to_owned()),
    });
    is_imap?;
    let address = section.required("host", host);
    let tls = section.choice(
        "tls",
        &[
            ("implicit", TlsMode::Implicit),
            ("starttls", TlsMode::StartTls),
            ("none", TlsMode::None),
        ],
    );
    let default_port = if tls == Some(TlsMode::Implicit) {
        993
    } else {
        143
    };
    let port = match section.entry("port") {
        Some(_) => section.integer("port", 1, u32::from(u16::MAX)),
        None => Some(default_port),
    };
    let tls_server_name = section.checked("tls_server_name", host);
    let ca_file = section.ca_file();
    let username = section.required("username", text);
    let password = section.required_secret("password", environment);
    let auth = section.choice(
        "auth",
        &[
            ("auto", MailboxAuth::Auto),
            ("plain", MailboxAuth::Plain),
            ("login", MailboxAuth::Login),
            ("xoauth2", MailboxAuth::XOauth2),
        ],
    );
    let folders = folders(section);
    let junk = match section.entry("junk") {
        None => Some(JunkFolder::Auto),
        Some(_) => section.checked("junk", |name| match name {
            "auto" => Ok(JunkFolder::Auto),
            "none" => Ok(JunkFolder::None),
            name => text(name).map(JunkFolder::Named),
        }),
    };
    let allow_plaintext = section.boolean("allow_plaintext", false);
    if let (Some(address), Some(TlsMode::None), false) = (&address, tls, allow_plaintext)
        && !is_loopback(address)
        && let Some(entry) = section.entry("tls")
    {
        entry.fault(
            "would send the password in clear; say `allow_plaintext = true` if that is wanted",
        );
    }
    section.end();
    let address = address?;
    Some(MailboxPlan {
        name: name.to_owned(),
        port: u16::try_from(port?).ok()?,
        tls: tls?,
        tls_server_name: tls_server_name.unwrap_or_else(|| address.clone()),
        host: address,
        ca_file,
        username: username?,
        password: password?,
        auth: auth?,
        folders: folders?,
        junk: junk?,
    })
}

fn folders(section: &Section<'_>) -> Option<Vec<String>> {
    let Some(entry) = section.entry("folders") else {
        return Some(vec!["INBOX".to_owned()]);
    };
    let folders = section.strings("folders")?;
    let fault = if folders.is_empty() {
        Some("is empty: there must be a folder in which messages arrive".to_owned())
    } else if let Some(message) = folders.iter().find_map(|name| text(name).err()) {
        Some(format!("has a name that {message}"))
    } else {
        let mut names: Vec<_> = folders.iter().collect();
        names.sort();
        names
            .windows(2)
            .any(|pair| pair.first() == pair.last())
            .then(|| "has the same folder twice".to_owned())
    };
    match fault {
        Some(message) => {
            entry.fault(&message);
            None
        }
        None => Some(folders),
    }
}

/// What sinks need to know of the probes.
pub(super) struct Probes<'p> {
    pub(super) all: &'p [String],
    pub(super) selected: &'p [String],
}

/// A sink; none where it has faults or takes none of the selected probes.
pub(super) fn sink(
    section: Section<'_>,
    probes: &Probes<'_>,
    environment: Environment<'_>,
) -> Option<SinkPlan> {
    let line = section.line();
    let section = section.titled(format!("the sink of line {line}"));
    let kind = section.required("type", |kind| match kind {
        "pushgateway" | "uptime_kuma" => Ok(kind.to_owned()),
        _ => Err("is no type of sink; there are: \"pushgateway\", \"uptime_kuma\"".to_owned()),
    })?;
    // Several may have the same type, and none has a name.
    let section = section.titled(format!("sink `{kind}` of line {line}"));
    if kind == "pushgateway" {
        pushgateway(&section, environment).map(SinkPlan::Pushgateway)
    } else {
        uptime_kuma(&section, probes, environment).map(SinkPlan::UptimeKuma)
    }
}

fn pushgateway(section: &Section<'_>, environment: Environment<'_>) -> Option<PushgatewayPlan> {
    let url = section.required("url", |text| {
        let url = base_url(text)?;
        if url.path().contains("/metrics") {
            return Err(
                "is longer than the gateway's own URL; leave /metrics and what follows away"
                    .to_owned(),
            );
        }
        Ok(url)
    });
    let job = match section.entry("job") {
        Some(_) => section.checked("job", text),
        None => Some("mailprobe".to_owned()),
    };
    let labels = labels(section);
    let username = section.checked("username", text);
    let password = section.secret("password", Some(environment));
    let bearer = section.secret("bearer_token", Some(environment));
    let has_password = section.entry("password").is_some();
    let ca_file = section.ca_file();
    section.end();
    if username.is_some() != has_password {
        section.fault("`username` and `password` go together");
    }
    if section.entry("bearer_token").is_some() && has_password {
        section.fault("there is both a `password` and a `bearer_token`");
    }
    let credentials = match (username, password, bearer) {
        (Some(username), Some(password), None) => {
            Some(HttpCredentials::Basic { username, password })
        }
        (None, None, Some(token)) => Some(HttpCredentials::Bearer(token)),
        _ => None,
    };
    if let (Some(url), true) = (&url, credentials.is_some()) {
        warn_of_plaintext(section, url, "the password");
    }
    Some(PushgatewayPlan {
        url: url?,
        job: job?,
        labels: labels?,
        credentials,
        ca_file,
    })
}

fn labels(section: &Section<'_>) -> Option<BTreeMap<String, String>> {
    let Some(entry) = section.entry("labels") else {
        return Some(BTreeMap::new());
    };
    let DeValue::Table(table) = entry.value.get_ref() else {
        entry.fault("is no table of labels, such as { site = \"home\" }");
        return None;
    };
    let mut labels = BTreeMap::new();
    for (name, value) in table {
        let name = name.get_ref();
        let checked = label(name).and_then(|()| {
            let value = value.get_ref().as_str();
            let value = value.ok_or_else(|| format!("has `{name}`, which is not a string"))?;
            text(value).map_err(|message| format!("has `{name}`, which {message}"))
        });
        match checked {
            Ok(value) => {
                labels.insert(name.to_string(), value);
            }
            Err(message) => {
                entry.fault(&message);
                return None;
            }
        }
    }
    Some(labels)
}

fn uptime_kuma(
    section: &Section<'_>,
    probes: &Probes<'_>,
    environment: Environment<'_>,
) -> Option<UptimeKumaPlan> {
    let probe = match (section.entry("probe"), probes.all) {
        (None, [only]) => Some(only.clone()),
        (None, _) => {
            section
                .fault("`probe` is missing: a monitor stands for one probe, and there are several");
            None
        }
        (Some(_), all) => section.checked("probe", |name| {
            if all.iter().any(|one| one == name) {
                Ok(name.to_owned())
            } else {
                Err(format!("names no probe; there are: {}", all.join(", ")))
            }
        }),
    };
    // Where the probe that was meant is lost in a fault, it may be one of them.
    let is_wanted = probe
        .as_ref()
        .is_none_or(|probe| probes.selected.contains(probe));
    let given = section.required_secret("push_url", is_wanted.then_some(environment));
    let interim = section.boolean("interim", false);
    let ca_file = section.ca_file();
    let push_url = given.and_then(|given| match push_url(given.value.expose()) {
        Ok(url) => {
            warn_of_plaintext(section, &url, "the token in `push_url`");
            Some(known(&url, given))
        }
        Err(message) => {
            if let Some(entry) = section.entry("push_url") {
                entry.hidden_fault(&message);
            }
            None
        }
    });
    section.end();
    Some(UptimeKumaPlan {
        probe: probe?,
        push_url: push_url?,
        interim,
        ca_file,
    })
}

/// The push URL as a secret, together with the token in it, which can turn up alone.
fn known(url: &Url, given: SecretPlan) -> SecretPlan {
    if let Some((_, token)) = url.path().rsplit_once('/') {
        given.value.remember_derived(token);
    }
    SecretPlan {
        value: given.value.derived(url.as_str()),
        source: given.source,
    }
}

pub(super) fn warn_of_plaintext(section: &Section<'_>, url: &Url, what: &str) {
    if url.scheme() == "http" && !url.host_str().is_some_and(is_loopback) {
        section.warn(&format!(
            "{what} goes over the network in clear: the URL begins with http://"
        ));
    }
}
