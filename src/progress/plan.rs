//! Where a run is and how well it does, in words; of a model of words, a line has at most 80 columns for numbers of a
//! usual size.

use lstmc_compiler::model::{Length, Metric, Model, Schedule};
use lstmc_runtime::checkpoint::Totals;
use lstmc_runtime::monitor::Snapshot;
use lstmc_runtime::run_dir::Row;
use lstmc_runtime::train::Trainer;

use crate::show;

/// The columns of "validation", to which the place of a run is padded, so that what follows is aligned.
const VALIDATION: &str = "validation";

/// How long a run is, and what its model wants shown of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The number of epochs, for a run that is neither counted in iterations nor cut short by a limit.
    epochs: Option<u64>,
    /// Updates after which the run ends.
    total: u64,
    per_epoch: u64,
    /// Updates that were made before, by the run that goes on.
    begun: u64,
    /// Whether the model counts iterations and has a report interval.
    iterations: bool,
    /// Whether it ends before its model is done.
    limited: bool,
    /// Tokens predicted in one update.
    predictions: u64,
    /// What a token is called.
    unit: &'static str,
    scheduled: bool,
    metrics: Vec<Metric>,
}

impl Plan {
    pub fn of(model: &Model, trainer: &Trainer<'_>) -> Self {
        let (total, per_epoch) = (trainer.total_steps(), trainer.batches_per_epoch());
        let (whole, epochs) = match model.train.length {
            Length::Epochs(epochs) => ((epochs as u64).saturating_mul(per_epoch), Some(epochs as u64)),
            Length::Iterations { count, .. } => (count as u64, None),
        };
        let batches = &model.data.batches;
        let per_row = if batches.window().is_some() { 1 } else { batches.steps };
        Self {
            epochs: epochs.filter(|_| total == whole),
            total,
            per_epoch,
            begun: trainer.position().step,
            iterations: epochs.is_none(),
            limited: total < whole,
            predictions: (batches.rows * per_row) as u64,
            unit: model.data.tokens.kind.unit(),
            scheduled: model.train.schedule != Schedule::default(),
            metrics: model.train.report.clone(),
        }
    }

    /// What a token is called.
    pub fn unit(&self) -> &'static str {
        self.unit
    }

    /// Whether the model counts iterations.
    pub fn iterations(&self) -> bool {
        self.iterations
    }

    /// Whether the run ends before its model is done.
    pub fn limited(&self) -> bool {
        self.limited
    }

    /// Updates made so far.
    fn step(&self, look: &Snapshot) -> u64 {
        look.step.max(self.begun)
    }

    /// What of the epoch is done, or of the whole run where that is counted in steps; or of the validation text.
    pub fn progress(&self, look: &Snapshot) -> (u64, u64) {
        match self.epochs {
            None if !look.validating => (self.step(look), self.total),
            _ => (look.done, look.total),
        }
    }

    /// A number that changes with each tenth of an epoch or of a run that is counted in steps; `None` at its ends.
    pub fn tenth(&self, look: &Snapshot) -> Option<u64> {
        let (done, total) = self.progress(look);
        let tenth = done * 10 / total.max(1);
        let epoch = if self.epochs.is_some() { self.step(look) / self.per_epoch.max(1) } else { 0 };
        (1..10).contains(&tenth).then_some(epoch * 10 + tenth)
    }

    /// `epoch  3/13` or `step  5,000/50,000` after an update.
    fn place(&self, step: u64) -> String {
        match self.epochs {
            Some(epochs) => {
                let epochs = epochs.to_string();
                let epoch = step.saturating_sub(1) / self.per_epoch.max(1) + 1;
                format!("epoch {epoch:>width$}/{epochs}", width = epochs.len())
            }
            None => {
                let total = show::count(self.total);
                format!("step {:>width$}/{total}", show::count(step), width = total.len())
            }
        }
    }

    /// What stands before the bar.
    pub fn before_bar(&self, look: &Snapshot) -> String {
        if look.validating { VALIDATION.into() } else { self.place(self.step(look).max(1)) }
    }

    /// What stands behind the bar: loss, the first metric, speed and the time that training will still take.
    pub fn behind_bar(&self, look: &Snapshot) -> Vec<String> {
        let totals = &look.totals;
        if look.validating || totals.batches == 0 {
            return Vec::new();
        }
        let mut parts = vec![format!("loss {}", loss(totals.mean_loss()))];
        parts.extend(match self.measured().next() {
            Some(Measured::Perplexity) => Some(perplexity(totals.perplexity())),
            Some(Measured::Accuracy) => Some(format!("accuracy {:.1} %", 100.0 * totals.accuracy())),
            None => None,
        });
        parts.push(self.speed(totals.per_second()));
        parts.push(format!("{} left", show::rough(self.left(totals, self.step(look)))));
        parts
    }

    /// The line that says where an epoch is, where there is no bar.
    pub fn line(&self, look: &Snapshot) -> String {
        let percent = match self.epochs {
            Some(_) => format!("  {:>2} %", look.done * 100 / look.total.max(1)),
            None => String::new(),
        };
        format!("  {}{percent}  {}", self.place(self.step(look)), self.behind_bar(look).join("  "))
    }

    /// Seconds until the last update, at the pace of the current epoch or interval.
    fn left(&self, totals: &Totals, step: u64) -> f64 {
        self.total.saturating_sub(step) as f64 * totals.seconds / totals.batches.max(1) as f64
    }

    /// Iterations a second where the model counts them, else tokens a second.
    fn speed(&self, tokens: f64) -> String {
        if !self.iterations {
            return format!("{} {}s/s", show::count(tokens as u64), self.unit);
        }
        match tokens / self.predictions.max(1) as f64 {
            slow if slow < 10.0 => format!("{slow:.1} it/s"),
            fast => format!("{} it/s", show::count(fast as u64)),
        }
    }

    /// The lines of a report: training, and validation if there was one.
    pub fn summary(&self, row: &Row) -> Vec<String> {
        let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
        let place = self.place(row.step);
        let width = if row.valid_loss.is_some() { place.len().max(VALIDATION.len()) } else { place.len() };
        let mut parts = vec![format!("{place:<width$}")];
        parts.extend(self.quality(row.train_loss, row.train_perplexity, row.train_accuracy));
        if self.metrics.contains(&Metric::GradientNorm) {
            parts.push(format!("gradient {}", show::short(number(row.gradient_norm))));
        }
        if self.scheduled {
            parts.push(format!("rate {}", show::short(number(row.learning_rate))));
        }
        parts.push(self.speed(number(row.words_per_second)));
        parts.push(show::duration(number(row.seconds)));
        let mut lines = vec![parts.join("  ")];
        if row.valid_loss.is_some() {
            let mut parts = vec![format!("{VALIDATION:>width$}")];
            parts.extend(self.quality(row.valid_loss, row.valid_perplexity, row.valid_accuracy));
            lines.push(parts.join("  "));
        }
        lines
    }

    /// `epoch 7 of 13: validation perplexity 12.34`, the best of a run.
    pub fn best(&self, row: &Row) -> String {
        let place = match self.epochs {
            Some(epochs) => format!("epoch {} of {epochs}", row.epoch),
            None if self.iterations => format!("step {}", show::count(row.step)),
            None => format!("epoch {}", row.epoch),
        };
        let quality = self.quality(row.valid_loss, row.valid_perplexity, row.valid_accuracy).join(", ");
        format!("{place}: {VALIDATION} {quality}")
    }

    /// The metrics that a text is measured by.
    fn measured(&self) -> impl Iterator<Item = Measured> {
        self.metrics.iter().filter_map(|metric| match metric {
            Metric::Perplexity => Some(Measured::Perplexity),
            Metric::Accuracy => Some(Measured::Accuracy),
            Metric::GradientNorm => None,
        })
    }

    /// The loss and the model's metrics. The loss makes room where there are two: it is the perplexity's logarithm.
    fn quality(&self, loss: Option<f64>, perplexities: Option<f64>, accuracy: Option<f64>) -> Vec<String> {
        let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
        let loss = (self.measured().count() < 2).then(|| format!("loss {}", self::loss(number(loss))));
        let metrics = self.measured().map(|metric| match metric {
            Measured::Perplexity => perplexity(number(perplexities)),
            Measured::Accuracy => format!("accuracy {:5.2} %", 100.0 * number(accuracy)),
        });
        loss.into_iter().chain(metrics).collect()
    }
}

/// What a text is measured by, in training and validation.
#[derive(Clone, Copy, Debug)]
enum Measured {
    Perplexity,
    Accuracy,
}

fn loss(value: f64) -> String {
    if value.abs() < 1e6 { format!("{value:.3}") } else { format!("{value:.1e}") }
}

fn perplexity(value: f64) -> String {
    format!("perplexity {}", show::perplexity(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn penn() -> Plan {
        Plan {
            epochs: Some(13),
            total: 13 * 2323,
            per_epoch: 2323,
            begun: 0,
            iterations: false,
            limited: false,
            predictions: 400,
            unit: "word",
            scheduled: true,
            metrics: vec![Metric::Perplexity],
        }
    }

    fn fable() -> Plan {
        Plan {
            epochs: None,
            total: 50_000,
            per_epoch: 50,
            iterations: true,
            predictions: 1,
            scheduled: false,
            metrics: vec![Metric::Accuracy],
            ..penn()
        }
    }

    fn look(step: u64, done: u64, total: u64) -> Snapshot {
        let totals = Totals {
            batches: done,
            loss: 2200.0 * done as f64,
            hits: 40.0,
            predictions: 400 * done,
            seconds: done as f64,
            ..Totals::default()
        };
        Snapshot { validating: false, done, total, step, totals }
    }

    fn row(step: u64) -> Row {
        Row {
            step,
            train_loss: Some(5.599),
            train_perplexity: Some(270.16),
            train_accuracy: Some(0.2012),
            learning_rate: Some(0.5f64.powi(7)),
            words_per_second: Some(12_345.6),
            seconds: Some(5100.0),
            ..Row::default()
        }
    }

    fn validated(step: u64) -> Row {
        let (loss, perplexity, accuracy) = (Some(5.18), Some(177.68), Some(0.234));
        Row { valid_loss: loss, valid_perplexity: perplexity, valid_accuracy: accuracy, ..row(step) }
    }

    #[test]
    fn an_epoch_is_reported_with_what_its_model_wants() {
        assert_eq!(
            penn().summary(&validated(2323)),
            [
                "epoch  1/13  loss 5.599  perplexity 270.2  rate 0.0078  12,345 words/s  1 h 25 m",
                " validation  loss 5.180  perplexity 177.7",
            ]
        );
        let both = Plan { scheduled: false, metrics: vec![Metric::Accuracy, Metric::Perplexity], ..penn() };
        assert_eq!(
            both.summary(&validated(4646)),
            [
                "epoch  2/13  accuracy 20.12 %  perplexity 270.2  12,345 words/s  1 h 25 m",
                " validation  accuracy 23.40 %  perplexity 177.7",
            ]
        );
        let short = Plan { epochs: Some(9), ..both };
        assert!(
            short.summary(&validated(1))[0].starts_with("epoch 1/9   accuracy"),
            "aligned with validation"
        );
        assert!(short.summary(&row(1))[0].starts_with("epoch 1/9  accuracy"));
    }

    #[test]
    fn iterations_are_reported_with_their_own_speed() {
        let row = Row { words_per_second: Some(84.3), ..row(1000) };
        assert_eq!(
            fable().summary(&row),
            ["step  1,000/50,000  loss 5.599  accuracy 20.12 %  84 it/s  1 h 25 m"]
        );
        let rows = Plan { predictions: 20, ..fable() };
        assert!(rows.summary(&row)[0].contains("  4.2 it/s  "), "{:?}", rows.summary(&row));
    }

    #[test]
    fn speed_is_counted_in_what_the_model_reads() {
        for (unit, shown) in [("character", " 12,345 characters/s "), ("token", " 12,345 tokens/s ")] {
            let line = &Plan { unit, ..penn() }.summary(&row(2323))[0];
            assert!(line.contains(shown), "{line}");
        }
    }

    #[test]
    fn figures_beyond_all_bounds_are_short() {
        let worst = |loss: f64| {
            let row = Row { train_loss: Some(loss), train_perplexity: Some(loss.exp()), ..row(1) };
            penn().summary(&row).remove(0)
        };
        assert!(worst(1000.0).contains("  loss 1000.000  perplexity inf  "), "{}", worst(1000.0));
        assert!(worst(1e30).contains("  loss 1.0e30  perplexity inf  "), "{}", worst(1e30));
        assert!(worst(300.0).contains("  perplexity 1.9e130  "), "{}", worst(300.0));
    }

    #[test]
    fn the_bar_says_where_the_run_is_once() {
        let look = look(2323 + 1161, 1161, 2323);
        assert_eq!(penn().before_bar(&look), "epoch  2/13");
        assert_eq!(penn().progress(&look), (1161, 2323));
        assert_eq!(penn().behind_bar(&look), ["loss 5.500", "perplexity 244.7", "400 words/s", "7.4 h left"]);
        assert_eq!(
            penn().line(&look),
            "  epoch  2/13  49 %  loss 5.500  perplexity 244.7  400 words/s  7.4 h left"
        );
        assert_eq!(fable().before_bar(&look), "step  3,484/50,000");
        assert_eq!(fable().progress(&look), (3484, 50_000));
        let validating = Snapshot { validating: true, ..look };
        assert_eq!(
            (penn().before_bar(&validating), penn().behind_bar(&validating)),
            (VALIDATION.into(), Vec::new())
        );
        assert_eq!(fable().progress(&validating), (1161, 2323));
    }

    #[test]
    fn a_limit_counts_in_steps() {
        let plan = Plan { epochs: None, total: 400, limited: true, ..penn() };
        let look = look(240, 240, 400);
        assert!(plan.line(&look).starts_with("  step 240/400  loss"), "{}", plan.line(&look));
        assert_eq!(plan.progress(&look), (240, 400));
        assert_eq!(plan.tenth(&look), Some(6));
        assert!(plan.summary(&row(400))[0].starts_with("step 400/400  "));
    }

    #[test]
    fn tenths_are_within_an_epoch() {
        let tenth = |step, done| penn().tenth(&look(step, done, 2323));
        assert_eq!([tenth(100, 100), tenth(233, 233), tenth(2323, 2323)], [None, Some(1), None]);
        assert_eq!(tenth(2323 + 233, 233), Some(11));
    }

    #[test]
    fn a_run_that_goes_on_begins_where_it_was() {
        let plan = Plan { begun: 18_000, ..fable() };
        let fresh = Snapshot { step: 0, ..look(0, 0, 1000) };
        assert_eq!(plan.before_bar(&fresh), "step 18,000/50,000");
    }
}
