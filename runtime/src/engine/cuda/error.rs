//! Why a GPU cannot be used, in words for the person at the keyboard.

/// What a GPU, or its driver, has refused.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("no CUDA driver on this machine (libcuda.so.1 was not found)")]
    NoDriver,

    #[error("the CUDA driver on this machine is for CUDA {}.{}, and {}.{} is the oldest that will do; install a newer driver",
        found / 1000, found % 1000 / 10, needed / 1000, needed % 1000 / 10)]
    OldDriver { found: i32, needed: i32 },

    #[error("the CUDA driver finds no GPU that it can use ({reason})")]
    NoGpu { reason: String },

    #[error("there is no GPU {wanted}: this machine has {}", if *count == 1 { "one, cuda:0".to_owned() } else { format!("cuda:0 to cuda:{}", count - 1) })]
    NoSuchGpu { wanted: usize, count: usize },

    #[error("{name} has compute capability {}.{}, and 8.0 is the lowest that will do", capability / 10, capability % 10)]
    OldGpu { name: String, capability: u32 },

    #[error("the program needs {} of memory on the GPU, and {} is free; use fewer rows or steps, or a smaller model",
        crate::error::bytes(*needed), crate::error::bytes(*free))]
    Memory { needed: u64, free: u64 },

    #[error(
        "the driver refuses the program that was compiled for it; please report this with the text that `lstmc emit --stage ptx` prints. The driver says:\n{log}"
    )]
    Refused { log: String },

    #[error("{what}: {reason}")]
    Driver { what: &'static str, reason: String },
}
