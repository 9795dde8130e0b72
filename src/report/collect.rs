//! What is known of runs: what they have written down, and what their models say and do now. What cannot be found out is left out
//! with the reason.

use anyhow::{Context, Result, bail};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_compiler::model::{Length, Model};
use lstmc_runtime::error::bytes;
use lstmc_runtime::memory;
use lstmc_runtime::run_dir::{Place, now};

use super::{About, Measured, Part, Report, Run, State};
use super::{reading, samples};
use crate::about::{self, parameters};
use crate::args::{self, Split};
use crate::compile::{self, Threads};
use crate::known::Known;
use crate::project::{self, Opened, Project};
use crate::{profile, show};

/// Reads runs and tries their models.
///
/// # Errors
/// One of them is no run, or what it has written down cannot be read.
pub fn collect(args: &args::Report) -> Result<Report> {
    let all = args.runs.iter().map(|path| Known::read(path)).collect::<Result<Vec<_>>>()?;
    let first = all.first().context("name a run")?;
    let runs = all.iter().map(|known| run(known, first, args)).collect::<Result<_>>()?;
    Ok(Report { runs, time: now() })
}

fn run(known: &Known<'_>, first: &Known<'_>, args: &args::Report) -> Result<Run> {
    let (points, log) = (known.run.points()?, known.run.logged()?);
    let state = state(&log);
    let model = model(known, args);
    let opened = opened(known, args);
    let threads = project::threads(args.threads);
    let about = model.as_ref().map_err(Clone::clone).and_then(|model| part(about_model(model, threads)));
    let profile = model.and_then(|model| part(measured(&model, opened.as_ref().ok(), &state, args)));
    let samples = match (&opened, args.samples) {
        (_, 0) => Err("left out, as --samples 0 says".into()),
        (Ok(opened), _) => part(samples::samples(known, opened, args)),
        (Err(reason), _) => Err(reason.clone()),
    };
    let reading = opened.and_then(|opened| {
        let place = opened.checkpoint.path.file_stem().and_then(|name| name.to_str()).and_then(Place::of);
        let place = place.map_or_else(|| "the checkpoint".into(), |place| place.to_string());
        part(reading::reading(opened, place, threads))
    });
    Ok(Run {
        name: show::path(known.path),
        source: known.source.replace("\r\n", "\n"),
        settings: known.settings.clone(),
        rows: known.rows.clone(),
        points,
        log,
        state,
        differences: known.differs_from(first),
        model: about,
        profile,
        samples,
        reading,
    })
}

/// A part of the report, or why it is not there.
fn part<T>(found: Result<T>) -> Part<T> {
    found.map_err(|error| format!("{error:#}"))
}

/// How a training stands, by the last entry of its log. An entry may have several lines.
fn state(log: &[String]) -> State {
    let begin = |(at, line): (usize, &String)| -> Option<(usize, String, String)> {
        let (time, words) = entry(line)?;
        Some((at, time.to_owned(), words.to_owned()))
    };
    let Some((at, time, words)) = log.iter().enumerate().rev().find_map(begin) else {
        return State::Open(String::new());
    };
    match words.as_str() {
        "finished" => State::Finished,
        "stopped early" => State::Settled,
        words if words.starts_with("stopped;") => State::Stopped,
        words => match words.strip_prefix("error: ") {
            Some(first) => {
                let lines = [first].into_iter().chain(log[at + 1..].iter().map(String::as_str));
                State::Failed(lines.collect::<Vec<_>>().join("\n").trim_end().to_owned())
            }
            None => State::Open(time),
        },
    }
}

/// The time and the words of a line that begins an entry.
fn entry(line: &str) -> Option<(&str, &str)> {
    let (time, words) = line.split_once(' ')?;
    let is_time = time.len() == 20 && time.ends_with('Z') && time.starts_with(|c: char| c.is_ascii_digit());
    is_time.then_some((time, words))
}

fn model(known: &Known<'_>, args: &args::Report) -> Part<Model> {
    let read = || -> Result<Model> {
        let path = known.run.model_path();
        let project = Project::of_run(&known.run, &path, args.data.as_deref())?;
        project.source.model(known.run.vocabulary()?.len())
    };
    part(read())
}

/// The run with the checkpoint that a text is read with.
fn opened(known: &Known<'_>, args: &args::Report) -> Part<Opened> {
    let (which, accept) = (samples::which(known), project::accept(args.accept_unverified));
    let opened = Opened::read(known.path, &which, args.data.as_deref(), accept);
    part(opened).map(|opened| opened.accepting_changes(args.accept_changes))
}

fn about_model(model: &Model, threads: Threads) -> Result<About> {
    let (peak, parts) = about::peak(&compile::training(model, threads)?);
    let length = match model.train.length {
        Length::Epochs(epochs) => show::many(epochs as u64, "epoch"),
        Length::Iterations { count, report_every } => {
            let every = show::many(report_every as u64, "iteration");
            format!("{}, a report after {every}", show::many(count as u64, "iteration"))
        }
    };
    let mut facts = about::facts(model);
    facts.push(("memory", format!("{} at the peak of training ({parts})", bytes(peak))));
    Ok(About {
        parameters: parameters(model),
        unit: model.data.tokens.kind.unit(),
        length,
        by_epochs: matches!(model.train.length, Length::Epochs(_)),
        layers: about::layers(model),
        facts,
    })
}

/// Where the time of some steps goes.
fn measured(model: &Model, opened: Option<&Opened>, state: &State, args: &args::Report) -> Result<Measured> {
    match (args.profile, state) {
        (Some(0), _) => bail!("left out, as --profile 0 says"),
        (None, State::Open(_)) => bail!(
            "left out: the run is being trained, or its process was killed, and measuring would hold a training up; --profile 20 \
             measures 20 steps all the same"
        ),
        _ => {}
    }
    let threads = project::threads(args.threads);
    let (Threads::Exactly(available) | Threads::UpTo(available)) = threads;
    let program = compile::program(model, Purpose::Train, Format::F32, threads);
    // It runs twice: as it is, and with probes.
    let needed = 2 * program.arena_bytes as u64;
    if let Some(free) = memory::available().filter(|free| needed > *free) {
        bail!("measuring takes {}, and there are {} of memory", bytes(needed), bytes(free));
    }
    let text = opened.and_then(|opened| opened.text(Some(Split::Train)).ok());
    let random = text.is_none();
    let ids = text.map_or_else(|| profile::random_tokens(model), |(_, ids, _)| ids);
    let profile = profile::measure(model, &program, ids, available, args.profile)?;
    Ok(Measured { profile, random })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_how_a_training_stands() {
        let of = |lines: &[&str]| {
            let all: Vec<String> = lines.iter().flat_map(|line| line.lines()).map(str::to_owned).collect();
            state(&all)
        };
        let begun = "2026-01-01T00:00:00Z started by lstmc 0.1.0: 5 parameters";
        assert_eq!(of(&[]), State::Open(String::new()));
        assert_eq!(of(&[begun]), State::Open("2026-01-01T00:00:00Z".into()));
        assert_eq!(of(&[begun, "2026-01-01T00:00:01Z finished"]), State::Finished);
        assert_eq!(of(&[begun, "2026-01-01T00:00:01Z stopped early"]), State::Settled);
        assert_eq!(of(&[begun, "2026-01-01T00:00:01Z stopped; go on with --resume"]), State::Stopped);
        let failed = "2026-01-01T00:00:02Z error: error[E0501]: the loss is NaN\n  = in this use\n\nand more";
        assert_eq!(
            of(&[begun, failed]),
            State::Failed("error[E0501]: the loss is NaN\n  = in this use\n\nand more".into())
        );
        assert_eq!(of(&[failed, begun]), State::Open("2026-01-01T00:00:00Z".into()), "taken up again");
    }
}
