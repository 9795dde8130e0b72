//! Products, scatters and distinct ids: calls of the library.

use super::Lowering;
use super::storage::View;
use crate::graph::{Form, Node, Op, Value};
use crate::kernel::{BufferId, BufferKind, Distinct, Gather, Gemm, Item, Matrix, Precision, Scatter};

impl Lowering<'_> {
    /// A product or scatter, with copies before it for operands that are no evenly spaced matrix, and after it for
    /// results that are wanted in several places.
    pub(super) fn library_call(&mut self, node: &Node, items: &mut Vec<Item>) {
        let result = node.result();
        let Some(homes) = self.homes.get(&result).cloned() else { return };
        let direct = homes.iter().position(|view| view.matrix().is_some());
        let target = match direct {
            Some(index) => homes[index].clone(),
            None => {
                let shape = self.graph.shape(result).to_vec();
                let buffer = self.temp("product", result, shape.clone());
                View::whole(buffer, &shape)
            }
        };
        // Whoever reads the result from now on reads what the library wrote.
        let mut order = vec![target.clone()];
        order.extend(homes.iter().filter(|view| **view != target).cloned());
        self.homes.insert(result, order.clone());
        match &node.op {
            Op::MatMul(form) | Op::MatMulPrefix(form) => self.product(*form, node, &target, items),
            Op::Scatter { .. } | Op::Combine { .. } | Op::AddRows => self.scatter(node, &target, items),
            op => unreachable!("internal error: {} is no library call", op.name()),
        }
        for view in &order[1..] {
            items.push(self.copy(result, view.clone()));
        }
    }

    fn operand(&mut self, value: Value, items: &mut Vec<Item>) -> Matrix {
        let view = self.materialise(value, items);
        if let Some(matrix) = view.matrix() {
            return matrix;
        }
        let shape = self.graph.shape(value).to_vec();
        let buffer = self.temp("dense", value, shape.clone());
        let dense = View::whole(buffer, &shape);
        items.push(self.copy(value, dense.clone()));
        Matrix { at: dense.start(), stride: shape.last().copied().unwrap_or(1) }
    }

    fn product(&mut self, form: Form, node: &Node, target: &View, items: &mut Vec<Item>) {
        let (a, b) = (self.operand(node.args[0], items), self.operand(node.args[1], items));
        let rows = |shape: &[usize]| shape[..shape.len() - 1].iter().product::<usize>();
        let last = |shape: &[usize]| shape[shape.len() - 1];
        let (left, right) = (self.graph.shape(node.args[0]), self.graph.shape(node.args[1]));
        let (m, n, k) = match form {
            Form::NN => (rows(left), last(right), last(left)),
            Form::NT => (rows(left), rows(right), last(left)),
            Form::TN => (last(left), last(right), rows(left)),
        };
        let Some(c) = target.matrix() else {
            unreachable!("internal error: the product's target is a matrix")
        };
        // Rounding would lose digits and gain nothing.
        let precision = if m <= self.target.few_rows { Precision::F32 } else { self.numbers.products };
        let prefix = node.args.get(2).map(|&count| self.materialise(count, items).start());
        let rounds = self.rounds.get(&node.result()).copied().unwrap_or_default();
        let plain = Gemm::plain(form, [m, n, k], a, b, c);
        items.push(Item::Gemm(Gemm { precision, prefix, rounds, ..plain }));
    }

    /// Which ids there are. What nobody reads is written all the same.
    pub(super) fn distinct(&mut self, node: &Node, rows: usize, items: &mut Vec<Item>) {
        let ids = self.materialise(node.args[0], items).start();
        let len = self.graph.ty(node.args[0]).len();
        let [places, distinct, count, ranks, present] = node.results[..] else {
            unreachable!("internal error: distinct ids have five results")
        };
        let wanted = [ranks, present].iter().any(|result| self.homes.contains_key(result));
        let inverse = wanted.then(|| [ranks, present].map(|result| self.own_buffer(result)));
        let [places, distinct, count] = [places, distinct, count].map(|result| self.own_buffer(result));
        let found = Distinct { ids, len, rows, places, distinct, count, inverse };
        items.push(Item::Distinct(found));
        for view in self.homes.get(&present).map_or(vec![], |homes| homes[1..].to_vec()) {
            items.push(self.copy(present, view));
        }
    }

    /// The whole buffer that a result lies in, be it read or not. The flags of the rows may also be wanted elsewhere, as a
    /// part of something or as an output: these are copies of them.
    fn own_buffer(&mut self, value: Value) -> BufferId {
        let shape = self.graph.shape(value).to_vec();
        let homes = self.homes.entry(value).or_default();
        // The first piece of a concatenation starts where its buffer does.
        let own = homes.iter().position(|view| {
            let buffer = self.module.buffer(view.buffer);
            let all = buffer.len() == shape.iter().product::<usize>();
            all && *view == View::whole(view.buffer, &shape) && buffer.kind == BufferKind::Temp
        });
        let buffer = match own {
            Some(index) => homes.remove(index).buffer,
            None => self.temp("distinct", value, shape.clone()),
        };
        self.homes.entry(value).or_default().insert(0, View::whole(buffer, &shape));
        buffer
    }

    /// Adds rows to a table of zeros, or to one that is given: where that lies if the result is wanted there, to a copy
    /// otherwise.
    fn scatter(&mut self, node: &Node, target: &View, items: &mut Vec<Item>) {
        let (gather, rows, table, ids, g) = match (&node.op, &node.args[..]) {
            (Op::Scatter { rows }, &[ids, g]) => (Gather::Table, *rows, None, ids, g),
            (Op::Combine { rows }, &[ids, g]) => (Gather::Combine, *rows, None, ids, g),
            (Op::AddRows, &[table, ids, g]) => (Gather::Add, self.graph.shape(table)[0], Some(table), ids, g),
            (op, args) => unreachable!("internal error: {} of {} operands", op.name(), args.len()),
        };
        let count = self.graph.ty(ids).len();
        let n = self.graph.shape(g).last().copied().unwrap_or(1);
        let ids = self.materialise(ids, items).start();
        let g = self.operand(g, items);
        // A table inside a wider buffer is no dense table: it is made apart and copied.
        let table_rows = if gather == Gather::Combine { count } else { rows };
        let even = target.matrix().is_some_and(|matrix| matrix.stride == n || table_rows == 1);
        let dense = even && target.offset == 0 && target.times.is_empty();
        let place = match dense {
            true => target.clone(),
            false => View::whole(self.temp("table", node.result(), target.shape.clone()), &target.shape),
        };
        if let Some(table) = table
            && self.view_of(table).as_ref() != Some(&place)
        {
            items.push(self.copy(table, place.clone()));
        }
        items.push(Item::Scatter(Scatter { gather, ids, count, g, table: place.buffer, rows, n }));
        if !dense {
            let homes = self.homes.insert(node.result(), vec![place]);
            items.push(self.copy(node.result(), target.clone()));
            if let Some(homes) = homes {
                self.homes.insert(node.result(), homes);
            }
        }
    }
}
