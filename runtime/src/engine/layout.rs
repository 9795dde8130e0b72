//! Which long-lived tensors a program has and where each lies, whatever memory it runs in: named tensors are cut out of the
//! buffers that passes have merged them into, and input and output buffers are found by role.

use std::collections::HashMap;
use std::ops::Range;

use lstmc_compiler::graph::Elem;
use lstmc_compiler::kernel::{Buffer, BufferKind, InputRole, OutputRole, Part, id_limits};
use lstmc_compiler::plan::Program;

use super::{Tensor, TensorKind};
use crate::error::{Error, Result};

/// The buffers of a program by name and role.
#[derive(Debug)]
pub struct Layout {
    buffers: Vec<Located>,
    tensors: Vec<Tensor>,
    /// Where each tensor lies.
    places: Vec<Place>,
    by_name: HashMap<String, usize>,
}

/// A buffer in the arena.
#[derive(Clone, Debug)]
pub struct Located {
    pub kind: BufferKind,
    pub elem: Elem,
    pub shape: Vec<usize>,
    /// In 4-byte words of the arena.
    pub words: Range<usize>,
    /// Ids here must be below this.
    limit: Option<usize>,
}

impl Located {
    /// Whether ids that were put here lie inside what the program looks up by them. Compiled code relies on it.
    ///
    /// # Errors
    /// [`Error::UnknownId`].
    pub fn check_ids(&self, ids: &[u32]) -> Result<()> {
        let limit = self.limit.unwrap_or(usize::MAX);
        match ids.iter().find(|&&id| id as usize >= limit) {
            Some(&id) => Err(Error::UnknownId { id, limit }),
            None => Ok(()),
        }
    }
}

/// Where a tensor lies: some columns of a buffer's last axis.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    buffer: usize,
    columns: Range<usize>,
}

impl Layout {
    pub fn of(program: &Program) -> Self {
        let buffers = &program.module.buffers;
        assert_eq!(buffers.len(), program.offsets.len(), "each buffer has its offset");
        let limits = id_limits(&program.module);
        let located = |((buffer, &offset), &limit): ((&Buffer, &usize), &Option<usize>)| {
            let words = offset / 4..offset / 4 + buffer.len();
            let name = &program.module.name;
            assert!(words.end * 4 <= program.arena_bytes, "{} lies in the arena of {name}", buffer.name);
            let Buffer { kind, elem, shape, .. } = buffer.clone();
            Located { kind, elem, shape, words, limit }
        };
        let buffers = buffers.iter().zip(&program.offsets).zip(&limits).map(located).collect();
        let (tensors, places): (Vec<_>, Vec<_>) = tensors(program).into_iter().unzip();
        let numbered =
            tensors.iter().enumerate().map(|(i, tensor): (usize, &Tensor)| (tensor.name.clone(), i));
        Self { buffers, by_name: numbered.collect(), tensors, places }
    }

    /// Parameters, optimizer state and carried state, in the program's order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Whether every parameter lies where the other program has it.
    pub fn has_parameters_of(&self, other: &Layout) -> bool {
        let mut params =
            self.tensors.iter().enumerate().filter(|(_, tensor)| tensor.kind == TensorKind::Param);
        params.all(|(index, tensor)| {
            other
                .by_name
                .get(&tensor.name)
                .is_some_and(|&at| other.tensors[at] == *tensor && self.rows(index).eq(other.rows(at)))
        })
    }

    /// The number of a tensor among [`Layout::tensors`].
    ///
    /// # Errors
    /// No tensor has this name.
    pub fn index(&self, name: &str) -> Result<usize> {
        self.by_name.get(name).copied().ok_or_else(|| Error::MissingBuffer(name.into()))
    }

    /// The buffer that tensor number `index` lies in, and whether it is all of it.
    pub fn located(&self, index: usize) -> (&Located, bool) {
        let Place { buffer, columns } = &self.places[index];
        let buffer = &self.buffers[*buffer];
        (buffer, columns.len() == row_width(&buffer.shape))
    }

    /// The word ranges of the rows of tensor number `index`.
    pub fn rows(&self, index: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let Place { buffer, columns } = self.places[index].clone();
        let buffer = &self.buffers[buffer];
        let (first, width) = (buffer.words.start, row_width(&buffer.shape));
        let rows = buffer.words.len().checked_div(width).unwrap_or(0);
        (0..rows).map(move |row| first + row * width + columns.start..first + row * width + columns.end)
    }

    /// The steps and rows of the tokens' buffer.
    ///
    /// # Errors
    /// The program reads no tokens.
    pub fn batch_shape(&self) -> Result<[usize; 2]> {
        let shape = &self.input(&InputRole::Tokens, "tokens")?.shape;
        shape.as_slice().try_into().map_err(|_| Error::MissingBuffer("tokens of steps and rows".into()))
    }

    /// The buffer of an input; `what` names it in the error.
    ///
    /// # Errors
    /// The program has none.
    pub fn input(&self, role: &InputRole, what: &str) -> Result<&Located> {
        let found =
            self.buffers.iter().find(|buffer| matches!(&buffer.kind, BufferKind::Input(r) if r == role));
        found.ok_or_else(|| Error::MissingBuffer(what.into()))
    }

    /// The buffer of an output of reals; `what` names it in the error.
    ///
    /// # Errors
    /// The program has none.
    pub fn output(&self, role: &OutputRole, what: &str) -> Result<&Located> {
        self.find_output(role).ok_or_else(|| Error::MissingBuffer(what.into()))
    }

    /// As [`Layout::output`], of what not every program has.
    pub fn find_output(&self, role: &OutputRole) -> Option<&Located> {
        let found =
            self.buffers.iter().find(|buffer| matches!(&buffer.kind, BufferKind::Output(r) if r == role));
        found.filter(|buffer| buffer.elem == Elem::Real)
    }
}

/// The length of the last axis; a number is a row of one.
pub fn row_width(shape: &[usize]) -> usize {
    shape.last().copied().unwrap_or(1)
}

/// The long-lived tensors of a program. A parameter buffer, and the optimizer state shaped like it, is split into the
/// model's own parameters, so that what is saved does not depend on how they were merged.
fn tensors(program: &Program) -> Vec<(Tensor, Place)> {
    let buffers = &program.module.buffers;
    let parts = |name: &str| {
        buffers.iter().find(|buffer| buffer.name == name).and_then(|buffer| match &buffer.kind {
            BufferKind::Input(InputRole::Param { parts }) => Some(parts.as_slice()),
            _ => None,
        })
    };
    let mut tensors = Vec::new();
    for (index, buffer) in buffers.iter().enumerate() {
        let cut = |parts: &[Part], kind, label: &dyn Fn(&str) -> String| {
            let tensor = |part: &Part| {
                let mut shape = buffer.shape.clone();
                if let Some(last) = shape.last_mut() {
                    *last = part.len;
                }
                let columns = part.start..part.start + part.len;
                assert!(columns.end <= row_width(&buffer.shape), "{} lies in {}", part.name, buffer.name);
                (Tensor { name: label(&part.name), shape, kind }, Place { buffer: index, columns })
            };
            parts.iter().map(tensor).collect::<Vec<_>>()
        };
        match &buffer.kind {
            BufferKind::Input(InputRole::Param { parts }) => {
                tensors.extend(cut(parts, TensorKind::Param, &|part| part.to_owned()));
            }
            BufferKind::Input(InputRole::OptimizerState { param, start }) => {
                let prefix = format!("{param}/");
                let state = buffer.name.strip_prefix(&prefix).unwrap_or(&buffer.name);
                let label = |part: &str| format!("optimizer/{part}/{state}");
                let parts = parts(param).unwrap_or(&[]);
                tensors.extend(cut(parts, TensorKind::OptimizerState(*start), &label));
            }
            BufferKind::Input(InputRole::Carried { start }) => {
                let (name, shape) = (format!("carried/{}", buffer.name), buffer.shape.clone());
                let columns = 0..row_width(&buffer.shape);
                tensors.push((
                    Tensor { name, shape, kind: TensorKind::Carried(*start) },
                    Place { buffer: index, columns },
                ));
            }
            _ => {}
        }
    }
    tensors
}
