//! The meaning of a graph, spelled out: every operation on `ndarray` arrays, one after the other.
//!
//! The oracle that gradients, passes, kernels and back ends are tested against; clear before fast. Scalar operations
//! are [`scalar::eval`]; sums run in index order.

use std::borrow::Cow;
use std::collections::HashMap;

use ndarray::{Array2, ArrayD, ArrayView2, ArrayViewD, Axis, CowArray, Ix2, IxDyn, Slice, Zip};

use super::{Elem, Form, Graph, Loop, Node, Op, Reduce, Type, Value, verify};
use crate::scalar::{self, Real, Scalar};

/// A value while the graph runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor<R> {
    Real(ArrayD<R>),
    Id(ArrayD<u32>),
}

impl<R: Real> Tensor<R> {
    /// Element kind and sizes.
    pub fn ty(&self) -> Type {
        match self {
            Tensor::Real(x) => Type::real(x.shape()),
            Tensor::Id(ids) => Type::id(ids.shape()),
        }
    }

    /// The reals, if it holds reals.
    pub fn real(&self) -> Option<&ArrayD<R>> {
        match self {
            Tensor::Real(x) => Some(x),
            Tensor::Id(_) => None,
        }
    }

    /// The ids, if it holds ids.
    pub fn id(&self) -> Option<&ArrayD<u32>> {
        match self {
            Tensor::Real(_) => None,
            Tensor::Id(ids) => Some(ids),
        }
    }

    fn zeros(ty: &Type) -> Self {
        match ty.elem {
            Elem::Real => Tensor::Real(ArrayD::zeros(IxDyn(&ty.shape))),
            Elem::Id => Tensor::Id(ArrayD::zeros(IxDyn(&ty.shape))),
        }
    }

    /// One index of the leading axis.
    fn at(&self, index: usize) -> Self {
        match self {
            Tensor::Real(x) => Tensor::Real(x.index_axis(Axis(0), index).to_owned()),
            Tensor::Id(ids) => Tensor::Id(ids.index_axis(Axis(0), index).to_owned()),
        }
    }

    /// Stores `value` at one index of the leading axis.
    fn set_step(&mut self, index: usize, value: &Self) -> Result<(), String> {
        match (self, value) {
            (Tensor::Real(all), Tensor::Real(one)) => all.index_axis_mut(Axis(0), index).assign(one),
            (Tensor::Id(all), Tensor::Id(one)) => all.index_axis_mut(Axis(0), index).assign(one),
            _ => return Err("reals and ids in one stack".into()),
        }
        Ok(())
    }
}

/// Runs `graph` on the inputs of these names and returns its outputs, in order. `seed` and `step` (the number of this
/// run) decide what [`Op::Random`] gives.
///
/// Fails on a graph that [`verify`] refuses, on an input that is missing or of another type, and on an id beyond its
/// table.
pub fn run<R: Real>(
    graph: &Graph,
    inputs: &HashMap<String, Tensor<R>>,
    seed: u64,
    step: u64,
) -> Result<Vec<Tensor<R>>, String> {
    watch(graph, inputs, (seed, step), &mut |_, _, _| {})
}

/// What is shown a value, and in which round of a loop it was computed.
pub type See<'a, R> = &'a mut dyn FnMut(Value, Option<usize>, &Tensor<R>);

/// As [`run`]; `see` is shown each value when it is computed.
///
/// # Errors
/// As [`run`].
pub fn watch<R: Real>(
    graph: &Graph,
    inputs: &HashMap<String, Tensor<R>>,
    (seed, step): (u64, u64),
    see: See<'_, R>,
) -> Result<Vec<Tensor<R>>, String> {
    verify(graph)?;
    let values = vec![None; graph.types.len()];
    let mut machine = Machine { graph, values, seed, step, round: None, see };
    for input in &graph.inputs {
        let given = inputs.get(&input.name).ok_or_else(|| format!("input {:?} is missing", input.name))?;
        let expected = graph.ty(input.value);
        if given.ty() != *expected {
            return Err(format!("input {:?} should be {expected}, not {}", input.name, given.ty()));
        }
        machine.values[input.value.0 as usize] = Some(Cow::Borrowed(given));
    }
    machine.region(&graph.body)?;
    graph.outputs.iter().map(|output| machine.get(output.value).cloned()).collect()
}

struct Machine<'a, R: Clone> {
    graph: &'a Graph,
    /// Inputs are borrowed: a model's parameters can be large.
    values: Vec<Option<Cow<'a, Tensor<R>>>>,
    seed: u64,
    step: u64,
    /// Of the loop that is running.
    round: Option<usize>,
    see: See<'a, R>,
}

impl<R: Real> Machine<'_, R> {
    fn get(&self, value: Value) -> Result<&Tensor<R>, String> {
        self.values[value.0 as usize]
            .as_deref()
            .ok_or_else(|| format!("{value} was read before it was computed"))
    }

    fn set(&mut self, value: Value, tensor: Tensor<R>) {
        (self.see)(value, self.round, &tensor);
        self.values[value.0 as usize] = Some(Cow::Owned(tensor));
    }

    fn real(&self, value: Value) -> Result<&ArrayD<R>, String> {
        self.get(value)?.real().ok_or_else(|| format!("{value} holds ids"))
    }

    fn ids(&self, value: Value) -> Result<&ArrayD<u32>, String> {
        self.get(value)?.id().ok_or_else(|| format!("{value} holds reals"))
    }

    fn region(&mut self, nodes: &[Node]) -> Result<(), String> {
        for node in nodes {
            match &node.op {
                Op::Loop(inner) => self.run_loop(inner)?,
                Op::Split { axis, sizes } => self.split(node, *axis, sizes)?,
                Op::Distinct { rows } => self.distinct(node, *rows)?,
                _ => {
                    let result = self.node(node)?;
                    self.set(node.result(), Tensor::Real(result));
                }
            }
        }
        Ok(())
    }

    fn run_loop(&mut self, inner: &Loop) -> Result<(), String> {
        let mut state: Vec<Tensor<R>> =
            inner.carried.iter().map(|c| self.get(c.init).cloned()).collect::<Result<_, _>>()?;
        let mut stacks: Vec<Tensor<R>> =
            inner.stacked.iter().map(|s| Tensor::zeros(self.graph.ty(s.result))).collect();
        for round in 0..inner.rounds {
            let t = if inner.reverse { inner.rounds - 1 - round } else { round };
            self.round = Some(t);
            for (carried, now) in inner.carried.iter().zip(state) {
                self.set(carried.param, now);
            }
            for sliced in &inner.sliced {
                let now = self.get(sliced.source)?.at(t);
                self.set(sliced.param, now);
            }
            self.region(&inner.body)?;
            for (stacked, all) in inner.stacked.iter().zip(&mut stacks) {
                all.set_step(t, self.get(stacked.value)?)?;
            }
            // All `next` are read before any parameter takes one: two carried values may swap.
            state = inner.carried.iter().map(|c| self.get(c.next).cloned()).collect::<Result<_, _>>()?;
        }
        self.round = None;
        for (carried, last) in inner.carried.iter().zip(state) {
            self.set(carried.last, last);
        }
        for (stacked, all) in inner.stacked.iter().zip(stacks) {
            self.set(stacked.result, all);
        }
        Ok(())
    }

    fn split(&mut self, node: &Node, axis: usize, sizes: &[usize]) -> Result<(), String> {
        let mut start = 0;
        for (&result, &size) in node.results.iter().zip(sizes) {
            let piece =
                self.real(node.args[0])?.slice_axis(Axis(axis), Slice::from(start..start + size)).to_owned();
            self.set(result, Tensor::Real(piece));
            start += size;
        }
        Ok(())
    }

    fn distinct(&mut self, node: &Node, rows: usize) -> Result<(), String> {
        let ids = self.ids(node.args[0])?;
        let len = self.graph.ty(node.results[1]).len();
        let mut distinct: Vec<u32> = vec![];
        let (mut place_of, mut present) = (vec![0; rows], vec![R::zero(); rows]);
        let mut places = ids.clone();
        for place in &mut places {
            let row = index(*place, rows)?;
            if present[row] == R::zero() {
                present[row] = R::one();
                place_of[row] = distinct.len() as u32;
                distinct.push(*place);
            }
            *place = place_of[row];
        }
        let count = distinct.len() as u32;
        distinct.resize(len, 0);
        self.set(node.results[0], Tensor::Id(places));
        self.set(node.results[1], Tensor::Id(shaped(distinct, &[len])?));
        self.set(node.results[2], Tensor::Id(shaped(vec![count], &[])?));
        self.set(node.results[3], Tensor::Id(shaped(place_of, &[rows])?));
        self.set(node.results[4], Tensor::Real(shaped(present, &[rows])?));
        Ok(())
    }

    /// The result of an operation that has one; all of those give reals.
    fn node(&self, node: &Node) -> Result<ArrayD<R>, String> {
        let real = |i: usize| self.real(node.args[i]);
        let ids = |i: usize| self.ids(node.args[i]);
        Ok(match &node.op {
            Op::Const(value) => ArrayD::from_elem(IxDyn(&[]), R::of(*value)),
            Op::Broadcast { axes, shape } => broadcast(real(0)?, axes, shape)?,
            Op::Map(scalar) => match *scalar {
                _ if scalar.arity() == 1 => real(0)?.mapv(|a| scalar::eval(*scalar, &[a])),
                _ if scalar.arity() == 2 => {
                    Zip::from(real(0)?).and(real(1)?).map_collect(|&a, &b| scalar::eval(*scalar, &[a, b]))
                }
                _ => Zip::from(real(0)?)
                    .and(real(1)?)
                    .and(real(2)?)
                    .map_collect(|&a, &b, &c| scalar::eval(*scalar, &[a, b, c])),
            },
            Op::Reduce { kind, axes } => reduce(real(0)?, *kind, axes),
            Op::MatMul(form) => product(*form, real(0)?, real(1)?, self.graph.shape(node.result()))?,
            Op::MatMulPrefix(form) => {
                let count = ids(2)?.first().copied().unwrap_or(0) as usize;
                prefix_product(*form, real(0)?, real(1)?, count, self.graph.shape(node.result()))?
            }
            Op::Take => take(real(0)?, ids(1)?)?,
            Op::Scatter { rows } => scatter(ids(0)?, real(1)?, *rows)?,
            Op::Combine { rows } => combine(ids(0)?, real(1)?, *rows)?,
            Op::AddRows => add_rows(real(0)?, ids(1)?, real(2)?)?,
            Op::Pick => pick(real(0)?, ids(1)?)?,
            Op::Spread { len } => spread(real(0)?, ids(1)?, *len)?,
            Op::Number => ids(0)?.mapv(|id| R::of(f64::from(id))),
            Op::Positions { len } => shaped((0..*len).map(|place| R::of(place as f64)).collect(), &[*len])?,
            Op::Random { stream, shape, part } => {
                let key = scalar::random_key(self.seed, self.step, *stream);
                // Of the first shard, in whose place in the whole tensor others lie behind each of its rows.
                let (count, apart) = part.map_or((1, usize::MAX), |part| (part.count, part.whole(shape).1));
                let place = |i: usize| i / apart * apart * (count - 1) + i;
                let indices = 0..shape.iter().product::<usize>();
                let numbers =
                    indices.map(|i| R::of(f64::from(scalar::random(key, place(i) as u32)))).collect();
                shaped(numbers, shape)?
            }
            Op::Concat { axis } => {
                let views: Vec<ArrayViewD<'_, R>> =
                    (0..node.args.len()).map(|i| real(i).map(|x| x.view())).collect::<Result<_, _>>()?;
                ndarray::concatenate(Axis(*axis), &views).map_err(|error| error.to_string())?
            }
            Op::At { index } => real(0)?.index_axis(Axis(0), *index).to_owned(),
            Op::Put { index, .. } => {
                let mut all = ArrayD::zeros(IxDyn(self.graph.shape(node.result())));
                all.index_axis_mut(Axis(0), *index).assign(real(0)?);
                all
            }
            Op::Unsqueeze => real(0)?.clone().insert_axis(Axis(real(0)?.ndim())),
            Op::Squeeze => real(0)?.index_axis(Axis(real(0)?.ndim() - 1), 0).to_owned(),
            Op::Stop | Op::SumShards => real(0)?.clone(),
            Op::Split { .. } | Op::Distinct { .. } | Op::Loop(_) => {
                return Err(format!("{} has several results", node.op.name()));
            }
        })
    }
}

/// Elements in index order, as an array of this shape.
fn shaped<R>(elements: Vec<R>, shape: &[usize]) -> Result<ArrayD<R>, String> {
    ArrayD::from_shape_vec(IxDyn(shape), elements).map_err(|error| error.to_string())
}

fn broadcast<R: Real>(x: &ArrayD<R>, axes: &[usize], shape: &[usize]) -> Result<ArrayD<R>, String> {
    let mut aligned = vec![1; shape.len()];
    for (&axis, &size) in axes.iter().zip(x.shape()) {
        aligned[axis] = size;
    }
    let aligned = shaped(x.iter().copied().collect(), &aligned)?;
    aligned
        .broadcast(shape)
        .map(|view| view.to_owned())
        .ok_or_else(|| format!("cannot broadcast to {shape:?}"))
}

fn reduce<R: Real>(x: &ArrayD<R>, kind: Reduce, axes: &[usize]) -> ArrayD<R> {
    let (start, op) = match kind {
        Reduce::Sum => (R::zero(), Scalar::Add),
        Reduce::Max => (R::neg_infinity(), Scalar::Max),
    };
    // Innermost first, so that the axes still to come keep their numbers.
    axes.iter().rev().fold(x.clone(), |x, &axis| {
        x.fold_axis(Axis(axis), start, |&so_far, &next| scalar::eval(op, &[so_far, next]))
    })
}

/// Leading axes collapsed into rows.
fn rows<R: Real>(x: &ArrayD<R>) -> Result<CowArray<'_, R, Ix2>, String> {
    let columns = x.shape().last().copied().unwrap_or(1);
    let rows: usize = x.shape().iter().rev().skip(1).product();
    x.to_shape((rows, columns)).map_err(|error| error.to_string())
}

fn product<R: Real>(form: Form, a: &ArrayD<R>, b: &ArrayD<R>, shape: &[usize]) -> Result<ArrayD<R>, String> {
    let (a, b) = (rows(a)?, rows(b)?);
    let c = match form {
        Form::NN => a.dot(&b),
        Form::NT => a.dot(&b.t()),
        Form::TN => a.t().dot(&b),
    };
    // The product may come in column order; elements are taken in index order.
    shaped(c.iter().copied().collect(), shape)
}

/// [`product`] of the first `count` rows of `a`.
fn prefix_product<R: Real>(
    form: Form,
    a: &ArrayD<R>,
    b: &ArrayD<R>,
    count: usize,
    shape: &[usize],
) -> Result<ArrayD<R>, String> {
    let mut prefix = a.clone();
    prefix.axis_iter_mut(Axis(0)).skip(count).for_each(|mut row| row.fill(R::zero()));
    if form != Form::TN {
        return product(form, &prefix, b, shape);
    }
    // What is left out of a sum must not reach it, were it infinite.
    let mut right = b.clone();
    right.axis_iter_mut(Axis(0)).skip(count).for_each(|mut row| row.fill(R::zero()));
    product(form, &prefix, &right, shape)
}

/// The id as an index below `len`.
fn index(id: u32, len: usize) -> Result<usize, String> {
    let index = id as usize;
    if index < len { Ok(index) } else { Err(format!("id {id} is beyond {len} rows")) }
}

fn matrix<R: Real>(x: &ArrayD<R>) -> Result<ArrayView2<'_, R>, String> {
    x.view().into_dimensionality::<Ix2>().map_err(|error| error.to_string())
}

fn take<R: Real>(table: &ArrayD<R>, ids: &ArrayD<u32>) -> Result<ArrayD<R>, String> {
    let table = matrix(table)?;
    let mut taken = Vec::with_capacity(ids.len() * table.ncols());
    for &id in ids {
        taken.extend(table.row(index(id, table.nrows())?));
    }
    shaped(taken, &[ids.shape(), &[table.ncols()]].concat())
}

fn scatter<R: Real>(ids: &ArrayD<u32>, g: &ArrayD<R>, len: usize) -> Result<ArrayD<R>, String> {
    let columns = g.shape().last().copied().unwrap_or(1);
    add_rows(&ArrayD::zeros(IxDyn(&[len, columns])), ids, g)
}

fn add_rows<R: Real>(table: &ArrayD<R>, ids: &ArrayD<u32>, g: &ArrayD<R>) -> Result<ArrayD<R>, String> {
    let mut table = matrix(table)?.to_owned();
    let len = table.nrows();
    for (&id, g) in ids.iter().zip(rows(g)?.rows()) {
        let mut row = table.row_mut(index(id, len)?);
        row += &g;
    }
    Ok(table.into_dyn())
}

fn combine<R: Real>(ids: &ArrayD<u32>, g: &ArrayD<R>, len: usize) -> Result<ArrayD<R>, String> {
    let g_rows = rows(g)?;
    let mut sums = Array2::zeros(g_rows.dim());
    let mut first = vec![None; len];
    for (place, (&id, g)) in ids.iter().zip(g_rows.rows()).enumerate() {
        let mut row = sums.row_mut(*first[index(id, len)?].get_or_insert(place));
        row += &g;
    }
    shaped(sums.into_raw_vec_and_offset().0, g.shape())
}

fn pick<R: Real>(x: &ArrayD<R>, ids: &ArrayD<u32>) -> Result<ArrayD<R>, String> {
    let x = rows(x)?;
    let picked = ids.iter().zip(x.rows()).map(|(&id, row)| Ok(row[index(id, row.len())?]));
    shaped(picked.collect::<Result<_, String>>()?, ids.shape())
}

fn spread<R: Real>(g: &ArrayD<R>, ids: &ArrayD<u32>, len: usize) -> Result<ArrayD<R>, String> {
    let mut all = Array2::zeros((g.len(), len));
    for ((&g, &id), mut row) in g.iter().zip(ids).zip(all.rows_mut()) {
        row[index(id, len)?] = g;
    }
    shaped(all.into_raw_vec_and_offset().0, &[g.shape(), &[len]].concat())
}

#[cfg(test)]
mod tests;
