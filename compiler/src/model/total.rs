//! What the elements of a model's result add up to, for [`super::outcome`].
//!
//! Sums and numbers are polynomials over [`Atom`]s with whole exponents, such as `sum(e) * sum(e) ^ -1`. A sum is taken
//! apart as far as it is linear, so that mixtures of distributions come out as 1, and an exponential of a difference is a
//! quotient, so that it does not matter what was taken off before.

use super::ExprOp;
use super::facts::{ExprRef, Facts};
use crate::scalar::Scalar;

/// Whether the elements of the layer's result add up to 1.
pub(super) fn is_one(facts: &Facts, layer: usize) -> bool {
    let mut totals = Totals { facts, work: WORK, depth: 0, assumed: vec![] };
    let width = facts.layers[layer].width;
    totals.sum(facts.result(layer), 0, width).is_one()
}

/// The most equations that are looked into, and how deep. A value beyond them is left as an atom, so that no model takes
/// long.
const WORK: usize = 4_000;
const DEPTH: usize = 100;

/// The most terms of a polynomial: a value with more is left as an atom too.
const TERMS: usize = 64;

/// Decimal constants are not exact in binary.
const ROUNDING: f64 = 1e-6;

#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum Atom {
    /// A number of the equations.
    Number(u32),
    /// `exp` of it.
    Exp(u32),
    /// The sum of a vector's elements `start .. end`, or of their exponentials.
    Sum { exp: bool, vector: u32, start: usize, end: usize },
    /// One over several terms.
    Inverse(Polynomial),
}

/// Factors with their exponents, in order.
type Monomial = Vec<(Atom, i32)>;

/// Terms with their coefficients, in order.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
struct Polynomial(Vec<(Monomial, f64)>);

impl Polynomial {
    fn constant(number: f64) -> Self {
        Self(vec![(vec![], number)])
    }

    fn atom(atom: Atom) -> Self {
        Self(vec![(vec![(atom, 1)], 1.0)])
    }

    fn of(mut terms: Vec<(Monomial, f64)>) -> Self {
        let order = |a: &Monomial, b: &Monomial| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
        terms.sort_by(|a, b| order(&a.0, &b.0));
        let mut merged: Vec<(Monomial, f64)> = vec![];
        for (monomial, factor) in terms {
            match merged.last_mut() {
                Some(last) if last.0 == monomial => last.1 += factor,
                _ => merged.push((monomial, factor)),
            }
        }
        merged.retain(|(_, factor)| factor.abs() > ROUNDING * ROUNDING);
        Self(merged)
    }

    fn plus(self, other: Self) -> Self {
        Self::of([self.0, other.0].concat())
    }

    fn scaled(mut self, factor: f64) -> Self {
        self.0.iter_mut().for_each(|term| term.1 *= factor);
        Self::of(self.0)
    }

    fn times(&self, other: &Self) -> Self {
        let product = |a: &(Monomial, f64), b: &(Monomial, f64)| (multiply(&a.0, &b.0), a.1 * b.1);
        Self::of(self.0.iter().flat_map(|a| other.0.iter().map(move |b| product(a, b))).collect())
    }

    fn inverse(&self) -> Self {
        match &self.joined().0[..] {
            [(monomial, factor)] => {
                let inverse = monomial.iter().map(|(atom, exponent)| (atom.clone(), -exponent)).collect();
                Self(vec![(inverse, 1.0 / factor)])
            }
            _ => Self::atom(Atom::Inverse(self.joined())),
        }
    }

    /// With sums of adjacent pieces of one vector as one sum.
    fn joined(&self) -> Self {
        let mut terms = self.0.clone();
        'again: loop {
            for (i, a) in terms.iter().enumerate() {
                for (j, b) in terms.iter().enumerate() {
                    if let Some(joined) = join(a, b) {
                        let (first, second) = (i.min(j), i.max(j));
                        terms.remove(second);
                        terms[first] = joined;
                        continue 'again;
                    }
                }
            }
            return Self::of(terms);
        }
    }

    fn is_one(&self) -> bool {
        let joined = self.joined();
        match &joined.0[..] {
            [(monomial, factor)] if monomial.is_empty() => (factor - 1.0).abs() < ROUNDING,
            // p / q is 1 where p is q.
            [(monomial, _), ..] => monomial.iter().any(|(atom, exponent)| match atom {
                Atom::Inverse(q) if *exponent == 1 => {
                    let over = Self(vec![(vec![(atom.clone(), -1)], 1.0)]);
                    joined.times(&over).plus(q.clone().scaled(-1.0)).0.is_empty()
                }
                _ => false,
            }),
            [] => false,
        }
    }
}

fn multiply(a: &Monomial, b: &Monomial) -> Monomial {
    let mut product = a.clone();
    for (atom, exponent) in b {
        match product.iter_mut().find(|(known, _)| known == atom) {
            Some((_, sum)) => *sum += exponent,
            None => product.push((atom.clone(), *exponent)),
        }
    }
    product.retain(|(_, exponent)| *exponent != 0);
    product.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    product
}

/// The sum of two terms that differ in which piece of a vector is summed, if one piece follows the other.
fn join(a: &(Monomial, f64), b: &(Monomial, f64)) -> Option<(Monomial, f64)> {
    if (a.1 - b.1).abs() > ROUNDING * a.1.abs() {
        return None;
    }
    for (place, (atom, exponent)) in a.0.iter().enumerate() {
        let Atom::Sum { exp, vector, start, end } = atom else { continue };
        for (other_place, (other, other_exponent)) in b.0.iter().enumerate() {
            let Atom::Sum { exp: other_exp, vector: other_vector, start: next, end: last } = other else {
                continue;
            };
            let follows = (exp, vector, end) == (other_exp, other_vector, next);
            if !follows || (*exponent, *other_exponent) != (1, 1) {
                continue;
            }
            let without = |terms: &Monomial, place: usize| {
                let mut terms = terms.clone();
                terms.remove(place);
                terms
            };
            let rest = without(&a.0, place);
            if rest == without(&b.0, other_place) {
                let whole = Atom::Sum { exp: *exp, vector: *vector, start: *start, end: *last };
                return Some((multiply(&rest, &vec![(whole, 1)]), a.1));
            }
        }
    }
    None
}

struct Totals<'a> {
    facts: &'a Facts<'a>,
    work: usize,
    depth: usize,
    /// States, as layer and index, that are assumed to add up to 1 while their next values are shown to do so.
    assumed: Vec<(usize, usize)>,
}

impl Totals<'_> {
    /// What `inside` finds one level deeper; the atom itself where that is too much work or has too many terms.
    fn deeper(&mut self, atom: Atom, inside: impl FnOnce(&mut Self, Atom) -> Polynomial) -> Polynomial {
        if self.work == 0 || self.depth == DEPTH {
            return Polynomial::atom(atom);
        }
        self.work -= 1;
        self.depth += 1;
        let found = inside(self, atom.clone());
        self.depth -= 1;
        if found.0.len() > TERMS { Polynomial::atom(atom) } else { found }
    }

    /// Elements `start .. end` of a vector added up.
    fn sum(&mut self, place: ExprRef, start: usize, end: usize) -> Polynomial {
        let atom = Atom::Sum { exp: false, vector: self.facts.value_number(place), start, end };
        self.deeper(atom, |totals, atom| totals.sum_of(place, start, end, atom))
    }

    fn sum_of(&mut self, place: ExprRef, start: usize, end: usize, atom: Atom) -> Polynomial {
        if self.facts.width(place).is_none() {
            return self.number(place).scaled((end - start) as f64);
        }
        let at = |expr| ExprRef { expr, ..place };
        let is_number = |expr| self.facts.width(at(expr)).is_none();
        match self.facts.op(place) {
            ExprOp::Stop(x) | ExprOp::FinalStep(x) => self.sum(at(*x), start, end),
            ExprOp::Input(input) => match self.facts.source(place.layer, *input) {
                Some(source) => self.sum(source, start, end),
                None => Polynomial::atom(atom),
            },
            ExprOp::Slice { x, start: first, .. } => self.sum(at(*x), first + start, first + end),
            ExprOp::Concat(parts) => {
                let mut sum = Polynomial(vec![]);
                let mut first = 0;
                for &part in parts {
                    let width = self.facts.width(at(part)).unwrap_or(1);
                    let (from, to) = (start.max(first), end.min(first + width));
                    if from < to {
                        sum = sum.plus(self.sum(at(part), from - first, to - first));
                    }
                    first += width;
                }
                sum
            }
            ExprOp::Map(Scalar::Neg, args) => self.sum(at(args[0]), start, end).scaled(-1.0),
            ExprOp::Map(op @ (Scalar::Add | Scalar::Sub), args) => {
                let sign = if *op == Scalar::Add { 1.0 } else { -1.0 };
                let first = self.sum(at(args[0]), start, end);
                first.plus(self.sum(at(args[1]), start, end).scaled(sign))
            }
            ExprOp::Map(Scalar::Mul, args) if is_number(args[0]) => {
                self.number(at(args[0])).times(&self.sum(at(args[1]), start, end))
            }
            ExprOp::Map(Scalar::Mul, args) if is_number(args[1]) => {
                self.number(at(args[1])).times(&self.sum(at(args[0]), start, end))
            }
            ExprOp::Map(Scalar::Div, args) if is_number(args[1]) => {
                self.sum(at(args[0]), start, end).times(&self.number(at(args[1])).inverse())
            }
            ExprOp::Map(Scalar::Exp, args) => self.sum_of_exp(at(args[0]), start, end),
            ExprOp::Map(Scalar::Select, args) if is_number(args[0]) => {
                let yes = self.sum(at(args[1]), start, end);
                if yes == self.sum(at(args[2]), start, end) { yes } else { Polynomial::atom(atom) }
            }
            ExprOp::State(state) if end - start == self.facts.layers[place.layer].states[*state].width => {
                match self.state_is_one(place.layer, *state) {
                    true => Polynomial::constant(1.0),
                    false => Polynomial::atom(atom),
                }
            }
            _ => Polynomial::atom(atom),
        }
    }

    /// Whether a state adds up to 1 at every step: at its start, and at each step if it did at the step before.
    fn state_is_one(&mut self, layer: usize, index: usize) -> bool {
        if self.assumed.contains(&(layer, index)) {
            return true;
        }
        let state = &self.facts.layers[layer].states[index];
        if (state.start * state.width as f64 - 1.0).abs() > ROUNDING {
            return false;
        }
        self.assumed.push((layer, index));
        let next = ExprRef { layer, expr: self.facts.layers[layer].body.next[index] };
        let is_one = self.sum(next, 0, state.width).is_one();
        self.assumed.pop();
        is_one
    }

    /// `exp(x - m)` adds up to the sum of `exp(x)` over `exp(m)`.
    fn sum_of_exp(&mut self, mut place: ExprRef, start: usize, end: usize) -> Polynomial {
        let mut factor = Polynomial::constant(1.0);
        loop {
            let at = |expr| ExprRef { expr, ..place };
            let is_number = |expr| self.facts.width(at(expr)).is_none();
            place = match self.facts.op(place) {
                ExprOp::Stop(x) | ExprOp::FinalStep(x) => at(*x),
                ExprOp::Input(input) => match self.facts.source(place.layer, *input) {
                    Some(source) => source,
                    None => break,
                },
                ExprOp::Map(Scalar::Sub, args) if is_number(args[1]) => {
                    factor = factor.times(&self.exp(at(args[1])).inverse());
                    at(args[0])
                }
                ExprOp::Map(Scalar::Add, args) if is_number(args[1]) => {
                    factor = factor.times(&self.exp(at(args[1])));
                    at(args[0])
                }
                ExprOp::Map(Scalar::Add, args) if is_number(args[0]) => {
                    factor = factor.times(&self.exp(at(args[0])));
                    at(args[1])
                }
                _ => break,
            };
        }
        let vector = self.facts.value_number(place);
        factor.times(&Polynomial::atom(Atom::Sum { exp: true, vector, start, end }))
    }

    /// A number of the equations.
    fn number(&mut self, place: ExprRef) -> Polynomial {
        let atom = Atom::Number(self.facts.value_number(place));
        self.deeper(atom, |totals, atom| totals.number_of(place, atom))
    }

    fn number_of(&mut self, place: ExprRef, atom: Atom) -> Polynomial {
        let at = |expr| ExprRef { expr, ..place };
        match self.facts.op(place) {
            ExprOp::Const(number) => Polynomial::constant(*number),
            ExprOp::Stop(x) => self.number(at(*x)),
            ExprOp::Sum(x) => match self.facts.width(at(*x)) {
                Some(width) => self.sum(at(*x), 0, width),
                None => self.number(at(*x)),
            },
            ExprOp::Map(Scalar::Neg, args) => self.number(at(args[0])).scaled(-1.0),
            ExprOp::Map(Scalar::Add, args) => self.number(at(args[0])).plus(self.number(at(args[1]))),
            ExprOp::Map(Scalar::Sub, args) => {
                self.number(at(args[0])).plus(self.number(at(args[1])).scaled(-1.0))
            }
            ExprOp::Map(Scalar::Mul, args) => self.number(at(args[0])).times(&self.number(at(args[1]))),
            ExprOp::Map(Scalar::Div, args) => {
                self.number(at(args[0])).times(&self.number(at(args[1])).inverse())
            }
            ExprOp::Map(Scalar::Exp, args) => self.exp(at(args[0])),
            _ => Polynomial::atom(atom),
        }
    }

    /// `exp` of a number: that of a logarithm is what the logarithm is of.
    fn exp(&mut self, place: ExprRef) -> Polynomial {
        let atom = Atom::Exp(self.facts.value_number(place));
        self.deeper(atom, |totals, atom| {
            let at = |expr| ExprRef { expr, ..place };
            match totals.facts.op(place) {
                ExprOp::Stop(x) => totals.exp(at(*x)),
                ExprOp::Map(Scalar::Log, args) => totals.number(at(args[0])),
                ExprOp::Map(Scalar::Neg, args) => totals.exp(at(args[0])).inverse(),
                ExprOp::Map(Scalar::Add, args) => totals.exp(at(args[0])).times(&totals.exp(at(args[1]))),
                ExprOp::Map(Scalar::Sub, args) => {
                    totals.exp(at(args[0])).times(&totals.exp(at(args[1])).inverse())
                }
                _ => Polynomial::atom(atom),
            }
        })
    }
}
