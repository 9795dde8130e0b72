//! How an evaluation reads a text: every prediction that the text offers is made once, whatever the batches' shape.
//!
//! A batch has the shape that the program was compiled for. Where the text does not fill it, the rest is padded, and what
//! the program says of the padding is not counted.

use std::ops::Range;

use lstmc_compiler::model::{BatchKind, Batches, Targets};

use crate::error::{Error, Result};

/// Padding. Any id would do: a padded place comes after all that is counted in its row, and nothing is carried on from it.
const PAD: u32 = 0;

/// The batches of an evaluation. Places are those of tokens that are read; the token after a place is what is predicted
/// there.
///
/// - `stream`: the predictions are cut into `rows` contiguous parts of equal length, to one prediction, and each row reads
///   its part, `steps` places at a time. State starts afresh at a part's beginning and is carried on from there.
/// - `windows`: windows in the text's order, `rows` in a batch, each from fresh state. Of targets for each step, a last
///   window ends early where tokens are left that no whole window predicts.
#[derive(Clone, Debug)]
pub struct Reading {
    order: Order,
    rows: usize,
    steps: usize,
    targets: Targets,
    /// Tokens of the text but the last, which is only ever predicted.
    places: usize,
}

#[derive(Clone, Debug)]
enum Order {
    Stream,
    Windows { stride: usize, count: usize },
}

impl Reading {
    /// A text of `tokens` tokens in batches of this shape. A text that is too short offers no prediction.
    pub fn new(batches: &Batches, tokens: usize) -> Self {
        let (rows, steps) = (batches.rows.max(1), batches.steps.max(1));
        let places = tokens.saturating_sub(1);
        let (order, targets) = match batches.kind {
            BatchKind::Stream => (Order::Stream, Targets::Each),
            BatchKind::Windows { stride, targets, .. } => {
                let stride = stride.max(1);
                let whole = (places + stride).saturating_sub(steps) / stride;
                let predicted = if whole == 0 { 0 } else { (whole - 1) * stride + steps };
                let short = targets == Targets::Each && predicted < places && whole * stride < places;
                (Order::Windows { stride, count: whole + usize::from(short) }, targets)
            }
        };
        Self { order, rows, steps, targets, places }
    }

    /// How many batches there are.
    pub fn batches(&self) -> u64 {
        let batches = match self.order {
            // The first part is the longest.
            Order::Stream => self.part(0).len().div_ceil(self.steps),
            Order::Windows { count, .. } => count.div_ceil(self.rows),
        };
        batches as u64
    }

    /// The fewest tokens of which one is predicted.
    pub fn needed(&self) -> usize {
        match self.targets {
            Targets::Each => 2,
            Targets::Last => self.steps + 1,
        }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether recurrent state goes on from one batch to the next.
    pub fn carries_state(&self) -> bool {
        matches!(self.order, Order::Stream)
    }

    /// The places that row `row` reads in batch `batch`, at most `steps`; none where all of the row is padding.
    pub fn read(&self, batch: u64, row: usize) -> Range<usize> {
        let (start, end) = match self.order {
            Order::Stream => {
                let part = self.part(row);
                (part.start + batch as usize * self.steps, part.end)
            }
            Order::Windows { stride, count } => match batch as usize * self.rows + row {
                window if window < count => (window * stride, self.places),
                _ => return 0..0,
            },
        };
        start.min(end)..(start + self.steps).min(end)
    }

    /// Where the state began that row `row` has in batch `batch`.
    pub fn begun(&self, batch: u64, row: usize) -> usize {
        match self.order {
            Order::Stream => self.part(row).start,
            Order::Windows { .. } => self.read(batch, row).start,
        }
    }

    /// What row `row` predicts in batch `batch`: each place, and the element of the batch's targets that belongs to it.
    pub fn predicted(&self, batch: u64, row: usize) -> impl Iterator<Item = (usize, usize)> {
        let (read, rows, targets) = (self.read(batch, row), self.rows, self.targets);
        let first = match targets {
            Targets::Each => read.start,
            // A window that is cut short predicts nothing.
            Targets::Last if read.len() == self.steps => read.end - 1,
            Targets::Last => read.end,
        };
        let start = read.start;
        (first..read.end).map(move |place| match targets {
            Targets::Each => (place, (place - start) * rows + row),
            Targets::Last => (place, row),
        })
    }

    /// Copies a batch out of the text: `tokens` is `[steps, rows]`, `targets` `[steps, rows]` or `[rows]`.
    ///
    /// # Errors
    /// [`Error::WrongLength`] if the program has batches of another shape.
    pub fn fill(&self, ids: &[u32], batch: u64, tokens: &mut [u32], targets: &mut [u32]) -> Result<()> {
        let wanted = match self.targets {
            Targets::Each => self.rows * self.steps,
            Targets::Last => self.rows,
        };
        check("tokens", tokens.len(), self.rows * self.steps)?;
        check("targets", targets.len(), wanted)?;
        tokens.fill(PAD);
        targets.fill(PAD);
        for row in 0..self.rows {
            for (step, place) in self.read(batch, row).enumerate() {
                tokens[step * self.rows + row] = ids[place];
            }
            for (place, target) in self.predicted(batch, row) {
                targets[target] = ids[place + 1];
            }
        }
        Ok(())
    }

    /// The places of a stream's row.
    fn part(&self, row: usize) -> Range<usize> {
        // The first rows have one more where the places cannot be shared evenly.
        let (each, more) = (self.places / self.rows, self.places % self.rows);
        let start = row * each + row.min(more);
        start..start + each + usize::from(row < more)
    }
}

fn check(name: &str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Error::WrongLength { name: name.into(), expected, found }) }
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::diag::Span;
    use lstmc_compiler::model::Start;

    use super::*;

    fn stream(rows: usize, steps: usize, tokens: usize) -> Reading {
        let batches = Batches { kind: BatchKind::Stream, rows, steps, span: Span::default() };
        Reading::new(&batches, tokens)
    }

    fn windows(rows: usize, steps: usize, stride: usize, targets: Targets, tokens: usize) -> Reading {
        let kind = BatchKind::Windows { stride, targets, start: Start::Random, shuffle: true };
        Reading::new(&Batches { kind, rows, steps, span: Span::default() }, tokens)
    }

    /// The predicted places of all batches, row by row.
    fn places(reading: &Reading) -> Vec<usize> {
        let batches = (0..reading.batches()).flat_map(|batch| (0..reading.rows).map(move |row| (batch, row)));
        batches
            .flat_map(|(batch, row)| {
                reading.predicted(batch, row).map(|(place, _)| place).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn a_stream_predicts_every_token_but_the_first_once() {
        for rows in 1..9 {
            for steps in 1..8 {
                for tokens in [0, 1, 2, 3, 7, 48, 49, 97] {
                    let mut found = places(&stream(rows, steps, tokens));
                    found.sort_unstable();
                    let expected: Vec<usize> = (0..tokens.max(1) - 1).collect();
                    assert_eq!(found, expected, "{tokens} tokens in {rows} rows of {steps}");
                }
            }
        }
    }

    #[test]
    fn a_row_of_a_stream_is_contiguous_and_no_batch_is_empty() {
        let reading = stream(3, 2, 12);
        let row = |row| (0..reading.batches()).flat_map(|b| reading.read(b, row)).collect::<Vec<_>>();
        assert_eq!([row(0), row(1), row(2)], [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9, 10]]);
        assert_eq!(reading.batches(), 2);
        assert_eq!([reading.begun(1, 0), reading.begun(1, 2)], [0, 8]);
    }

    #[test]
    fn what_a_batch_lacks_is_padded() {
        let ids: Vec<u32> = (10..22).collect();
        let (mut tokens, mut targets) = ([7; 6], [7; 6]);
        stream(3, 2, 12).fill(&ids, 1, &mut tokens, &mut targets).unwrap();
        assert_eq!(tokens, [12, 16, 20, 13, 17, PAD]);
        assert_eq!(targets, [13, 17, 21, 14, 18, PAD]);
        let error = stream(3, 3, 12).fill(&ids, 0, &mut tokens, &mut targets);
        assert!(matches!(error, Err(Error::WrongLength { .. })));
    }

    #[test]
    fn all_windows_are_read_in_the_order_of_the_text() {
        let last = |rows, tokens| places(&windows(rows, 3, 4, Targets::Last, tokens));
        for rows in 1..7 {
            assert_eq!(last(rows, 20), [2, 6, 10, 14, 18], "{rows} rows");
            assert_eq!(last(rows, 19), [2, 6, 10, 14]);
            assert_eq!(last(rows, 4), [2]);
            assert!(last(rows, 3).is_empty(), "no window fits");
        }
        assert_eq!(windows(2, 3, 4, Targets::Last, 20).batches(), 3);
    }

    #[test]
    fn windows_with_a_target_each_predict_the_rest_of_the_text_too() {
        let each = |stride, tokens| places(&windows(2, 3, stride, Targets::Each, tokens));
        assert_eq!(each(3, 9), (0..8).collect::<Vec<_>>());
        assert_eq!(each(3, 10), (0..9).collect::<Vec<_>>());
        assert_eq!(each(3, 3), [0, 1]);
        assert_eq!(each(1, 5), [0, 1, 2, 1, 2, 3], "all is predicted by whole windows");
        assert_eq!(each(2, 7), [0, 1, 2, 2, 3, 4, 4, 5]);
        assert_eq!(each(5, 7), [0, 1, 2, 5], "what lies between windows is skipped");
        assert_eq!(each(5, 6), [0, 1, 2]);
        assert!(each(3, 1).is_empty() && each(3, 0).is_empty());
    }

    #[test]
    fn targets_lie_where_the_program_has_them() {
        let reading = windows(2, 3, 3, Targets::Each, 9);
        let found: Vec<_> = reading.predicted(1, 0).collect();
        assert_eq!(found, [(6, 0), (7, 2)], "step times rows, plus the row");
        assert_eq!(reading.predicted(1, 1).count(), 0);
        let last: Vec<_> = windows(2, 3, 4, Targets::Last, 20).predicted(0, 1).collect();
        assert_eq!(last, [(6, 1)]);
    }
}
