//! Which charts there are of runs, and the lines in them.

use lstmc_runtime::run_dir::{Point, Row};

use super::chart::{Axis, Chart};
use super::series::{Look, Series};
use super::{COLOURS, Run};

/// What is measured over a training, and where it is written down.
struct Metric {
    id: &'static str,
    title: &'static str,
    axis: Axis,
    unit: &'static str,
    /// What is shown of a number, or of the mean of some.
    shown: fn(f64) -> f64,
    /// Whether neighbours are shown as their mean, where there are many, and not the peaks.
    smooth: bool,
    point: fn(&Point) -> Option<f64>,
    train: fn(&Row) -> Option<f64>,
    valid: fn(&Row) -> Option<f64>,
    /// Whether there is a chart by epoch of it.
    by_epoch: bool,
}

const LOSS: Metric = Metric {
    id: "loss",
    title: "Loss",
    axis: Axis::Near,
    unit: "",
    shown: |loss| loss,
    smooth: true,
    point: |point| point.train_loss,
    train: |row| row.train_loss,
    valid: |row| row.valid_loss,
    by_epoch: true,
};

const RATE: Metric = Metric {
    id: "rate",
    title: "Learning rate",
    axis: Axis::Wide(50),
    smooth: false,
    point: |point| point.learning_rate,
    train: |row| row.learning_rate,
    valid: |_| None,
    by_epoch: false,
    ..LOSS
};

const METRICS: [Metric; 6] = [
    LOSS,
    Metric { id: "perplexity", title: "Perplexity", axis: Axis::Wide(10), shown: f64::exp, ..LOSS },
    Metric {
        id: "accuracy",
        title: "Accuracy",
        unit: " %",
        shown: |share| 100.0 * share,
        point: |point| point.train_accuracy,
        train: |row| row.train_accuracy,
        valid: |row| row.valid_accuracy,
        ..LOSS
    },
    RATE,
    Metric {
        id: "gradient",
        title: "Gradient norm",
        point: |point| point.gradient_norm,
        train: |row| row.gradient_norm,
        ..RATE
    },
    Metric {
        id: "speed",
        title: "Tokens per second",
        axis: Axis::Zero,
        smooth: true,
        point: |point| point.words_per_second,
        train: |row| row.words_per_second,
        ..RATE
    },
];

/// The charts by epoch.
pub fn by_epoch(runs: &[Run]) -> Vec<Chart> {
    let metrics = METRICS.iter().filter(|metric| metric.by_epoch);
    charts(metrics, "epoch", runs, &|metric, run| {
        let epochs = run.rows.is_sorted_by(|a, b| a.epoch < b.epoch);
        let rows = || run.rows.iter().filter(|_| epochs);
        let of = |value: fn(&Row) -> Option<f64>| values(rows(), |row| (row.epoch, value(row)));
        (of(metric.train), of(metric.valid))
    })
}

/// The charts by update.
pub fn by_update(runs: &[Run]) -> Vec<Chart> {
    charts(METRICS.iter(), "update", runs, &|metric, run| {
        let points = values(run.points.iter(), |point| (point.step, (metric.point)(point)));
        let of = |value: fn(&Row) -> Option<f64>| values(run.rows.iter(), |row| (row.step, value(row)));
        // A run of a version before points were written down has its rows.
        let train = if points.is_empty() { of(metric.train) } else { points };
        (train, of(metric.valid))
    })
}

type Numbers = Vec<(f64, f64)>;

/// What was measured, each with its place; nothing if it never was. What was no number is a gap.
fn values<'a, T: 'a>(all: impl Iterator<Item = &'a T>, value: impl Fn(&T) -> (u64, Option<f64>)) -> Numbers {
    let found: Numbers = all
        .map(|one| {
            let (place, value) = value(one);
            (place as f64, value.unwrap_or(f64::NAN))
        })
        .collect();
    if found.iter().all(|(_, value)| value.is_nan()) { Vec::new() } else { found }
}

/// A chart of each metric that some run has. `of` says what a run has of it in training and validation.
fn charts<'a>(
    metrics: impl Iterator<Item = &'a Metric>,
    by: &'static str,
    runs: &[Run],
    of: &dyn Fn(&Metric, &Run) -> (Numbers, Numbers),
) -> Vec<Chart> {
    let chart = |metric: &Metric| {
        let mut series = Vec::new();
        for (number, run) in runs.iter().enumerate() {
            let (train, valid) = of(metric, run);
            let mut add = |of: &str, slot, look, numbers: Numbers| {
                let name = if runs.len() == 1 { of.to_owned() } else { format!("{}, {of}", run.name) };
                if !numbers.is_empty() {
                    let mut one = Series::new(&name, slot, look, &numbers, metric.smooth);
                    one.points.iter_mut().for_each(|(_, value)| *value = (metric.shown)(*value));
                    series.push(one);
                }
            };
            // One run has a colour for each text, several have one each.
            let (slot, beside) = if runs.len() == 1 { (0, 1) } else { (number % COLOURS, number % COLOURS) };
            let look = match valid.is_empty() {
                false if runs.len() > 1 => Look::Faint,
                _ if by == "epoch" => Look::Dotted,
                _ => Look::Plain,
            };
            add("training", slot, look, train);
            add("validation", beside, Look::Dotted, valid);
        }
        Chart {
            id: format!("{}-{by}", metric.id),
            title: metric.title,
            by,
            axis: metric.axis,
            unit: metric.unit,
            series,
        }
    };
    metrics.map(chart).filter(|chart| !chart.is_empty()).collect()
}
