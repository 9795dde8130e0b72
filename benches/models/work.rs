//! The work of a program that no implementation can leave out.

use lstmc_compiler::kernel::{BufferKind, InputRole};
use lstmc_compiler::plan::{Program, Step};

pub struct Work {
    /// Floating-point operations of all products, a multiply-add counted as two.
    pub flop: f64,
    /// Bytes of the weights, packed or as they lie, that products read as their right side, each as often as it is read.
    pub weight_bytes: usize,
    /// Bytes of all parameters and of the optimizer's state.
    pub state_bytes: usize,
}

impl Work {
    /// Of one step.
    pub fn of(program: &Program) -> Self {
        let mut work = Self { flop: 0.0, weight_bytes: 0, state_bytes: 0 };
        work.add(program, &program.schedule, 1);
        for buffer in &program.module.buffers {
            if let BufferKind::Input(InputRole::Param { .. } | InputRole::OptimizerState { .. }) = buffer.kind
            {
                work.state_bytes += 4 * buffer.len();
            }
        }
        work
    }

    fn add(&mut self, program: &Program, schedule: &[Step], times: usize) {
        for step in schedule {
            match step {
                Step::Gemm(gemm, _) => {
                    self.flop += 2.0 * times as f64 * gemm.m as f64 * gemm.n as f64 * gemm.k as f64;
                    let right = &program.module.buffer(gemm.b.at.buffer).kind;
                    let elements = match (gemm.packed, right) {
                        (Some(format), _) => format.packed_len(gemm.k, gemm.n),
                        (None, BufferKind::Input(InputRole::Param { .. })) => gemm.k * gemm.n,
                        (None, _) => 0,
                    };
                    self.weight_bytes += 4 * times * elements;
                }
                Step::Loop { steps, body, .. } => self.add(program, body, times * steps),
                Step::Kernel(..) | Step::Pack(..) | Step::Scatter(..) | Step::Barrier => {}
            }
        }
    }
}
