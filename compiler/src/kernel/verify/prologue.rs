//! What the prologue may touch; see [`super::super::Module::prologue`].

use std::collections::HashSet;

use crate::kernel::{BufferId, BufferKind, Item, Module};

/// Whether what the prologue writes is the same after every step: the rest of a sentence that begins with "the prologue",
/// if not.
pub(super) fn check(module: &Module) -> Result<(), String> {
    let by_step: HashSet<BufferId> = module.items.iter().flat_map(Item::stored).collect();
    let constants = module.constants();
    let own: HashSet<BufferId> = module.prologue.iter().flat_map(Item::stored).collect();
    let name = |id: &BufferId| &module.buffer(*id).name;
    for id in &own {
        if !matches!(module.buffer(*id).kind, BufferKind::Temp | BufferKind::Packed) {
            return Err(format!("writes {:?}, which is not a temporary", name(id)));
        }
        if by_step.contains(id) {
            return Err(format!("writes {:?}, and so does a step", name(id)));
        }
    }
    for item in &module.prologue {
        match item {
            Item::Loop(_) => return Err("has a loop over time".into()),
            Item::Kernel(kernel) if kernel.is_random() => {
                return Err(format!("has random numbers in kernel {:?}", kernel.name));
            }
            _ => {}
        }
        for id in item.loaded().difference(&own) {
            if !constants.contains(id) {
                return Err(format!("reads {:?}, which a step may change", name(id)));
            }
        }
    }
    Ok(())
}
