//! Why a launch was stopped.

use std::fmt::{self, Display, Formatter};

/// What kind of mistake a kernel has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The launch does not fit the kernel.
    Launch,
    OutOfBounds,
    Misaligned,
    /// Memory is read that nobody has written, or whose `cp.async` has not been waited for.
    UninitialisedMemory,
    UninitialisedRegister,
    /// Two accesses to the same bytes, one of them a write, with nothing that orders them.
    Race,
    /// A warp's lanes do not all execute an instruction that they execute together.
    MissingLanes,
    /// A barrier is used wrongly, or CTAs leave while others wait for them.
    Barrier,
    /// Nobody can go on, or nobody gets on.
    Deadlock,
    FloatAtomic,
    /// An operand of a tf32 product has more bits than tf32.
    Unrounded,
    /// `trap`
    Trap,
    /// Whatever else has no defined result.
    Undefined,
}

/// A launch was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    pub kernel: String,
    /// In the text of the module; 0 where no instruction is to blame.
    pub line: usize,
    pub text: String,
    /// CTA and thread, by number.
    pub thread: Option<(u32, u32)>,
    pub reason: String,
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.kernel)?;
        if self.line > 0 {
            write!(f, "line {}: `{}`: ", self.line, self.text)?;
        }
        if let Some((cta, thread)) = self.thread {
            write!(f, "CTA {cta}, thread {thread}: ")?;
        }
        write!(f, "{:?}: {}", self.kind, self.reason)
    }
}

impl std::error::Error for Fault {}

/// A fault while it is not yet known whose. A pointer, as every access may give one and hardly any does.
#[derive(Clone, Debug)]
pub(crate) struct Halt(Box<Details>);

#[derive(Clone, Debug)]
pub(crate) struct Details {
    pub kind: FaultKind,
    pub lane: Option<usize>,
    pub reason: String,
}

impl Halt {
    #[cold]
    pub fn new(kind: FaultKind, reason: impl Into<String>) -> Self {
        Self(Box::new(Details { kind, lane: None, reason: reason.into() }))
    }

    #[cold]
    pub fn at(mut self, lane: usize) -> Self {
        self.0.lane = Some(lane);
        self
    }

    pub fn details(&self) -> &Details {
        &self.0
    }
}
