//! The work of a program that no implementation can leave out.

use lstmc_compiler::kernel::{BufferKind, InputRole};
use lstmc_compiler::plan::{Program, Task};

/// Floating-point operations of all products of one step, where its tokens are `distinct` different ones: products of
/// looked-up rows are of so many.
pub fn flop(program: &Program, distinct: f64) -> f64 {
    let of = |task: Task<'_>| match task {
        Task::Gemm(gemm, _) => gemm.flop(distinct),
        _ => 0.0,
    };
    program.leaves().iter().map(|leaf| leaf.rounds as f64 * of(leaf.task)).sum()
}

pub struct Work {
    /// Bytes of the weights, packed or as they lie, that products read as their right side, each as often as it is read.
    pub weight_bytes: usize,
    /// Bytes of all parameters and of the optimizer's state.
    pub state_bytes: usize,
}

impl Work {
    /// Of one step.
    pub fn of(program: &Program) -> Self {
        let mut work = Self { weight_bytes: 0, state_bytes: 0 };
        for leaf in program.leaves() {
            let Task::Gemm(gemm, _) = leaf.task else { continue };
            let elements = match (gemm.cpu.packed, &program.module.buffer(gemm.b.at.buffer).kind) {
                (Some(format), _) => format.packed_len(gemm.k, gemm.n),
                (None, BufferKind::Input(InputRole::Param { .. })) => gemm.k * gemm.n,
                (None, _) => 0,
            };
            work.weight_bytes += 4 * leaf.rounds * elements;
        }
        for buffer in &program.module.buffers {
            if let BufferKind::Input(InputRole::Param { .. } | InputRole::OptimizerState { .. }) = buffer.kind
            {
                work.state_bytes += 4 * buffer.len();
            }
        }
        work
    }
}
