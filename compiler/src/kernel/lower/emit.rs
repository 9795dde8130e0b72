//! Items: each step that storage has laid out becomes one.

use super::facts::Facts;
use super::homes::{Homes, Memory};
use super::nest;
use super::storage::Step;
use crate::kernel::{Buffer, Item, TimeLoop};

/// The items of steps, in order. `homes` are as before the first.
pub(super) fn emit(facts: &Facts, buffers: &[Buffer], mut homes: Homes, steps: Vec<Step>) -> Vec<Item> {
    items(facts, buffers, &mut homes, steps)
}

fn items(facts: &Facts, buffers: &[Buffer], homes: &mut Homes, steps: Vec<Step>) -> Vec<Item> {
    let mut items = vec![];
    for step in steps {
        let memory = Memory { facts, homes, buffers };
        items.push(match step {
            Step::Nest(nest) => Item::Kernel(nest::nest(memory, nest)),
            Step::ColumnReduce(node) => Item::Kernel(nest::column_reduce(memory, node)),
            Step::Library(item) => item,
            Step::Copy(copy) => {
                let kernel = nest::copy(memory, copy.value, copy.from.as_ref(), &copy.to);
                if copy.stays {
                    homes.copied(copy.value, copy.to);
                }
                Item::Kernel(kernel)
            }
            Step::Loop { time, steps, reverse, body } => {
                let items = self::items(facts, buffers, homes, body);
                Item::Loop(TimeLoop { time, steps, reverse, items })
            }
        });
    }
    items
}
