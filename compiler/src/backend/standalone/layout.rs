//! Where in a model's block of memory its program's buffers lie.

use crate::kernel::{BufferId, BufferKind, InputRole, OutputRole};
use crate::plan::Program;

/// What one step leaves for the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    pub buffer: BufferId,
    /// What every element is at the beginning of a text.
    pub start: f32,
    /// Its place among the states, in elements, and how many it has.
    pub at: usize,
    pub len: usize,
}

/// Where a buffer lies; in elements of 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Among the states, from this element on.
    State(usize),
    /// The tokens that a step reads.
    Recent,
    Scratch(usize),
    /// Among the constants.
    Constant(usize),
    /// It is not there: no step touches it.
    Nowhere,
}

/// The parts of the block, in its order; all sizes in elements of 4 bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    pub carried: Vec<Carried>,
    pub state: usize,
    /// Tokens that a step reads.
    pub window: usize,
    pub scratch: usize,
    /// Where the last distribution lies in the scratch.
    pub probabilities: usize,
    pub vocabulary: usize,
    places: Vec<Place>,
}

impl Layout {
    /// Of a program for one text whose constants lie apart ([`crate::target::Memory::constants_apart`]).
    ///
    /// # Panics
    /// If it is none.
    pub fn of(program: &Program) -> Self {
        let mut layout = Self {
            carried: vec![],
            state: 0,
            window: 0,
            scratch: program.constants.start / 4,
            probabilities: 0,
            vocabulary: 0,
            places: vec![],
        };
        for (index, buffer) in program.module.buffers.iter().enumerate() {
            let (offset, len) = (program.offsets[index], buffer.len());
            let own = match buffer.kind {
                BufferKind::Input(InputRole::Carried { start }) => {
                    let (buffer, at) = (BufferId(index as u32), layout.state);
                    layout.carried.push(Carried { buffer, start: start as f32, at, len });
                    layout.state += len;
                    Place::State(at)
                }
                BufferKind::Input(InputRole::Tokens) => {
                    layout.window = len;
                    Place::Recent
                }
                _ if program.constants.contains(&offset) => {
                    Place::Constant((offset - program.constants.start) / 4)
                }
                _ if offset < program.constants.start => Place::Scratch(offset / 4),
                _ => Place::Nowhere,
            };
            if buffer.kind == BufferKind::Output(OutputRole::Probabilities) {
                layout.vocabulary = buffer.shape.last().copied().unwrap_or(0);
                layout.probabilities = offset / 4 + len - layout.vocabulary;
            }
            layout.places.push(own);
        }
        assert!(
            layout.window > 0 && layout.vocabulary > 0,
            "internal error: a program that reads or gives nothing"
        );
        layout
    }

    pub fn place(&self, buffer: BufferId) -> Place {
        self.places[buffer.0 as usize]
    }

    /// Where the tokens lie that a step reads.
    pub fn recent(&self) -> usize {
        self.state.max(1)
    }

    /// Elements of the block before the scratch: all that a text is.
    pub fn text(&self) -> usize {
        self.recent() + self.window + 1
    }

    /// Elements of the block.
    pub fn all(&self) -> usize {
        self.text() + self.scratch + self.vocabulary
    }
}
