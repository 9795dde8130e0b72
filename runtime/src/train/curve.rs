//! Points of the curves between reports: about a thousand in a whole training, so that writing them takes no time that could be
//! measured, nor much room.

use std::time::{Duration, Instant};

use super::Recipe;
use crate::checkpoint::{Position, Totals};
use crate::error::Result;
use crate::run_dir::{Events, Point, RunDir};

/// Points of a whole training, unless it has more reports.
const POINTS: u64 = 1000;

/// How long points wait to be written together.
const WAIT: Duration = Duration::from_secs(1);

/// Where points are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sink<'a> {
    pub run: &'a RunDir,
    pub events: Option<&'a Events>,
}

/// Where points end, and what there is of the next one.
pub(super) struct Curve<'a> {
    /// Updates from report to report, and how many points they make. Every report ends a point.
    interval: u64,
    parts: u64,
    /// The update that ends the next point.
    next: u64,
    /// Over the updates since the last point.
    pub sums: Totals,
    /// Points that are not yet written.
    points: Vec<Point>,
    written: Instant,
    /// None of a training that is only made again.
    sink: Option<Sink<'a>>,
}

impl<'a> Curve<'a> {
    /// From an update on, which has left these sums.
    pub fn new(recipe: &Recipe, per_epoch: u64, position: &Position, sink: Option<Sink<'a>>) -> Self {
        let interval = recipe.interval(per_epoch);
        let reports = (recipe.whole(per_epoch) / interval).max(1);
        let parts = (POINTS / reports).clamp(1, interval);
        let (sums, points, written) = (position.curve, Vec::new(), Instant::now());
        let mut curve = Self { interval, parts, next: 0, sums, points, written, sink };
        curve.next = curve.end_after(position.step);
        curve
    }

    /// The first update after one that ends a point: those between two reports make points of about one length.
    fn end_after(&self, update: u64) -> u64 {
        let [at, parts, interval] = [update % self.interval, self.parts, self.interval].map(u128::from);
        let end = ((at * parts / interval + 1) * interval).div_ceil(parts);
        (update - update % self.interval).saturating_add(u64::try_from(end).unwrap_or(u64::MAX))
    }

    /// Whether an update, counted from 1, ends a point.
    pub fn ends_at(&self, update: u64) -> bool {
        update >= self.next
    }

    /// Ends a point with an update, and begins the next one.
    ///
    /// # Errors
    /// As [`Curve::write`].
    pub fn point(&mut self, epoch: u64, step: u64, rate: f64) -> Result<()> {
        self.next = self.end_after(step);
        let sums = std::mem::take(&mut self.sums);
        self.points.push(Point {
            epoch,
            step,
            train_loss: Some(sums.mean_loss()),
            train_accuracy: Some(sums.accuracy()),
            learning_rate: Some(rate),
            gradient_norm: sums.norms.mean(),
            words_per_second: Some(sums.per_second()),
        });
        if self.written.elapsed() < WAIT { Ok(()) } else { self.write() }
    }

    /// Writes the points that wait.
    ///
    /// # Errors
    /// [`crate::Error::Write`].
    pub fn write(&mut self) -> Result<()> {
        self.written = Instant::now();
        let points = std::mem::take(&mut self.points);
        let Some(Sink { run, events }) = self.sink else { return Ok(()) };
        run.append_points(&points)?;
        events.map_or(Ok(()), |events| events.points(&points))
    }
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::diag::Span;
    use lstmc_compiler::model::{BatchKind, Batches, Length, Schedule};

    use super::*;

    fn curve(length: Length, per_epoch: u64) -> Curve<'static> {
        let batches = Batches { kind: BatchKind::Stream, rows: 1, steps: 1, span: Span::default() };
        let recipe = Recipe::plain(batches, length, Schedule::default(), 0.1);
        Curve::new(&recipe, per_epoch, &Position::default(), None)
    }

    fn ends(mut curve: Curve<'_>, updates: u64) -> Vec<u64> {
        let mut ends = Vec::new();
        for update in 1..=updates {
            if curve.ends_at(update) {
                curve.point(1, update, 0.1).expect("nothing is written");
                ends.push(update);
            }
        }
        ends
    }

    #[test]
    fn points_are_as_long_as_each_other_and_end_where_reports_do() {
        let epochs = ends(curve(Length::Epochs(13), 2323), 13 * 2323);
        assert_eq!(epochs.len(), 13 * 76);
        let lengths = epochs.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(
            lengths.clone().all(|length| (30..=31).contains(&length)),
            "{:?}",
            lengths.collect::<Vec<_>>()
        );
        assert!((1..=13).all(|epoch| epochs.contains(&(2323 * epoch))));
        let iterations = ends(curve(Length::Iterations { count: 50_000, report_every: 1000 }, 51), 50_000);
        assert_eq!(iterations, (1..=1000).map(|point| 50 * point).collect::<Vec<_>>());
    }

    #[test]
    fn short_trainings_have_every_update_and_long_ones_every_report() {
        assert_eq!(ends(curve(Length::Epochs(3), 4), 12), (1..=12).collect::<Vec<_>>());
        assert_eq!(ends(curve(Length::Epochs(5000), 7), 35), [7, 14, 21, 28, 35]);
        assert!(ends(curve(Length::Epochs(usize::MAX), u64::MAX), 10).is_empty());
    }

    #[test]
    fn a_training_that_goes_on_ends_its_points_where_it_would_have() {
        let all = ends(curve(Length::Epochs(13), 2323), 3 * 2323);
        for update in [0, 1, 29, 30, 31, 2322, 2323, 2324] {
            let next = all.iter().find(|&&end| end > update);
            assert_eq!(Some(&curve(Length::Epochs(13), 2323).end_after(update)), next, "{update}");
        }
    }
}
