//! What is known of the values of a model's equations: the interval that each lies in, and which are equal.
//!
//! Intervals follow from the operations alone: nothing is known of parameters. A state is assumed not to be negative as long
//! as its start and its `next` confirm it. Equal values are found by value numbering.

use std::collections::HashMap;

use super::interval::{ANY, Interval, NOT_NEGATIVE, UNIT};
use super::{ExprId, ExprOp, Layer, Source};
use crate::scalar::Scalar;

/// An equation of a model: its layer, and its place in the layer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ExprRef {
    pub layer: usize,
    pub expr: ExprId,
}

/// The facts about every equation of some layers.
pub(super) struct Facts<'a> {
    pub layers: &'a [Layer],
    /// By layer and equation.
    intervals: Vec<Vec<Interval>>,
    /// By layer and equation: equal numbers for equal values.
    numbers: Vec<Vec<u32>>,
    /// The number of each operation on numbered operands, as text.
    numbered: HashMap<String, u32>,
}

impl<'a> Facts<'a> {
    pub fn of(layers: &'a [Layer]) -> Self {
        let mut facts = Self { layers, intervals: vec![], numbers: vec![], numbered: HashMap::new() };
        for layer in 0..layers.len() {
            facts.number_values(layer);
            facts.find_intervals(layer);
        }
        facts
    }

    pub fn op(&self, place: ExprRef) -> &'a ExprOp {
        &self.layers[place.layer].body.exprs[place.expr.0 as usize].op
    }

    /// A vector's width, or `None` for a number.
    pub fn width(&self, place: ExprRef) -> Option<usize> {
        self.layers[place.layer].body.exprs[place.expr.0 as usize].shape.first().copied()
    }

    pub fn result(&self, layer: usize) -> ExprRef {
        ExprRef { layer, expr: self.layers[layer].body.result }
    }

    /// What an input of a layer reads, if it reads another layer's result.
    pub fn source(&self, layer: usize, input: usize) -> Option<ExprRef> {
        match self.layers[layer].inputs[input] {
            Source::Layer(source) => Some(self.result(source)),
            Source::Tokens => None,
        }
    }

    /// What the value's elements lie in.
    pub fn interval(&self, place: ExprRef) -> Interval {
        self.intervals[place.layer][place.expr.0 as usize]
    }

    /// The same number for equal values.
    pub fn value_number(&self, place: ExprRef) -> u32 {
        self.numbers[place.layer][place.expr.0 as usize]
    }

    fn number_values(&mut self, layer: usize) {
        let mut numbers: Vec<u32> = vec![];
        for (index, expr) in self.layers[layer].body.exprs.iter().enumerate() {
            let of = |id: &ExprId| numbers[id.0 as usize];
            let all = |ids: &[ExprId]| ids.iter().map(of).collect::<Vec<u32>>();
            let key = match &expr.op {
                ExprOp::Input(input) => match self.source(layer, *input) {
                    Some(source) => {
                        numbers.push(self.value_number(source));
                        continue;
                    }
                    None => "tokens".to_owned(),
                },
                // `final_step` is the same value at the last step.
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
            let next = self.numbered.len() as u32;
            numbers.push(*self.numbered.entry(key).or_insert(next));
        }
        self.numbers.push(numbers);
    }

    fn find_intervals(&mut self, layer: usize) {
        let Layer { states, body, .. } = &self.layers[layer];
        let assumed = |start: f64| if start >= 0.0 { NOT_NEGATIVE } else { ANY };
        let mut states: Vec<Interval> = states.iter().map(|state| assumed(state.start)).collect();
        loop {
            let mut found: Vec<Interval> = vec![];
            for (index, _) in body.exprs.iter().enumerate() {
                let interval = self.interval_of(layer, index, &found, &states);
                found.push(interval);
            }
            // An assumption that the next value does not confirm is dropped, and all are computed again.
            let mut confirmed = true;
            for (state, next) in states.iter_mut().zip(&body.next) {
                if state.least >= 0.0 && found[next.0 as usize].least < 0.0 {
                    *state = ANY;
                    confirmed = false;
                }
            }
            if confirmed {
                self.intervals.push(found);
                return;
            }
        }
    }

    fn interval_of(&self, layer: usize, index: usize, found: &[Interval], states: &[Interval]) -> Interval {
        let of = |id: &ExprId| found[id.0 as usize];
        match &self.layers[layer].body.exprs[index].op {
            ExprOp::Const(number) => Interval::constant(*number),
            ExprOp::Input(input) => self.source(layer, *input).map_or(ANY, |source| self.interval(source)),
            ExprOp::State(state) => states[*state],
            ExprOp::Random | ExprOp::Training => UNIT,
            ExprOp::Number(_) => NOT_NEGATIVE,
            ExprOp::Stop(x) | ExprOp::FinalStep(x) | ExprOp::Max(x) | ExprOp::Slice { x, .. } => of(x),
            ExprOp::Sum(x) => {
                let width = self.layers[layer].body.exprs[x.0 as usize].shape.iter().product::<usize>();
                of(x).times(Interval::constant(width as f64))
            }
            ExprOp::Concat(parts) => parts.iter().map(of).reduce(Interval::or).unwrap_or(ANY),
            ExprOp::Map(op, args) => self.interval_of_map(layer, *op, args, &of),
            ExprOp::Param(_) | ExprOp::MatMul { .. } | ExprOp::Row { .. } | ExprOp::Rate | ExprOp::Step => {
                ANY
            }
        }
    }

    fn interval_of_map(
        &self,
        layer: usize,
        op: Scalar,
        args: &[ExprId],
        of: &dyn Fn(&ExprId) -> Interval,
    ) -> Interval {
        let same = |a: &ExprId, b: &ExprId| {
            self.value_number(ExprRef { layer, expr: *a }) == self.value_number(ExprRef { layer, expr: *b })
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
            // One of the elements of a vector that is not negative, over their sum.
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

    /// Whether the one is the sum of the other's elements.
    fn is_sum_of(&self, layer: usize, sum: ExprId, x: ExprId) -> bool {
        let value = |expr| self.value_number(ExprRef { layer, expr });
        let ExprOp::Sum(inner) = self.op(ExprRef { layer, expr: sum }) else { return false };
        value(*inner) == value(x)
    }
}
