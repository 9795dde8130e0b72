//! The parts of the page that are about one run, and the figures at its top.

use lstmc_runtime::run_dir::{Row, best_of};
use lstmc_runtime::text::Role;
use maud::{Markup, html};

use super::chart::swatch;
use super::{About, COLOURS, Measured, Part, Reading, Run, Sample, Samples, State, Token};
use crate::about::Layer;
use crate::profile::{self, Line, Order};
use crate::show;

/// Lines of the log that are shown.
const LOG: usize = 200;

/// Characters of a token that are shown, and of a text: one that a stranger's vocabulary makes may be of any length.
const TOKEN: usize = 60;
const TEXT: usize = 20_000;

/// The figures that count most.
pub fn summary(run: &Run) -> Markup {
    let card = |name: &str, value: &str, more: &str| {
        html! { div { dt { (name) } dd { (value) @if !more.is_empty() { small { (more) } } } } }
    };
    let (best, last) = (best_of(&run.rows), run.rows.last());
    let unit = run.model.as_ref().map_or("token", |about| about.unit);
    html! {
        p { (state(run)) }
        dl class="cards" {
            @if let Some(best) = best {
                (card("Best validation perplexity", &number(best.valid_perplexity, &show::perplexity), &place(run, best)))
                (card("Validation accuracy", &number(best.valid_accuracy, &percent), &place(run, best)))
            } @else if let Some(last) = last {
                (card("Training perplexity", &number(last.train_perplexity, &show::perplexity), &place(run, last)))
                (card("Training accuracy", &number(last.train_accuracy, &percent), &place(run, last)))
            }
            @if let Some(last) = last {
                (card("Speed", &number(last.words_per_second, &|speed| show::count(speed as u64)), &format!("{unit}s per second")))
                (card("Time", &number(last.seconds, &show::duration), &show::many(last.step, "update")))
            }
            @if let Ok(about) = &run.model {
                (card("Parameters", &show::count(about.parameters), ""))
            }
        }
    }
}

fn number(value: Option<f64>, show: &dyn Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// Where in the training a row stands.
fn place(run: &Run, row: &Row) -> String {
    let (epochs, updates) = run.rows.last().map_or((0, 0), |row| (row.epoch, row.step));
    let by_epochs = run.rows.is_sorted_by(|a, b| a.epoch < b.epoch);
    match run.model.as_ref().map_or(by_epochs, |about| about.by_epochs) {
        true => format!("epoch {} of {epochs}", row.epoch),
        false => format!("update {} of {}", show::count(row.step), show::count(updates)),
    }
}

/// How the training stands, in a sentence.
fn state(run: &Run) -> Markup {
    let so_far = run.rows.last().map_or_else(
        || "nothing was reported".to_owned(),
        |last| format!("{}, {}", show::many(last.epoch, "epoch"), show::many(last.step, "update")),
    );
    html! { @match &run.state {
        State::Finished => { "Finished: " (so_far) "." },
        State::Settled => { "Stopped early, as validation became no better: " (so_far) "." },
        State::Stopped => { "Stopped, and can be gone on with: " (so_far) "." },
        State::Failed(_) => { "Failed: " (so_far) ", and then an error." },
        State::Open(time) if time.is_empty() => { "Begun: " (so_far) "." },
        State::Open(time) => { "Being trained when this was written, or killed: " (so_far) "; last heard of at " (time) "." },
    } }
}

/// Several runs side by side, and how they differ.
pub fn together(runs: &[Run]) -> Markup {
    let row = |slot: usize, run: &Run| {
        let row = best_of(&run.rows).or(run.rows.last());
        let of =
            |value: fn(&Row) -> Option<f64>, show: &dyn Fn(f64) -> String| number(row.and_then(value), show);
        let last = run.rows.last();
        html! { tr {
            th scope="row" { (swatch(slot % COLOURS)) a href={ "#run-" (slot) } { (run.name) } }
            td class="n" { (of(|row| row.valid_perplexity, &show::perplexity)) }
            td class="n" { (of(|row| row.valid_accuracy, &percent)) }
            td class="n" { (of(|row| row.train_perplexity, &show::perplexity)) }
            td { @if let Some(row) = row { (place(run, row)) } }
            td class="n" { (number(last.and_then(|row| row.words_per_second), &|speed| show::count(speed as u64))) }
            td class="n" { (number(last.and_then(|row| row.seconds), &show::duration)) }
            td class="n" { @if let Ok(about) = &run.model { (show::count(about.parameters)) } }
        } }
    };
    html! {
        div class="wide" tabindex="0" { table {
            thead { tr {
                th scope="col" { "run" } th scope="col" class="n" { "valid perplexity" } th scope="col" class="n" { "valid accuracy" }
                th scope="col" class="n" { "train perplexity" } th scope="col" { "at" } th scope="col" class="n" { "tokens/s" }
                th scope="col" class="n" { "time" } th scope="col" class="n" { "parameters" }
            } }
            tbody { @for (slot, run) in runs.iter().enumerate() { (row(slot, run)) } }
        } }
        @for run in runs {
            @for line in &run.differences { p class="quiet" { (run.name) ": " (line) } }
        }
    }
}

/// The parts about a run: an id, a title and the content of each.
pub fn parts(run: &Run) -> Vec<(&'static str, &'static str, Markup)> {
    let mut parts = vec![];
    if let State::Failed(error) = &run.state {
        parts.push(("error", "How it ended", html! { pre class="failed" { (error) } }));
    }
    parts.extend([
        ("samples", "What it writes", or_why(&run.samples, samples)),
        ("reading", "Actual and expected", or_why(&run.reading, reading)),
        ("layers", "Layers", or_why(&run.model, layers)),
        ("time", "Where a step's time goes", or_why(&run.profile, time)),
        ("settings", "Settings", settings(run)),
        ("source", "Model file", html! { pre tabindex="0" { (run.source) } }),
        ("log", "Log", log(&run.log)),
    ]);
    parts
}

/// A part, or why it was left out.
fn or_why<T>(part: &Part<T>, show: impl Fn(&T) -> Markup) -> Markup {
    match part {
        Ok(found) => show(found),
        Err(reason) => html! { p class="left-out" { "Not here: " (reason) } },
    }
}

fn samples(samples: &Samples) -> Markup {
    let title = |sample: &Sample| {
        let marks = [(sample.best, "best"), (sample.newest, "newest")];
        let mut words: Vec<String> =
            marks.iter().filter(|(is, _)| *is).map(|(_, mark)| (*mark).to_owned()).collect();
        words.extend(
            sample.perplexity.map(|value| format!("validation perplexity {}", show::perplexity(value))),
        );
        words.join(", ")
    };
    html! {
        p class="quiet" {
            "The same beginning and the same seed, by the checkpoints that are kept."
            @if let Some(command) = &samples.command { " Each can be written again: " code { (command) } }
        }
        @for sample in &samples.texts {
            article class="sample" {
                h3 { (capital(&sample.place)) " " span class="quiet" { (title(sample)) } }
                p { strong { (show::head(&samples.prompt, TEXT)) } (show::head(&sample.text, TEXT)) }
            }
        }
        @for line in &samples.missing { p class="left-out" { "Not here: " (line) } }
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn reading(reading: &Reading) -> Markup {
    let hits = reading.tokens.iter().filter(|token| token.right).count();
    let nats: f64 = reading.tokens.iter().map(|token| -f64::from(token.probability).ln()).sum();
    let perplexity = show::perplexity((nats / reading.tokens.len().max(1) as f64).exp());
    let percent = |probability: f32| format!("{:.1} %", 100.0 * probability);
    let names = |one: &(String, f32)| format!("{} {}", visible_token(&one.0), percent(one.1));
    html! {
        p class="quiet" {
            "The beginning of the " (reading.split) " text as it goes through the model of " (reading.place) ". The darker a token, the \
             likelier it was to the model, in percent below it; where another one was likelier, that stands below. "
            (hits) " of " (reading.tokens.len()) " right, perplexity " (perplexity) "."
        }
        ul class="legend" aria-hidden="true" {
            @for (class, words) in [("p4", "half or more"), ("p3", "20 %"), ("p2", "5 %"), ("p1", "1 %"), ("p0", "less")] {
                li class="tokens" { b class=(class) { (words) } }
            }
        }
        ol class="tokens" {
            @for token in &reading.tokens {
                li { (chip(token)) }
                @if token.actual.contains('\n') { li class="break" role="presentation" {} }
            }
        }
        details {
            summary { "numbers" }
            div class="wide" tabindex="0" { table {
                thead { tr {
                    th scope="col" { "actual" } th scope="col" class="n" { "probability" } th scope="col" { "most likely" }
                } }
                tbody { @for token in &reading.tokens { tr {
                    th scope="row" { (visible_token(&token.actual)) }
                    td class="n" { (percent(token.probability)) }
                    td { (token.top.iter().map(names).collect::<Vec<_>>().join(", ")) }
                } } }
            } }
        }
    }
}

/// A token, shaded by how likely it was, and what was likelier.
fn chip(token: &Token) -> Markup {
    let shade = match token.probability {
        p if p >= 0.5 => "p4",
        p if p >= 0.2 => "p3",
        p if p >= 0.05 => "p2",
        p if p >= 0.01 => "p1",
        _ => "p0",
    };
    let percent = match 100.0 * token.probability {
        few if few < 0.95 => format!("{few:.1}"),
        some => format!("{some:.0}"),
    };
    html! {
        b class=(shade) { (visible_token(&token.actual)) }
        small { (percent) }
        @if let Some((likeliest, _)) = token.top.first().filter(|_| !token.right) { small { (visible_token(likeliest)) } }
    }
}

/// A token of which white space can be seen, or its beginning.
fn visible_token(text: &str) -> String {
    let text = show::head(text, TOKEN);
    let text = text.replace(' ', "\u{2423}").replace('\n', "\u{23ce}").replace('\t', "\u{21e5}");
    if text.is_empty() { "\u{2205}".into() } else { text }
}

fn layers(about: &About) -> Markup {
    let bytes = lstmc_runtime::error::bytes;
    let states = |layer: &Layer| -> String {
        let states = layer.states.iter().map(|(name, width)| format!("{name} [{width}]"));
        states.collect::<Vec<_>>().join(", ")
    };
    html! {
        div class="wide" tabindex="0" { table {
            thead { tr {
                th scope="col" { "layer" } th scope="col" { "result" } th scope="col" class="n" { "parameters" }
                th scope="col" class="n" { "their memory" } th scope="col" class="n" { "FLOP a token" } th scope="col" { "state" }
            } }
            tbody { @for layer in &about.layers { tr {
                th scope="row" { (layer.name) }
                td class="mono" { (show::shape(&layer.shape)) }
                td class="n" { (show::count(layer.parameters)) }
                td class="n" { @if layer.memory > 0 { (bytes(layer.memory)) } @else { "0" } }
                td class="n" { (show::operations(layer.flop)) }
                td class="mono" { (states(layer)) }
            } } }
        } }
        p class="quiet" {
            "Results are steps by rows by width. Their memory is that of the parameters with what training keeps of each. FLOP are those of \
             products, forwards, for each predicted token; a step of training has about three times as many."
        }
        (facts(about.facts.iter().map(|(name, value)| (*name, value.clone()))))
    }
}

fn facts<'a>(facts: impl Iterator<Item = (&'a str, String)>) -> Markup {
    html! { dl class="facts" { @for (name, value) in facts { dt { (name) } dd { (value) } } } }
}

fn time(measured: &Measured) -> Markup {
    let found = &measured.profile;
    let lines = profile::lines(found, Order::Time);
    let (chosen, missed) = (profile::chosen(found), profile::missed(found));
    html! {
        p class="quiet" {
            "Measured on this machine's processor when this page was written"
            @if measured.random { ", on random tokens, as the training text cannot be read" } "."
        }
        (facts(profile::facts(found).into_iter()))
        div class="wide" tabindex="0" { table {
            thead { tr {
                th scope="col" class="n" { "ms" } th scope="col" class="n" { "share" } th { } th scope="col" { "what" }
                th scope="col" class="n" { "rate" } th scope="col" class="n" { "of peak" } th scope="col" class="n" { "times" }
                th scope="col" { "cut" } th scope="col" { "way" }
            } }
            tbody { @for (at, line) in lines.iter().enumerate() { (item(line, at + 1 < lines.len())) } }
        } }
        (list("Chosen", &chosen))
        (list("Off the fast path", &missed))
    }
}

/// A line of the table, with its share as a bar if it is a part of the step.
fn item(line: &Line, is_part: bool) -> Markup {
    let width = format!("{:.1}", 100.0 * line.part.clamp(0.0, 1.0));
    html! { tr {
        td class="n" { (line.ms) } td class="n" { (line.share) }
        td { @if is_part { svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
            rect width="100" height="10" {} rect width=(width) height="10" {}
        } } }
        th scope="row" { (line.what) }
        td class="n" { (line.rate) } td class="n" { (line.of_peak) } td class="n" { (line.times) } td { (line.cut) } td { (line.way) }
    } }
}

fn list(title: &str, lines: &[String]) -> Markup {
    html! { @if !lines.is_empty() {
        details { summary { (title) ": " (lines.len()) } ul { @for line in lines { li { (line) } } } }
    } }
}

fn settings(run: &Run) -> Markup {
    let role = |role: Role| role.name().trim_start_matches("the ");
    let mut all = vec![("seed", run.settings.seed.to_string())];
    if let Ok(about) = &run.model {
        all.push(("length", about.length.clone()));
    }
    all.extend(run.log.iter().filter_map(|line| begun(line)).map(|(name, words)| (name, words.to_owned())));
    html! {
        (facts(all.into_iter()))
        @if !run.settings.texts.is_empty() {
            div class="wide" tabindex="0" { table {
                thead { tr {
                    th scope="col" { "text" } th scope="col" { "file" } th scope="col" class="n" { "bytes" } th scope="col" class="n" { "tokens" }
                    th scope="col" { "BLAKE3" }
                } }
                tbody { @for text in &run.settings.texts { tr {
                    th scope="row" { (role(text.role)) }
                    td {
                        (text.file.file_name().unwrap_or(text.file.as_os_str()).to_string_lossy())
                        @if !text.more.is_empty() { " and " (text.more.len()) " more" }
                    }
                    td class="n" { (show::count(text.bytes)) }
                    td class="n" { (show::count(text.tokens)) }
                    td class="mono" { (text.blake3.get(..12).unwrap_or(&text.blake3)) "..." }
                } } }
            } }
        }
    }
}

/// When a training was begun or taken up, and how.
fn begun(line: &str) -> Option<(&'static str, &str)> {
    let (_, words) = line.split_once(' ')?;
    let name = if words.starts_with("started") { "started" } else { "resumed" };
    ["started", "resumed at step"].iter().any(|begin| words.starts_with(begin)).then_some((name, line))
}

fn log(lines: &[String]) -> Markup {
    let left_out = lines.len().saturating_sub(LOG);
    html! {
        @if lines.is_empty() { p class="left-out" { "The run has no log." } } @else {
            details {
                summary { (show::many(lines.len() as u64, "line")) }
                @if left_out > 0 { p class="quiet" { (show::many(left_out as u64, "line")) " before these" } }
                pre tabindex="0" { (lines[left_out..].join("\n")) }
            }
        }
    }
}
