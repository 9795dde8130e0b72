//! Sums that ride on a product. The gradient of a weight, `A^T @ dZ`, reads all of `dZ`, and so does that of the bias, a row
//! of ones times `dZ` (see [`super::sums`]): the product sums the columns as it lays them out, and nothing reads `dZ` again.

use std::collections::{HashMap, HashSet};

use crate::kernel::{
    Address, Buffer, BufferId, BufferKind, Elem, Expr, Form, Gemm, Item, Kernel, Module, Precision, Stmt,
};

/// A product of fewer rows is done as soon as it has read its right side, and does not lay it out.
const MIN_ROWS: usize = 8;

/// Gives the column sums in `module`, which are the products by the rows of `ones`, to products of the same right side. A
/// row of ones that nobody reads then is not filled.
pub(super) fn column_sums(module: &mut Module, ones: &HashSet<BufferId>) {
    let mut moved = HashMap::new();
    let mut gone = HashSet::new();
    for host in 0..module.items.len() {
        let Item::Gemm(gemm) = &module.items[host] else { continue };
        let sums = if can_sum(gemm) { sums_for(module, host, gemm, ones) } else { vec![] };
        let sums: Vec<Sum> = sums.into_iter().filter(|sum| !gone.contains(&sum.item)).collect();
        if sums.is_empty() {
            continue;
        }
        let buffer = BufferId(module.buffers.len() as u32);
        let name = format!("sums_{}", buffer.0);
        let shape = vec![gemm.n];
        module.buffers.push(Buffer { name, elem: Elem::Real, shape, kind: BufferKind::Temp });
        if let Item::Gemm(gemm) = &mut module.items[host] {
            gemm.right_sums = Some(Address { buffer, offset: 0, terms: vec![] });
        }
        for Sum { item, result, column } in sums {
            moved.insert(result, (buffer, column));
            gone.insert(item);
        }
    }
    let mut number = 0..;
    module.items.retain(|_| number.next().is_none_or(|number| !gone.contains(&number)));
    each_address(&mut module.items, &mut |at| {
        if let Some(&(buffer, column)) = moved.get(&at.buffer) {
            *at = Address { buffer, offset: at.offset + column, terms: std::mem::take(&mut at.terms) };
        }
    });
    let read: HashSet<BufferId> = module.items.iter().flat_map(Item::loaded).collect();
    module.items.retain(|item| match item {
        Item::Kernel(kernel) => !kernel.stored().iter().all(|to| ones.contains(to) && !read.contains(to)),
        _ => true,
    });
}

fn can_sum(gemm: &Gemm) -> bool {
    gemm.form == Form::TN
        && gemm.precision == Precision::F32
        && gemm.prefix.is_none()
        && gemm.right_sums.is_none()
        && gemm.m >= MIN_ROWS
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

/// The sums of columns of the right side of `gemm`, which is item `host`, while that holds the same and before anybody
/// reads them.
fn sums_for(module: &Module, host: usize, gemm: &Gemm, ones: &HashSet<BufferId>) -> Vec<Sum> {
    let writers = |id: BufferId| module.items.iter().filter(|item| item.stored().contains(&id)).count();
    let own = |id: BufferId, len: usize| {
        let buffer = module.buffer(id);
        buffer.kind == BufferKind::Temp && buffer.len() == len && writers(id) == 1
    };
    let writes = |item: &Item| item.stored().contains(&gemm.b.at.buffer);
    let (before, behind) = module.items.split_at(host);
    let first = before.iter().rposition(writes).map_or(0, |at| at + 1);
    let end = behind.iter().position(writes).map_or(module.items.len(), |at| host + at);
    let sum = |item: usize| {
        let Item::Gemm(sum) = &module.items[item] else { return None };
        let same = sum.b.at.buffer == gemm.b.at.buffer && sum.b.stride == gemm.b.stride && sum.k == gemm.k;
        let column = sum.b.at.offset.checked_sub(gemm.b.at.offset)?;
        let result = sum.c.at.buffer;
        let within = column + sum.n <= gemm.n && own(result, sum.n);
        let read = item < host && module.items[item..host].iter().any(|item| item.loaded().contains(&result));
        let sums = ones.contains(&sum.a.at.buffer) && same && within && !read;
        sums.then_some(Sum { item, result, column })
    };
    (first..end).filter_map(sum).collect()
}

/// Calls `act` on every address of these items. What a pack, a scatter or distinct ids write has none.
fn each_address(items: &mut [Item], act: &mut impl FnMut(&mut Address)) {
    for item in items {
        match item {
            Item::Kernel(Kernel { body, .. }) => each_of_block(body, act),
            Item::Gemm(gemm) => {
                [&mut gemm.a, &mut gemm.b, &mut gemm.c].into_iter().for_each(|matrix| act(&mut matrix.at));
                gemm.prefix.iter_mut().chain(&mut gemm.right_sums).for_each(&mut *act);
            }
            Item::Pack(pack) => act(&mut pack.b.at),
            Item::Scatter(scatter) => [&mut scatter.ids, &mut scatter.g.at].into_iter().for_each(&mut *act),
            Item::Distinct(distinct) => act(&mut distinct.ids),
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
