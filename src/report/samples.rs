//! Texts that a model writes at several moments of its training.

use anyhow::{Result, bail};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::Format;
use lstmc_runtime::checkpoint::{Checkpoint, Take};
use lstmc_runtime::continuation::{Continuation, prompt};
use lstmc_runtime::engine::Engine;
use lstmc_runtime::generate::{Request, generate};
use lstmc_runtime::monitor::Monitor;
use lstmc_runtime::run_dir::{Choice, Place};
use lstmc_runtime::sample::Sampler;
use lstmc_runtime::text::encode_prompt;

use super::{Sample, Samples};
use crate::args::{self, Device, Split};
use crate::known::Known;
use crate::next::{beginning, is_plain};
use crate::project::{self, Opened};

/// Tokens of a text, if nothing else is said.
const TOKENS: usize = 60;
const CHARACTERS: usize = 240;

/// Texts by the checkpoints that there are, or by as many of them as are wanted.
///
/// # Errors
/// There is nothing to begin with; no checkpoint can be read.
pub fn samples(known: &Known<'_>, opened: &Opened, args: &args::Report) -> Result<Samples> {
    let places = chosen(known, args.samples)?;
    let (tokenizer, vocabulary) = (opened.tokenizer(), &opened.vocabulary);
    let asked = args.prompt.clone().map_or_else(|| begin(opened), Ok)?;
    let ids = encode_prompt(&tokenizer, vocabulary, &asked)?.ids;
    let usual = if project::between(&tokenizer).is_empty() { CHARACTERS } else { TOKENS };
    let length = args.length.unwrap_or(usual);
    let purpose = Purpose::Generate { tokens: ids.len().saturating_add(length) };
    let mut engine = opened.engine(purpose, Format::F32, Device::Cpu, project::threads(args.threads))?;
    let mut write = |checkpoint: &Checkpoint| -> Result<String> {
        checkpoint.restore(engine.as_mut(), Take::Parameters)?;
        text(engine.as_mut(), opened, &ids, length)
    };
    let (mut texts, mut missing) = (Vec::new(), Vec::new());
    for place in &places.shown {
        let accept = project::accept(args.accept_unverified);
        let written = known.run.load(&place.name(), accept).map_err(anyhow::Error::from).and_then(|read| {
            read.check_vocabulary(&vocabulary.fingerprint())?;
            Ok((write(&read)?, read.meta.position.step))
        });
        match written {
            Ok((text, step)) => {
                let row = known.rows.iter().find(|row| row.step == step);
                texts.push(Sample {
                    place: place.to_string(),
                    perplexity: row.and_then(|row| row.valid_perplexity),
                    best: places.best == Some(*place),
                    newest: places.newest == Some(*place),
                    text,
                });
            }
            Err(error) => missing.push(format!("{place}: {error:#}")),
        }
    }
    if texts.is_empty() {
        bail!("no checkpoint can be read: {}", missing.join("; "));
    }
    let prompt = prompt(&tokenizer, vocabulary, &ids);
    let command = is_plain(&asked).then(|| {
        let run = crate::show::path(known.path);
        format!("lstmc generate {run} --checkpoint N --prompt \"{asked}\" --length {length}")
    });
    Ok(Samples { prompt, command, texts, missing })
}

/// What follows a prompt, drawn with seed 0.
fn text(engine: &mut dyn Engine, opened: &Opened, ids: &[u32], length: usize) -> Result<String> {
    let (tokenizer, vocabulary) = (opened.tokenizer(), &opened.vocabulary);
    let sampler = Sampler { temperature: 1.0, top_k: None, top_p: None, seed: 0 };
    let request = Request { prompt: ids, length, sampler, reserve: vocabulary.reserved() };
    let mut continuation = Continuation::new(&tokenizer, vocabulary, &[], ids);
    let mut text = String::new();
    generate(engine, request, &Monitor::default(), &mut |id| {
        text += &continuation.next(id);
        Ok(true)
    })?;
    Ok(text + &continuation.rest())
}

/// How the validation text begins, or the training text; without either, the commonest word.
fn begin(opened: &Opened) -> Result<String> {
    let (tokenizer, vocabulary) = (opened.tokenizer(), &opened.vocabulary);
    let read = opened.text(Some(Split::Valid)).or_else(|_| opened.text(Some(Split::Train)));
    let none = match read {
        Ok((_, ids, _)) => match beginning(&opened.model, &ids, &tokenizer, vocabulary) {
            Some(text) => return Ok(text),
            None => "the text is too short for a prompt".to_owned(),
        },
        Err(error) => format!("{error:#}"),
    };
    let word = vocabulary.word(vocabulary.reserved() as u32).filter(|word| !word.trim().is_empty());
    match word {
        Some(word) if opened.model.data.batches.window().is_none() && vocabulary.subwords().is_none() => {
            Ok(word.to_owned())
        }
        _ => bail!("there is nothing to begin with, --prompt says what: {none}"),
    }
}

/// The checkpoints that write.
struct Places {
    shown: Vec<Place>,
    best: Option<Place>,
    newest: Option<Place>,
}

/// Up to `most` checkpoints: the newest and the best, and of the others as many, evenly apart.
fn chosen(known: &Known<'_>, most: usize) -> Result<Places> {
    let mut all = known.run.places()?;
    all.sort_unstable();
    let newest = known.run.latest().ok().and_then(|name| Place::of(&name));
    // A checkpoint inside an epoch is only where the run goes on.
    let has_epochs = all.iter().any(|place| matches!(place, Place::Epoch(_)));
    all.retain(|place| !has_epochs || matches!(place, Place::Epoch(_)) || Some(*place) == newest);
    all.sort_by_key(|place| Some(*place) == newest);
    if all.is_empty() {
        bail!("the run has no checkpoint yet");
    }
    let best = known.run.best().ok();
    let shown = spread(&all, &[newest, best], most);
    Ok(Places { shown, best, newest })
}

/// Up to `most` of them in their order, with those that are `wanted`, if there is room, and the rest evenly apart.
fn spread(all: &[Place], wanted: &[Option<Place>], most: usize) -> Vec<Place> {
    let mut kept: Vec<usize> =
        wanted.iter().flatten().filter_map(|place| all.iter().position(|one| one == place)).collect();
    kept.dedup();
    kept.truncate(most);
    for count in (1..=most).rev() {
        let even = (0..count).map(|at| at * (all.len() - 1) / (count - 1).max(1));
        let mut both: Vec<usize> = kept.iter().copied().chain(even).collect();
        both.sort_unstable();
        both.dedup();
        if both.len() <= most {
            return both.into_iter().map(|at| all[at]).collect();
        }
    }
    kept.sort_unstable();
    kept.into_iter().map(|at| all[at]).collect()
}

/// The checkpoint that a text is read with: the best one, or the newest.
pub fn which(known: &Known<'_>) -> Choice {
    if known.run.best().is_ok() { Choice::Best } else { Choice::Newest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_spread_over_the_training() {
        let all: Vec<Place> = (1..=13).map(Place::Epoch).collect();
        let epochs = |wanted: &[u64], most| -> Vec<u64> {
            let wanted: Vec<Option<Place>> = wanted.iter().map(|&epoch| Some(Place::Epoch(epoch))).collect();
            let number = |place: Place| if let Place::Epoch(epoch) = place { epoch } else { 0 };
            spread(&all, &wanted, most).into_iter().map(number).collect()
        };
        assert_eq!(epochs(&[13, 7], 5), [1, 4, 7, 10, 13]);
        assert_eq!(epochs(&[13, 6], 5), [1, 5, 6, 9, 13]);
        assert_eq!(epochs(&[13, 13], 3), [1, 7, 13]);
        assert_eq!(epochs(&[13, 6], 2), [6, 13]);
        assert_eq!(epochs(&[13, 6], 1), [13]);
        assert_eq!(epochs(&[13], 50), (1..=13).collect::<Vec<_>>());
        assert!(epochs(&[13], 0).is_empty());
        assert_eq!(spread(&all[..1], &[Some(all[0])], 5), [Place::Epoch(1)]);
    }
}
