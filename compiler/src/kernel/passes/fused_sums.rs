//! Fused sums: those that a product makes beside its result. The gradient of a weight, `A^T @ dZ`, reads all of `dZ`, and so
//! does that of the bias, a row of ones times `dZ`: the product sums the columns as it lays them out, and nothing reads `dZ`
//! again. Clipping wants the sum of the squares of each gradient: the product that makes one sums the squares down its
//! columns while they are in a cache.

use std::collections::{HashMap, HashSet};

use super::Touched;
use crate::kernel::{
    Address, Axis, Buffer, BufferId, BufferKind, Elem, Expr, Form, Gemm, Index, Item, Kernel, Matrix, Module,
    Precision, Reduce, Stmt,
};
use crate::scalar::Scalar;
use crate::target::{FusedSums, Target};

/// The module with sums moved into the products that can make them.
pub fn fused_sums(mut module: Module, target: &Target) -> Module {
    let Some(worth) = &target.fused_sums else { return module };
    squares(&mut module, worth);
    column_sums(&mut module, worth);
    module
}

/// Has products make the sums of squares down the columns of their results.
fn squares(module: &mut Module, worth: &FusedSums) {
    let touched = Touched::of(&module.items);
    let mut gone = HashSet::new();
    for place in 0..module.items.len() {
        let Some(sum) = SquareSum::of(&module.items[place]) else { continue };
        let own = touched.writes_of(sum.to.buffer) == [place];
        // An input might be read between the product and here.
        let is_input = matches!(module.buffer(sum.to.buffer).kind, BufferKind::Input(_));
        let writes = touched.writes_of(sum.of.at.buffer);
        let before = &writes[..writes.partition_point(|&write| write < place)];
        let Some(&host) = before.last().filter(|_| own && !is_input) else { continue };
        if let Item::Gemm(gemm) = &mut module.items[host]
            && sum.fits(gemm, worth)
        {
            gemm.cpu.squares = Some(sum.to);
            gone.insert(place);
        }
    }
    remove(&mut module.items, &gone);
}

/// A kernel that sums the squares of a matrix down its columns and does nothing else.
struct SquareSum {
    of: Matrix,
    rows: usize,
    columns: usize,
    to: Address,
}

impl SquareSum {
    fn of(item: &Item) -> Option<Self> {
        let Item::Kernel(Kernel { axes, body, .. }) = item else { return None };
        let [Stmt::For(across)] = &body[..] else { return None };
        let [Stmt::For(down), Stmt::Store { to, value: stored }] = &across.body[..] else { return None };
        let [Stmt::Let { var: x, expr: Expr::Load(from) }, Stmt::Let { var: square, expr }] = &down.body[..]
        else {
            return None;
        };
        let [fold] = &down.folds[..] else { return None };
        let sums = fold.kind == Reduce::Sum && fold.value == *square && fold.var == *stored;
        let squares = *expr == Expr::Map(Scalar::Mul, vec![*x, *x]);
        let stride = |at: &Address, axis: Axis| crate::kernel::stride_of(&at.terms, Index::Axis(axis));
        let by_column = stride(from, across.axis) == 1 && from.terms.len() == 2;
        let in_a_row = to.terms == [(Index::Axis(across.axis), 1)];
        if !(sums && squares && by_column && in_a_row) {
            return None;
        }
        let at = Address { buffer: from.buffer, offset: from.offset, terms: vec![] };
        let extent = |axis: Axis| axes[axis.0 as usize];
        Some(Self {
            of: Matrix { at, stride: stride(from, down.axis) },
            rows: extent(down.axis),
            columns: extent(across.axis),
            to: Address { terms: vec![], ..to.clone() },
        })
    }

    /// Whether this product, which is the last item before that writes the matrix, can make the sums: it is large enough, and
    /// cut by columns.
    fn fits(&self, gemm: &Gemm, worth: &FusedSums) -> bool {
        let same = gemm.c == self.of && (gemm.m, gemm.n) == (self.rows, self.columns);
        let plain = gemm.prefix.is_none() && gemm.cpu.squares.is_none() && !gemm.accumulate;
        let large = gemm.m >= worth.min_rows && gemm.m * gemm.n >= worth.min_elements;
        same && plain && gemm.n >= gemm.m && large
    }
}

/// Drops items by their places.
fn remove(items: &mut Vec<Item>, gone: &HashSet<usize>) {
    let mut place = 0..;
    items.retain(|_| place.next().is_none_or(|place| !gone.contains(&place)));
}

/// Gives column sums, which are the products by a row of ones, to products of the same right side. A row of ones that is
/// not read any more is not filled.
fn column_sums(module: &mut Module, worth: &FusedSums) {
    let touched = Touched::of(&module.items);
    let ones = rows_of_ones(module, &touched);
    let all = Sums { touched, by_right: products_by(&module.items, &ones) };
    let mut moved = HashMap::new();
    let mut gone = HashSet::new();
    for host in 0..module.items.len() {
        let Item::Gemm(gemm) = &module.items[host] else { continue };
        let sums = if can_sum(gemm, worth) { all.of_right(module, host, gemm) } else { vec![] };
        let sums: Vec<Sum> = sums.into_iter().filter(|sum| !gone.contains(&sum.item)).collect();
        if sums.is_empty() {
            continue;
        }
        let buffer = BufferId(module.buffers.len() as u32);
        let name = format!("sums_{}", buffer.0);
        let shape = vec![gemm.n];
        module.buffers.push(Buffer { name, elem: Elem::Real, shape, kind: BufferKind::Temp });
        if let Item::Gemm(gemm) = &mut module.items[host] {
            gemm.cpu.right_sums = Some(Address { buffer, offset: 0, terms: vec![] });
        }
        for Sum { item, result, column } in sums {
            moved.insert(result, (buffer, column));
            gone.insert(item);
        }
    }
    remove(&mut module.items, &gone);
    each_address(&mut module.items, &mut |at| {
        if let Some(&(buffer, column)) = moved.get(&at.buffer) {
            *at = Address { buffer, offset: at.offset + column, terms: std::mem::take(&mut at.terms) };
        }
    });
    let read: HashSet<BufferId> = module.items.iter().flat_map(Item::loaded).collect();
    module.items.retain(|item| match filled_with_ones(item) {
        Some(to) => read.contains(&to.buffer) || !ones.contains(&to.buffer),
        None => true,
    });
}

/// The temporaries that hold ones, all their life.
fn rows_of_ones(module: &Module, touched: &Touched) -> HashSet<BufferId> {
    let whole = |to: &&Address| {
        let buffer = module.buffer(to.buffer);
        buffer.kind == BufferKind::Temp && to.offset == 0 && touched.writes_of(to.buffer).len() == 1
    };
    module.items.iter().filter_map(filled_with_ones).filter(whole).map(|to| to.buffer).collect()
}

/// Where an item writes ones, if it does that one after the other and nothing else.
fn filled_with_ones(item: &Item) -> Option<&Address> {
    let Item::Kernel(Kernel { body, .. }) = item else { return None };
    let [Stmt::Let { var: one, expr: Expr::Const(1.0) }, Stmt::For(inner)] = &body[..] else { return None };
    let [Stmt::Store { to, value }] = &inner.body[..] else { return None };
    (value == one && to.terms == [(Index::Axis(inner.axis), 1)]).then_some(to)
}

/// The products by one of these rows, by the buffer of their right side.
fn products_by(items: &[Item], ones: &HashSet<BufferId>) -> HashMap<BufferId, Vec<usize>> {
    let mut found: HashMap<BufferId, Vec<usize>> = HashMap::new();
    for (place, item) in items.iter().enumerate() {
        if let Item::Gemm(gemm) = item
            && (gemm.form, gemm.m, gemm.precision) == (Form::NN, 1, Precision::F32)
            && !gemm.accumulate
            && ones.contains(&gemm.a.at.buffer)
        {
            found.entry(gemm.b.at.buffer).or_default().push(place);
        }
    }
    found
}

fn can_sum(gemm: &Gemm, worth: &FusedSums) -> bool {
    gemm.form == Form::TN
        && gemm.precision == Precision::F32
        && gemm.prefix.is_none()
        && gemm.cpu.right_sums.is_none()
        && gemm.m >= worth.min_rows
}

/// A product that sums columns of another one's right side.
struct Sum {
    /// Its place among the items.
    item: usize,
    /// The buffer that holds the sums and nothing else.
    result: BufferId,
    /// The first of these columns.
    column: usize,
}

/// The products that sum columns.
struct Sums {
    touched: Touched,
    by_right: HashMap<BufferId, Vec<usize>>,
}

impl Sums {
    /// The sums of columns of the right side of `gemm`, which is item `host`: those of the same contents, and not read before
    /// `host`.
    fn of_right(&self, module: &Module, host: usize, gemm: &Gemm) -> Vec<Sum> {
        let own = |id: BufferId, len: usize| {
            let buffer = module.buffer(id);
            buffer.kind == BufferKind::Temp && buffer.len() == len && self.touched.writes_of(id).len() == 1
        };
        let writes = self.touched.writes_of(gemm.b.at.buffer);
        let (before, behind) = writes.split_at(writes.partition_point(|&place| place < host));
        let first = before.last().map_or(0, |place| place + 1);
        let end = behind.first().copied().unwrap_or(module.items.len());
        let sum = |item: usize| {
            let Item::Gemm(sum) = &module.items[item] else { return None };
            let same = sum.b.stride == gemm.b.stride && sum.k == gemm.k;
            let column = sum.b.at.offset.checked_sub(gemm.b.at.offset)?;
            let result = sum.c.at.buffer;
            let within = column + sum.n <= gemm.n && own(result, sum.n);
            let reads = self.touched.reads_of(result);
            let read = item < host && reads.iter().any(|place| (item..=host).contains(place));
            (same && within && !read).then_some(Sum { item, result, column })
        };
        let sums = self.by_right.get(&gemm.b.at.buffer).map_or(&[][..], |places| places);
        sums.iter().copied().filter(|item| (first..end).contains(item)).filter_map(sum).collect()
    }
}

/// Calls `act` on every address of these items. What a pack, a scatter or distinct ids write has none.
fn each_address(items: &mut [Item], act: &mut impl FnMut(&mut Address)) {
    for item in items {
        match item {
            Item::Kernel(Kernel { body, .. }) => each_of_block(body, act),
            Item::Gemm(gemm) => {
                [&mut gemm.a, &mut gemm.b, &mut gemm.c].into_iter().for_each(|matrix| act(&mut matrix.at));
                let others =
                    gemm.prefix.iter_mut().chain(&mut gemm.cpu.right_sums).chain(&mut gemm.cpu.squares);
                others.for_each(&mut *act);
            }
            Item::Pack(pack) => act(&mut pack.b.at),
            Item::Scatter(scatter) => [&mut scatter.ids, &mut scatter.g.at].into_iter().for_each(&mut *act),
            Item::Distinct(distinct) => act(&mut distinct.ids),
            Item::Exchange(exchange) => exchange.sums.iter_mut().for_each(|sum| act(&mut sum.from)),
            Item::Loop(inner) => each_address(&mut inner.items, act),
        }
    }
}

fn each_of_block(stmts: &mut [Stmt], act: &mut impl FnMut(&mut Address)) {
    for stmt in stmts {
        match stmt {
            Stmt::Let { expr: Expr::Load(at) | Expr::LoadId(at), .. } | Stmt::Store { to: at, .. } => act(at),
            Stmt::Let { .. } => {}
            Stmt::For(inner) => each_of_block(&mut inner.body, act),
        }
    }
}
