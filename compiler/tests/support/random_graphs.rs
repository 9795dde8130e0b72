//! Random valid graphs: a proptest strategy that drives every comparison of one executor with another.
//!
//! A graph is built from a list of numbers, so that proptest shrinks it by dropping and lowering numbers. Each number group picks an
//! operation and, among the values so far, operands that suit it. Executors round differently: so every value's magnitude is
//! bounded (what may grow goes through `tanh` first), and only values that are exact in any precision are compared.

use std::fmt;

use lstmc_compiler::graph::{
    Builder, Form, Graph, InputRole, Op, OutputRole, Part, Reduce, Sharded, Sliced, Type, Value,
};
use lstmc_compiler::scalar::Scalar;
use proptest::{collection::vec, prelude::*};

use super::values::ID_BOUND;

/// Which operations may occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Menu {
    /// All of them.
    All,
    /// Those whose derivative is their central difference: no kinks and no `stop`.
    Smooth,
}

/// A graph that a failing test shows as text.
#[derive(Clone)]
pub struct RandomGraph(pub Graph);

impl fmt::Debug for RandomGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What one operation is made of: the operation, its operands, its attributes.
type Code = [u16; 4];

#[derive(Clone, Debug)]
enum Coded {
    Op(Code),
    Loop(Code, Vec<Code>),
}

/// Valid graphs of up to some forty operations over the parameters, states and ids of [`Recipe::inputs`], with loops;
/// every real output is finite and within [`LARGEST`] if the inputs are (see [`super::values::Values::Sixteenths`]).
pub fn graphs(menu: Menu) -> impl Strategy<Value = RandomGraph> {
    let code = any::<Code>();
    let looped = (any::<Code>(), vec(any::<Code>(), 0..10)).prop_map(|(head, body)| Coded::Loop(head, body));
    let node = prop_oneof![4 => code.prop_map(Coded::Op), 1 => looped];
    (any::<Code>(), vec(node, 1..14))
        .prop_map(move |(sizes, nodes)| RandomGraph(Recipe::new(menu, sizes).graph(&nodes)))
}

/// The largest magnitude of a value before the next operation tames it.
pub const LARGEST: f64 = 64.0;

/// What is known of a value besides its type.
#[derive(Clone, Copy, Debug)]
struct Known {
    value: Value,
    /// No element's magnitude exceeds this.
    bound: f64,
    /// The same number in every precision.
    exact: bool,
}

struct Recipe {
    menu: Menu,
    b: Builder,
    /// Steps, rows, two widths.
    sizes: [usize; 4],
    /// The values that may be read here.
    pool: Vec<Known>,
    /// What `distinct` has given outside loops.
    distinct: Vec<[Value; 4]>,
}

fn pick<T: Copy>(list: &[T], code: u16) -> Option<T> {
    list.get(usize::from(code) % list.len().max(1)).copied()
}

fn bit(code: u16, place: usize) -> bool {
    code >> (place % 16) & 1 == 1
}

impl Recipe {
    fn new(menu: Menu, sizes: Code) -> Self {
        let sizes = sizes.map(|size| 1 + usize::from(size) % 4);
        let mut recipe = Self { menu, b: Builder::new("random"), sizes, pool: vec![], distinct: vec![] };
        recipe.inputs();
        recipe
    }

    fn inputs(&mut self) {
        let [steps, rows, n, m] = self.sizes;
        let table = ID_BOUND as usize + 1;
        let reals: [(&str, Vec<usize>); 5] = [
            ("table", vec![table, n]),
            ("w", vec![n, m]),
            ("v", vec![n, m]),
            ("r", vec![m, m]),
            ("b", vec![m]),
        ];
        for (name, shape) in reals {
            let len = shape.last().copied().unwrap_or(1);
            let parts = vec![Part { name: name.into(), start: 0, len }];
            self.input(name, Type::real(shape), InputRole::Param { parts });
        }
        for (name, shape) in [("x", vec![steps, rows, n]), ("h", vec![rows, m])] {
            self.input(name, Type::real(shape), InputRole::Carried { start: 0.0 });
        }
        self.input("tokens", Type::id([steps, rows]), InputRole::Tokens);
        self.input("targets", Type::id([rows]), InputRole::Targets);
        self.input("rate", Type::real([]), InputRole::Rate);
    }

    fn input(&mut self, name: &str, ty: Type, role: InputRole) {
        let value = self.b.input(name, ty, role);
        self.pool.push(Known { value, bound: 1.0, exact: true });
    }

    fn graph(mut self, nodes: &[Coded]) -> Graph {
        for node in nodes {
            match node {
                Coded::Op(code) => self.op(*code),
                Coded::Loop(head, body) => self.time_loop(*head, body),
            }
        }
        self.outputs();
        self.b.finish()
    }

    /// The last values are handed out; all parameters' influence meets in the objective.
    fn outputs(&mut self) {
        let last: Vec<Known> = self.reals().into_iter().rev().take(4).collect();
        let mut total = self.b.constant(0.0);
        for &known in &last {
            let tamed = self.tame(known, 1.0).value;
            let len = self.b.ty(tamed).len();
            let sum = self.b.sum_all(tamed);
            let mean = self.b.scale(sum, 1.0 / len as f64);
            total = self.b.add(total, mean);
            self.b.output(known.value, OutputRole::Probabilities);
        }
        self.b.output(total, OutputRole::Objective);
        let [_, rows, _, m] = self.sizes;
        if let Some(h) = last.iter().find(|known| self.b.ty(known.value).shape == [rows, m]) {
            self.b.output(h.value, OutputRole::Update("h".into()));
        }
    }

    fn reals(&self) -> Vec<Known> {
        self.those(|ty| ty.is_real())
    }

    fn ids(&self) -> Vec<Known> {
        self.those(|ty| !ty.is_real())
    }

    fn those(&self, suits: impl Fn(&Type) -> bool) -> Vec<Known> {
        self.pool.iter().copied().filter(|known| suits(self.b.ty(known.value))).collect()
    }

    fn shape(&self, known: Known) -> Vec<usize> {
        self.b.shape(known.value)
    }

    /// `known`, through `tanh` if its magnitude may exceed `bound`, which is at least 1.
    fn tame(&mut self, known: Known, bound: f64) -> Known {
        if known.bound <= bound {
            return known;
        }
        Known { value: self.b.map(Scalar::Tanh, &[known.value]), bound: 1.0, exact: false }
    }

    /// `known` in another shape: its sum over all axes but the last ones that agree, repeated.
    fn fit(&mut self, known: Known, shape: &[usize]) -> Known {
        let own = self.shape(known);
        if own == shape {
            return known;
        }
        let common = own.iter().rev().zip(shape.iter().rev()).take_while(|(a, b)| a == b).count();
        let summed: Vec<usize> = (0..own.len() - common).collect();
        let terms: usize = own[..own.len() - common].iter().product();
        let tamed = if summed.is_empty() { known } else { self.tame(known, 1.0) };
        let sum = self.b.reduce(Reduce::Sum, tamed.value, summed.clone());
        let value = self.b.spread_to(sum, (shape.len() - common..shape.len()).collect(), shape);
        // The sum of a few multiples of 1/16 is exact.
        Known { value, bound: tamed.bound * terms as f64, exact: tamed.exact && tamed.bound <= 1.0 }
    }

    fn push(&mut self, value: Value, bound: f64, exact: bool) {
        let known = Known { value, bound, exact };
        // What would exceed the largest bound is tamed at once.
        let known = self.tame(known, LARGEST);
        self.pool.push(known);
    }

    /// Appends the operation that `code` spells; nothing if no operands suit it.
    fn op(&mut self, code: Code) {
        let Some(x) = pick(&self.reals(), code[1]) else { return };
        let kinds: &[fn(&mut Self, Known, Code)] = &[
            Self::unary,
            Self::binary,
            Self::quotient,
            Self::choice,
            Self::reduction,
            Self::repetition,
            Self::product,
            Self::product,
            Self::lookup,
            Self::first_rows,
            Self::adjoint_lookup,
            Self::number,
            Self::random,
            Self::split,
            Self::concat,
            Self::at,
            Self::column,
            Self::constant,
            Self::stop,
        ];
        kinds[usize::from(code[0]) % kinds.len()](self, x, code);
    }

    fn unary(&mut self, x: Known, code: Code) {
        let scalars =
            [Scalar::Neg, Scalar::Tanh, Scalar::Sigmoid, Scalar::Exp, Scalar::Log, Scalar::Sqrt, Scalar::Abs];
        let scalar = scalars[usize::from(code[2]) % (scalars.len() - usize::from(self.menu == Menu::Smooth))];
        match scalar {
            Scalar::Neg | Scalar::Abs => {
                let value = self.b.map(scalar, &[x.value]);
                self.push(value, x.bound, x.exact);
            }
            Scalar::Exp => {
                let x = self.tame(x, 2.0);
                let value = self.b.map(scalar, &[x.value]);
                self.push(value, x.bound.exp(), false);
            }
            Scalar::Log | Scalar::Sqrt => {
                let positive = self.positive(x);
                let value = self.b.map(scalar, &[positive]);
                self.push(value, 1.25, false);
            }
            _ => {
                let value = self.b.map(scalar, &[x.value]);
                self.push(value, 1.0, false);
            }
        }
    }

    /// Between 0.5 and 1.5.
    fn positive(&mut self, x: Known) -> Value {
        let open = self.b.map(Scalar::Sigmoid, &[x.value]);
        let shape = self.b.shape(open);
        let half = self.b.full(0.5, &shape);
        self.b.add(open, half)
    }

    fn second(&mut self, x: Known, code: u16) -> Known {
        let y = pick(&self.reals(), code).unwrap_or(x);
        let shape = self.shape(x);
        self.fit(y, &shape)
    }

    fn binary(&mut self, x: Known, code: Code) {
        let y = self.second(x, code[2]);
        let scalars = [Scalar::Add, Scalar::Sub, Scalar::Mul, Scalar::Max, Scalar::Min];
        let scalar = scalars[usize::from(code[3]) % if self.menu == Menu::Smooth { 3 } else { 5 }];
        let (y, bound) = match scalar {
            Scalar::Mul => {
                let y = self.tame(y, 1.0);
                (y, x.bound * y.bound)
            }
            Scalar::Max | Scalar::Min => (y, x.bound.max(y.bound)),
            _ => (y, x.bound + y.bound),
        };
        let value = self.b.map(scalar, &[x.value, y.value]);
        let chooses = matches!(scalar, Scalar::Max | Scalar::Min);
        self.push(value, bound, chooses && x.exact && y.exact);
    }

    fn quotient(&mut self, x: Known, code: Code) {
        let y = self.second(x, code[2]);
        if bit(code[3], 0) {
            let divisor = self.positive(y);
            let value = self.b.div(x.value, divisor);
            self.push(value, 2.0 * x.bound, false);
        } else {
            let base = self.positive(x);
            let exponent = self.tame(y, 2.0);
            let value = self.b.map(Scalar::Pow, &[base, exponent.value]);
            self.push(value, 4.0, false);
        }
    }

    /// One of two values, or a comparison by itself. The condition compares what is exact: with a number between the
    /// sixteenths, or (where nothing is differentiated) with another exact value.
    fn choice(&mut self, x: Known, code: Code) {
        let exact: Vec<Known> = self.reals().into_iter().filter(|known| known.exact).collect();
        let Some(left) = pick(&exact, code[2]) else { return };
        let shape = self.shape(x);
        let left = self.fit(left, &shape);
        if !left.exact {
            return;
        }
        let right = match pick(&exact, code[3]) {
            Some(right) if self.menu == Menu::All && bit(code[2], 9) => self.fit(right, &shape),
            _ => {
                let value = self.b.full(f64::from(i32::from(code[3] % 32) - 16) / 16.0 + 1.0 / 32.0, &shape);
                Known { value, bound: 2.0, exact: true }
            }
        };
        if !right.exact {
            return;
        }
        let tests = [Scalar::Lt, Scalar::Le, Scalar::Gt, Scalar::Ge, Scalar::Eq, Scalar::Ne];
        let test = tests[usize::from(code[3] >> 5) % tests.len()];
        let condition = self.b.map(test, &[left.value, right.value]);
        if bit(code[2], 10) {
            self.push(condition, 1.0, true);
        } else {
            let y = self.second(x, code[2] >> 3);
            let value = self.b.map(Scalar::Select, &[condition, x.value, y.value]);
            self.push(value, x.bound.max(y.bound), x.exact && y.exact);
        }
    }

    fn reduction(&mut self, x: Known, code: Code) {
        let axes: Vec<usize> = (0..self.shape(x).len()).filter(|&axis| bit(code[2], axis)).collect();
        if axes.is_empty() {
            return;
        }
        let terms: usize = axes.iter().map(|&axis| self.shape(x)[axis]).product();
        if self.menu == Menu::All && bit(code[3], 0) {
            let value = self.b.reduce(Reduce::Max, x.value, axes);
            self.push(value, x.bound, x.exact);
        } else {
            let value = self.b.reduce(Reduce::Sum, x.value, axes);
            self.push(value, x.bound * terms as f64, false);
        }
    }

    fn repetition(&mut self, x: Known, code: Code) {
        let mut shape = self.shape(x);
        if shape.len() > 3 {
            return;
        }
        let axis = usize::from(code[2]) % (shape.len() + 1);
        shape.insert(axis, self.sizes[usize::from(code[3]) % 4]);
        let axes = (0..shape.len()).filter(|&own| own != axis).collect();
        let value = self.b.spread_to(x.value, axes, &shape);
        self.push(value, x.bound, x.exact);
    }

    fn product(&mut self, x: Known, code: Code) {
        let shape = self.shape(x);
        let Some((&k, lead)) = shape.split_last() else { return };
        if lead.is_empty() {
            return;
        }
        let fits: Vec<(Form, Known, usize)> = self
            .reals()
            .into_iter()
            .flat_map(|y| [(Form::NN, y), (Form::NT, y), (Form::TN, y)])
            .filter(|(form, y)| match (form, &self.shape(*y)[..]) {
                (Form::NN, &[rows, _]) => rows == k,
                (Form::NT, &[_, columns]) => columns == k,
                (Form::TN, other) => other.split_last().is_some_and(|(_, other)| other == lead),
                _ => false,
            })
            .map(|(form, y)| (form, y, if form == Form::TN { lead.iter().product() } else { k }))
            .collect();
        let Some((form, y, terms)) = pick(&fits, code[2]) else { return };
        let (x, y) = (self.tame(x, 4.0), self.tame(y, 1.0));
        let value = self.b.matmul(form, x.value, y.value);
        self.push(value, x.bound * y.bound * terms as f64, false);
    }

    fn lookup(&mut self, x: Known, code: Code) {
        let Some(ids) = pick(&self.ids(), code[2]) else { return };
        let enough = ID_BOUND as usize;
        if bit(code[3], 0) {
            let tables = self.those(|ty| ty.is_real() && ty.rank() == 2 && ty.shape[0] >= enough);
            let Some(table) = pick(&tables, code[1]) else { return };
            let value = self.b.op(Op::Take, &[table.value, ids.value]);
            self.push(value, table.bound, table.exact);
        } else {
            let shape = [&self.shape(ids)[..], &[enough + usize::from(code[3] >> 1) % 2]].concat();
            let x = self.fit(x, &shape);
            let value = self.b.op(Op::Pick, &[x.value, ids.value]);
            self.push(value, x.bound, x.exact);
        }
    }

    /// A product of as many rows as there are distinct ids; or a lookup of these, by rank or one for each.
    fn first_rows(&mut self, x: Known, code: Code) {
        let Some((ids, rows)) = self.distinct(code) else { return };
        let tables = self.those(|ty| ty.is_real() && ty.rank() == 2 && ty.shape[0] >= rows);
        if bit(code[3], 0) {
            let Some(table) = pick(&tables, code[1]) else { return };
            let value = self.b.op(Op::Take, &[table.value, ids[[0, 1, 3][usize::from(code[3] >> 1) % 3]]]);
            return self.push(value, table.bound, table.exact);
        }
        let [_, height, n, m] = self.sizes;
        let form = [Form::NN, Form::NT, Form::TN][usize::from(code[3] >> 1) % 3];
        let (left, right, terms) = match form {
            Form::NN => ([height, n], [n, m], n),
            Form::NT => ([height, n], [m, n], n),
            Form::TN => ([height, n], [height, m], height),
        };
        let y = self.second(x, code[1]);
        let (x, y) = (self.fit(x, &left), self.fit(y, &right));
        let (x, y) = (self.tame(x, 4.0), self.tame(y, 1.0));
        let value = self.b.op(Op::MatMulPrefix(form), &[x.value, y.value, ids[2]]);
        self.push(value, x.bound * y.bound * terms as f64, false);
    }

    /// The results of `distinct`, which are made before the loop that they are read in, and the rows that ids are of.
    fn distinct(&mut self, code: Code) -> Option<(Vec<Value>, usize)> {
        let rows = ID_BOUND as usize;
        if let Some(known) = pick(&self.distinct, code[2]).filter(|_| self.b.in_loop()) {
            return Some((known.to_vec(), rows));
        }
        let ids = pick(&self.ids(), code[2]).filter(|_| !self.b.in_loop())?;
        let results = self.b.emit(Op::Distinct { rows }, &[ids.value]);
        self.push(results[4], 1.0, true);
        self.distinct.push([results[0], results[1], results[2], results[3]]);
        Some((results, rows))
    }

    fn adjoint_lookup(&mut self, x: Known, code: Code) {
        let Some(ids) = pick(&self.ids(), code[2]) else { return };
        let lead = self.shape(ids);
        let len = ID_BOUND as usize + usize::from(code[3] >> 1) % 2;
        if bit(code[3], 0) {
            let width = self.shape(x).last().copied().unwrap_or(1);
            let g = self.fit(x, &[&lead[..], &[width]].concat());
            let bound = g.bound * lead.iter().product::<usize>() as f64;
            match code[1] % 3 {
                0 => {
                    let value = self.b.op(Op::Scatter { rows: len }, &[ids.value, g.value]);
                    self.push(value, bound, false);
                }
                1 => {
                    let value = self.b.op(Op::Combine { rows: len }, &[ids.value, g.value]);
                    self.push(value, bound, false);
                }
                _ => {
                    let table = self.fit(x, &[len, width]);
                    let value = self.b.op(Op::AddRows, &[table.value, ids.value, g.value]);
                    self.push(value, table.bound + bound, false);
                }
            }
        } else {
            let g = self.fit(x, &lead);
            let value = self.b.op(Op::Spread { len }, &[g.value, ids.value]);
            self.push(value, g.bound, g.exact);
        }
    }

    fn number(&mut self, _: Known, code: Code) {
        let positions = Op::Positions { len: self.sizes[usize::from(code[2]) % 4] };
        let ids = pick(&self.ids(), code[2]).filter(|_| bit(code[3], 0));
        let (op, args) = ids.map_or((positions, vec![]), |ids| (Op::Number, vec![ids.value]));
        let value = self.b.op(op, &args);
        self.push(value, f64::from(ID_BOUND), true);
    }

    fn random(&mut self, x: Known, code: Code) {
        let shape = self.shape(x);
        let part = (bit(code[3], 7) && !shape.is_empty()).then_some(Sharded { axis: 0, count: 3 });
        let value = self.b.op(Op::Random { stream: u32::from(code[2] % 3), shape, part }, &[]);
        self.push(value, 1.0, false);
    }

    fn split(&mut self, x: Known, code: Code) {
        let shape = self.shape(x);
        let Some(axis) = pick(&(0..shape.len()).collect::<Vec<_>>(), code[2]) else { return };
        let first = 1 + usize::from(code[3]) % shape[axis];
        let mut sizes = vec![first, shape[axis] - first];
        sizes.retain(|&size| size > 0);
        for piece in self.b.emit(Op::Split { axis, sizes }, &[x.value]) {
            self.push(piece, x.bound, x.exact);
        }
    }

    fn concat(&mut self, x: Known, code: Code) {
        let shape = self.shape(x);
        let Some(axis) = pick(&(0..shape.len()).collect::<Vec<_>>(), code[3]) else { return };
        if shape[axis] > 4 {
            return;
        }
        let y = self.second(x, code[2]);
        let value = self.b.op(Op::Concat { axis }, &[x.value, y.value]);
        self.push(value, x.bound.max(y.bound), x.exact && y.exact);
    }

    fn at(&mut self, x: Known, code: Code) {
        let shape = self.shape(x);
        if bit(code[3], 0) && !shape.is_empty() {
            let value = self.b.op(Op::At { index: usize::from(code[2]) % shape[0] }, &[x.value]);
            self.push(value, x.bound, x.exact);
        } else if shape.len() < 4 {
            let len = self.sizes[usize::from(code[3] >> 1) % 4];
            let value = self.b.op(Op::Put { index: usize::from(code[2]) % len, len }, &[x.value]);
            self.push(value, x.bound, x.exact);
        }
    }

    fn column(&mut self, x: Known, _: Code) {
        let shape = self.shape(x);
        let op = if shape.last() == Some(&1) { Op::Squeeze } else { Op::Unsqueeze };
        let value = self.b.op(op, &[x.value]);
        self.push(value, x.bound, x.exact);
    }

    fn constant(&mut self, x: Known, code: Code) {
        let number = [0.0, 1.0, -1.0, 0.5, 2.0][usize::from(code[2]) % 5];
        let shape = self.shape(x);
        let value = self.b.full(number, &shape);
        self.push(value, 2.0, true);
    }

    fn stop(&mut self, x: Known, _: Code) {
        if self.menu == Menu::All {
            let value = self.b.op(Op::Stop, &[x.value]);
            self.push(value, x.bound, x.exact);
        }
    }

    /// A loop over what is as long, or any number of rounds over what is carried and captured.
    fn time_loop(&mut self, head: Code, body: &[Code]) {
        let rounds = if bit(head[0], 0) { self.sizes[0] } else { 1 + usize::from(head[0] >> 1) % 3 };
        let mut inits = vec![];
        for place in 0..head[1] % 3 {
            if let Some(init) = pick(&self.reals(), head[1] >> (2 + 4 * place)) {
                inits.push(self.tame(init, 1.0));
            }
        }
        let sources: Vec<Known> = self
            .those(|ty| ty.shape.first() == Some(&rounds))
            .into_iter()
            .enumerate()
            .filter(|(place, _)| bit(head[2], *place))
            .map(|(_, source)| source)
            .collect();
        let outside = self.pool.len();
        self.b.open_loop();
        let params: Vec<Value> = inits.iter().map(|init| self.b.carry(init.value)).collect();
        for &value in &params {
            self.pool.push(Known { value, bound: 1.0, exact: false });
        }
        let mut sliced: Vec<Sliced> = vec![];
        for source in sources {
            let slice = self.b.slice(source.value);
            sliced.push(slice);
            self.pool.push(Known { value: slice.param, ..source });
        }
        for &code in body {
            self.op(code);
        }
        let nexts: Vec<Value> =
            params.iter().enumerate().map(|(place, &param)| self.next(param, head[3] >> place)).collect();
        let stacked: Vec<Known> = self.stacked(head, inits.is_empty());
        let carried: Vec<_> = inits
            .iter()
            .zip(&params)
            .zip(&nexts)
            .map(|((init, &param), &next)| (init.value, param, next))
            .collect();
        self.pool.truncate(outside);
        let values: Vec<Value> = stacked.iter().map(|known| known.value).collect();
        let (lasts, stacks) = self.b.close_loop(rounds, bit(head[0], 8), &carried, &sliced, &values);
        self.pool.extend(lasts.into_iter().map(|value| Known { value, bound: 1.0, exact: false }));
        self.pool.extend(stacks.into_iter().zip(&stacked).map(|(value, known)| Known { value, ..*known }));
    }

    /// What the carried value becomes: another value of the same type, or one made to fit.
    fn next(&mut self, param: Value, code: u16) -> Value {
        let ty = self.b.ty(param).clone();
        let same = self.those(|other| *other == ty);
        let reals = self.reals();
        let chosen = match pick(&reals.iter().copied().rev().take(3).collect::<Vec<_>>(), code >> 1) {
            Some(known) if bit(code, 0) => self.fit(known, &ty.shape),
            // The carried value itself is among them.
            _ => pick(&same, code >> 1).unwrap_or(Known { value: param, bound: 1.0, exact: false }),
        };
        self.tame(chosen, 1.0).value
    }

    /// Up to three values, mostly late ones; at least one where nothing is carried, so that the loop has a result.
    fn stacked(&self, head: Code, needed: bool) -> Vec<Known> {
        let late: Vec<Known> =
            self.reals().into_iter().rev().take(8).filter(|k| self.b.ty(k.value).rank() < 4).collect();
        let count = (head[3] >> 8) % 3 + u16::from(needed);
        (0..count).filter_map(|place| pick(&late, head[3] >> (3 * place))).collect()
    }
}
