//! Items: each task that storage has laid out becomes one.

use super::facts::Facts;
use super::homes::{Homes, Memory};
use super::nest;
use super::storage::Task;
use crate::kernel::{Buffer, Item, TimeLoop};

/// The items of tasks, in order. `homes` are as before the first.
pub(super) fn emit(facts: &Facts, buffers: &[Buffer], mut homes: Homes, tasks: Vec<Task>) -> Vec<Item> {
    items(facts, buffers, &mut homes, tasks)
}

fn items(facts: &Facts, buffers: &[Buffer], homes: &mut Homes, tasks: Vec<Task>) -> Vec<Item> {
    let mut items = vec![];
    for task in tasks {
        let memory = Memory { facts, homes, buffers };
        items.push(match task {
            Task::Nest(nest) => Item::Kernel(nest::nest(memory, nest)),
            Task::ColumnReduce(node) => Item::Kernel(nest::column_reduce(memory, node)),
            Task::Library(item) => item,
            Task::Copy(copy) => {
                let kernel = nest::copy(memory, copy.value, copy.from.as_ref(), &copy.to);
                if copy.stays {
                    homes.copied(copy.value, copy.to);
                }
                Item::Kernel(kernel)
            }
            Task::Loop { time, rounds, reverse, body } => {
                let items = self::items(facts, buffers, homes, body);
                Item::Loop(TimeLoop { time, rounds, reverse, items })
            }
        });
    }
    items
}
