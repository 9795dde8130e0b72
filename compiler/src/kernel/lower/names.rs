//! Names that are unique: of buffers, and of kernels.

use std::collections::HashSet;

use crate::kernel::Item;

/// Gives each kernel a name of its own.
pub(super) fn name_apart(items: &mut [Item], taken: &mut HashSet<String>) {
    for item in items {
        match item {
            Item::Kernel(kernel) => make_unique(&mut kernel.name, taken),
            Item::Loop(inner) => name_apart(&mut inner.items, taken),
            _ => {}
        }
    }
}

/// Numbers a name that has been taken: a carried value is copied before its loop and at the end of each round.
pub(super) fn make_unique(name: &mut String, taken: &mut HashSet<String>) {
    let mut numbered = name.clone();
    let mut number = 2;
    while !taken.insert(numbered.clone()) {
        numbered = format!("{name}_{number}");
        number += 1;
    }
    *name = numbered;
}
