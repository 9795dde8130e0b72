//! What numbers the equations' values can be, and which of them are equal, for [`super::outcome`].
//!
//! Intervals are as wide as the operations alone allow: nothing is known of parameters. A state is taken not to be negative
//! as long as its start and its `next` bear that out.

use std::collections::HashMap;

use super::{ExprId, ExprOp, Layer, Source};
use crate::scalar::{self, Scalar};

/// The numbers that a value's elements can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    pub least: f64,
    pub most: f64,
}

const ANY: Interval = Interval { least: f64::NEG_INFINITY, most: f64::INFINITY };
const NOT_NEGATIVE: Interval = Interval { least: 0.0, most: f64::INFINITY };
const UNIT: Interval = Interval { least: 0.0, most: 1.0 };

impl Interval {
    fn new(least: f64, most: f64) -> Self {
        // What no number bounds, such as infinity less infinity, is not bounded.
        let or = |bound: f64, other: f64| if bound.is_nan() { other } else { bound };
        Self { least: or(least, f64::NEG_INFINITY), most: or(most, f64::INFINITY) }
    }

    fn constant(number: f64) -> Self {
        Self::new(number, number)
    }

    fn or(self, other: Self) -> Self {
        Self::new(self.least.min(other.least), self.most.max(other.most))
    }

    fn times(self, other: Self) -> Self {
        // An end at infinity is not a number: zero times it is zero.
        let product = |a: f64, b: f64| if a == 0.0 || b == 0.0 { 0.0 } else { a * b };
        let ends = [
            product(self.least, other.least),
            product(self.least, other.most),
            product(self.most, other.least),
            product(self.most, other.most),
        ];
        let least = ends.into_iter().fold(f64::INFINITY, f64::min);
        Self::new(least, ends.into_iter().fold(f64::NEG_INFINITY, f64::max))
    }

    /// One over the interval, if it has one sign.
    fn inverse(self) -> Self {
        if self.least >= 0.0 {
            Self::new(1.0 / self.most, 1.0 / self.least.abs())
        } else if self.most <= 0.0 {
            Self::new(-1.0 / self.most.abs(), 1.0 / self.least)
        } else {
            ANY
        }
    }

    /// Both ends through a function that does not fall.
    fn through(self, op: Scalar) -> Self {
        Self::new(scalar::eval(op, &[self.least]), scalar::eval(op, &[self.most]))
    }
}

/// A place in a model: a layer and an equation of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub layer: usize,
    pub expr: ExprId,
}

/// Of every equation of some layers: its interval, and a number that equal values share.
pub(super) struct Facts<'a> {
    pub layers: &'a [Layer],
    intervals: Vec<Vec<Interval>>,
    numbers: Vec<Vec<u32>>,
    known: HashMap<String, u32>,
}

impl<'a> Facts<'a> {
    pub fn of(layers: &'a [Layer]) -> Self {
        let mut facts = Self { layers, intervals: vec![], numbers: vec![], known: HashMap::new() };
        for layer in 0..layers.len() {
            facts.number(layer);
            facts.intervals(layer);
        }
        facts
    }

    pub fn op(&self, place: Place) -> &'a ExprOp {
        &self.layers[place.layer].body.exprs[place.expr.0 as usize].op
    }

    /// A vector's width, or `None` of a number.
    pub fn width(&self, place: Place) -> Option<usize> {
        self.layers[place.layer].body.exprs[place.expr.0 as usize].shape.first().copied()
    }

    pub fn result(&self, layer: usize) -> Place {
        Place { layer, expr: self.layers[layer].body.result }
    }

    /// What an input of a layer reads, if it reads another layer's result.
    pub fn source(&self, layer: usize, input: usize) -> Option<Place> {
        match self.layers[layer].inputs[input] {
            Source::Layer(source) => Some(self.result(source)),
            Source::Tokens => None,
        }
    }

    pub fn range(&self, place: Place) -> Interval {
        self.intervals[place.layer][place.expr.0 as usize]
    }

    /// The same for equal values.
    pub fn value(&self, place: Place) -> u32 {
        self.numbers[place.layer][place.expr.0 as usize]
    }

    fn number(&mut self, layer: usize) {
        let mut numbers: Vec<u32> = vec![];
        for (index, expr) in self.layers[layer].body.exprs.iter().enumerate() {
            let of = |id: &ExprId| numbers[id.0 as usize];
            let all = |ids: &[ExprId]| ids.iter().map(of).collect::<Vec<u32>>();
            let key = match &expr.op {
                ExprOp::Input(input) => match self.source(layer, *input) {
                    Some(source) => {
                        numbers.push(self.value(source));
                        continue;
                    }
                    None => "tokens".to_owned(),
                },
                // At the last step both are the same value.
                ExprOp::Stop(x) | ExprOp::FinalStep(x) => {
                    let number = of(x);
                    numbers.push(number);
                    continue;
                }
                ExprOp::State(_) | ExprOp::Random => format!("{layer} {index}"),
                ExprOp::Map(op, args) => format!("{op:?} {:?}", all(args)),
                ExprOp::MatMul { x, w, transposed } => format!("@ {:?} {transposed}", all(&[*x, *w])),
                ExprOp::Row { table, token } => format!("row {:?}", all(&[*table, *token])),
                ExprOp::Concat(parts) => format!("concat {:?}", all(parts)),
                ExprOp::Slice { x, start, len } => format!("slice {} {start} {len}", of(x)),
                ExprOp::Sum(x) => format!("sum {}", of(x)),
                ExprOp::Max(x) => format!("max {}", of(x)),
                ExprOp::Number(x) => format!("number {}", of(x)),
                ExprOp::Const(_) | ExprOp::Param(_) | ExprOp::Training | ExprOp::Rate | ExprOp::Step => {
                    format!("{:?}", expr.op)
                }
            };
            let next = self.known.len() as u32;
            numbers.push(*self.known.entry(key).or_insert(next));
        }
        self.numbers.push(numbers);
    }

    fn intervals(&mut self, layer: usize) {
        let Layer { states, body, .. } = &self.layers[layer];
        let assumed = |start: f64| if start >= 0.0 { NOT_NEGATIVE } else { ANY };
        let mut states: Vec<Interval> = states.iter().map(|state| assumed(state.start)).collect();
        loop {
            let mut found: Vec<Interval> = vec![];
            for (index, _) in body.exprs.iter().enumerate() {
                let interval = self.interval(layer, index, &found, &states);
                found.push(interval);
            }
            // What a state's next value does not bear out is given up; then the others are looked at again.
            let mut sound = true;
            for (state, next) in states.iter_mut().zip(&body.next) {
                if state.least >= 0.0 && found[next.0 as usize].least < 0.0 {
                    *state = ANY;
                    sound = false;
                }
            }
            if sound {
                self.intervals.push(found);
                return;
            }
        }
    }

    fn interval(&self, layer: usize, index: usize, found: &[Interval], states: &[Interval]) -> Interval {
        let of = |id: &ExprId| found[id.0 as usize];
        match &self.layers[layer].body.exprs[index].op {
            ExprOp::Const(number) => Interval::constant(*number),
            ExprOp::Input(input) => self.source(layer, *input).map_or(ANY, |source| self.range(source)),
            ExprOp::State(state) => states[*state],
            ExprOp::Random | ExprOp::Training => UNIT,
            ExprOp::Number(_) => NOT_NEGATIVE,
            ExprOp::Stop(x) | ExprOp::FinalStep(x) | ExprOp::Max(x) | ExprOp::Slice { x, .. } => of(x),
            ExprOp::Sum(x) => {
                let width = self.layers[layer].body.exprs[x.0 as usize].shape.iter().product::<usize>();
                of(x).times(Interval::constant(width as f64))
            }
            ExprOp::Concat(parts) => parts.iter().map(of).reduce(Interval::or).unwrap_or(ANY),
            ExprOp::Map(op, args) => self.map(layer, *op, args, &of),
            ExprOp::Param(_) | ExprOp::MatMul { .. } | ExprOp::Row { .. } | ExprOp::Rate | ExprOp::Step => {
                ANY
            }
        }
    }

    fn map(&self, layer: usize, op: Scalar, args: &[ExprId], of: &dyn Fn(&ExprId) -> Interval) -> Interval {
        let same = |a: &ExprId, b: &ExprId| {
            self.value(Place { layer, expr: *a }) == self.value(Place { layer, expr: *b })
        };
        match (op, args) {
            (Scalar::Neg, [x]) => of(x).times(Interval::constant(-1.0)),
            (Scalar::Exp | Scalar::Tanh | Scalar::Sigmoid, [x]) => of(x).through(op),
            (Scalar::Log | Scalar::Sqrt, [x]) if of(x).least >= 0.0 => of(x).through(op),
            (Scalar::Sqrt | Scalar::Abs, _) => NOT_NEGATIVE,
            (Scalar::Add, [a, b]) => {
                let (a, b) = (of(a), of(b));
                Interval::new(a.least + b.least, a.most + b.most)
            }
            (Scalar::Sub, [a, b]) => {
                let (a, b) = (of(a), of(b));
                Interval::new(a.least - b.most, a.most - b.least)
            }
            (Scalar::Mul, [a, b]) if same(a, b) => NOT_NEGATIVE,
            (Scalar::Mul, [a, b]) => of(a).times(of(b)),
            // A share of what is not negative.
            (Scalar::Div, [a, b]) if of(a).least >= 0.0 && self.is_sum_of(layer, *b, *a) => UNIT,
            (Scalar::Div, [a, b]) => of(a).times(of(b).inverse()),
            (Scalar::Pow, [a, b]) => {
                let even = of(b).least == of(b).most && of(b).least % 2.0 == 0.0;
                if even || of(a).least >= 0.0 { NOT_NEGATIVE } else { ANY }
            }
            (Scalar::Max, [a, b]) => {
                let (a, b) = (of(a), of(b));
                Interval::new(a.least.max(b.least), a.most.max(b.most))
            }
            (Scalar::Min, [a, b]) => {
                let (a, b) = (of(a), of(b));
                Interval::new(a.least.min(b.least), a.most.min(b.most))
            }
            (Scalar::Lt | Scalar::Le | Scalar::Gt | Scalar::Ge | Scalar::Eq | Scalar::Ne, _) => UNIT,
            (Scalar::Select, [_, a, b]) => of(a).or(of(b)),
            _ => ANY,
        }
    }

    fn is_sum_of(&self, layer: usize, sum: ExprId, x: ExprId) -> bool {
        let value = |expr| self.value(Place { layer, expr });
        let ExprOp::Sum(inner) = self.op(Place { layer, expr: sum }) else { return false };
        value(*inner) == value(x)
    }
}
