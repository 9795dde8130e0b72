//! `--device`.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What a program runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Cpu,
    /// The NVIDIA GPU of this number.
    Cuda(usize),
}

impl Device {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok().map(Device::Cuda);
        let found = match text {
            "cpu" => Some(Device::Cpu),
            "cuda" => Some(Device::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(number),
        };
        found.ok_or_else(|| "a device is cpu, cuda, or cuda:N with the number of a GPU".into())
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Device::Cpu => write!(f, "cpu"),
            Device::Cuda(0) => write!(f, "cuda"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// An error of a command line, which says more where a subcommand has no `--device`.
pub(super) fn explained(error: clap::Error) -> clap::Error {
    let unknown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) if error.kind() == ErrorKind::UnknownArgument => name,
        _ => return error,
    };
    if unknown != "--device" {
        return error;
    }
    let message = "--device is for train, eval, predict, score, generate and check; profile and gradcheck are for the processor, \
                   and emit has --target\n";
    clap::Error::raw(ErrorKind::UnknownArgument, message)
}
