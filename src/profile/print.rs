//! A profile as text and as JSON.

use anyhow::Result;
use clap::ValueEnum;
use lstmc_compiler::model::Precision;
use lstmc_runtime::engine::cpu::caches::size;

use super::Profile;
use super::rows::{Kind, Row};
use crate::{gain, show};

/// Columns of the widest line.
const WIDTH: usize = 100;
/// Rows and misses with a smaller share of the step are only counted.
const SMALL_ROW: f64 = 0.005;
const SMALL_MISS: f64 = 0.001;

/// In which order the rows stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// What takes longest first.
    Time,
    /// As a step runs them.
    Schedule,
}

/// One object.
///
/// # Errors
/// None that a profile can cause.
pub fn json(profile: &Profile) -> Result<String> {
    Ok(serde_json::to_string(profile)? + "\n")
}

/// Tables and lines of at most [`WIDTH`] columns.
pub fn text(profile: &Profile, order: Order) -> String {
    let facts = facts(profile).iter().map(|(name, value)| format!("{name:<9} {value}\n")).collect();
    let list = |title: &str, lines: Vec<String>| match lines.as_slice() {
        [] => String::new(),
        lines => format!("{title}:\n") + &lines.iter().map(|line| wrap(line)).collect::<String>(),
    };
    let (chosen, missed) = (list("chosen", chosen(profile)), list("off the fast path", missed(profile)));
    [facts, table(profile, order), chosen, missed]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The machine and the step as a whole, by name.
pub fn facts(profile: &Profile) -> Vec<(&'static str, String)> {
    let Profile { step, step_with_probes, .. } = *profile;
    let machine = format!(
        "{}, {}: {:.0} GFLOP/s of f32 at the peak{}, {:.1} GB/s read from memory",
        profile.instructions,
        show::threads(profile.threads),
        1e-9 * profile.peak,
        pairs_at_the_peak(profile),
        1e-9 * profile.bandwidth
    );
    let steps = format!(
        "{}, {} predictions/s; {} with probes ({} of each)",
        milliseconds(step),
        show::count((profile.predictions as f64 / step) as u64),
        milliseconds(step_with_probes),
        show::many(profile.steps, "step")
    );
    let products = profile.rows.iter().filter(|row| row.kind == Kind::Product);
    let (mut flop, mut seconds, mut at_the_peak) = (0.0, 0.0, 0.0);
    for row in products {
        flop += row.flop;
        seconds += row.slowest();
        at_the_peak += row.flop / peak(row, profile);
    }
    let products = format!(
        "{} ({}) at {:.0} GFLOP/s, {} of the peak; over the whole step {}",
        milliseconds(seconds),
        percent(seconds / step_with_probes),
        1e-9 * flop / seconds,
        percent(at_the_peak / seconds),
        percent(at_the_peak / step),
    );
    let each = profile.waiting.iter().enumerate();
    let each = each.map(|(worker, seconds)| {
        format!("worker {worker} {} ({})", milliseconds(*seconds), percent(seconds / step_with_probes))
    });
    let waiting = format!(
        "{} at {} of {:.0} ns",
        each.collect::<Vec<_>>().join(", "),
        show::many(profile.barriers as u64, "barrier"),
        1e9 * profile.barrier
    );
    let near = format!(
        "weights of up to {}, which all workers read as fast as they multiply",
        size(profile.cached_weight)
    );
    let caches = profile.caches.to_string();
    let mut lines = vec![("machine", machine), ("caches", caches), ("near", near), ("step", steps)];
    if flop > 0.0 {
        lines.push(("products", products));
    }
    if profile.threads > 1 {
        lines.push(("waiting", waiting));
    }
    lines
}

/// What the machine can do with bf16, where the model asks for it.
fn pairs_at_the_peak(profile: &Profile) -> String {
    let wanted = profile.rows.iter().any(|row| row.precision != Precision::F32);
    match (profile.pairs, profile.peak_of_pairs) {
        (Some(name), Some(peak)) if wanted => format!(", {:.0} of bf16 ({name})", 1e-9 * peak),
        _ => String::new(),
    }
}

/// A line of the table: what takes how long.
pub struct Line {
    /// Of the step, from 0 to 1.
    pub part: f64,
    pub ms: String,
    pub share: String,
    pub rate: String,
    /// The rate as a share of what the machine can do.
    pub of_peak: String,
    pub cut: String,
    pub way: &'static str,
    pub times: String,
    pub what: String,
}

impl Line {
    /// What is no single item.
    fn plain(seconds: f64, whole: f64, what: &str) -> Self {
        let (ms, share) = time(seconds, whole);
        let (rate, of_peak, cut, way, times) = Default::default();
        Self { part: seconds / whole, ms, share, rate, of_peak, cut, way, times, what: what.into() }
    }

    fn of(row: &Row, profile: &Profile) -> Self {
        let (rate, of_peak) = rate(row, profile);
        let (cut, way, times) = (row.cut.clone(), row.way, row.rounds.to_string());
        Self {
            rate,
            of_peak,
            cut,
            way,
            times,
            ..Self::plain(row.first(), profile.step_with_probes, &row.name)
        }
    }
}

/// The lines of the table; the last is their sum.
pub fn lines(profile: &Profile, order: Order) -> Vec<Line> {
    let mut rows: Vec<&Row> = profile.rows.iter().collect();
    if order == Order::Time {
        rows.sort_by(|a, b| b.first().total_cmp(&a.first()));
    }
    let whole = profile.step_with_probes;
    let (shown, small): (Vec<&Row>, Vec<&Row>) =
        rows.into_iter().partition(|row| row.first() >= SMALL_ROW * whole);
    let mut lines: Vec<Line> = shown.iter().map(|row| Line::of(row, profile)).collect();
    if !small.is_empty() {
        let seconds = small.iter().map(|row| row.first()).sum();
        let what = format!("{} more of less than {} each", small.len(), percent(SMALL_ROW));
        lines.push(Line::plain(seconds, whole, &what));
    }
    let first = |of: &[f64]| of.first().copied().unwrap_or(0.0);
    let (waiting, host) = (first(&profile.waiting), first(&profile.host));
    lines.push(Line::plain(waiting, whole, "waiting at barriers"));
    lines.push(Line::plain(host, whole, "the batch, and starting a step"));
    let all = profile.rows.iter().map(Row::first).sum::<f64>() + waiting + host;
    lines.push(Line::plain(all, whole, "all of worker 0's time"));
    lines
}

fn table(profile: &Profile, order: Order) -> String {
    let header = line(["ms", "share", "rate", "peak", "cut", "way", "times", "what"]);
    let text = |one: &Line| {
        line([&one.ms, &one.share, &one.rate, &one.of_peak, &one.cut, one.way, &one.times, &one.what])
    };
    header + &lines(profile, order).iter().map(text).collect::<String>()
}

fn line(cells: [&str; 8]) -> String {
    let [ms, share, rate, of_peak, cut, way, times, what] = cells;
    let line = format!("{ms:>8} {share:>6} {rate:>9} {of_peak:>6}  {cut:<7} {way:<8} {times:>5}  {what}");
    show::head(line.trim_end(), WIDTH) + "\n"
}

/// What the instructions of a row can do.
fn peak(row: &Row, profile: &Profile) -> f64 {
    match row.precision.products_of_bf16() {
        Some(products) => profile.peak_of_pairs.unwrap_or(profile.peak) / f64::from(products),
        None => profile.peak,
    }
}

/// How fast a row is, and that as a share of what the machine can do.
fn rate(row: &Row, profile: &Profile) -> (String, String) {
    let (work, limit, unit) = match row.memory_bound {
        true => (row.bytes, profile.bandwidth, "GB/s"),
        false => (row.flop, peak(row, profile), "GF/s"),
    };
    let rate = work / row.slowest();
    if !rate.is_finite() {
        return Default::default();
    }
    (format!("{:.0} {unit}", 1e-9 * rate), percent(rate / limit))
}

/// What was chosen for products and kernels, and why: a line for all that have a choice and its reason in common.
pub fn chosen(profile: &Profile) -> Vec<String> {
    let mut groups: Vec<((&str, String), usize, f64)> = Vec::new();
    for row in &profile.rows {
        let Some(choice) = choice(row) else { continue };
        match groups.iter_mut().find(|group| group.0 == choice) {
            Some(group) => (group.1, group.2) = (group.1 + 1, group.2 + row.first()),
            None => groups.push((choice, 1, row.first())),
        }
    }
    groups.sort_by(|a, b| b.2.total_cmp(&a.2));
    let line = |((what, choice), count, seconds): &((&str, String), usize, f64)| {
        format!("{} {choice}: {}", show::many(*count as u64, what), milliseconds(*seconds))
    };
    groups.iter().map(line).collect()
}

/// What a row is, and what was chosen for it.
fn choice(row: &Row) -> Option<(&'static str, String)> {
    let cut = match row.cut.as_str() {
        "whole" => "done by one worker",
        "rows" | "columns" => &format!("cut by {}", row.cut),
        _ => "cut along an axis",
    };
    let (what, way) = match (row.kind, row.way) {
        (Kind::Product, "packed") => ("product", "right side in panels that were packed before"),
        (Kind::Product, "blocks") => ("product", "right side packed block by block, for many rows"),
        (Kind::Product, "alternating") => {
            ("product", "right side read once, from alternating ends, for few rows")
        }
        (Kind::Product, _) => ("product", "right side read once from end to end, for few rows"),
        (Kind::Kernel, "lanes") => ("kernel", "in vector lanes"),
        (Kind::Kernel, _) => ("kernel", "one element at a time"),
        _ => return None,
    };
    let unit = if row.unit.is_empty() { String::new() } else { format!("on {}, ", row.unit) };
    Some((what, format!("{unit}{cut} ({}), {way}", row.reason)))
}

/// A line for each thing that misses the fast path, the most expensive first.
pub fn missed(profile: &Profile) -> Vec<String> {
    let mut lines: Vec<String> = machine_misses(profile);
    let mut rows: Vec<&Row> = profile.rows.iter().filter(|row| !row.misses.is_empty()).collect();
    rows.sort_by(|a, b| b.slowest().total_cmp(&a.slowest()));
    let (large, small): (Vec<&Row>, Vec<&Row>) =
        rows.into_iter().partition(|row| row.slowest() >= SMALL_MISS * profile.step_with_probes);
    for row in large {
        for miss in &row.misses {
            lines.push(format!("{}, {}: {miss}", row.name, milliseconds(row.slowest())));
        }
    }
    if !small.is_empty() {
        let seconds = small.iter().map(|row| row.slowest()).sum();
        let more = if lines.is_empty() { "items" } else { "more" };
        let what = format!("{} {more} of less than {} of the step each", small.len(), percent(SMALL_MISS));
        lines.push(format!("{what}: {} together; --json lists them", milliseconds(seconds)));
    }
    lines
}

/// What the machine itself lacks, or is not used of it.
fn machine_misses(profile: &Profile) -> Vec<String> {
    let mut found = Vec::new();
    let Profile { instructions, lacks, threads, available, .. } = profile;
    found.extend(
        profile.precision.and_then(|precision| gain::none(precision, profile.peak, profile.peak_of_pairs)),
    );
    if *instructions == "portable" {
        found.push("products run on portable code: there are no kernels for this processor's vectors".into());
    } else if let Some(lacks) = lacks {
        found.push(format!("products run on {instructions}: this processor has no {lacks}"));
    }
    if threads < available {
        found.push(format!(
            "{} of {available}: the step is too small to gain from more",
            show::threads(*threads)
        ));
    }
    found
}

/// A line that is indented, and goes on in the next where it is too long.
fn wrap(text: &str) -> String {
    let (mut out, mut line) = (String::new(), String::from(" "));
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            out += &(line + "\n");
            line = String::from("   ");
        }
        line = line + " " + word;
    }
    out + &line + "\n"
}

fn time(seconds: f64, whole: f64) -> (String, String) {
    (format!("{:.3}", 1e3 * seconds), percent(seconds / whole))
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.3} ms", 1e3 * seconds)
}

/// With one decimal below 10 %.
fn percent(share: f64) -> String {
    let decimals = if share < 0.0995 { 1 } else { 0 };
    format!("{:.decimals$} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use lstmc_runtime::engine::cpu::caches::Caches;

    use super::*;

    fn row(name: &str, kind: Kind, seconds: [f64; 2]) -> Row {
        Row {
            kind,
            name: name.into(),
            rounds: 35,
            cut: "columns".into(),
            way: "streamed",
            reason: "it is so",
            memory_bound: kind != Kind::Product,
            precision: Precision::F32,
            unit: if kind == Kind::Product { "avx512" } else { "" },
            flop: 2e9,
            bytes: 1e6,
            seconds: seconds.into(),
            misses: vec![],
        }
    }

    fn profile(rows: Vec<Row>) -> Profile {
        Profile {
            threads: 2,
            available: 2,
            instructions: "avx512",
            lacks: None,
            pairs: None,
            caches: Caches::USUAL,
            cached_weight: 8 << 20,
            peak: 500e9,
            peak_of_pairs: None,
            precision: None,
            bandwidth: 50e9,
            barrier: 60e-9,
            steps: 10,
            predictions: 700,
            step: 0.0199,
            step_with_probes: 0.020,
            rows,
            barriers: 7,
            waiting: vec![0.003, 0.001],
            host: vec![0.001, 0.001],
        }
    }

    #[test]
    fn rows_are_sorted_and_add_up() {
        let rows = vec![
            row("small", Kind::Kernel, [0.00001, 0.00001]),
            row("kernel", Kind::Kernel, [0.006, 0.006]),
            row("nn 20x2600x650 x @ W", Kind::Product, [0.008, 0.010]),
        ];
        let profile = profile(rows);
        let out = text(&profile, Order::Time);
        let at = |what: &str| out.find(what).unwrap_or_else(|| panic!("{what}: {out}"));
        assert!(at("nn 20x2600x650") < at("kernel") && at("kernel") < at("1 more of less"), "{out}");
        // 2 GFLOP in 10 ms, the slower worker's; 1 MB in 6 ms.
        assert!(out.contains(" 200 GF/s   40 %") && out.contains("   0 GB/s  0.3 %"), "{out}");
        assert!(out.contains("  18.010   90 %") && out.contains("worker 1 1.000 ms (5.0 %)"), "{out}");
        assert!(out.contains("at 7 barriers of 60 ns"), "{out}");
        assert!(!out.contains("off the fast path"), "{out}");
        assert!(
            out.contains("1 product on avx512, cut by columns (it is so), right side read once"),
            "{out}"
        );
        let out = text(&profile, Order::Schedule);
        assert!(out.find("kernel").unwrap() < out.find("nn 20x2600x650").unwrap(), "{out}");
    }

    #[test]
    fn no_line_is_too_wide() {
        let mut wide = row(&"long_name_".repeat(20), Kind::Product, [0.008, 0.010]);
        wide.misses = vec!["because ".repeat(30)];
        let out = text(&profile(vec![wide]), Order::Time);
        let words = |line: &str| line.trim().contains(' ');
        for line in out.lines() {
            assert!(line.chars().count() <= WIDTH || !words(line), "{line}");
        }
    }

    #[test]
    fn a_machine_without_the_kernels_is_said() {
        let mut profile = profile(vec![row("nn 2x2x2", Kind::Product, [0.01, 0.01])]);
        assert!(!text(&profile, Order::Time).contains("off the fast path"));
        (profile.instructions, profile.lacks) = ("avx2", Some("avx512"));
        assert!(text(&profile, Order::Time).contains("run on avx2: this processor has no avx512"));
        profile.instructions = "portable";
        assert!(text(&profile, Order::Time).contains("portable code"));
        profile.precision = Some(Precision::Bf16);
        profile.rows[0].precision = Precision::Bf16;
        assert!(text(&profile, Order::Time).contains("rounded and multiplied in f32"));
        // 200 GFLOP/s of 800.
        (profile.pairs, profile.peak_of_pairs) = (Some("avx512bf16"), Some(800e9));
        let out = text(&profile, Order::Time);
        assert!(!out.contains("multiplied in f32") && out.contains("800 of bf16 (avx512bf16)"), "{out}");
        assert!(out.contains(" 200 GF/s   25 %"), "{out}");
        profile.available = 8;
        assert!(text(&profile, Order::Time).contains("2 threads of 8"));
    }
}
