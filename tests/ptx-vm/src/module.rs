//! A module that can be launched: instructions with slots for operands and places for labels.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::alu::{Run, Slots};
use crate::clocks::Scope;
use crate::lower;
use crate::regs::Class;
use crate::syntax;
use crate::text::ParseError;

/// The first address of shared memory.
pub(crate) const SHARED: u64 = 0x400;

/// From a CTA's window of shared memory to the next one's in its cluster; the first is the CTA's own.
pub(crate) const WINDOW: u64 = 1 << 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Global,
    Const,
    Shared,
    Cluster,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub space: Space,
    pub class: Class,
    pub slot: u32,
    pub offset: i64,
}

/// How an access is ordered and cached.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Order {
    pub strong: Option<Scope>,
    pub acquire: bool,
    pub release: bool,
    pub non_coherent: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Move {
    pub address: Address,
    pub order: Order,
    /// Bytes of an element.
    pub bytes: usize,
    pub signed: bool,
    pub regs: Vec<(Class, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Atomic {
    Add,
    Min,
    Max,
    Exch,
    Cas,
    And,
    Or,
    Xor,
    Inc,
    Dec,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Atom {
    pub address: Address,
    pub order: Order,
    pub op: Atomic,
    pub class: Class,
    pub signed: bool,
    pub result: Option<u32>,
    pub operand: u32,
    pub second: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
}

/// The operands of a product of tiles, and its depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tile {
    Tf32 { depth: usize },
    Bf16 { depth: usize },
}

pub(crate) enum Op {
    Nothing,
    Alu(Run, Slots),
    /// Bytes of the launch's parameters.
    Param(Move),
    Load(Move),
    Store(Move),
    Atom(Atom),
    FloatAtomic,
    Fence(Scope),
    Branch(u32),
    Exit,
    Trap,
    Barrier {
        id: u32,
        threads: Option<u32>,
        wait: bool,
    },
    WarpBarrier {
        members: u32,
    },
    ClusterArrive {
        release: bool,
    },
    ClusterWait,
    Shuffle {
        kind: Shuffle,
        to: u32,
        inside: Option<u32>,
        slots: [u32; 3],
        members: u32,
    },
    Vote {
        kind: Vote,
        to: u32,
        pred: u32,
        members: u32,
    },
    Reduce {
        op: Atomic,
        signed: bool,
        to: u32,
        from: u32,
        members: u32,
    },
    ActiveMask {
        to: u32,
    },
    Copy {
        to: Address,
        from: Address,
        bytes: usize,
        taken: Option<u32>,
    },
    Commit,
    /// Waits until at most so many groups are on their way.
    Wait(Option<u32>),
    Matrices {
        address: Address,
        transposed: bool,
        regs: Vec<u32>,
    },
    Product {
        tile: Tile,
        d: [u32; 4],
        a: Vec<u32>,
        b: Vec<u32>,
        c: [u32; 4],
    },
    /// An address of shared memory in another CTA of the cluster.
    Map {
        class: Class,
        to: u32,
        from: u32,
        rank: u32,
    },
}

/// A guard that lets all lanes through.
pub(crate) const ALWAYS: u32 = u32::MAX;

pub(crate) struct Instruction {
    pub op: Op,
    pub guard: u32,
    pub line: u32,
    pub opcode: u32,
    pub reads: Box<[u32]>,
    pub writes: Box<[u32]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    Tid(usize),
    Ntid(usize),
    Ctaid(usize),
    Nctaid(usize),
    Laneid,
    Warpid,
    Nwarpid,
    Clusterid(usize),
    Nclusterid(usize),
    ClusterCtaid(usize),
    ClusterNctaid(usize),
    ClusterCtarank,
    ClusterNctarank,
    LanemaskEq,
    LanemaskLt,
    LanemaskLe,
    LanemaskGt,
    LanemaskGe,
}

/// An entry.
pub(crate) struct Kernel {
    pub name: String,
    pub code: Vec<Instruction>,
    pub opcodes: Vec<String>,
    pub registers: [usize; 3],
    /// Slots with constants.
    pub constants: Vec<(Class, u32, u64)>,
    pub specials: Vec<(Special, u32)>,
    /// Slots with addresses of the module's variables.
    pub addresses: Vec<(Class, u32, usize)>,
    pub parameters: Vec<(String, usize, usize)>,
    pub limits: Vec<(String, Vec<u64>)>,
    pub declared: BTreeMap<u32, usize>,
    pub static_shared: usize,
    /// Whether it names the dynamic part.
    pub dynamic_shared: bool,
}

impl Kernel {
    pub fn parameter_bytes(&self) -> usize {
        self.parameters.last().map_or(0, |(_, at, bytes)| at + bytes)
    }

    pub fn limit(&self, name: &str) -> Option<[u64; 3]> {
        let (_, numbers) = self.limits.iter().find(|(limit, _)| limit == name)?;
        Some(std::array::from_fn(|i| numbers.get(i).copied().unwrap_or(1)))
    }
}

/// What a kernel takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// How many registers of each width are declared: 1 (predicates), 16, 32 and 64 bits.
    pub registers: BTreeMap<u32, usize>,
    /// Bytes of shared memory that the text itself asks for.
    pub static_shared: usize,
    /// Names of its parameters, with their bytes.
    pub parameters: Vec<(String, usize)>,
}

/// A variable in global or constant memory.
pub(crate) struct Variable {
    pub bytes: usize,
    pub values: Vec<u8>,
    pub constant: bool,
}

/// PTX that can be launched.
pub struct Module {
    pub(crate) id: u64,
    pub(crate) lines: Vec<String>,
    pub(crate) kernels: Vec<Kernel>,
    pub(crate) variables: Vec<Variable>,
    target: String,
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module")
            .field("target", &self.target)
            .field("kernels", &self.kernels().collect::<Vec<_>>())
            .finish()
    }
}

impl Module {
    /// Reads a module's text. Whatever the machine does not know is an error that names its line.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let file = syntax::parse(text)?;
        let (kernels, variables) = lower::file(&file)?;
        Ok(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            lines: text.lines().map(|line| line.trim().to_owned()).collect(),
            kernels,
            variables,
            target: file.target.to_owned(),
        })
    }

    pub fn target(&self) -> &str {
        &self.target
    }

    /// The names of its entries.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.kernels.iter().map(|kernel| kernel.name.as_str())
    }

    pub fn resources(&self, kernel: &str) -> Option<Resources> {
        let kernel = self.kernels.iter().find(|one| one.name == kernel)?;
        Some(Resources {
            registers: kernel.declared.clone(),
            static_shared: kernel.static_shared,
            parameters: kernel.parameters.iter().map(|(name, _, bytes)| (name.clone(), *bytes)).collect(),
        })
    }
}
