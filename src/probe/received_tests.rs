//! The shapes of `Received` fields, writer by writer.

use super::*;
use proptest::prelude::*;

/// What of a hop a case looks at: helo, name, address, by, with, id, TLS version, cipher.
fn read(value: &str) -> [Option<String>; 8] {
    let hop = parse(value);
    let (version, cipher) = match hop.tls {
        Some(Tls { version, cipher }) => {
            (Some(version.unwrap_or_else(|| "yes".to_owned())), cipher)
        }
        None => (None, None),
    };
    let address = hop.from.address.map(|address| address.to_string());
    [
        hop.from.helo,
        hop.from.name,
        address,
        hop.by,
        hop.with,
        hop.id,
        version,
        cipher,
    ]
}

const SHAPES: &[(&str, [&str; 8])] = &[
    // Postfix
    (
        "from relay.example.net (mx1.example.net [192.0.2.10])\n\tby mail.example.org (Postfix) with ESMTP id 4F2A11C0B2\n\tfor <a@example.org>; Mon, 23 Nov 2026 22:54:32 +0000 (UTC)",
        [
            "relay.example.net",
            "mx1.example.net",
            "192.0.2.10",
            "mail.example.org",
            "ESMTP",
            "4F2A11C0B2",
            "",
            "",
        ],
    ),
    (
        "from relay (unknown [IPv6:2001:db8::25]) (using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 server-signature RSA-PSS (2048 bits) server-digest SHA256) (No client certificate requested) (Authenticated sender: a) by mail.example.org (Postfix) with ESMTPSA id 1; Mon, 23 Nov 2026 22:54:32 +0000 (UTC)",
        [
            "relay",
            "",
            "2001:db8::25",
            "mail.example.org",
            "ESMTPSA",
            "1",
            "TLSv1.3",
            "TLS_AES_256_GCM_SHA384",
        ],
    ),
    (
        "by mail.example.org (Postfix, from userid 1000) id 4F2A11C0B2; Mon, 23 Nov 2026 22:54:32 +0000",
        ["", "", "", "mail.example.org", "", "4F2A11C0B2", "", ""],
    ),
    // A client may call itself what it likes.
    (
        "from by (unknown [192.0.2.10]) by mail.example.org (Postfix) with SMTP id 1; Mon, 23 Nov 2026 22:54:32 +0000",
        [
            "by",
            "",
            "192.0.2.10",
            "mail.example.org",
            "SMTP",
            "1",
            "",
            "",
        ],
    ),
    (
        "from a;b (unknown [192.0.2.10]) by mail.example.org with ESMTPS id 1; Mon, 23 Nov 2026 22:54:32 +0000",
        [
            "a",
            "",
            "192.0.2.10",
            "mail.example.org",
            "ESMTPS",
            "1",
            "yes",
            "",
        ],
    ),
    // Dovecot
    (
        "from mail.example.org ([10.0.30.7]) by mailserver-0 with LMTP id SKuOH3qGI2kdBwAAXk2OPw (envelope-from <b@example.net>) for <a@example.org>; Mon, 23 Nov 2026 22:40:10 +0000",
        [
            "mail.example.org",
            "",
            "10.0.30.7",
            "mailserver-0",
            "LMTP",
            "SKuOH3qGI2kdBwAAXk2OPw",
            "",
            "",
        ],
    ),
    (
        "from mail.example.org by mailserver-0 with LMTPS id SKuOH3; Mon, 23 Nov 2026 22:40:10 +0000",
        [
            "mail.example.org",
            "",
            "",
            "mailserver-0",
            "LMTPS",
            "SKuOH3",
            "yes",
            "",
        ],
    ),
    // Brevo
    (
        "by smtp-relay.sendinblue.com with ESMTP id 8f3c-11; Tue, 09 January 2024 00:53:07 +0000 (UTC)",
        [
            "",
            "",
            "",
            "smtp-relay.sendinblue.com",
            "ESMTP",
            "8f3c-11",
            "",
            "",
        ],
    ),
    // Gmail
    (
        "by 2002:a05:6402:35c8:b0:5c5:c4f with SMTP id z8csp; Thu, 23 Oct 2025 02:42:31 -0700 (PDT)",
        [
            "",
            "",
            "",
            "2002:a05:6402:35c8:b0:5c5:c4f",
            "SMTP",
            "z8csp",
            "",
            "",
        ],
    ),
    (
        "from relay.example.net (relay.example.net. [192.0.2.10]) by mx.google.com with ESMTPS id a1-b2.3 for <a@gmail.com> (version=TLS1_3 cipher=TLS_AES_256_GCM_SHA384 bits=256/256); Thu, 23 Oct 2025 02:42:30 -0700 (PDT)",
        [
            "relay.example.net",
            "relay.example.net",
            "192.0.2.10",
            "mx.google.com",
            "ESMTPS",
            "a1-b2.3",
            "TLSv1.3",
            "TLS_AES_256_GCM_SHA384",
        ],
    ),
    // Exim
    (
        "from mx1.example.net ([192.0.2.10] helo=relay) by mail.example.org with esmtps (TLS1.3) tls TLS_AES_256_GCM_SHA384 (Exim 4.96) (envelope-from <b@example.net>) id 1abcDE-000000-00 for a@example.org; Mon, 23 Nov 2026 22:54:32 +0000",
        [
            "relay",
            "mx1.example.net",
            "192.0.2.10",
            "mail.example.org",
            "esmtps",
            "1abcDE-000000-00",
            "TLSv1.3",
            "TLS_AES_256_GCM_SHA384",
        ],
    ),
    (
        "from [192.0.2.10] (port=4711 helo=relay) by mail.example.org with esmtpsa (TLSv1.2:ECDHE-RSA-AES256-GCM-SHA384:256) id 1; Mon, 23 Nov 2026 22:54:32 +0000",
        [
            "relay",
            "",
            "192.0.2.10",
            "mail.example.org",
            "esmtpsa",
            "1",
            "TLSv1.2",
            "ECDHE-RSA-AES256-GCM-SHA384",
        ],
    ),
    (
        "from relay.example.net ([192.0.2.10]:4711) by mail.example.org with smtp id 1; Mon, 23 Nov 2026 22:54:32 +0000",
        [
            "relay.example.net",
            "",
            "192.0.2.10",
            "mail.example.org",
            "smtp",
            "1",
            "",
            "",
        ],
    ),
    // Exchange
    (
        "from AM0PR01.eurprd01.prod.exchangelabs.com (2603:10a6:208::12) by DB9PR01.eurprd01.prod.exchangelabs.com (2603:10a6:10::3) with Microsoft SMTP Server (version=TLS1_2, cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id 15.20.9253.11 via Frontend Transport; Mon, 23 Nov 2026 22:54:32 +0000",
        [
            "AM0PR01.eurprd01.prod.exchangelabs.com",
            "",
            "2603:10a6:208::12",
            "DB9PR01.eurprd01.prod.exchangelabs.com",
            "Microsoft SMTP Server",
            "",
            "TLSv1.2",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        ],
    ),
    (
        "from DB9PR01.example ([fe80::1%4]) by DB9PR01.example ([::1]) with mapi id 15.20.9253.11; Mon, 23 Nov 2026 22:54:32 +0000",
        [
            "DB9PR01.example",
            "",
            "fe80::1",
            "DB9PR01.example",
            "mapi",
            "",
            "",
            "",
        ],
    ),
    // qmail
    (
        "(qmail 123 invoked by uid 0); 1 Jan 2026 00:00:00 -0000",
        ["", "", "", "", "", "", "", ""],
    ),
    (
        "from unknown (HELO relay) (192.0.2.10) by mail.example.org with (TLS_AES_256_GCM_SHA384 encrypted) SMTP; 1 Jan 2026 00:00:00 -0000",
        [
            "relay",
            "",
            "192.0.2.10",
            "mail.example.org",
            "SMTP",
            "",
            "yes",
            "TLS_AES_256_GCM_SHA384",
        ],
    ),
    // sendmail
    (
        "from relay (IDENT:root@mx1.example.net [192.0.2.10] (may be forged)) by mail.example.org (8.17.1/8.17.1) with ESMTPS id 4AB2 (version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 bits=256 verify=NO) for <a@example.org>; Mon, 23 Nov 2026 22:54:32 GMT",
        [
            "relay",
            "mx1.example.net",
            "192.0.2.10",
            "mail.example.org",
            "ESMTPS",
            "4AB2",
            "TLSv1.3",
            "TLS_AES_256_GCM_SHA384",
        ],
    ),
    // OpenSMTPD
    (
        "from relay (<unknown> [192.0.2.10]) by mail.example.org (OpenSMTPD) with ESMTPS id 6ff6 (TLSv1.3:TLS_AES_256_GCM_SHA384:256:NO) for <a@example.org>; Mon, 23 Nov 2026 22:54:32 +0000 (UTC)",
        [
            "relay",
            "",
            "192.0.2.10",
            "mail.example.org",
            "ESMTPS",
            "6ff6",
            "TLSv1.3",
            "TLS_AES_256_GCM_SHA384",
        ],
    ),
    // Others
    (
        "from [192.0.2.10] (account a HELO relay) by mail.example.net (CommuniGate Pro SMTP 6.1) with ESMTPSA id <77>; Mon, 23 Nov 2026 22:54:32 +0000",
        [
            "relay",
            "",
            "192.0.2.10",
            "mail.example.net",
            "ESMTPSA",
            "77",
            "yes",
            "",
        ],
    ),
    (
        "from localhost (localhost [127.0.0.1]) by localhost (amavisd-new, port 10024) with LMTP id x-2 for <a@example.org>; Mon, 23 Nov 2026 22:54:32 +0000",
        [
            "localhost",
            "localhost",
            "127.0.0.1",
            "localhost",
            "LMTP",
            "x-2",
            "",
            "",
        ],
    ),
    (
        "from relay (unknown [192.0.2.10]) by mail.example.org with UTF8SMTPSA; Mon, 23 Nov 2026 22:54:32 +0000",
        [
            "relay",
            "",
            "192.0.2.10",
            "mail.example.org",
            "UTF8SMTPSA",
            "",
            "yes",
            "",
        ],
    ),
    (
        "by mail.example.org via HTTP with HTTPREST; Mon, 23 Nov 2026 22:54:32 +0000",
        ["", "", "", "mail.example.org", "HTTPREST", "", "", ""],
    ),
    (
        "for <a@example.org> id 5 with BSMTP by mail.example.org from relay; Mon, 23 Nov 2026 22:54:32 +0000",
        ["relay", "", "", "mail.example.org", "BSMTP", "5", "", ""],
    ),
];

#[test]
fn every_shape_is_read() {
    for (value, expected) in SHAPES {
        let expected = expected.map(|text| (!text.is_empty()).then(|| text.to_owned()));
        assert_eq!(read(value), expected, "{value}");
        assert!(parse(value).at.is_some(), "{value}");
    }
}

#[test]
fn the_date_stands_behind_the_last_semicolon_outside_comments() {
    for (value, expected) in [
        (
            "by a (b; c); 1 Jan 2026 00:00:00 +0000",
            Some(1_767_225_600),
        ),
        (
            "by a; id b; 1 Jan 2026 00:00:00 +0000 (x; y)",
            Some(1_767_225_600),
        ),
        (
            "by a (never closed; 1 Jan 2026 00:00:00 +0000",
            Some(1_767_225_600),
        ),
        ("by a 1 Jan 2026 00:00:00 +0000", None),
        ("by a; yesterday", None),
        ("", None),
    ] {
        assert_eq!(
            parse(value).at.map(|at| at.timestamp()),
            expected,
            "{value}"
        );
    }
}

#[test]
fn who_logged_in_is_told_by_the_protocol_word_alone() {
    for (with, expected) in [
        ("ESMTPA", true),
        ("esmtpsa", true),
        ("UTF8SMTPSA", true),
        ("UTF8LMTPA", true),
        ("ESMTPS", false),
        ("SMTP", false),
        ("NNFMPA", false),
        ("mapi", false),
    ] {
        let hop = parse(&format!("from a by b with {with}; date"));
        assert_eq!(is_authenticated(&hop), expected, "{with}");
    }
}

proptest! {
    #[test]
    fn received_like_text_never_panics(words in prop::collection::vec(
        prop::sample::select(vec![
            "from", "by", "with", "id", "for", "via", "tls", "(", ")", "[", "]", "\"", "\\", ";", "=", "helo=", "HELO",
            "[192.0.2.1]", "[IPv6:::1]", "mx.example.org", "é", "TLSv1.3:", "version=", "using", "cipher", "encrypted",
            "<a@b>", ",", "1 Jan 2026 00:00:00", "\t", "%", "IDENT:a@b", "15.20.1.2", "mapi",
        ]), 0..30), gap in prop::sample::select(vec![" ", "", "\t "]))
    {
        let value = words.join(gap);
        let hop = parse(&value);
        for text in [hop.from.helo, hop.from.name, hop.by, hop.with, hop.id].into_iter().flatten() {
            prop_assert!(text.chars().count() <= LONGEST);
        }
    }
}
