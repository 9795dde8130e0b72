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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_there_is_and_what_is_needed() {
        let said = [
            (DeviceError::NoDriver, "no CUDA driver on this machine (libcuda.so.1 was not found)"),
            (
                DeviceError::OldDriver { found: 11080, needed: 12000 },
                "is for CUDA 11.8, and 12.0 is the oldest",
            ),
            (
                DeviceError::NoSuchGpu { wanted: 7, count: 1 },
                "there is no GPU 7: this machine has one, cuda:0",
            ),
            (DeviceError::NoSuchGpu { wanted: 7, count: 4 }, "this machine has cuda:0 to cuda:3"),
            (
                DeviceError::OldGpu { name: "T4".into(), capability: 75 },
                "T4 has compute capability 7.5, and 8.0",
            ),
            (
                DeviceError::Memory { needed: 3 << 30, free: 1 << 29 },
                "needs 3.0 GiB of memory on the GPU, and 512.0 MiB",
            ),
            (DeviceError::Refused { log: "line 3; fatal".into() }, "The driver says:\nline 3; fatal"),
        ];
        for (error, part) in said {
            let text = error.to_string();
            assert!(text.contains(part), "no {part:?} in: {text}");
        }
    }
}
