//! AWS Signature Version 4.

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use ring::{digest, hmac};

/// What signs a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signer<'s> {
    pub(super) access_key_id: &'s str,
    pub(super) secret_access_key: &'s str,
    pub(super) region: &'s str,
    pub(super) service: &'s str,
}

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'r> {
    pub(super) method: &'r str,
    /// Percent-encoded.
    pub(super) path: &'r str,
    /// Percent-encoded and sorted; empty where there is none.
    pub(super) query: &'r str,
    /// Names in lower case, sorted; `host` and `x-amz-date` among them.
    pub(super) headers: &'r [(&'r str, &'r str)],
    pub(super) body: &'r [u8],
}

/// `20150830T123600Z`, the form that `x-amz-date` has.
pub(super) fn timestamp(at: DateTime<Utc>) -> String {
    at.format("%Y%m%dT%H%M%SZ").to_string()
}

impl Signer<'_> {
    /// The value of the field Authorization.
    pub(super) fn authorization(self, request: Request<'_>, at: DateTime<Utc>) -> String {
        let day = at.format("%Y%m%d").to_string();
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let canonical = canonical(request, &names);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
            timestamp(at),
            sha256(canonical.as_bytes())
        );
        let signature = mac(&self.key(&day), &to_sign);
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.access_key_id,
            HEXLOWER.encode(&signature)
        )
    }

    fn key(self, day: &str) -> Vec<u8> {
        let first = format!("AWS4{}", self.secret_access_key);
        [day, self.region, self.service, "aws4_request"]
            .into_iter()
            .fold(first.into_bytes(), |key, part| mac(&key, part))
    }
}

fn canonical(request: Request<'_>, names: &str) -> String {
    let headers: String = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    let Request {
        method,
        path,
        query,
        body,
        ..
    } = request;
    format!(
        "{method}\n{path}\n{query}\n{headers}\n{names}\n{}",
        sha256(body)
    )
}

fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    /// The example of AWS's documentation ("Signature Version 4 signing process", `ListUsers` of IAM).
    #[test]
    fn the_published_example_comes_out_signed_as_published() {
        let at = Utc.with_ymd_and_hms(2015, 8, 30, 12, 36, 0).unwrap();
        let signer = Signer {
            access_key_id: "AKIDEXAMPLE",
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
            service: "iam",
        };
        assert_eq!(
            HEXLOWER.encode(&signer.key("20150830")),
            "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
        );
        let request = Request {
            method: "GET",
            path: "/",
            query: "Action=ListUsers&Version=2010-05-08",
            headers: &[
                (
                    "content-type",
                    "application/x-www-form-urlencoded; charset=utf-8",
                ),
                ("host", "iam.amazonaws.com"),
                ("x-amz-date", &timestamp(at)),
            ],
            body: b"",
        };
        assert_eq!(
            sha256(canonical(request, "content-type;host;x-amz-date").as_bytes()),
            "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
        );
        assert_eq!(
            signer.authorization(request, at),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }
}
