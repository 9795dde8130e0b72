//! The train block's `schedule`: what the optimizer's rate is multiplied by.

use super::keyed::Keyed;
use super::settings::{Chosen, choice, number, positive, whole};
use super::{Course, Schedule};
use crate::diag::{Diagnostic, Span};
use crate::syntax::ast::{Arg, Expr};

const DECAY: &str = "such as `schedule: decay(0.5, after: 4)`, or `decay(0.5, every: 10)`";
const COSINE: &str = "such as `schedule: cosine(to: 0)`";
const WARMUP: &str = "such as `schedule: warmup(steps: 500)`";
const PLATEAU: &str = "such as `schedule: plateau(0.5, patience: 2)`";

/// What one word of a schedule says.
enum Part {
    Warmup(usize),
    Course(Course),
}

/// A schedule of one or two parts, a warmup and another one.
pub(super) fn read(exprs: &[&Expr], errors: &mut Vec<Diagnostic>) -> Option<Schedule> {
    type Read = fn(&str, Span, &[Arg], &mut Vec<Diagnostic>) -> Option<Part>;
    let kinds: [(_, Read); 4] =
        [("decay", decay), ("cosine", cosine), ("warmup", warmup), ("plateau", plateau)];
    let (mut schedule, mut sound) = (Schedule::default(), true);
    let mut seen: [Option<Span>; 2] = [None, None];
    for expr in exprs {
        let chosen = choice("schedule", expr, &kinds, errors);
        let part = chosen.and_then(|Chosen { word, value, args }| value(word, expr.span, args, errors));
        let Some(part) = part else {
            sound = false;
            continue;
        };
        let first = &mut seen[usize::from(matches!(part, Part::Warmup(_)))];
        if let Some(first) = first {
            let message =
                "a schedule is one of `decay`, `cosine` and `plateau`, with or without one `warmup`";
            errors.push(Diagnostic::error("E0410", expr.span, message).label(*first, "beside this"));
            sound = false;
        }
        first.get_or_insert(expr.span);
        match part {
            Part::Warmup(updates) => schedule.warmup = updates,
            Part::Course(course) => schedule.course = course,
        }
    }
    sound.then_some(schedule)
}

fn decay(word: &str, span: Span, args: &[Arg], errors: &mut Vec<Diagnostic>) -> Option<Part> {
    let keyed = Keyed::train_call(word, span, args, errors);
    let factor = keyed.require("factor", DECAY, errors).and_then(|expr| positive("factor", expr, errors));
    let every = keyed.get("every", errors);
    if let (Some(every), Some(after)) = (every, keyed.key_span("after")) {
        let message = "a decay is either `after` an epoch, from then on in each, or `every` so many";
        errors.push(Diagnostic::error("E0410", every.span, message).label(after, "after here"));
        return None;
    }
    let course = match every {
        Some(every) => {
            let every = whole("every", every, 1, errors);
            Course::Stairs { factor: factor?, every: every? }
        }
        None => {
            let after =
                keyed.require("after", DECAY, errors).and_then(|expr| whole("after", expr, 0, errors));
            Course::Decay { factor: factor?, after: after? }
        }
    };
    Some(Part::Course(course))
}

fn cosine(word: &str, span: Span, args: &[Arg], errors: &mut Vec<Diagnostic>) -> Option<Part> {
    let keyed = Keyed::train_call(word, span, args, errors);
    let expr = keyed.require("to", COSINE, errors)?;
    let to = number("to", expr, errors)?;
    if !(0.0..1.0).contains(&to) {
        let message = "`to` is a share of the rate: from 0 up to, not including, 1";
        errors.push(Diagnostic::error("E0406", expr.span, message));
        return None;
    }
    Some(Part::Course(Course::Cosine { to }))
}

fn warmup(word: &str, span: Span, args: &[Arg], errors: &mut Vec<Diagnostic>) -> Option<Part> {
    let keyed = Keyed::train_call(word, span, args, errors);
    let steps = keyed.require("steps", WARMUP, errors)?;
    whole("steps", steps, 1, errors).map(Part::Warmup)
}

fn plateau(word: &str, span: Span, args: &[Arg], errors: &mut Vec<Diagnostic>) -> Option<Part> {
    let keyed = Keyed::train_call(word, span, args, errors);
    let factor = keyed.require("factor", PLATEAU, errors).and_then(|expr| positive("factor", expr, errors));
    let patience =
        keyed.require("patience", PLATEAU, errors).and_then(|expr| whole("patience", expr, 1, errors));
    Some(Part::Course(Course::Plateau { factor: factor?, patience: patience? }))
}
