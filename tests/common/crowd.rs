//! Other people's mail, by the thousand, written straight into the Maildir.

use super::dovecot::Dovecot;
use std::os::unix::fs::chown;

/// Somebody else's message: every few a look-alike of ours, a forgery, or a quotation.
fn message(number: usize) -> String {
    let forged = format!(
        "e2e-probe-{}",
        &"abcdefghijklmnopqrstuvwxyz234567".repeat(2)[..42]
    );
    let fields = match number % 6 {
        0 => format!("Subject: [E2E Monitor] {forged}\r\nX-Mailprobe-Token: {forged}"),
        1 => format!("Subject: Re: [E2E Monitor] {forged}\r\nIn-Reply-To: <1@example.org>"),
        2 => "Subject: [E2E Monitor] e2e-probe-1795000000-ab12cd".to_owned(),
        3 => format!(
            "Subject: Fwd: probe\r\nX-Mailprobe-Token: {forged}\r\nResent-From: a@example.org"
        ),
        _ => format!("Subject: Invoice {number}"),
    };
    format!(
        "From: somebody@example.net\r\nTo: spam@example.org\r\nMessage-ID: <{number}@example.net>\r\n{fields}\r\n\r\nNumber {number}\r\n"
    )
}

/// Puts so many messages into INBOX, flags and all; every seventh has been marked `\Deleted` by some other client.
pub fn gather(dovecot: &Dovecot, count: usize) {
    let current = dovecot.maildir().join("cur");
    // The server makes the Maildir with the right owner.
    dovecot.save("INBOX", &message(0));
    let owner = std::fs::metadata(&current).unwrap();
    use std::os::unix::fs::MetadataExt;
    for number in 1..count {
        let flags = match number % 7 {
            0 => "T",
            1 => "FS",
            2 => "RS",
            _ => "",
        };
        let path = current.join(format!("1795000000.M{number}P1.crowd:2,{flags}"));
        std::fs::write(&path, message(number)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
}
