//! Sums over the rows of a large matrix, such as the gradient of a bias: the product of a row of ones and the matrix.
//!
//! A product of one row reads its right side in the order in which it lies, at the speed of memory. A loop nest with its
//! columns in parallel would read a few columns of every row, then the next few.

use super::Lowering;
use super::emit::{At, Emitter};
use super::storage::View;
use crate::graph::{Form, Node, Reduce};
use crate::kernel::{Gemm, Item, Kernel};

impl Lowering<'_> {
    /// The items that sum a matrix in memory over all axes but the last; none if this is no such sum.
    pub(super) fn sum_as_product(&mut self, node: &Node, kind: Reduce, axes: &[usize]) -> Option<Vec<Item>> {
        let shape = self.graph.shape(node.args[0]);
        let (&n, leading) = shape.split_last()?;
        let k: usize = leading.iter().product();
        let large = n * k >= self.target.column_sums?;
        let over_rows = kind == Reduce::Sum && axes.iter().copied().eq(0..leading.len());
        if !over_rows || !large || k < 2 {
            return None;
        }
        let b = self.view_of(node.args[0])?.matrix()?;
        let homes = self.homes.get(&node.result()).filter(|homes| !homes.is_empty())?.clone();
        let c = homes[0].matrix()?;
        let mut items = vec![];
        let ones = match self.ones.get(&k) {
            Some(ones) => ones.clone(),
            None => {
                let ones = View::whole(self.temp("ones", node.result(), vec![k]), &[k]);
                items.push(self.fill_with_one(&ones));
                self.ones.insert(k, ones.clone());
                ones
            }
        };
        let a = ones.matrix()?;
        items.push(Item::Gemm(Gemm::plain(Form::NN, [1, n, k], a, b, c)));
        items.extend(homes[1..].iter().map(|view| self.copy(node.result(), view.clone())));
        Some(items)
    }

    fn fill_with_one(&self, view: &View) -> Item {
        let mut emitter = Emitter::new(self, &[]);
        let axis = emitter.axis(view.shape[0]);
        let one = emitter.number(1.0);
        emitter.open(vec![axis]);
        emitter.store(one, &[At::axis(axis)], view);
        emitter.close(true, vec![]);
        let (axes, body) = emitter.finish();
        let buffer = &self.module.buffer(view.buffer).name;
        Item::Kernel(Kernel { name: format!("fill_{buffer}"), axes, body })
    }
}
