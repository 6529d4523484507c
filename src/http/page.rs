//! The status page: no scripts, nothing from elsewhere, readable on a phone and without colours.

use crate::probe::verdict::Verdict;
use crate::scheduler::logbook::{DRAWN, Entry, Logbook, Mark, Page, Row};
use crate::visible::escape;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

const STYLE: &str = include_str!("style.css");
/// Probes on one page.
const PER_PAGE: usize = 100;
/// The drawing of the last runs: a bar each, in units of its own.
const BAR: usize = 8;
const HEIGHT: f64 = 40.0;

pub(super) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

/// The page with this number, from 1 on; probes that fail come first. Rendered beside the runtime's thread.
pub(super) async fn show(logbook: &Logbook, number: usize) -> Response {
    let mut page = logbook.page(number, PER_PAGE);
    let rows = std::mem::take(&mut page.rows);
    // What the disk does not tell is shown as such.
    let entries = rows.into_iter().map(async |row| logbook.entry(row).await.0);
    let entries: Vec<Entry> = join_all(entries).await;
    match tokio::task::spawn_blocking(move || render(&page, &entries)).await {
        Ok(text) => {
            let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
            (kind, text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn render(page: &Page, entries: &[Entry]) -> String {
    let Page {
        number,
        pages,
        probes,
        failing,
        ..
    } = *page;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "mailprobe" }
                link rel="stylesheet" href="style.css";
            }
            body {
                header {
                    h1 { "mailprobe" }
                    p.soft {
                        (probes) @if probes == 1 { " probe, " } @else { " probes, " } (failing) " failing; as of " (time(Utc::now()))
                    }
                }
                main {
                    @for entry in entries { (card(entry)) }
                    @if probes == 0 { p { "There are no probes." } }
                }
                @if pages > 1 {
                    nav aria-label="pages" {
                        @if number > 1 { a href={ "?page=" (number - 1) } { "previous page" } }
                        span { "page " (number) " of " (pages) }
                        @if number < pages { a href={ "?page=" (number + 1) } { "next page" } }
                    }
                }
            }
        }
    };
    escape(&page.into_string()).into_owned()
}

fn card(entry: &Entry) -> Markup {
    let row = &entry.row;
    let last = entry.last_run.as_deref().and_then(read);
    html! {
        article.card {
            div.head {
                h2 { (row.probe.name) }
                (badge(row))
            }
            p.says { (sentence(row, last.as_ref())) }
            dl {
                (fact("Delivery", &delivery(last.as_ref())))
                (moment("Last run ended", row.marks.back().map(|mark| mark.ended_at)))
                (moment("Next run", row.next_run_at))
                (fact("Schedule", &row.probe.schedule.to_string()))
                (fact("Way", &format!("{} to {}", row.probe.sender.name(), row.probe.mailbox.name)))
                @if row.skipped > 0 { (fact("Runs skipped", &row.skipped.to_string())) }
            }
            @if !row.marks.is_empty() { (drawing(row)) }
            @if let Some(failure) = entry.last_failure.as_deref().and_then(read) { (evidence(&failure)) }
        }
    }
}

fn read(report: &str) -> Option<Value> {
    serde_json::from_str(report).ok()
}

/// The verdict as a word in a colour.
fn badge(row: &Row) -> Markup {
    let (class, word) = match (row.is_overdue(), row.marks.back()) {
        (true, _) => ("bad", "overdue"),
        (false, Some(mark)) => (class(mark), mark.verdict.name()),
        (false, None) => ("none", "no run yet"),
    };
    html! { span class={ "badge " (class) } { (word) } }
}

fn class(mark: &Mark) -> &'static str {
    match mark {
        Mark { success: true, .. } => "good",
        Mark {
            verdict: Verdict::Undetermined,
            ..
        } => "blind",
        _ => "bad",
    }
}

fn sentence(row: &Row, last: Option<&Value>) -> String {
    if let Some(since) = row.running_since {
        let since = since.format("%H:%M:%S");
        return format!("A run is under way since {since} UTC.");
    }
    match last.and_then(|last| last.pointer("/cause/summary")?.as_str()) {
        Some(summary) => summary.to_owned(),
        None if last.is_some() => "The message arrived.".to_owned(),
        None if row.last_run.is_some() => "The report of the last run cannot be read.".to_owned(),
        None => "Nothing is known yet.".to_owned(),
    }
}

fn delivery(last: Option<&Value>) -> String {
    let seconds = |name: &str| last?.get(name)?.as_f64();
    match (
        seconds("delivery_seconds"),
        seconds("delivery_error_seconds"),
    ) {
        (Some(took), Some(error)) => format!("{took:.3} s (or up to {error:.3} s sooner)"),
        (Some(took), None) => format!("{took:.3} s"),
        _ => "–".to_owned(),
    }
}

fn fact(name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn moment(name: &str, at: Option<DateTime<Utc>>) -> Markup {
    html! {
        div {
            dt { (name) }
            dd { @match at { Some(at) => (time(at)), None => "–" } }
        }
    }
}

fn time(at: DateTime<Utc>) -> Markup {
    html! {
        time datetime=(at.format("%Y-%m-%dT%H:%M:%SZ")) { (at.format("%Y-%m-%d %H:%M:%S UTC")) }
    }
}

/// A bar a run: the longer the message took, the higher, by its logarithm; a run without a message has a full one.
fn drawing(row: &Row) -> Markup {
    let good = row.marks.iter().filter(|mark| mark.success).count();
    let label = format!("the last {} runs: {good} successful", row.marks.len());
    let width = BAR * DRAWN;
    let first = DRAWN.saturating_sub(row.marks.len());
    html! {
        svg role="img" aria-label=(label) viewBox={ "0 0 " (width) " " (HEIGHT) } preserveAspectRatio="none" {
            line.ground x1="0" x2=(width) y1=(HEIGHT) y2=(HEIGHT) {}
            @for (place, mark) in row.marks.iter().enumerate() {
                @let height = bar(mark);
                rect class={ "bar-" (class(mark)) } x=((first + place) * BAR) width=(BAR - 2)
                    y=(format!("{:.1}", HEIGHT - height)) height=(format!("{height:.1}")) {
                    title { (mark.verdict.name()) @if let Some(took) = mark.delivery_seconds { " in " (format!("{took:.3}")) " s" } ", " (mark.ended_at.format("%Y-%m-%d %H:%M:%S UTC")) }
                }
            }
        }
    }
}

fn bar(mark: &Mark) -> f64 {
    // A tenth of a second is the lowest, an hour the highest.
    mark.delivery_seconds.map_or(HEIGHT, |seconds| {
        let share = (seconds.max(0.1) / 0.1).log10() / 36_000_f64.log10();
        4.0 + (HEIGHT - 4.0) * share.clamp(0.0, 1.0)
    })
}

/// The last failure, kept whatever came after it.
fn evidence(failure: &Value) -> Markup {
    let text = |path: &str| failure.pointer(path).and_then(Value::as_str).unwrap_or("–");
    let quotes = failure.pointer("/cause/evidence").and_then(Value::as_array);
    html! {
        details {
            summary { "Last failure: " (text("/verdict")) ", " (text("/ended_at")) }
            p { (text("/cause/summary")) }
            p { "What to do: " (text("/cause/hint")) }
            @if let Some(quotes) = quotes.filter(|quotes| !quotes.is_empty()) {
                ul { @for quote in quotes { li { (quote.as_str().unwrap_or_default()) } } }
            }
            p { "Run " code { a href={ "api/runs/" (text("/run")) } { (text("/run")) } } }
        }
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
