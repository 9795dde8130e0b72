//! The `train` block.

use super::init::InitSpec;
use super::keyed::{self, Keyed};
use super::schedule;
use super::scope::Scope;
use super::settings::{Chosen, choice, positive, whole, word};
use super::{Course, Data, Length, Loss, Metric, Precision, Schedule, Train};
use crate::diag::{Diagnostic, Place, Span};
use crate::syntax::ast::{Expr, ExprKind, Settings};

/// The parts of the block; one that is wrong is `None`, and its errors have been reported.
#[derive(Default)]
pub(super) struct TrainBlock<'a> {
    pub train: Option<Train>,
    /// As written: `name` or `name(arguments)`.
    pub optimizer: Option<&'a Expr>,
    pub init: Option<InitSpec>,
    pub schedule_span: Option<Span>,
    pub shards_span: Option<Span>,
    /// What goes by the validation loss, and where it is written.
    pub by_validation: Vec<(&'static str, Span)>,
}

/// Iterations from one report to the next, where the block does not say.
const INTERVAL: usize = 1000;

pub(super) fn read<'a>(block: &'a Settings, errors: &mut Vec<Diagnostic>) -> TrainBlock<'a> {
    let keyed = Keyed::block(block, &keyed::TRAIN, errors);
    let loss = keyed.require("loss", "write `loss: cross_entropy`", errors);
    let loss = loss.and_then(|expr| read_loss(expr, errors));
    let optimizer = keyed.require("optimizer", "such as `optimizer: sgd(rate: 1.0)`", errors);
    let clip = keyed.get("clip", errors).map(|expr| read_clip(expr, errors));
    let schedule = schedule::read(keyed.list("schedule"), errors);
    let init = keyed.get("init", errors).and_then(|expr| read_init(expr, errors));
    let precision = keyed.get("precision", errors).map(|expr| read_precision(expr, errors));
    let length = read_length(&keyed, block.span, errors);
    let report = read_report(&keyed, errors);
    let keep_best = keyed.get("checkpoint", errors).map(|expr| read_checkpoint(expr, errors));
    let keep = keyed.get("keep", errors).map(|expr| whole("keep", expr, 1, errors));
    let patience = keyed.get("patience", errors).map(|expr| whole("patience", expr, 1, errors));
    let accumulate = keyed.get("accumulate", errors).map(|expr| whole("accumulate", expr, 1, errors));
    let shards = keyed.get("shards", errors).map(|expr| whole("shards", expr, 1, errors));
    let average = keyed.get("weights", errors).map(|expr| read_average(expr, errors));
    let train = (|| {
        Some(Train {
            loss: loss?,
            length: length?,
            clip: clip.map_or(Some(None), |clip| clip.map(Some))?,
            schedule: schedule?,
            precision: precision.map_or(Some(None), |precision| precision.map(Some))?,
            report,
            keep_best: keep_best.map_or(Some(false), |best| best)?,
            keep: keep.map_or(Some(None), |keep| keep.map(Some))?,
            patience: patience.map_or(Some(None), |patience| patience.map(Some))?,
            accumulate: accumulate.unwrap_or(Some(1))?,
            shards: shards.unwrap_or(Some(1))?,
            average: average.map_or(Some(None), |average| average.map(Some))?,
        })
    })();
    let by_validation = by_validation(&keyed, schedule);
    TrainBlock {
        train,
        optimizer,
        init,
        schedule_span: keyed.key_span("schedule"),
        shards_span: keyed.list("shards").first().map(|expr| expr.span),
        by_validation,
    }
}

/// What goes by the validation loss, and where it stands.
fn by_validation(keyed: &Keyed, schedule: Option<Schedule>) -> Vec<(&'static str, Span)> {
    let plateau = schedule.is_some_and(|schedule| matches!(schedule.course, Course::Plateau { .. }));
    let spans = [
        ("plateau", keyed.key_span("schedule").filter(|_| plateau)),
        ("checkpoint: best", keyed.key_span("checkpoint")),
        ("patience", keyed.key_span("patience")),
    ];
    spans.into_iter().filter_map(|(what, span)| Some((what, span?))).collect()
}

/// The epoch from which on the mean of the weights is kept.
fn read_average(expr: &Expr, errors: &mut Vec<Diagnostic>) -> Option<usize> {
    let Chosen { word: name, args, .. } = choice("weights", expr, &[("average", ())], errors)?;
    let keyed = Keyed::train_call(name, expr.span, args, errors);
    let after = keyed.require("after", "such as `weights: average(after: 5)`", errors)?;
    whole("after", after, 1, errors)
}

/// Whether the best checkpoint stays: there is nothing else to say.
fn read_checkpoint(expr: &Expr, errors: &mut Vec<Diagnostic>) -> Option<bool> {
    word("checkpoint", expr, &[("best", true)], errors)
}

/// Reports what goes by the validation loss where there is none.
pub(super) fn check_validation(by_validation: &[(&str, Span)], data: &Data, errors: &mut Vec<Diagnostic>) {
    if data.valid.is_some() {
        return;
    }
    for (what, span) in by_validation {
        let message = format!("`{what}` goes by the validation loss, and the data block has no `valid`");
        let error = Diagnostic::error("E0404", *span, message);
        errors.push(error.help("name a text to validate on in the data block: `valid: \"valid.txt\"`"));
    }
}

/// Reports a number of shards into which the batches' rows cannot be cut evenly.
pub(super) fn check_shards(block: &TrainBlock<'_>, data: &Data, errors: &mut Vec<Diagnostic>) {
    let (Some(train), Some(span)) = (&block.train, block.shards_span) else { return };
    let (shards, rows) = (train.shards, data.batches.rows);
    if rows.is_multiple_of(shards) {
        return;
    }
    let message = format!("a batch of {rows} rows cannot be cut into {shards} shards of equally many");
    let fitting: Vec<String> =
        (1..=rows).filter(|shards| rows.is_multiple_of(*shards)).map(|shards| shards.to_string()).collect();
    let error = Diagnostic::error("E0406", span, message).label(data.batches.span, "rows here");
    errors.push(error.help(format!("{} divide {rows}", fitting.join(", "))));
}

fn read_loss(expr: &Expr, errors: &mut Vec<Diagnostic>) -> Option<Loss> {
    let Chosen { word: name, args, .. } = choice("loss", expr, &[("cross_entropy", ())], errors)?;
    let keyed = Keyed::train_call(name, expr.span, args, errors);
    let kinds = [("mean", Loss::MeanOverSteps), ("sum", Loss::SumOverSteps)];
    match keyed.get("steps", errors) {
        None => Some(Loss::MeanOverSteps),
        Some(expr) => word("steps", expr, &kinds, errors),
    }
}

fn read_clip(expr: &Expr, errors: &mut Vec<Diagnostic>) -> Option<f64> {
    if matches!(expr.kind, ExprKind::Number(_)) {
        let error = Diagnostic::error("E0405", expr.span, format!("`{expr}` does not say what is clipped"));
        errors.push(error.help(format!("write `clip: norm({expr})`: the norm of all gradients together")));
        return None;
    }
    let Chosen { word: name, args, .. } = choice("clip", expr, &[("norm", ())], errors)?;
    let keyed = Keyed::train_call(name, expr.span, args, errors);
    positive("limit", keyed.require("limit", "such as `clip: norm(5)`", errors)?, errors)
}

fn read_init(expr: &Expr, errors: &mut Vec<Diagnostic>) -> Option<InitSpec> {
    let mut scope = Scope::constants();
    scope.wanted = Place::Initializer;
    let spec = scope.eval(expr).and_then(|value| scope.initializer(value, expr.span));
    errors.append(&mut scope.errors);
    spec.ok()
}

fn read_precision(expr: &Expr, errors: &mut Vec<Diagnostic>) -> Option<Precision> {
    let kinds = Precision::ALL.map(|precision| (precision.name(), precision));
    word("precision", expr, &kinds, errors)
}

fn read_length(keyed: &Keyed, span: Span, errors: &mut Vec<Diagnostic>) -> Option<Length> {
    let epochs = keyed.get("epochs", errors);
    let iterations = keyed.get("iterations", errors);
    let every = keyed.get("report_every", errors).map(|expr| whole("report_every", expr, 1, errors));
    match (epochs, iterations) {
        (Some(epochs), Some(iterations)) => {
            let message = "a training has either `epochs` or `iterations`";
            errors
                .push(Diagnostic::error("E0410", iterations.span, message).label(epochs.span, "epochs here"));
            None
        }
        (Some(epochs), None) => {
            if let Some(span) = keyed.key_span("report_every") {
                let message = "`report_every` goes with `iterations`; epochs are reported as they end";
                errors.push(Diagnostic::error("E0410", span, message));
            }
            whole("epochs", epochs, 1, errors).map(Length::Epochs)
        }
        (None, Some(iterations)) => {
            let count = whole("iterations", iterations, 1, errors)?;
            let report_every = every.unwrap_or(Some(INTERVAL.min(count)))?;
            Some(Length::Iterations { count, report_every })
        }
        (None, None) => {
            let error = Diagnostic::error("E0404", span, "the train block does not say how long");
            errors.push(error.help("such as `epochs: 13`, or `iterations: 50000`"));
            None
        }
    }
}

fn read_report(keyed: &Keyed, errors: &mut Vec<Diagnostic>) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for expr in keyed.list("report") {
        let kinds = [Metric::Perplexity, Metric::Accuracy, Metric::GradientNorm]
            .map(|metric| (metric.name(), metric));
        let Some(metric) = word("report", expr, &kinds, errors) else { continue };
        if metrics.contains(&metric) {
            errors.push(Diagnostic::error("E0403", expr.span, format!("`{expr}` is reported twice")));
        } else {
            metrics.push(metric);
        }
    }
    if metrics.is_empty() { vec![Metric::Perplexity, Metric::Accuracy] } else { metrics }
}
