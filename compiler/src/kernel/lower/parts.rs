//! Products of few rows by a weight that the step changes, with the contraction cut into parts.
//!
//! Such a product takes as long as reading the weight, and so does each of the others that a training step does with it: the
//! product by its transpose, whose columns are the weight's rows, and the update, which goes by rows. With a part of the rows
//! each in the forward product too, a worker works with the same rows throughout, and finds them in its own caches. And it
//! multiplies those rows by elements of A that it has computed itself, where they are computed one by one, so that it need
//! not wait for the others. Whoever reads the result adds up the parts, in order: it never lies in memory as such.

use super::storage::View;
use super::{Lowering, Use};
use crate::graph::{Form, Node, Op, Value};
use crate::kernel::FEW_ROWS;

/// As many as the workers that gain most: more parts are more to hand on and to add up, and with more workers a product is
/// cut by columns. The result's bits depend on it.
const PARTS: usize = 2;
/// Shorter contractions are not worth adding up parts.
const MIN_CONTRACTION: usize = 256;

impl Lowering<'_> {
    /// Gives a product the place of its parts, `[parts, .., n]`, if it is to be cut. In a time loop each round has a place of
    /// its own: nobody waits until all have read what another round has left.
    pub(super) fn cut_into_parts(&mut self, value: Value) -> bool {
        let Some(&node) = self.definers.get(&value) else { return false };
        if !self.is_worth_cutting(node) {
            return false;
        }
        let shape = [&[PARTS], self.graph.shape(value)].concat();
        let view = match self.around {
            None => View::whole(self.temp("parts", value, shape.clone()), &shape),
            Some((time, rounds)) => {
                let all = [&[rounds], &shape[..]].concat();
                View::whole(self.temp("parts", value, all.clone()), &all).at_time(time)
            }
        };
        self.parts.insert(value, view);
        true
    }

    fn is_worth_cutting(&self, node: &Node) -> bool {
        let (Op::MatMul(Form::NN), [_, weight]) = (&node.op, &node.args[..]) else { return false };
        let [k, n] = *self.graph.shape(*weight) else { return false };
        let m = self.graph.ty(node.result()).len() / n.max(1);
        let rounds = self.around.map_or(1, |(_, rounds)| rounds);
        // The parts of all rounds are no larger than the weight.
        let are_small = rounds * PARTS * m <= k;
        let uses = self.uses.get(&node.result()).map_or(&[][..], |uses| uses);
        let is_read_whole = uses.iter().any(|how| matches!(how, Use::Read | Use::Placed));
        m <= FEW_ROWS && k >= MIN_CONTRACTION && are_small && !is_read_whole && self.is_updated(*weight)
    }

    /// Whether a value is a parameter that the step changes.
    fn is_updated(&self, value: Value) -> bool {
        self.trained.contains(&value)
    }
}
