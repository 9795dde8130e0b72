//! What tests see: memory, and launches.

use std::collections::{BTreeMap, HashMap};

use crate::fault::{Fault, FaultKind};
use crate::memory::Memory;
use crate::module::{Kernel, Module};
use crate::schedule;

/// A parameter of a launch.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    U32(u32),
    U64(u64),
    F32(f32),
    F64(f64),
    Bytes(Vec<u8>),
}

impl Arg {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Arg::U32(value) => value.to_le_bytes().to_vec(),
            Arg::U64(value) => value.to_le_bytes().to_vec(),
            Arg::F32(value) => value.to_le_bytes().to_vec(),
            Arg::F64(value) => value.to_le_bytes().to_vec(),
            Arg::Bytes(bytes) => bytes.clone(),
        }
    }
}

/// How a kernel is launched.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch<'a> {
    pub kernel: &'a str,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// CTAs of a cluster; `[1; 3]` for none.
    pub cluster: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared_bytes: usize,
    /// All CTAs run at once. Of another launch some do, in any order.
    pub cooperative: bool,
    pub parameters: &'a [Arg],
    /// The schedule.
    pub seed: u64,
}

impl Default for Launch<'_> {
    fn default() -> Self {
        Self {
            kernel: "",
            grid: [1; 3],
            block: [32, 1, 1],
            cluster: [1; 3],
            shared_bytes: 0,
            cooperative: false,
            parameters: &[],
            seed: 0,
        }
    }
}

/// What a launch has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Instructions executed by warps, those that a guard kept all lanes from included.
    pub instructions: u64,
    /// How often a warp has executed each opcode, as it is spelled.
    pub opcodes: BTreeMap<String, u64>,
}

impl Stats {
    /// How often warps have executed opcodes that begin so, such as `mma.sync`.
    pub fn count(&self, prefix: &str) -> u64 {
        self.opcodes.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, count)| count).sum()
    }
}

/// A GPU: global memory, and the limits of a launch.
#[derive(Debug)]
pub struct Machine {
    memory: Memory,
    /// Where the variables of modules lie.
    variables: HashMap<(u64, usize), u64>,
    /// Instructions of all warps after which a launch in which nobody writes, meets at a barrier or exits is hung.
    pub patience: u64,
    /// Operands of tf32 products that nobody has rounded are cut, as on a GPU, and no fault.
    pub cuts_tf32: bool,
    /// The most shared memory of a CTA, static and dynamic.
    pub shared_limit: usize,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            memory: Memory::default(),
            variables: HashMap::new(),
            patience: 20_000_000,
            cuts_tf32: false,
            shared_limit: 227 * 1024,
        }
    }
}

impl Machine {
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes without a value, aligned to 256 and far from all others.
    pub fn alloc(&mut self, bytes: usize) -> u64 {
        self.memory.alloc(bytes)
    }

    /// Gives bytes values. Accesses of the host panic where there is no memory.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        self.memory.write(address, bytes);
    }

    /// Takes bytes their values, as if nobody had written them.
    pub fn poison(&mut self, address: u64, bytes: usize) {
        self.memory.poison(address, bytes);
    }

    /// Bytes, of which those without a value are of no meaning.
    pub fn read(&self, address: u64, bytes: usize) -> &[u8] {
        self.memory.read(address, bytes)
    }

    /// Whether all of these bytes have been written.
    pub fn has_value(&self, address: u64, bytes: usize) -> bool {
        self.memory.has_value(address, bytes)
    }

    /// Allocates and writes.
    pub fn upload_f32(&mut self, values: &[f32]) -> u64 {
        let address = self.alloc(4 * values.len());
        self.write_f32(address, values);
        address
    }

    /// Allocates and writes.
    pub fn upload_u32(&mut self, values: &[u32]) -> u64 {
        let address = self.alloc(4 * values.len());
        self.write_u32(address, values);
        address
    }

    pub fn write_f32(&mut self, address: u64, values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.write(address, &bytes);
    }

    pub fn write_u32(&mut self, address: u64, values: &[u32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.write(address, &bytes);
    }

    pub fn read_u32(&self, address: u64, count: usize) -> Vec<u32> {
        let words = self.read(address, 4 * count).chunks_exact(4);
        words.map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
    }

    pub fn read_f32(&self, address: u64, count: usize) -> Vec<f32> {
        self.read_u32(address, count).into_iter().map(f32::from_bits).collect()
    }

    /// Runs a kernel to its end.
    pub fn launch(&mut self, module: &Module, launch: &Launch) -> Result<Stats, Fault> {
        let refuse = |reason: String| Fault {
            kind: FaultKind::Launch,
            kernel: launch.kernel.to_owned(),
            line: 0,
            text: String::new(),
            thread: None,
            reason,
        };
        let kernel = module.kernels.iter().find(|kernel| kernel.name == launch.kernel);
        let kernel = kernel.ok_or_else(|| refuse("there is no such kernel".into()))?;
        self.fits(kernel, launch).map_err(refuse)?;
        let parameters = parameters(kernel, launch.parameters).map_err(refuse)?;
        let variables = self.variables(module);
        let limits = schedule::Limits { patience: self.patience, cuts_tf32: self.cuts_tf32 };
        schedule::run(&mut self.memory, module, kernel, launch, parameters, &variables, limits)
    }

    fn fits(&self, kernel: &Kernel, launch: &Launch) -> Result<(), String> {
        let product = |sizes: [u32; 3]| sizes.iter().map(|&size| u64::from(size)).product::<u64>();
        let threads = product(launch.block);
        if threads == 0 || threads > 1024 {
            return Err(format!("{threads} threads in a CTA"));
        }
        if product(launch.grid) == 0 || product(launch.grid) * threads.div_ceil(32) > u64::from(u32::MAX) {
            return Err("a grid of that size".into());
        }
        if product(launch.cluster) > 16
            || (0..3).any(|i| !launch.grid[i].is_multiple_of(launch.cluster[i].max(1)))
        {
            return Err("the grid is no multiple of the cluster, or the cluster is too large".into());
        }
        let sizes = |sizes: [u32; 3]| sizes.map(u64::from);
        if kernel.limit(".reqntid").is_some_and(|wanted| wanted != sizes(launch.block)) {
            return Err(format!("a block of {:?}, which is not its .reqntid", launch.block));
        }
        if kernel.limit(".maxntid").is_some_and(|most| threads > most.iter().product()) {
            return Err(format!("{threads} threads, more than its .maxntid"));
        }
        if kernel.limit(".reqnctapercluster").is_some_and(|wanted| wanted != sizes(launch.cluster)) {
            return Err(format!("a cluster of {:?}, which is not its .reqnctapercluster", launch.cluster));
        }
        if launch.shared_bytes > 0 && !kernel.dynamic_shared {
            return Err("dynamic shared memory that it does not name".into());
        }
        let shared = kernel.static_shared + launch.shared_bytes;
        if shared > self.shared_limit {
            return Err(format!("{shared} bytes of shared memory, and there are {}", self.shared_limit));
        }
        Ok(())
    }

    fn variables(&mut self, module: &Module) -> Vec<u64> {
        let mut addresses = vec![];
        for (index, variable) in module.variables.iter().enumerate() {
            let known = self.variables.get(&(module.id, index)).copied();
            addresses.push(known.unwrap_or_else(|| {
                let address = self.memory.alloc(variable.bytes);
                // A variable of a module that says no value has zeros.
                let mut values = variable.values.clone();
                values.resize(variable.bytes, 0);
                self.memory.write(address, &values);
                if let Some(allocation) = self.memory.allocations.last_mut() {
                    allocation.constant = variable.constant;
                }
                self.variables.insert((module.id, index), address);
                address
            }));
        }
        addresses
    }
}

fn parameters(kernel: &Kernel, args: &[Arg]) -> Result<Vec<u8>, String> {
    if kernel.parameters.len() != args.len() {
        return Err(format!("{} parameters for its {}", args.len(), kernel.parameters.len()));
    }
    let mut bytes = vec![0; kernel.parameter_bytes()];
    for ((name, at, len), arg) in kernel.parameters.iter().zip(args) {
        let value = arg.bytes();
        if value.len() != *len {
            return Err(format!("{} bytes for parameter `{name}`, which has {len}", value.len()));
        }
        bytes[*at..at + len].copy_from_slice(&value);
    }
    Ok(bytes)
}
