//! Which tokens are in which batch of training. ([`crate::reading`] has those of an evaluation.)
//!
//! A batch is `rows` sequences of `steps` tokens, given by the start of each row in the token ids. Which starts belong to
//! a batch depends on the seed, the epoch and the step alone, so a run can be taken up at any step.

use std::fmt;
use std::ops::Range;

use lstmc_compiler::model::{BatchKind, Batches, Start, Targets};

use crate::error::{Error, Result};
use crate::random::Random;

/// The batches of a training text.
#[derive(Clone)]
pub struct Batcher {
    order: Order,
    rows: usize,
    steps: usize,
    targets: Targets,
    random: Random,
    starts: Vec<usize>,
}

#[derive(Clone)]
enum Order {
    /// Row `r` reads tokens `r * row_len ..` from batch to batch.
    Stream { row_len: usize },
    /// Window `w` starts at `w * stride`.
    Windows { stride: usize, count: usize },
    /// As `Windows`, in a new random order each epoch.
    Shuffled { stride: usize, epoch: u64, order: Vec<usize> },
    /// Passes over the text, each from a random start.
    Passes { stride: usize, last: usize, pass: Pass },
}

/// Windows `first .. first + count` of the run start at `start`, `start + stride`, ...
#[derive(Clone, Copy)]
struct Pass {
    number: u64,
    first: u64,
    start: usize,
    count: u64,
}

impl fmt::Debug for Batcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batcher({} rows of {} steps, {} batches)", self.rows, self.steps, self.per_epoch())
    }
}

impl Batcher {
    /// The batches of a text of `tokens` tokens.
    ///
    /// # Errors
    /// [`Error::ShortCorpus`] if the text does not fill one batch.
    pub fn new(batches: &Batches, tokens: usize, seed: u64) -> Result<Self> {
        let (rows, steps) = (batches.rows.max(1), batches.steps.max(1));
        let random = Random::new(seed, "batches");
        let needed = match batches.kind {
            BatchKind::Stream => rows * (steps + 1),
            BatchKind::Windows { start: Start::Random, .. } => steps + 1,
            BatchKind::Windows { stride, .. } => steps + 1 + (rows - 1) * stride,
        };
        if tokens < needed {
            return Err(Error::ShortCorpus { found: tokens, needed, rows, steps });
        }
        let (order, targets) = match batches.kind {
            BatchKind::Stream => (Order::Stream { row_len: tokens / rows }, Targets::Each),
            BatchKind::Windows { stride, targets, start, shuffle } => {
                let (stride, last) = (stride.max(1), tokens - steps - 1);
                let count = last / stride + 1;
                let order = match start {
                    Start::Random => {
                        Order::Passes { stride, last, pass: Pass::new(random, 0, 0, steps, stride, last) }
                    }
                    Start::First if shuffle => {
                        Order::Shuffled { stride, epoch: 0, order: random.part(0).permutation(count) }
                    }
                    Start::First => Order::Windows { stride, count },
                };
                (order, targets)
            }
        };
        Ok(Self { order, rows, steps, targets, random, starts: vec![0; rows] })
    }

    /// Batches in an epoch. With a random start: as many as one pass from the first token would make, at least one.
    pub fn per_epoch(&self) -> u64 {
        let batches = match &self.order {
            // TensorFlow's `ptb_producer`: the last token of a row is only ever a target.
            Order::Stream { row_len } => (row_len - 1) / self.steps,
            Order::Windows { count, .. } => count / self.rows,
            Order::Shuffled { order, .. } => order.len() / self.rows,
            Order::Passes { stride, last, .. } => ((last / stride + 1) / self.rows).max(1),
        };
        batches as u64
    }

    /// The epoch and the batch in it, both from 0, of an update, counted from 0.
    pub fn place(&self, update: u64) -> (u64, u64) {
        (update / self.per_epoch(), update % self.per_epoch())
    }

    /// Tokens that one batch predicts.
    pub fn predictions(&self) -> u64 {
        match self.targets {
            Targets::Each => (self.rows * self.steps) as u64,
            Targets::Last => self.rows as u64,
        }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn steps(&self) -> usize {
        self.steps
    }

    pub fn targets(&self) -> Targets {
        self.targets
    }

    /// Whether recurrent state goes on from one batch of an epoch to the next.
    pub fn carries_state(&self) -> bool {
        matches!(self.order, Order::Stream { .. })
    }

    /// The start of each row in batch `step` of `epoch`, both from 0. `step` is less than [`Batcher::per_epoch`].
    pub fn starts(&mut self, epoch: u64, step: u64) -> &[usize] {
        let (rows, steps, random) = (self.rows, self.steps, self.random);
        let in_epoch = step as usize * rows;
        let of_run = (epoch * self.per_epoch() + step) * rows as u64;
        for row in 0..rows {
            self.starts[row] = match &mut self.order {
                Order::Stream { row_len } => row * *row_len + step as usize * steps,
                Order::Windows { stride, .. } => (in_epoch + row) * *stride,
                Order::Shuffled { stride, epoch: known, order } => {
                    if *known != epoch {
                        (*known, *order) = (epoch, random.part(epoch).permutation(order.len()));
                    }
                    order[in_epoch + row] * *stride
                }
                Order::Passes { stride, last, pass } => {
                    pass.seek(of_run + row as u64, random, steps, *stride, *last)
                }
            };
        }
        &self.starts
    }

    /// Copies batch `step` of `epoch` out of the text: `tokens` is `[steps, rows]`, `targets` `[steps, rows]` or `[rows]`.
    pub fn fill(&mut self, ids: &[u32], epoch: u64, step: u64, tokens: &mut [u32], targets: &mut [u32]) {
        self.fill_rows(ids, [epoch, step], 0..self.rows, tokens, targets);
    }

    /// Copies rows `which` of batch `step` of `epoch` out of the text: of so many rows, `tokens` is `[steps, rows]` and `targets`
    /// `[steps, rows]` or `[rows]`.
    pub fn fill_rows(
        &mut self,
        ids: &[u32],
        [epoch, step]: [u64; 2],
        which: Range<usize>,
        tokens: &mut [u32],
        targets: &mut [u32],
    ) {
        let (rows, steps, kind) = (which.len(), self.steps, self.targets);
        for (row, &start) in self.starts(epoch, step)[which].iter().enumerate() {
            let window = &ids[start..start + steps + 1];
            for t in 0..steps {
                tokens[t * rows + row] = window[t];
            }
            match kind {
                Targets::Each => (0..steps).for_each(|t| targets[t * rows + row] = window[t + 1]),
                Targets::Last => targets[row] = window[steps],
            }
        }
    }
}

impl Pass {
    /// The start is uniform in `0 ..= steps + 1`, as far as the text goes: `random.randint(0, n_input + 1)` in "LSTM by
    /// example using TensorFlow".
    fn new(random: Random, number: u64, first: u64, steps: usize, stride: usize, last: usize) -> Self {
        let start = (random.below(number, steps as u64 + 2) as usize).min(last);
        Self { number, first, start, count: ((last - start) / stride + 1) as u64 }
    }

    /// The start of window `window` of the run.
    fn seek(&mut self, window: u64, random: Random, steps: usize, stride: usize, last: usize) -> usize {
        if window < self.first {
            *self = Self::new(random, 0, 0, steps, stride, last);
        }
        while window >= self.first + self.count {
            *self = Self::new(random, self.number + 1, self.first + self.count, steps, stride, last);
        }
        self.start + (window - self.first) as usize * stride
    }
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::diag::Span;

    use super::*;

    fn batches(kind: BatchKind, rows: usize, steps: usize) -> Batches {
        Batches { kind, rows, steps, span: Span::default() }
    }

    fn windows(stride: usize, targets: Targets, start: Start, shuffle: bool) -> BatchKind {
        BatchKind::Windows { stride, targets, start, shuffle }
    }

    fn train(batches: &Batches, tokens: usize, seed: u64) -> Batcher {
        Batcher::new(batches, tokens, seed).unwrap()
    }

    fn filled(batcher: &mut Batcher, ids: &[u32], step: u64) -> (Vec<u32>, Vec<u32>) {
        let mut tokens = vec![0; batcher.rows * batcher.steps];
        let mut targets = vec![0; batcher.predictions() as usize];
        batcher.fill(ids, 0, step, &mut tokens, &mut targets);
        (tokens, targets)
    }

    /// The example of TensorFlow's `reader_test.py`: `ptb_producer([4, 3, 2, 1, 0, 5, 6, 1, 1, 1, 1, 0, 3, 4, 1], 3, 2)`.
    #[test]
    fn a_stream_is_laid_out_as_tensorflow_does() {
        let ids = [4, 3, 2, 1, 0, 5, 6, 1, 1, 1, 1, 0, 3, 4, 1];
        let mut batcher = train(&batches(BatchKind::Stream, 3, 2), ids.len(), 0);
        assert_eq!(batcher.per_epoch(), 2);
        // TensorFlow: x = [[4, 3], [5, 6], [1, 0]], y = [[3, 2], [6, 1], [0, 3]]; here time comes first.
        assert_eq!(filled(&mut batcher, &ids, 0), (vec![4, 5, 1, 3, 6, 0], vec![3, 6, 0, 2, 1, 3]));
        // x = [[2, 1], [1, 1], [3, 4]], y = [[1, 0], [1, 1], [4, 1]]
        assert_eq!(filled(&mut batcher, &ids, 1), (vec![2, 1, 3, 1, 1, 4], vec![1, 1, 4, 0, 1, 1]));
    }

    #[test]
    fn penn_treebank_has_the_known_number_of_batches() {
        let small = batches(BatchKind::Stream, 20, 20);
        assert_eq!(train(&small, 929_589, 0).per_epoch(), 2323);
        assert_eq!(train(&batches(BatchKind::Stream, 20, 35), 929_589, 0).per_epoch(), 1327);
    }

    #[test]
    fn consecutive_windows_lie_in_consecutive_rows() {
        let ids: Vec<u32> = (0..20).collect();
        let kind = windows(4, Targets::Last, Start::First, false);
        let mut batcher = train(&batches(kind, 2, 3), ids.len(), 0);
        assert_eq!(batcher.per_epoch(), 2);
        assert_eq!(batcher.starts(0, 1), [8, 12]);
        assert_eq!(filled(&mut batcher, &ids, 0), (vec![0, 4, 1, 5, 2, 6], vec![3, 7]));
    }

    #[test]
    fn every_window_that_fits_is_used_and_none_that_does_not() {
        let kind = windows(1, Targets::Each, Start::First, false);
        for (tokens, expected) in [(4, 1), (5, 2), (10, 7)] {
            let mut batcher = train(&batches(kind.clone(), 1, 3), tokens, 0);
            assert_eq!(batcher.per_epoch(), expected);
            let last = batcher.starts(0, expected - 1)[0];
            assert_eq!(last + 3, tokens - 1);
        }
    }

    #[test]
    fn shuffling_takes_each_window_once_an_epoch_in_a_new_order() {
        let kind = windows(2, Targets::Last, Start::First, true);
        let mut batcher = train(&batches(kind, 1, 3), 100, 9);
        let n = batcher.per_epoch();
        let mut epoch = |e| (0..n).map(|s| batcher.starts(e, s)[0]).collect::<Vec<_>>();
        let (first, second, again) = (epoch(0), epoch(1), epoch(0));
        assert_eq!(first, again);
        assert_ne!(first, second);
        let mut sorted = second;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..n as usize).map(|w| w * 2).collect::<Vec<_>>());
    }

    #[test]
    fn random_starts_advance_by_the_stride_and_begin_anew_at_the_end() {
        let (steps, tokens) = (3, 50);
        let kind = windows(4, Targets::Last, Start::Random, false);
        let mut batcher = train(&batches(kind, 1, steps), tokens, 1);
        let n = batcher.per_epoch();
        let starts: Vec<usize> = (0..400).map(|i| batcher.starts(i / n, i % n)[0]).collect();
        let mut begun = vec![starts[0]];
        for pair in starts.windows(2) {
            assert!(pair[1] + steps < tokens);
            if pair[1] != pair[0] + 4 {
                assert!(pair[0] + 4 + steps >= tokens, "{pair:?} begins anew too early");
                begun.push(pair[1]);
            }
        }
        begun.sort_unstable();
        begun.dedup();
        assert_eq!(begun, [0, 1, 2, 3, 4], "a pass begins at 0 ..= steps + 1");
    }

    #[test]
    fn any_step_can_be_asked_for_out_of_order() {
        for kind in [
            BatchKind::Stream,
            windows(3, Targets::Each, Start::First, true),
            windows(4, Targets::Last, Start::Random, false),
        ] {
            let shape = batches(kind, 2, 3);
            let mut forward = train(&shape, 60, 5);
            let n = forward.per_epoch();
            let expected: Vec<Vec<usize>> =
                (0..3 * n).map(|i| forward.starts(i / n, i % n).to_vec()).collect();
            let mut backward = train(&shape, 60, 5);
            for i in (0..3 * n).rev() {
                assert_eq!(backward.starts(i / n, i % n), expected[i as usize]);
            }
            let mut resumed = train(&shape, 60, 5);
            let i = 2 * n + 1;
            assert_eq!(resumed.starts(i / n, i % n), expected[i as usize]);
        }
    }

    #[test]
    fn seeds_matter() {
        let shape = batches(windows(4, Targets::Last, Start::Random, false), 1, 3);
        let run = |seed| {
            let mut batcher = train(&shape, 60, seed);
            (0..300).map(|i| batcher.starts(i / 15, i % 15)[0]).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn a_text_shorter_than_a_batch_says_how_much_is_needed() {
        let needed = |shape: &Batches| {
            let error = |tokens| Batcher::new(shape, tokens, 0).err();
            let Some(Error::ShortCorpus { needed, .. }) = error(1) else { panic!("too short") };
            assert!(error(needed - 1).is_some());
            assert!(error(needed).is_none());
            needed
        };
        assert_eq!(needed(&batches(BatchKind::Stream, 20, 35)), 20 * 36);
        assert_eq!(needed(&batches(windows(30, Targets::Each, Start::First, true), 20, 30)), 31 + 19 * 30);
        assert_eq!(needed(&batches(windows(4, Targets::Last, Start::Random, false), 1, 3)), 4);
    }
}
