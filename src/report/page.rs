//! The page: its head, the figures that count most, the curves, and a part for each run.

use lstmc_compiler::diag::visible;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::{Chart, swatch};
use super::sections::{parts, summary, together};
use super::{COLOURS, Report, Run, curves};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What the page may do: have this style, and run the script with this digest. The test beside it says what that is.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
                      script-src 'sha256-VHoWzFo0F4RjdPe7YJD6kQowDBMpel6inz+/YDvsWHM='; base-uri 'none'; form-action 'none'";

/// The page as HTML. Whatever a stranger's names and texts have in them is shown, and does nothing: it is escaped as HTML, and
/// in place of control characters, and of those that turn text round, there are escapes like `\u{202e}`.
pub fn page(report: &Report) -> String {
    let title = match report.runs.as_slice() {
        [run] => run.name.clone(),
        several => several.iter().map(|run| run.name.as_str()).collect::<Vec<_>>().join(", "),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) " - lstmc report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(report, &title))
                main {
                    (curves_of(&report.runs))
                    @for (number, run) in report.runs.iter().enumerate() { (part(report, number, run)) }
                }
                footer {
                    "Written by lstmc " (env!("CARGO_PKG_VERSION")) " on " (report.time) ". This page is one file: it loads nothing, and \
                     the numbers of every chart stand below it."
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    visible(&page.into_string()).into_owned()
}

fn header(report: &Report, title: &str) -> Markup {
    html! {
        header {
            h1 { (title) }
            @match report.runs.as_slice() {
                [run] => { (summary(run)) },
                several => { (together(several)) },
            }
            nav aria-label="Parts of this page" {
                a href="#curves" { "Curves" }
                @if let [run] = report.runs.as_slice() {
                    @for (id, name, _) in parts(run) { a href={ "#" (id) "-0" } { (name) } }
                } @else {
                    @for (number, run) in report.runs.iter().enumerate() { a href={ "#run-" (number) } { (run.name) } }
                }
            }
        }
    }
}

fn curves_of(runs: &[Run]) -> Markup {
    let (epochs, updates) = (curves::by_epoch(runs), curves::by_update(runs));
    let names: Vec<&str> = match runs {
        [run] if run.rows.iter().all(|row| row.valid_loss.is_none()) => vec!["training"],
        [_] => vec!["training", "validation"],
        several => several.iter().map(|run| run.name.as_str()).collect(),
    };
    let charts = |title: &str, charts: &[Chart]| {
        html! { @if !charts.is_empty() {
            h3 { (title) }
            div class="charts" { @for chart in charts { (chart.figure()) } }
        } }
    };
    html! {
        section id="curves" {
            h2 { "Curves" }
            @if epochs.is_empty() && updates.is_empty() {
                p class="left-out" { "Nothing has been written down yet: the first figures come with the first epoch or report." }
            } @else {
                ul class="legend" {
                    @for (slot, name) in names.iter().enumerate() { li { (swatch(slot % COLOURS)) (name) } }
                    @if runs.len() > 1 { li class="quiet" { "thin and pale: training; with dots: validation" } }
                }
                (charts("By epoch", &epochs))
                (charts("By update", &updates))
                p class="quiet" {
                    "By update, points are means over the updates since the point before; the gradient's norm is that before clipping."
                }
            }
        }
    }
}

/// All about one run.
fn part(report: &Report, number: usize, run: &Run) -> Markup {
    let several = report.runs.len() > 1;
    html! {
        @if several { h2 id={ "run-" (number) } { (run.name) } }
        @for (id, name, content) in parts(run) {
            section id={ (id) "-" (number) } {
                @if several { h3 { (name) } } @else { h2 { (name) } }
                (content)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// In base 64, which policies are written in.
    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let four = |three: &[u8]| {
            let whole =
                three.iter().fold(0u32, |sum, &byte| sum << 8 | u32::from(byte)) << (8 * (3 - three.len()));
            let digit = move |place: usize| match place <= three.len() {
                true => char::from(DIGITS[(whole >> (18 - 6 * place) & 63) as usize]),
                false => '=',
            };
            [0, 1, 2, 3].map(digit)
        };
        bytes.chunks(3).flat_map(four).collect()
    }

    #[test]
    fn the_policy_allows_the_script_and_no_other() {
        assert_eq!(["f", "fo", "foobar"].map(|text| base64(text.as_bytes())), ["Zg==", "Zm8=", "Zm9vYmFy"]);
        let digest = base64(&Sha256::digest(SCRIPT));
        assert!(
            POLICY.contains(&format!("script-src 'sha256-{digest}';")),
            "the script's digest is {digest}"
        );
        assert!(!SCRIPT.contains("</script") && !STYLE.contains("</style"));
    }

    /// Of the colour `name` in light, and in dark.
    fn colours(name: &str) -> [[f64; 3]; 2] {
        let found: Vec<[f64; 3]> = STYLE
            .split(&format!("--{name}: #"))
            .skip(1)
            .map(|rest| {
                [0, 2, 4].map(|at| f64::from(u8::from_str_radix(&rest[at..at + 2], 16).expect("a colour")))
            })
            .collect();
        found.try_into().expect("a light and a dark one")
    }

    /// As WCAG defines it.
    fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
        let linear = |c: f64| {
            if c / 255.0 <= 0.04045 { c / 255.0 / 12.92 } else { ((c / 255.0 + 0.055) / 1.055).powf(2.4) }
        };
        let luminance = |c: [f64; 3]| 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
        let (a, b) = (luminance(a).max(luminance(b)), luminance(a).min(luminance(b)));
        (a + 0.05) / (b + 0.05)
    }

    #[test]
    fn text_and_lines_can_be_seen_in_light_and_dark() {
        for scheme in 0..2 {
            let of = |name: &str| colours(name)[scheme];
            for ground in ["page", "raised"] {
                for name in ["text", "quiet", "link", "wrong"] {
                    let found = contrast(of(name), of(ground));
                    assert!(found >= 4.5, "{name} on {ground}: {found}");
                }
            }
            for slot in 0..COLOURS {
                let found = contrast(of(&format!("s{slot}")), of("page"));
                assert!(found >= 4.5, "s{slot}: {found}");
            }
        }
    }
}
