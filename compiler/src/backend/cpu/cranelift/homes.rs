//! Where compiled code finds buffers.

use crate::kernel::BufferId;
use crate::plan::Program;

/// What an address is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The memory that a function is called with.
    Arena,
    /// The constants of a program that is compiled ahead of time.
    Constants,
}

/// Where each buffer lies.
#[derive(Clone, Debug)]
pub(super) struct Homes {
    /// By buffer: bytes from its origin.
    pub places: Vec<(Origin, usize)>,
}

impl Homes {
    /// All in the arena, as planned.
    pub fn of(program: &Program) -> Self {
        Self { places: program.offsets.iter().map(|&offset| (Origin::Arena, offset)).collect() }
    }

    pub fn get(&self, buffer: BufferId) -> (Origin, usize) {
        self.places[buffer.0 as usize]
    }
}
