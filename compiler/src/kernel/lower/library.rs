//! Products and scatters: calls of the library.

use super::Lowering;
use super::storage::View;
use crate::graph::{Form, Node, Op, Value};
use crate::kernel::{Gemm, Item, Matrix, Scatter};

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
            Op::MatMul(form) => self.product(*form, node, &target, items),
            Op::Scatter { rows } => self.scatter(*rows, node, &target, items),
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
        items.push(Item::Gemm(Gemm { form, m, n, k, a, b, packed: None, c, accumulate: false }));
    }

    fn scatter(&mut self, rows: usize, node: &Node, target: &View, items: &mut Vec<Item>) {
        let ids = self.materialise(node.args[0], items);
        let g = self.operand(node.args[1], items);
        let count = self.graph.ty(node.args[0]).len();
        let n = self.graph.shape(node.result())[1];
        // A table inside a wider buffer is no dense table: it is scattered apart and copied.
        let dense = target.offset == 0 && target.times.is_empty() && target.strides == [n, 1];
        if dense {
            let scatter = Scatter { ids: ids.start(), count, g, table: target.buffer, rows, n };
            items.push(Item::Scatter(scatter));
            return;
        }
        let buffer = self.temp("table", node.result(), vec![rows, n]);
        items.push(Item::Scatter(Scatter { ids: ids.start(), count, g, table: buffer, rows, n }));
        let apart = View::whole(buffer, &[rows, n]);
        let homes = self.homes.insert(node.result(), vec![apart]);
        items.push(self.copy(node.result(), target.clone()));
        if let Some(homes) = homes {
            self.homes.insert(node.result(), homes);
        }
    }
}
