//! How likely texts are to a model: many at once, each from a state of its own.
//!
//! Texts of about one length lie beside each other in a batch, so that little of it is padding. What a row computes does not
//! depend on the others, so a text's numbers do not depend on what is scored with it.

use std::ops::Range;

use lstmc_compiler::model::{BatchKind, Batches, Targets};

use crate::engine::{Control, Driver, Engine, StepInputs, StepOutputs};
use crate::error::{Error, Result};
use crate::monitor::Monitor;
use crate::text::{Encoded, Tokenizer, Vocabulary, encode, encode_prompt};

/// Padding. Any id would do: what is computed of it is not read.
const PAD: u32 = 0;

/// Tokens of a batch: enough for products to be as fast as they get.
const BATCH: usize = 512;

/// Steps of a batch where state is carried on, so that a text may be of any length: as few as waste little of short texts.
const STEPS: usize = 8;

/// Steps of a batch where one text is read alone.
const LONG: usize = 32;

/// Rows of a batch at most.
const ROWS: usize = 128;

/// Probabilities of a batch at most, 64 MiB.
const PROBABILITIES: usize = 16 << 20;

/// The most likely tokens at a place, with their probabilities.
pub type Likely = Vec<(u32, f32)>;

/// What a model says of one token of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The token's position among the text's ids.
    pub at: usize,
    /// In nats.
    pub log_probability: f64,
    /// The most likely tokens there, as many as were asked for.
    pub top: Likely,
}

/// What a model says of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Those of the scored tokens, in order.
    pub places: Vec<Place>,
}

impl Score {
    /// The sum over all scored tokens, in nats.
    pub fn log_probability(&self) -> f64 {
        self.places.iter().map(|place| place.log_probability).sum()
    }

    /// `None` if nothing was scored.
    pub fn perplexity(&self) -> Option<f64> {
        perplexity(self.log_probability(), self.places.len() as u64)
    }
}

/// The perplexity of so many tokens; `None` of none.
pub fn perplexity(log_probability: f64, tokens: u64) -> Option<f64> {
    (tokens > 0).then(|| (-log_probability / tokens as f64).exp())
}

/// The batches that an evaluation program is to have for scoring `texts` texts at once, at most, with a model that was trained
/// with `batches`.
pub fn batches(batches: &Batches, vocab: usize, texts: usize) -> Batches {
    let predicted = if batches.window().is_some() { 1 } else { batches.steps };
    let (rows, steps) = match batches.kind {
        // Windows of one text are beside each other, too.
        BatchKind::Windows { .. } => {
            let rows = (BATCH / batches.steps.max(1)).clamp(1, ROWS);
            (rows.min(PROBABILITIES / (predicted * vocab).max(1)), batches.steps)
        }
        BatchKind::Stream => {
            let rows = texts.min(BATCH / STEPS).min(PROBABILITIES / (STEPS * vocab).max(1)).max(1);
            (rows, if rows == 1 { LONG } else { STEPS })
        }
    };
    Batches { rows: rows.max(1), steps, ..batches.clone() }
}

/// The ids of a line as it is scored. Where a line's end is a token, the line has its own at the end and that of a line
/// before it at the beginning, which is only read. `place` and `number` say in errors where the line is.
///
/// # Errors
/// A word that is not in a vocabulary without a word for the unknown ones.
pub fn line(
    tokenizer: &Tokenizer,
    vocabulary: &Vocabulary,
    text: &str,
    (place, number): (&str, usize),
) -> Result<Encoded> {
    match line_end(tokenizer, vocabulary) {
        Some(end) => {
            let mut line = encoded(tokenizer, vocabulary, text, place, number)?;
            line.ids.insert(0, end);
            line.ids.push(end);
            Ok(line)
        }
        None => encoded(tokenizer, vocabulary, text, place, number),
    }
}

/// The ids of a text of several lines, after the end of a line where that is a token.
///
/// # Errors
/// As [`line`].
pub fn whole(tokenizer: &Tokenizer, vocabulary: &Vocabulary, text: &str, place: &str) -> Result<Encoded> {
    let mut whole = encoded(tokenizer, vocabulary, text, place, 1)?;
    if let Some(end) = line_end(tokenizer, vocabulary) {
        whole.ids.insert(0, end);
    }
    Ok(whole)
}

/// The id of a line's end.
fn line_end(tokenizer: &Tokenizer, vocabulary: &Vocabulary) -> Option<u32> {
    if vocabulary.subwords().is_some() {
        // Subwords may have none for it alone.
        let ids = encode(tokenizer, vocabulary, "\n", "a line's end").ok()?.ids;
        return ids.first().copied().filter(|_| ids.len() == 1);
    }
    tokenizer.newline().and_then(|newline| vocabulary.known(newline))
}

fn encoded(
    tokenizer: &Tokenizer,
    vocabulary: &Vocabulary,
    text: &str,
    place: &str,
    number: usize,
) -> Result<Encoded> {
    if vocabulary.unknown().is_some() {
        return encode_prompt(tokenizer, vocabulary, text);
    }
    match encode(tokenizer, vocabulary, text, place) {
        Err(Error::UnknownWords { place, line, unknown, in_run }) => {
            Err(Error::UnknownWords { place, line: line + number - 1, unknown, in_run })
        }
        done => done,
    }
}

/// Scores texts with an evaluation program that has the batches of [`batches`], with the `top` most likely tokens at each
/// place. `None` if it was stopped.
///
/// - `stream`: state is carried through the whole text. Every token but the first is scored.
/// - `windows`, `targets: each`: each window of the text is read from fresh state. Windows begin by `stride`, or `length` if that
///   is less. Every token but the first is scored, by the window that has read most before it.
/// - `windows`, `targets: last`: every token that has `length` tokens before it is scored, by these.
///
/// # Errors
/// [`Error::MissingBuffer`] or [`Error::WrongLength`] if the program was compiled for something else.
pub fn score(
    engine: &mut dyn Engine,
    batches: &Batches,
    texts: &[impl AsRef<[u32]> + Sync],
    top: usize,
    monitor: &Monitor,
) -> Result<Option<Vec<Score>>> {
    let [steps, rows] = engine.batch_shape()?;
    let texts: Vec<&[u32]> = texts.iter().map(AsRef::as_ref).collect();
    let mut pieces: Vec<Piece> =
        texts.iter().enumerate().flat_map(|(text, ids)| pieces(text, ids.len(), batches)).collect();
    // Which texts are beside each other follows from their lengths and their order alone.
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.read.len()));
    let groups: Vec<&[Piece]> = pieces.chunks(rows.max(1)).collect();
    let chunks = |group: &[Piece]| group.first().map_or(0, |piece| piece.read.len().div_ceil(steps.max(1)));
    let schedule: Vec<(usize, usize)> = (0..groups.len())
        .flat_map(|group| (0..chunks(groups[group])).map(move |chunk| (group, chunk)))
        .collect();
    let targets = match batches.kind {
        BatchKind::Windows { targets, .. } => targets,
        BatchKind::Stream => Targets::Each,
    };
    let found = texts.iter().map(|_| Score::default()).collect();
    let shape = Shape { rows, steps, targets };
    let mut walk = Walk { texts, groups, schedule, shape, top, monitor, found };
    let all = walk.schedule.len() as u64;
    let done = engine.run(all, 0, &mut walk)?;
    let mut found = walk.found;
    // Windows of one text may have been read in any order.
    found.iter_mut().for_each(|score| score.places.sort_by_key(|place| place.at));
    Ok((done == all).then_some(found))
}

/// A part of a text that is read from fresh state.
#[derive(Clone, Debug, PartialEq)]
struct Piece {
    text: usize,
    /// The places that are read; the token after a place is predicted there.
    read: Range<usize>,
    /// The first of them where the prediction counts.
    from: usize,
}

/// The pieces of a text of so many tokens.
fn pieces(text: usize, tokens: usize, batches: &Batches) -> Vec<Piece> {
    let places = tokens.saturating_sub(1);
    let BatchKind::Windows { stride, targets, .. } = batches.kind else {
        return if places == 0 { vec![] } else { vec![Piece { text, read: 0..places, from: 0 }] };
    };
    let length = batches.steps.max(1);
    if targets == Targets::Last {
        return (length..=places).map(|end| Piece { text, read: end - length..end, from: end - 1 }).collect();
    }
    let mut pieces: Vec<Piece> = Vec::new();
    let mut from = 0;
    for start in (0..places).step_by(stride.clamp(1, length)) {
        let end = (start + length).min(places);
        if end > from {
            pieces.push(Piece { text, read: start..end, from });
            from = end;
        }
    }
    pieces
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    rows: usize,
    steps: usize,
    targets: Targets,
}

struct Walk<'a> {
    texts: Vec<&'a [u32]>,
    /// The pieces of each batch's rows, the longest first.
    groups: Vec<&'a [Piece]>,
    /// Of each step the group, and which part of its pieces.
    schedule: Vec<(usize, usize)>,
    shape: Shape,
    top: usize,
    monitor: &'a Monitor,
    found: Vec<Score>,
}

impl Walk<'_> {
    /// What row `row` reads in a step.
    fn read(&self, piece: &Piece, chunk: usize) -> Range<usize> {
        let start = piece.read.start + chunk * self.shape.steps;
        start.min(piece.read.end)..(start + self.shape.steps).min(piece.read.end)
    }

    /// Where a row has the prediction at a place, among the batch's targets, if it has one.
    fn target(&self, row: usize, read: &Range<usize>, place: usize) -> Option<usize> {
        let Shape { rows, steps, targets } = self.shape;
        match targets {
            Targets::Each => Some((place - read.start) * rows + row),
            Targets::Last => (place + 1 == read.start + steps).then_some(row),
        }
    }
}

impl Driver for Walk<'_> {
    fn begin(&mut self, step: u64, inputs: &mut dyn StepInputs) -> Result<Control> {
        let Some(&(group, chunk)) = self.schedule.get(step as usize).filter(|_| !self.monitor.stopped())
        else {
            return Ok(Control::Stop);
        };
        if chunk == 0 {
            inputs.reset_carried();
        }
        let Shape { rows, steps, targets } = self.shape;
        let (tokens, wanted) = inputs.batch_mut()?;
        check("tokens", tokens.len(), rows * steps)?;
        check("targets", wanted.len(), if targets == Targets::Each { rows * steps } else { rows })?;
        tokens.fill(PAD);
        wanted.fill(PAD);
        for (row, piece) in self.groups[group].iter().enumerate() {
            let (ids, read) = (self.texts[piece.text], self.read(piece, chunk));
            for place in read.clone() {
                tokens[(place - read.start) * rows + row] = ids[place];
                if let Some(target) = self.target(row, &read, place) {
                    wanted[target] = ids[place + 1];
                }
            }
        }
        Ok(Control::Step(step + 1))
    }

    fn end(&mut self, step: u64, outputs: &dyn StepOutputs) -> Result<()> {
        let (group, chunk) = self.schedule[step as usize];
        let losses = outputs.outcomes()?.0;
        let missing = || Error::MissingBuffer("element for each target".into());
        for (row, piece) in self.groups[group].iter().enumerate() {
            let read = self.read(piece, chunk);
            for place in read.start.max(piece.from)..read.end {
                let Some(target) = self.target(row, &read, place) else { continue };
                let loss = *losses.get(target).ok_or_else(missing)?;
                let top = match self.top {
                    0 => Likely::new(),
                    top => most_likely(distribution(outputs, target)?, top),
                };
                let log_probability = -f64::from(loss);
                self.found[piece.text].places.push(Place { at: place + 1, log_probability, top });
            }
        }
        Ok(())
    }

    fn waits(&self) -> bool {
        self.top > 0
    }
}

fn check(name: &str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Error::WrongLength { name: name.into(), expected, found }) }
}

/// What the model says at a target, for each token.
pub(crate) fn distribution(outputs: &dyn StepOutputs, target: usize) -> Result<&[f32]> {
    let (probabilities, vocab) = outputs.probabilities()?;
    let distribution = probabilities.get(target * vocab..(target + 1) * vocab);
    distribution.ok_or_else(|| Error::MissingBuffer("probabilities".into()))
}

/// The most likely tokens, the first of equals first. What is not a number comes last.
pub fn most_likely(distribution: &[f32], count: usize) -> Likely {
    let mut top: Likely = Vec::with_capacity(count.min(distribution.len()) + 1);
    for (id, &probability) in distribution.iter().enumerate() {
        let value = if probability.is_nan() { f32::NEG_INFINITY } else { probability };
        if top.len() == count && top.last().is_none_or(|&(_, least)| value <= least) {
            continue;
        }
        let at = top.partition_point(|&(_, other)| other >= value);
        top.insert(at, (id as u32, value));
        top.truncate(count);
    }
    top
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::diag::Span;
    use lstmc_compiler::model::Start;

    use super::*;

    fn shape(kind: BatchKind, steps: usize) -> Batches {
        Batches { kind, rows: 20, steps, span: Span::default() }
    }

    fn windows(stride: usize, targets: Targets, steps: usize) -> Batches {
        shape(BatchKind::Windows { stride, targets, start: Start::First, shuffle: false }, steps)
    }

    /// What each piece reads and the places that count.
    fn cut(tokens: usize, batches: &Batches) -> Vec<(Range<usize>, Range<usize>)> {
        let pieces = pieces(0, tokens, batches);
        pieces.into_iter().map(|Piece { read, from, .. }| (read.clone(), from..read.end)).collect()
    }

    #[test]
    fn a_stream_is_one_piece() {
        let stream = shape(BatchKind::Stream, 35);
        assert_eq!(cut(9, &stream), [(0..8, 0..8)]);
        assert!(cut(1, &stream).is_empty() && cut(0, &stream).is_empty());
    }

    #[test]
    fn windows_score_each_token_once() {
        for (stride, length) in [(1, 3), (2, 3), (3, 3), (7, 3), (1, 1)] {
            for tokens in 0..20 {
                let found = cut(tokens, &windows(stride, Targets::Each, length));
                let places: Vec<usize> = found.iter().flat_map(|(_, counted)| counted.clone()).collect();
                assert_eq!(places, (0..tokens.max(1) - 1).collect::<Vec<_>>(), "{stride}, {length}");
                assert!(found.iter().all(|(read, _)| read.len() <= length));
            }
        }
        assert_eq!(cut(7, &windows(2, Targets::Each, 3)), [(0..3, 0..3), (2..5, 3..5), (4..6, 5..6)]);
    }

    #[test]
    fn the_last_target_wants_a_whole_window() {
        let last = windows(5, Targets::Last, 3);
        assert_eq!(cut(6, &last), [(0..3, 2..3), (1..4, 3..4), (2..5, 4..5)]);
        assert_eq!(cut(4, &last), [(0..3, 2..3)]);
        assert!(cut(3, &last).is_empty());
    }

    #[test]
    fn batches_are_large_and_fit_in_memory() {
        let rows = |batches_: &Batches, vocab| {
            let found = batches(batches_, vocab, usize::MAX);
            (found.rows, found.steps)
        };
        let stream = shape(BatchKind::Stream, 35);
        assert_eq!(rows(&stream, 10_000), (64, 8));
        assert_eq!(rows(&stream, 100_000), (20, 8));
        assert_eq!(rows(&stream, usize::MAX / 1024), (1, 32));
        assert_eq!(
            [1, 3].map(|texts| batches(&stream, 100, texts)).map(|b| (b.rows, b.steps)),
            [(1, 32), (3, 8)]
        );
        assert_eq!(rows(&windows(1, Targets::Each, 30), 10_000), (17, 30));
        assert_eq!(rows(&windows(1, Targets::Last, 3), 10_000), (128, 3));
        assert_eq!(rows(&windows(1, Targets::Last, 1000), 10), (1, 1000));
    }

    #[test]
    fn the_most_likely_come_first() {
        let found = most_likely(&[0.1, 0.4, f32::NAN, 0.1, 0.4], 3);
        assert_eq!(found, [(1, 0.4), (4, 0.4), (0, 0.1)]);
        assert_eq!(most_likely(&[0.5], 3), [(0, 0.5)]);
        assert!(most_likely(&[0.5], 0).is_empty());
    }

    #[test]
    fn nothing_has_no_perplexity() {
        assert_eq!(Score::default().perplexity(), None);
        let place = |log_probability| Place { at: 1, log_probability, top: vec![] };
        let score = Score { places: vec![place(-1.0), place(-3.0)] };
        assert_eq!(score.perplexity(), Some(2f64.exp()));
    }
}
