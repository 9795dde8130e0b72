//! The kernel interpreter: the oracle that back ends are compared with. It runs a module's items one statement at a
//! time, in order, without vectors or workers, and checks every address.
//!
//! Packed operands hold `op(B)`, rounded to their format, simply as a `[k, n]` matrix, whatever their buffer's length.
//! Temporaries are NaN before a run writes them.

use std::collections::HashMap;
use std::ops::Range;

use ndarray::{Array2, ArrayView2, ShapeBuilder, s};

use super::{
    Address, BufferId, BufferKind, Distinct, Elem, Exchange, Expr, For, Form, Format, Gather, Gemm, Index,
    Item, Kernel, Matrix, Module, Pack, Phase, Reduce, Rounds, Scatter, ShardSum, Stmt, Time, TimeLoop, Var,
};
use crate::scalar::{self, Real};

/// The contents of a module's buffers; all zero at first.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine<R> {
    names: HashMap<String, usize>,
    buffers: Vec<Data<R>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Data<R> {
    Real(Vec<R>),
    Id(Vec<u32>),
}

impl<R: Real> Machine<R> {
    pub fn new(module: &Module) -> Self {
        let names = module.buffers.iter().enumerate().map(|(i, buffer)| (buffer.name.clone(), i)).collect();
        let buffers = module.buffers.iter().map(|buffer| match buffer.elem {
            Elem::Real => Data::Real(vec![R::zero(); buffer.len()]),
            Elem::Id => Data::Id(vec![0; buffer.len()]),
        });
        Self { names, buffers: buffers.collect() }
    }

    /// The elements of the buffer of reals of this name, row-major.
    pub fn get(&self, name: &str) -> Option<&[R]> {
        match &self.buffers[*self.names.get(name)?] {
            Data::Real(values) => Some(values),
            Data::Id(_) => None,
        }
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut [R]> {
        match &mut self.buffers[*self.names.get(name)?] {
            Data::Real(values) => Some(values),
            Data::Id(_) => None,
        }
    }

    /// The elements of the buffer of ids of this name, row-major.
    pub fn ids(&self, name: &str) -> Option<&[u32]> {
        match &self.buffers[*self.names.get(name)?] {
            Data::Real(_) => None,
            Data::Id(ids) => Some(ids),
        }
    }

    pub fn ids_mut(&mut self, name: &str) -> Option<&mut [u32]> {
        match &mut self.buffers[*self.names.get(name)?] {
            Data::Real(_) => None,
            Data::Id(ids) => Some(ids),
        }
    }
}

/// Runs the prologue and all items once. `seed` and `step` are the run's seed and the number of the update, for random numbers.
///
/// Fails, naming the item, where the module breaks a promise that `verify` checks or a token id is outside its table.
pub fn run<R: Real>(module: &Module, machine: &mut Machine<R>, seed: u64, step: u64) -> Result<(), String> {
    for (buffer, data) in module.buffers.iter().zip(&mut machine.buffers) {
        if let (BufferKind::Temp | BufferKind::Packed, Data::Real(values)) = (&buffer.kind, data) {
            values.fill(R::nan());
        }
    }
    let mut run =
        Run { module, buffers: &mut machine.buffers, times: HashMap::new(), round: (0, 0), seed, step };
    run.items(&module.prologue)?;
    run.items(&module.items)
}

struct Run<'a, R> {
    module: &'a Module,
    buffers: &'a mut [Data<R>],
    times: HashMap<Time, usize>,
    /// Of the innermost time loop: how many rounds have been done, and how many there are.
    round: (usize, usize),
    seed: u64,
    step: u64,
}

/// The state of one kernel's execution.
struct Frame<'a, R> {
    extents: &'a [usize],
    /// The position in each open loop, by axis.
    axes: Vec<Option<usize>>,
    /// By variable.
    values: Vec<Option<Value<R>>>,
}

#[derive(Clone, Copy)]
enum Value<R> {
    Real(R),
    Id(u32),
}

impl<R: Real> Run<'_, R> {
    fn items(&mut self, items: &[Item]) -> Result<(), String> {
        for item in items {
            match item {
                Item::Kernel(kernel) => {
                    self.kernel(kernel).map_err(|error| format!("kernel {:?}: {error}", kernel.name))?;
                }
                Item::Gemm(gemm) => self.gemm(gemm).map_err(|error| format!("gemm: {error}"))?,
                Item::Pack(pack) => self.pack(pack).map_err(|error| format!("pack: {error}"))?,
                Item::Scatter(scatter) => {
                    self.scatter(scatter).map_err(|error| format!("scatter: {error}"))?
                }
                Item::Distinct(distinct) => {
                    self.distinct(distinct).map_err(|error| format!("distinct: {error}"))?
                }
                Item::Exchange(exchange) => self.exchange(exchange)?,
                Item::Loop(inner) => self.time_loop(inner)?,
            }
        }
        Ok(())
    }

    fn time_loop(&mut self, inner: &TimeLoop) -> Result<(), String> {
        for round in 0..inner.rounds {
            let now = if inner.reverse { inner.rounds - 1 - round } else { round };
            self.times.insert(inner.time, now);
            self.round = (round, inner.rounds);
            self.items(&inner.items)?;
        }
        self.times.remove(&inner.time);
        Ok(())
    }

    fn kernel(&mut self, kernel: &Kernel) -> Result<(), String> {
        let axes = vec![None; kernel.axes.len()];
        let mut frame = Frame { extents: &kernel.axes, axes, values: Vec::new() };
        self.block(&kernel.body, &mut frame)
    }

    fn block(&mut self, stmts: &[Stmt], frame: &mut Frame<'_, R>) -> Result<(), String> {
        for stmt in stmts {
            match stmt {
                Stmt::Let { var, expr: Expr::LoadId(from) } => {
                    let at = self.element(from, Some(frame))?;
                    let id = self.id_buffer(from.buffer)?[at];
                    frame.define(*var, Value::Id(id));
                }
                Stmt::Let { var, expr } => {
                    let value = self.expr(expr, frame)?;
                    frame.define(*var, Value::Real(value));
                }
                Stmt::Store { to, value } => {
                    let value = frame.real(*value)?;
                    let at = self.element(to, Some(frame))?;
                    self.real_buffer(to.buffer)?[at] = value;
                }
                Stmt::For(inner) => self.for_loop(inner, frame)?,
            }
        }
        Ok(())
    }

    /// A maximum passes over NaN, so that it does not depend on the order.
    fn for_loop(&mut self, inner: &For, frame: &mut Frame<'_, R>) -> Result<(), String> {
        let neutral = |kind| match kind {
            Reduce::Sum => R::zero(),
            Reduce::Max => R::neg_infinity(),
        };
        let mut folds: Vec<R> = inner.folds.iter().map(|fold| neutral(fold.kind)).collect();
        let extent = *frame.extents.get(inner.axis.0 as usize).ok_or("a loop over an unknown axis")?;
        for at in 0..extent {
            frame.axes[inner.axis.0 as usize] = Some(at);
            self.block(&inner.body, frame)?;
            for (fold, so_far) in inner.folds.iter().zip(&mut folds) {
                let value = frame.real(fold.value)?;
                *so_far = match fold.kind {
                    Reduce::Sum => *so_far + value,
                    Reduce::Max => scalar::eval(scalar::Scalar::Max, &[value, *so_far]),
                };
            }
        }
        frame.axes[inner.axis.0 as usize] = None;
        for (fold, value) in inner.folds.iter().zip(folds) {
            frame.define(fold.var, Value::Real(value));
        }
        Ok(())
    }

    fn expr(&mut self, expr: &Expr, frame: &Frame<'_, R>) -> Result<R, String> {
        Ok(match expr {
            Expr::Const(value) => R::of(*value),
            Expr::Load(from) => {
                let at = self.element(from, Some(frame))?;
                self.real_buffer(from.buffer)?[at]
            }
            Expr::LoadId(_) => return Err("an id where a real belongs".into()),
            Expr::Map(op, args) => {
                let args = args.iter().map(|&arg| frame.real(arg)).collect::<Result<Vec<R>, _>>()?;
                if args.len() != op.arity() {
                    return Err(format!("{op} of {} operands", args.len()));
                }
                scalar::eval(*op, &args)
            }
            Expr::Position(axis) => R::of(self.index(Index::Axis(*axis), Some(frame))? as f64),
            Expr::Number(var) => R::of(self.index(Index::Id(*var), Some(frame))? as f64),
            // Of the first shard.
            Expr::Random { stream, offset, terms, shard: _ } => {
                let index = self.flat(*offset, terms, Some(frame))?;
                let key = scalar::random_key(self.seed, self.step, *stream);
                R::of(f64::from(scalar::random(key, index as u32)))
            }
        })
    }

    fn index(&self, index: Index, frame: Option<&Frame<'_, R>>) -> Result<usize, String> {
        let known = match index {
            Index::Time(time) => self.times.get(&time).copied(),
            Index::Axis(axis) => frame.and_then(|frame| frame.axes.get(axis.0 as usize).copied().flatten()),
            Index::Id(var) => frame.and_then(|frame| frame.id(var)),
        };
        known.ok_or_else(|| format!("{index} is used outside its scope"))
    }

    fn flat(
        &self,
        offset: usize,
        terms: &[(Index, usize)],
        frame: Option<&Frame<'_, R>>,
    ) -> Result<usize, String> {
        let mut flat = offset;
        for &(index, stride) in terms {
            flat = flat.wrapping_add(self.index(index, frame)?.wrapping_mul(stride));
        }
        Ok(flat)
    }

    /// The element at an address, inside its buffer.
    fn element(&self, at: &Address, frame: Option<&Frame<'_, R>>) -> Result<usize, String> {
        let flat = self.flat(at.offset, &at.terms, frame)?;
        let buffer = self.module.buffer(at.buffer);
        if flat >= buffer.len() {
            return Err(format!("element {flat} of buffer {:?}, which has {}", buffer.name, buffer.len()));
        }
        Ok(flat)
    }

    fn real_buffer(&mut self, id: BufferId) -> Result<&mut Vec<R>, String> {
        match &mut self.buffers[id.0 as usize] {
            Data::Real(values) => Ok(values),
            Data::Id(_) => Err(format!("buffer {:?} holds ids", self.module.buffer(id).name)),
        }
    }

    fn distinct(&mut self, distinct: &Distinct) -> Result<(), String> {
        let ids = self.ids(&distinct.ids, distinct.len)?;
        let (mut places, mut found) = (vec![], vec![]);
        for id in ids {
            if id as usize >= distinct.rows {
                return Err(format!("id {id} in a table of {} rows", distinct.rows));
            }
            let known = found.iter().position(|&other| other == id);
            places.push(known.unwrap_or(found.len()) as u32);
            if known.is_none() {
                found.push(id);
            }
        }
        if let Some([ranks, present]) = distinct.inverse {
            let mut rank_of = vec![0; distinct.rows];
            let flags = self.real_buffer(present)?;
            flags.fill(R::zero());
            for (rank, &id) in found.iter().enumerate() {
                rank_of[id as usize] = rank as u32;
                *flags.get_mut(id as usize).ok_or("too few rows")? = R::one();
            }
            self.store_ids(ranks, &rank_of)?;
        }
        let count = found.len() as u32;
        found.resize(distinct.most(), 0);
        for (id, values) in
            [(distinct.places, places), (distinct.distinct, found), (distinct.count, vec![count])]
        {
            self.store_ids(id, &values)?;
        }
        Ok(())
    }

    /// Of one shard.
    fn exchange(&mut self, exchange: &Exchange) -> Result<(), String> {
        for ShardSum { from, to, rows, n } in &exchange.sums {
            let (start, len) = (self.element(from, None)?, rows * n);
            let whole = match exchange.phase {
                // Not to be read before it is finished.
                Phase::Start => vec![R::nan(); len],
                Phase::Finish => {
                    let all = self.real_buffer(from.buffer)?;
                    all.get(start..start + len).ok_or("a sum of what is not there")?.to_vec()
                }
            };
            self.real_buffer(*to)?.copy_from_slice(&whole);
        }
        Ok(())
    }

    fn store_ids(&mut self, id: BufferId, values: &[u32]) -> Result<(), String> {
        match &mut self.buffers[id.0 as usize] {
            Data::Id(to) if to.len() >= values.len() => to[..values.len()].copy_from_slice(values),
            _ => return Err(format!("buffer {:?} does not hold the ids", self.module.buffer(id).name)),
        }
        Ok(())
    }

    /// A copy of `count` ids from an address on.
    fn ids(&self, at: &Address, count: usize) -> Result<Vec<u32>, String> {
        let start = if count == 0 { 0 } else { self.element(at, None)? };
        let ids = self.id_buffer(at.buffer)?.get(start..start + count);
        Ok(ids.ok_or("the ids reach beyond their buffer")?.to_vec())
    }

    fn id_buffer(&self, id: BufferId) -> Result<&[u32], String> {
        match &self.buffers[id.0 as usize] {
            Data::Id(ids) => Ok(ids),
            Data::Real(_) => Err(format!("buffer {:?} holds reals", self.module.buffer(id).name)),
        }
    }

    /// A copy of a `[rows, columns]` matrix in a buffer.
    fn matrix(&mut self, matrix: &Matrix, rows: usize, columns: usize) -> Result<Array2<R>, String> {
        if rows == 0 || columns == 0 {
            return Ok(Array2::zeros((rows, columns)));
        }
        let start = self.element(&matrix.at, None)?;
        let values = &self.real_buffer(matrix.at.buffer)?[start..];
        let shape = (rows, columns).strides((matrix.stride, 1));
        let view = ArrayView2::from_shape(shape, values).map_err(|error| error.to_string())?;
        Ok(view.to_owned())
    }

    fn gemm(&mut self, gemm: &Gemm) -> Result<(), String> {
        let (round, rounds) = self.round;
        let (m, n, k) = (gemm.m, gemm.n, gemm.k);
        if gemm.rounds == Rounds::BeforeLast && round + 1 == rounds {
            return Ok(());
        }
        let a = match gemm.form {
            Form::NN | Form::NT => self.matrix(&gemm.a, m, k)?,
            Form::TN => self.matrix(&gemm.a, k, m)?.reversed_axes(),
        };
        let b = match gemm.cpu.packed {
            Some(_) => {
                let packed = self.real_buffer(gemm.b.at.buffer)?.clone();
                Array2::from_shape_vec((k, n), packed).map_err(|error| error.to_string())?
            }
            None => self.right(gemm.form, &gemm.b, k, n)?,
        };
        let format = Format::from(gemm.precision);
        let (mut a, mut b) = (rounded(a, format), rounded(b, format));
        if let Some(at) = &gemm.prefix {
            let count = self.id_buffer(at.buffer)?[self.element(at, None)?] as usize;
            if gemm.form == Form::TN {
                a.columns_mut().into_iter().skip(count).for_each(|mut column| column.fill(R::zero()));
                b.rows_mut().into_iter().skip(count).for_each(|mut row| row.fill(R::zero()));
            } else {
                a.rows_mut().into_iter().skip(count).for_each(|mut row| row.fill(R::zero()));
            }
        }
        let zero = gemm.rounds == Rounds::AfterFirst && round == 0;
        let of_part = |part: usize| match gemm.part(part) {
            _ if zero => Array2::zeros((m, n)),
            Range { start, end } => a.slice(s![.., start..end]).dot(&b.slice(s![start..end, ..])),
        };
        let products: Vec<Array2<R>> = (0..gemm.parts).map(of_part).collect();
        if m == 0 || n == 0 {
            return Ok(());
        }
        if let Some(at) = &gemm.cpu.right_sums {
            self.store_row(at, b.columns().into_iter().map(|column| column.sum()).collect())?;
        }
        let start = self.element(&gemm.c.at, None)?;
        let stride = gemm.c.stride;
        let c = self.real_buffer(gemm.c.at.buffer)?;
        for (row, values) in products.iter().flat_map(|product| product.rows()).enumerate() {
            let from = start + row * stride;
            let place = c.get_mut(from..from + n).ok_or("C reaches beyond its buffer")?;
            for (element, &value) in place.iter_mut().zip(values) {
                *element = if gemm.accumulate { *element + value } else { value };
            }
        }
        if let Some(at) = &gemm.cpu.squares {
            let result = self.matrix(&gemm.c, m, n)?;
            let squares = result.columns().into_iter().map(|column| column.dot(&column)).collect();
            self.store_row(at, squares)?;
        }
        Ok(())
    }

    fn store_row(&mut self, at: &Address, values: Vec<R>) -> Result<(), String> {
        let start = self.element(at, None)?;
        let place = self.real_buffer(at.buffer)?.get_mut(start..start + values.len());
        place.ok_or("the sums reach beyond their buffer")?.copy_from_slice(&values);
        Ok(())
    }

    /// `op(B)`, `[k, n]`, as it lies unpacked.
    fn right(&mut self, form: Form, b: &Matrix, k: usize, n: usize) -> Result<Array2<R>, String> {
        match form {
            Form::NN | Form::TN => self.matrix(b, k, n),
            Form::NT => Ok(self.matrix(b, n, k)?.reversed_axes()),
        }
    }

    fn pack(&mut self, pack: &Pack) -> Result<(), String> {
        let right = rounded(self.right(pack.form, &pack.b, pack.k, pack.n)?, pack.format);
        *self.real_buffer(pack.to)? = right.iter().copied().collect();
        Ok(())
    }

    fn scatter(&mut self, scatter: &Scatter) -> Result<(), String> {
        let (count, n) = (scatter.count, scatter.n);
        let g = self.matrix(&scatter.g, count, n)?;
        let ids = self.ids(&scatter.ids, count)?;
        let table = self.real_buffer(scatter.table)?;
        let all = table.get_mut(..scatter.table_rows() * n).ok_or("the table reaches beyond its buffer")?;
        if scatter.gather != Gather::Add {
            all.fill(R::zero());
        }
        let mut first = vec![None; scatter.rows];
        for (place, (&id, row)) in ids.iter().zip(g.rows()).enumerate() {
            let id = id as usize;
            if id >= scatter.rows {
                return Err(format!("id {id} in a table of {} rows", scatter.rows));
            }
            let to = match scatter.gather {
                Gather::Combine => *first[id].get_or_insert(place),
                Gather::Table | Gather::Add => id,
            };
            for (element, &value) in table[to * n..][..n].iter_mut().zip(row) {
                *element += value;
            }
        }
        Ok(())
    }
}

/// A matrix with each column rounded to a format.
fn rounded<R: Real>(mut matrix: Array2<R>, format: Format) -> Array2<R> {
    if format != Format::F32 {
        for mut column in matrix.columns_mut() {
            let mut rounded: Vec<f32> = column.iter().map(|&value| Real::to_f64(value) as f32).collect();
            format.round(&mut rounded);
            column.iter_mut().zip(rounded).for_each(|(value, rounded)| *value = R::of(f64::from(rounded)));
        }
    }
    matrix
}

impl<R: Real> Frame<'_, R> {
    fn define(&mut self, var: Var, value: Value<R>) {
        let at = var.0 as usize;
        if at >= self.values.len() {
            self.values.resize(at + 1, None);
        }
        self.values[at] = Some(value);
    }

    fn real(&self, var: Var) -> Result<R, String> {
        match self.values.get(var.0 as usize) {
            Some(Some(Value::Real(value))) => Ok(*value),
            _ => Err(format!("{var} is not a real that was defined before")),
        }
    }

    fn id(&self, var: Var) -> Option<usize> {
        match self.values.get(var.0 as usize) {
            Some(Some(Value::Id(id))) => Some(*id as usize),
            _ => None,
        }
    }
}
