//! Plan text: where each buffer lies, the prologue, if there is one, and the schedule, with each item's split. Kernels are
//! named, not spelled out.
//!
//! ```text
//! program train {
//!   workers 2
//!   arena 128000 bytes
//!   buffer %0 at 0: f[20, 800] temp "z"
//!   prologue {
//!     pack nn 200x800: %2 = %3 stride 800 split columns
//!   }
//!   loop t0 in 20 {
//!     gemm nn 20x800x200: %0 stride 800 = %1 stride 200 @ packed %2 stride 0 split columns
//!     barrier
//!     kernel "gates" axes 20 200 split a1
//!   }
//! }
//! ```

use std::fmt::{self, Display, Formatter};

use super::{Program, Schedule, Split, Task};
use crate::kernel::BufferId;

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "program {} {{", self.module.name)?;
        writeln!(f, "  workers {}", self.target.workers)?;
        writeln!(f, "  arena {} bytes", self.arena_bytes)?;
        for (i, (buffer, offset)) in self.module.buffers.iter().zip(&self.offsets).enumerate() {
            writeln!(f, "  buffer {} at {offset}: {buffer}", BufferId(i as u32))?;
        }
        if !self.prologue.is_empty() {
            writeln!(f, "  prologue {{")?;
            write(f, self.prologue_schedule(), 2)?;
            writeln!(f, "  }}")?;
        }
        write(f, self.step_schedule(), 1)?;
        writeln!(f, "}}")
    }
}

impl Display for Split {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Split::Whole => write!(f, "whole"),
            Split::Axis(axis) => write!(f, "split {axis}"),
            Split::Rows => write!(f, "split rows"),
            Split::Columns => write!(f, "split columns"),
            Split::Parts => write!(f, "split parts"),
            Split::AnyColumns => write!(f, "split any columns"),
            Split::Units(units) => write!(f, "split {units} units"),
            Split::Terms(units) => write!(f, "split {units} units of terms"),
            Split::Any => write!(f, "split any"),
        }
    }
}

fn write(f: &mut Formatter<'_>, schedule: Schedule<'_>, depth: usize) -> fmt::Result {
    let indent = "  ".repeat(depth);
    for task in schedule.tasks() {
        match task {
            Task::Kernel(kernel, split) => {
                write!(f, "{indent}kernel {:?} axes", kernel.name)?;
                kernel.axes.iter().try_for_each(|extent| write!(f, " {extent}"))?;
                writeln!(f, " {split}")?;
            }
            Task::Gemm(gemm, split) => writeln!(f, "{indent}{gemm} {split}")?,
            Task::Pack(pack, split) => writeln!(f, "{indent}{pack} {split}")?,
            Task::Scatter(scatter, split) => writeln!(f, "{indent}{scatter} {split}")?,
            Task::Distinct(distinct) => writeln!(f, "{indent}{distinct} {}", Split::Whole)?,
            Task::Exchange(exchange) => writeln!(f, "{indent}{exchange} {}", Split::Whole)?,
            Task::Loop(inner, body) => {
                let reverse = if inner.reverse { " reverse" } else { "" };
                writeln!(f, "{indent}loop {} in {}{reverse} {{", inner.time, inner.rounds)?;
                write(f, body, depth + 1)?;
                writeln!(f, "{indent}}}")?;
            }
            Task::Barrier => writeln!(f, "{indent}barrier")?,
        }
    }
    Ok(())
}
