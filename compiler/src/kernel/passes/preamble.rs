//! What is the same in every step of a run is computed once before the steps, in the prologue.

use std::collections::HashMap;

use crate::kernel::{BufferId, BufferKind, Item, Module};

/// The module with its prologue: the items whose operands are constant and whose results nothing else writes.
pub fn preamble(mut module: Module) -> Module {
    let mut known = module.constants();
    let mut writers: HashMap<BufferId, usize> = HashMap::new();
    for id in module.items.iter().flat_map(Item::stored) {
        *writers.entry(id).or_default() += 1;
    }
    let mut items = vec![];
    for item in std::mem::take(&mut module.items) {
        let steady = match &item {
            Item::Loop(_) | Item::Exchange(_) => false,
            Item::Kernel(kernel) => !kernel.is_random(),
            Item::Gemm(_) | Item::Pack(_) | Item::Scatter(_) | Item::Distinct(_) => true,
        };
        let (reads, writes) = (item.loaded(), item.stored());
        let own = |id: &BufferId| writers[id] == 1 && module.buffer(*id).kind == BufferKind::Temp;
        if steady && !reads.is_empty() && reads.is_subset(&known) && writes.iter().all(own) {
            known.extend(writes);
            module.prologue.push(item);
        } else {
            items.push(item);
        }
    }
    module.items = items;
    module
}
