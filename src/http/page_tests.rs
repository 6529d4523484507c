use super::*;
use crate::config;
use crate::config::plan::ProbePlan;
use crate::history::Kept;
use crate::probe::report::{Report, sample};
use crate::probe::verdict::{Cause, CauseCode, Stage};
use std::collections::BTreeMap;
use std::sync::Arc;

fn logbook() -> Logbook {
    let file =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/good/smallest.toml");
    let logbook = Logbook::new(None, Vec::<Kept>::new());
    let mut probes = config::load_without_secrets(&file).unwrap().probes;
    let mut earlier = ProbePlan::clone(&probes[0]);
    earlier.name = "a-new-one".to_owned();
    probes.push(Arc::new(earlier));
    logbook.set_probes(&probes);
    logbook
}

fn failed() -> Report {
    let mut cause = Cause::new(
        CauseCode::Deferred,
        Stage::Await,
        "the server <said> \"452\" & went",
        "make room",
    );
    cause.evidence.push("<script>alert(1)</script>".to_owned());
    cause.evidence.push("\u{202e}gpj.exe".to_owned());
    Report {
        verdict: Verdict::Missing,
        success: false,
        cause: Some(cause),
        delivery_seconds: None,
        seen_at: None,
        ..sample(
            "external",
            "e2e-probe-1",
            "2026-11-25T10:00:00Z".parse().unwrap(),
        )
    }
}

async fn text(logbook: &Logbook) -> String {
    let body = show(logbook, 1).await.into_body();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn the_last_failure_stays_with_its_evidence_after_successes_and_every_word_is_escaped() {
    let logbook = logbook();
    logbook.end(&Arc::new(failed()));
    for number in 2..60 {
        let at = "2026-11-25T10:20:00Z".parse().unwrap();
        logbook.end(&Arc::new(sample(
            "external",
            &format!("e2e-probe-{number}"),
            at,
        )));
    }
    let page = text(&logbook).await;
    assert!(
        page.contains("\\u202egpj.exe") && !page.contains('\u{202e}'),
        "{page}"
    );
    assert!(
        page.contains("Last failure: missing, 2026-11-25T10:00:00.000Z"),
        "{page}"
    );
    assert!(page.contains("the server &lt;said&gt; &quot;452&quot; &amp; went"));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(!page.contains("<script"));
    assert!(page.contains("the last 40 runs: 40 successful"));
    assert!(page.contains("badge good\">delivered"));
}

#[tokio::test]
async fn a_probe_that_fails_comes_first_and_says_so_in_words() {
    let logbook = logbook();
    logbook.end(&Arc::new(failed()));
    let page = text(&logbook).await;
    let bad = page.find("badge bad\">missing").unwrap();
    assert!(bad < page.find("no run yet").unwrap());
    assert!(page.contains("2 probes, 1 failing"));
}

/// The colours of one scheme, by name.
fn colours(css: &str) -> BTreeMap<String, [f64; 3]> {
    css.lines()
        .filter_map(|line| {
            let (name, value) = line.trim().strip_prefix("--")?.split_once(": #")?;
            let value = u32::from_str_radix(value.trim_end_matches(';'), 16).ok()?;
            let [_, red, green, blue] = value.to_be_bytes();
            Some((name.to_owned(), [red, green, blue].map(f64::from)))
        })
        .collect()
}

/// WCAG 2.2, "relative luminance".
fn luminance(colour: [f64; 3]) -> f64 {
    let [red, green, blue] = colour.map(|part| {
        let part = part / 255.0;
        if part <= 0.04045 {
            part / 12.92
        } else {
            ((part + 0.055) / 1.055).powf(2.4)
        }
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn text_has_the_contrast_of_wcag_aa_and_bars_that_of_graphics_by_day_and_by_night() {
    let (light, dark) = STYLE
        .split_once("@media (prefers-color-scheme: dark)")
        .unwrap();
    for (scheme, css) in [("light", light), ("dark", dark)] {
        let colours = colours(css);
        let mut pairs = vec![("text", "back", 4.5)];
        for kind in ["soft", "card", "link", "good", "bad", "blind", "none"] {
            pairs.push((kind, kind, 4.5));
        }
        for (text, back, least) in pairs {
            let (text, back) = match text {
                "text" => (colours["text"], colours["back"]),
                kind => (
                    colours[&format!("{kind}-text")],
                    colours[&format!("{back}-back")],
                ),
            };
            assert!(
                contrast(text, back) >= least,
                "{scheme}: {text:?} on {back:?}"
            );
        }
        // A link inside a card, and the drawing.
        assert!(
            contrast(colours["link-text"], colours["card-back"]) >= 4.5,
            "{scheme}: link"
        );
        for bar in ["bar-good", "bar-bad", "bar-blind"] {
            assert!(
                contrast(colours[bar], colours["card-back"]) >= 3.0,
                "{scheme}: {bar}"
            );
        }
    }
}
