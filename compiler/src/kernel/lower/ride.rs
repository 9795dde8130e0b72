//! Sums that ride on a product. The gradient of a weight, `A^T @ dZ`, reads all of `dZ`, and so does that of the bias, a row
//! of ones times `dZ` (see [`super::sums`]): the product sums the columns as it lays them out, and nothing reads `dZ` again.
//! Clipping wants the sum of the squares of each gradient: the product that makes one sums the squares down its columns
//! while they are in a cache.

use std::collections::{HashMap, HashSet};

use super::Lowering;
use super::cluster::sums_few_outer;
use super::sums::MIN_ELEMENTS;
use crate::graph::{Graph, Node, Op, Reduce, Value};
use crate::kernel::{
    Address, Buffer, BufferId, BufferKind, Elem, Expr, Form, Gemm, Item, Kernel, Module, Precision, Stmt,
};
use crate::scalar::Scalar;

/// A product of fewer rows is done as soon as it has read its right side, and does not lay it out.
const MIN_ROWS: usize = 8;

/// The sums over both axes of squares that a product can make: it stands outside loops as they do, and only they read its
/// squares.
pub(super) fn sums_of_squares(graph: &Graph) -> HashSet<Value> {
    let nodes: HashMap<Value, &Node> =
        graph.body.iter().flat_map(|node| node.results.iter().map(move |&result| (result, node))).collect();
    let mut uses: HashMap<Value, usize> = HashMap::new();
    let outputs = graph.outputs.iter().map(|output| output.value);
    for value in graph.body.iter().flat_map(Node::operands).chain(outputs) {
        *uses.entry(value).or_default() += 1;
    }
    let rides = |node: &&Node| {
        node.op == Op::Reduce { kind: Reduce::Sum, axes: vec![0, 1] }
            && uses[&node.args[0]] == 1
            && nodes.get(&node.args[0]).is_some_and(|&squares| {
                let product = square_of(squares).and_then(|x| nodes.get(&x));
                product.is_some_and(|product| can_square(graph, product))
            })
    };
    graph.body.iter().filter(rides).map(|node| node.result()).collect()
}

/// What an element-wise operation squares.
fn square_of(node: &Node) -> Option<Value> {
    match node.args[..] {
        [x, y] if x == y && node.op == Op::Map(Scalar::Mul) => Some(x),
        _ => None,
    }
}

/// Whether a product of a matrix is cut by columns, and too large to be read again for nothing.
fn can_square(graph: &Graph, product: &Node) -> bool {
    let Op::MatMul(_) = product.op else { return false };
    let [m, n] = graph.shape(product.result()) else { return false };
    !sums_few_outer(graph, product) && n >= m && *m >= MIN_ROWS && m * n >= MIN_ELEMENTS
}

impl Lowering<'_> {
    /// Has the product among `items` whose result is squared and summed down its columns make the sums; false if this is no
    /// such sum.
    pub(super) fn squares_of_product(&self, node: &Node, items: &mut [Item]) -> bool {
        let Op::Reduce { kind: Reduce::Sum, axes } = &node.op else { return false };
        let squared = self.definers.get(&node.args[0]).and_then(|squares| square_of(squares));
        let (Some(x), [0]) = (squared, &axes[..]) else { return false };
        let [m, n] = *self.graph.shape(x) else { return false };
        if !self.definers.get(&x).is_some_and(|product| can_square(self.graph, product)) {
            return false;
        }
        let (Some(c), Some([home])) = (self.view_of(x), self.homes.get(&node.result()).map(Vec::as_slice))
        else {
            return false;
        };
        // What is written over an input might be read between the product and here.
        if matches!(self.module.buffer(home.buffer).kind, BufferKind::Input(_)) {
            return false;
        }
        let (Some(c), Some(to)) = (c.matrix(), home.matrix()) else { return false };
        let product = items.iter_mut().rev().find_map(|item| match item {
            Item::Gemm(gemm) if gemm.c == c && (gemm.m, gemm.n) == (m, n) => Some(gemm),
            _ => None,
        });
        match product {
            Some(gemm) if gemm.prefix.is_none() && gemm.squares.is_none() && !gemm.accumulate => {
                gemm.squares = Some(to.at);
                true
            }
            _ => false,
        }
    }
}

/// Gives the column sums in `module`, which are the products by the rows of `ones`, to products of the same right side. A
/// row of ones that nobody reads then is not filled.
pub(super) fn column_sums(module: &mut Module, ones: &HashSet<BufferId>) {
    let touched = Touched::of(&module.items, ones);
    let mut moved = HashMap::new();
    let mut gone = HashSet::new();
    for host in 0..module.items.len() {
        let Item::Gemm(gemm) = &module.items[host] else { continue };
        let sums = if can_sum(gemm) { touched.sums_for(module, host, gemm) } else { vec![] };
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

/// Which items touch a buffer, by their places in order.
struct Touched {
    reads: HashMap<BufferId, Vec<usize>>,
    writes: HashMap<BufferId, Vec<usize>>,
    /// The products by a row of ones, by the buffer of their right side.
    sums: HashMap<BufferId, Vec<usize>>,
}

impl Touched {
    fn of(items: &[Item], ones: &HashSet<BufferId>) -> Self {
        let mut touched = Self { reads: HashMap::new(), writes: HashMap::new(), sums: HashMap::new() };
        for (place, item) in items.iter().enumerate() {
            for id in item.loaded() {
                touched.reads.entry(id).or_default().push(place);
            }
            for id in item.stored() {
                touched.writes.entry(id).or_default().push(place);
            }
            match item {
                Item::Gemm(gemm) if ones.contains(&gemm.a.at.buffer) => {
                    touched.sums.entry(gemm.b.at.buffer).or_default().push(place);
                }
                _ => {}
            }
        }
        touched
    }

    /// The sums of columns of the right side of `gemm`, which is item `host`, while that holds the same and before anybody
    /// reads them.
    fn sums_for(&self, module: &Module, host: usize, gemm: &Gemm) -> Vec<Sum> {
        let places =
            |of: &HashMap<BufferId, Vec<usize>>, id: BufferId| of.get(&id).cloned().unwrap_or_default();
        let own = |id: BufferId, len: usize| {
            let buffer = module.buffer(id);
            buffer.kind == BufferKind::Temp && buffer.len() == len && places(&self.writes, id).len() == 1
        };
        let writes = places(&self.writes, gemm.b.at.buffer);
        let (before, behind) = writes.split_at(writes.partition_point(|&place| place < host));
        let first = before.last().map_or(0, |place| place + 1);
        let end = behind.first().copied().unwrap_or(module.items.len());
        let sum = |item: usize| {
            let Item::Gemm(sum) = &module.items[item] else { return None };
            let same = sum.b.stride == gemm.b.stride && sum.k == gemm.k;
            let column = sum.b.at.offset.checked_sub(gemm.b.at.offset)?;
            let result = sum.c.at.buffer;
            let within = column + sum.n <= gemm.n && own(result, sum.n);
            let read =
                item < host && places(&self.reads, result).iter().any(|place| (item..=host).contains(place));
            (same && within && !read).then_some(Sum { item, result, column })
        };
        let sums = places(&self.sums, gemm.b.at.buffer);
        sums.into_iter().filter(|item| (first..end).contains(item)).filter_map(sum).collect()
    }
}

/// Calls `act` on every address of these items. What a pack, a scatter or distinct ids write has none.
fn each_address(items: &mut [Item], act: &mut impl FnMut(&mut Address)) {
    for item in items {
        match item {
            Item::Kernel(Kernel { body, .. }) => each_of_block(body, act),
            Item::Gemm(gemm) => {
                [&mut gemm.a, &mut gemm.b, &mut gemm.c].into_iter().for_each(|matrix| act(&mut matrix.at));
                let others = gemm.prefix.iter_mut().chain(&mut gemm.right_sums).chain(&mut gemm.squares);
                others.for_each(&mut *act);
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
