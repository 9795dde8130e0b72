//! Sums over the rows of a large matrix, such as the gradient of a bias, as products of a row of ones and the matrix.
//!
//! A product of one row reads its right side in the order in which it lies, at the speed of memory. A loop nest with its
//! columns in parallel would read a few columns of every row, then the next few.
//!
//! Assumes nests as lowering has made them, before `collapse`: with one loop for each axis. Leaves no kernel that does
//! nothing but sum a large matrix in memory down its columns. The product adds up in another order than the nest.

use std::collections::HashMap;

use crate::kernel::{
    Address, Axis, Buffer, BufferId, BufferKind, Elem, Expr, For, Form, Gemm, Index, Item, Kernel, Matrix,
    Module, Reduce, Stmt, Var, stride_of,
};
use crate::target::Target;

/// The module with these sums as products.
pub fn column_sums(mut module: Module, target: &Target) -> Module {
    let Some(large) = target.column_sums else { return module };
    let mut rewriting = Rewriting { large, buffers: &mut module.buffers };
    module.items = rewriting.items(std::mem::take(&mut module.items), &mut HashMap::new());
    module
}

struct Rewriting<'m> {
    /// Elements of a matrix that is worth it.
    large: usize,
    buffers: &'m mut Vec<Buffer>,
}

impl Rewriting<'_> {
    /// `ones`: rows of ones that have been filled, by length.
    fn items(&mut self, items: Vec<Item>, ones: &mut HashMap<usize, BufferId>) -> Vec<Item> {
        let mut out = vec![];
        for item in items {
            match item {
                Item::Kernel(kernel) => match ColumnSum::of(&kernel) {
                    Some(sum) if sum.n * sum.k >= self.large => {
                        self.product(sum, kernel.name, ones, &mut out)
                    }
                    _ => out.push(Item::Kernel(kernel)),
                },
                Item::Loop(mut inner) => {
                    // What a loop of no rounds fills is not there after it.
                    inner.items = self.items(inner.items, &mut ones.clone());
                    out.push(Item::Loop(inner));
                }
                other => out.push(other),
            }
        }
        out
    }

    /// The product that makes a sum in the first of its places, and a kernel that copies it to the others.
    fn product(
        &mut self,
        sum: ColumnSum,
        name: String,
        ones: &mut HashMap<usize, BufferId>,
        out: &mut Vec<Item>,
    ) {
        let ColumnSum { n, k, matrix, mut to } = sum;
        let ones = *ones.entry(k).or_insert_with(|| self.fill_with_ones(k, out));
        let row = Matrix { at: Address { buffer: ones, offset: 0, terms: vec![] }, stride: k };
        let result = to.remove(0);
        let c = Matrix { at: result.clone(), stride: n };
        out.push(Item::Gemm(Gemm::plain(Form::NN, [1, n, k], row, matrix, c)));
        if !to.is_empty() {
            out.push(Item::Kernel(copy(name, n, result, to)));
        }
    }

    /// A new row of ones.
    fn fill_with_ones(&mut self, len: usize, out: &mut Vec<Item>) -> BufferId {
        let buffer = BufferId(self.buffers.len() as u32);
        let name = format!("ones_{}", buffer.0);
        let body = vec![
            Stmt::Let { var: Var(0), expr: Expr::Const(1.0) },
            across(vec![Stmt::Store {
                to: along(Address { buffer, offset: 0, terms: vec![] }),
                value: Var(0),
            }]),
        ];
        out.push(Item::Kernel(Kernel { name: format!("fill_{name}"), axes: vec![len], body }));
        self.buffers.push(Buffer { name, elem: Elem::Real, shape: vec![len], kind: BufferKind::Temp });
        buffer
    }
}

/// A kernel that copies `len` numbers that lie one after the other to other places.
fn copy(name: String, len: usize, from: Address, to: Vec<Address>) -> Kernel {
    let mut body = vec![Stmt::Let { var: Var(0), expr: Expr::Load(along(from)) }];
    body.extend(to.into_iter().map(|to| Stmt::Store { to: along(to), value: Var(0) }));
    Kernel { name, axes: vec![len], body: vec![across(body)] }
}

/// The loop over the only axis of a kernel.
fn across(body: Vec<Stmt>) -> Stmt {
    Stmt::For(For { axis: Axis(0), parallel: true, vector: false, folds: vec![], body })
}

/// Element by element along that axis.
fn along(mut at: Address) -> Address {
    at.terms.push((Index::Axis(Axis(0)), 1));
    at
}

/// What a kernel does that sums a matrix down its columns and does nothing else.
struct ColumnSum {
    n: usize,
    k: usize,
    matrix: Matrix,
    /// Where the sums go, one after the other; at least one place.
    to: Vec<Address>,
}

impl ColumnSum {
    fn of(kernel: &Kernel) -> Option<Self> {
        let [Stmt::For(across)] = &kernel.body[..] else { return None };
        let [Stmt::For(outermost), stores @ ..] = &across.body[..] else { return None };
        let (rows, sum, from) = summed(outermost)?;
        let extent = |axis: Axis| kernel.axes[axis.0 as usize];
        let n = extent(across.axis);
        let to: Option<Vec<Address>> = stores
            .iter()
            .map(|stmt| match stmt {
                Stmt::Store { to, value } if *value == sum => start(to, &[across.axis]),
                _ => None,
            })
            .collect();
        let in_rows = stores.iter().all(|stmt| {
            matches!(stmt, Stmt::Store { to, .. } if stride_of(&to.terms, Index::Axis(across.axis)) == 1)
        });
        let to = to.filter(|to| !to.is_empty() && in_rows)?;
        // The rows are evenly spaced, as those of a matrix are.
        let walked: Vec<(usize, usize)> = rows
            .iter()
            .map(|&axis| (extent(axis), stride_of(&from.terms, Index::Axis(axis))))
            .filter(|&(extent, _)| extent != 1)
            .collect();
        let even = walked.windows(2).all(|pair| pair[0].1 == pair[1].1 * pair[1].0);
        let stride = walked.last().map(|&(_, stride)| stride)?;
        let k = rows.iter().map(|&axis| extent(axis)).product();
        let by_column = stride_of(&from.terms, Index::Axis(across.axis)) == 1;
        if !(even && by_column && stride >= n && k > 1) {
            return None;
        }
        let at = start(from, &[&[across.axis], &rows[..]].concat())?;
        Some(Self { n, k, matrix: Matrix { at, stride }, to })
    }
}

/// Of loops inside each other that sum what is loaded in the innermost one: their axes, the sum, and what is loaded.
fn summed(outermost: &For) -> Option<(Vec<Axis>, Var, &Address)> {
    let mut rows = vec![];
    let mut inner = outermost;
    loop {
        let [fold] = &inner.folds[..] else { return None };
        if fold.kind != Reduce::Sum {
            return None;
        }
        rows.push(inner.axis);
        match &inner.body[..] {
            [Stmt::For(next)] if matches!(next.folds[..], [next] if next.var == fold.value) => inner = next,
            [Stmt::Let { var, expr: Expr::Load(from) }] if *var == fold.value => {
                return Some((rows, outermost.folds[0].var, from));
            }
            _ => return None,
        }
    }
}

/// An address where these axes are at 0, if it moves with nothing else but time.
fn start(at: &Address, axes: &[Axis]) -> Option<Address> {
    let terms: Vec<(Index, usize)> =
        at.terms.iter().filter(|(index, _)| matches!(index, Index::Time(_))).copied().collect();
    let is_known = |(index, _): &(Index, usize)| match index {
        Index::Axis(axis) => axes.contains(axis),
        Index::Time(_) => true,
        Index::Id(_) => false,
    };
    at.terms.iter().all(is_known).then_some(Address { buffer: at.buffer, offset: at.offset, terms })
}
