//! Programs for a GPU, run by the PTX machine.

use std::ops::Range;

use lstmc_compiler::backend::ptx::{Control, Launch, Ptx};
use lstmc_compiler::kernel::{self, BufferKind, Elem};
use lstmc_compiler::plan::Program;
use ptx_vm::{Arg, Fault, Machine};

/// Runs a launch; `schedule` decides in what order warps get on.
///
/// # Errors
/// The launch is stopped.
pub fn launch(
    machine: &mut Machine,
    module: &ptx_vm::Module,
    launch: &Launch,
    parameters: &[Arg],
    schedule: u64,
) -> Result<(), Fault> {
    let launch = ptx_vm::Launch {
        kernel: &launch.entry,
        grid: [launch.ctas as u32, 1, 1],
        block: [launch.threads as u32, 1, 1],
        cooperative: launch.is_cooperative(),
        shared_bytes: launch.shared_bytes,
        parameters,
        seed: schedule,
        ..Default::default()
    };
    machine.launch(module, &launch)?;
    Ok(())
}

/// Runs steps of a program on the buffers of `machine`; `schedule` decides in what order warps get on. Temporaries have no value before the first step.
///
/// # Errors
/// The text is refused, or a launch is stopped.
pub fn run(
    program: &Program,
    ptx: &Ptx,
    machine: &mut kernel::Machine<f32>,
    seed: u64,
    steps: Range<u64>,
    schedule: u64,
) -> Result<(), String> {
    let Program { module, offsets, .. } = program;
    let text = ptx_vm::Module::parse(&ptx.text).map_err(|error| error.to_string())?;
    let mut gpu = Machine::new();
    let place = |index: usize| (offsets[index], 4 * module.buffers[index].len());
    let arena = gpu.alloc(ptx.arena_bytes.max(4));
    let control = gpu.alloc(ptx.control_bytes);
    for (index, buffer) in module.buffers.iter().enumerate() {
        if matches!(buffer.kind, BufferKind::Input(_)) {
            let at = arena + offsets[index] as u64;
            match buffer.elem {
                Elem::Real => gpu.write_f32(at, machine.get(&buffer.name).ok_or("no such buffer")?),
                Elem::Id => gpu.write_u32(at, machine.ids(&buffer.name).ok_or("no such buffer")?),
            }
        }
    }
    let mut number = schedule;
    let mut all = |gpu: &mut Machine, launches: &[Launch]| -> Result<(), Fault> {
        for each in launches {
            number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
            launch(gpu, &text, each, &[Arg::U64(arena), Arg::U64(control)], number)?;
        }
        Ok(())
    };
    for step in steps.clone() {
        gpu.write(control, &vec![0; ptx.control_bytes]);
        gpu.write(control + Control::SEED as u64, &seed.to_le_bytes());
        gpu.write(control + Control::STEP as u64, &step.to_le_bytes());
        if step == steps.start {
            all(&mut gpu, &ptx.prologue).map_err(|fault| fault.to_string())?;
        }
        all(&mut gpu, &ptx.step).map_err(|fault| fault.to_string())?;
    }
    for (index, buffer) in module.buffers.iter().enumerate() {
        let (start, len) = place(index);
        let at = arena + start as u64;
        if !gpu.has_value(at, len) {
            continue;
        }
        match buffer.elem {
            Elem::Real => {
                let to = machine.get_mut(&buffer.name).ok_or("no such buffer")?;
                to.copy_from_slice(&gpu.read_f32(at, to.len()));
            }
            Elem::Id => {
                let to = machine.ids_mut(&buffer.name).ok_or("no such buffer")?;
                to.copy_from_slice(&gpu.read_u32(at, to.len()));
            }
        }
    }
    Ok(())
}
