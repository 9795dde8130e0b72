//! A Cranelift module while it is filled: what its functions import, their definition, constants and text.

use std::collections::HashMap;

use cranelift_codegen::Context;
use cranelift_codegen::ir::{AbiParam, Signature, Type, types};
use cranelift_frontend::FunctionBuilderContext;
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module, ModuleError, ModuleResult};

use super::target::Error;
use super::{math, target};
use crate::backend::cpu::abi::Library;
use crate::backend::cpu::x86::{self, Width};

/// Functions that are given as bytes have constants in vectors behind their code.
const CODE_ALIGNMENT: u64 = 64;

/// A function that compiled code imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Import {
    Gemm,
    Pack,
    Scatter,
    Distinct,
    Barrier,
    BeginStep,
    EndStep,
    RandomKey,
    Shard,
    Collect,
    StartExchange,
    FinishExchange,
    Probe,
    Log,
    Pow,
}

impl Import {
    /// What it takes and gives.
    fn types(self) -> (&'static [Type], Option<Type>) {
        const POINTER: Type = types::I64;
        const WORD: Type = types::I32;
        match self {
            Import::Gemm => (&[POINTER, POINTER, WORD, WORD], None),
            Import::Pack => (&[POINTER, POINTER, POINTER, WORD, WORD], None),
            Import::Scatter => (&[POINTER, POINTER, POINTER, POINTER, WORD, WORD], None),
            Import::Distinct => (&[POINTER; 7], None),
            Import::Barrier => (&[POINTER, WORD], None),
            Import::BeginStep => (&[POINTER, types::I64], Some(WORD)),
            Import::EndStep => (&[POINTER, types::I64], None),
            Import::RandomKey => (&[POINTER, WORD], Some(WORD)),
            Import::Shard => (&[POINTER], Some(WORD)),
            Import::Collect => (&[POINTER, POINTER, POINTER, POINTER], None),
            Import::StartExchange | Import::FinishExchange => (&[POINTER, WORD], None),
            Import::Probe => (&[POINTER, WORD, WORD], None),
            Import::Log => (&[types::F32], Some(types::F32)),
            Import::Pow => (&[types::F32, types::F32], Some(types::F32)),
        }
    }

    /// Its name, of a program in memory.
    fn name(self) -> &'static str {
        match self {
            Import::Gemm => "lstmc_gemm",
            Import::Pack => "lstmc_pack",
            Import::Scatter => "lstmc_scatter",
            Import::Distinct => "lstmc_distinct",
            Import::Barrier => "lstmc_barrier",
            Import::BeginStep => "lstmc_begin_step",
            Import::EndStep => "lstmc_end_step",
            Import::RandomKey => "lstmc_random_key",
            Import::Shard => "lstmc_shard",
            Import::Collect => "lstmc_collect",
            Import::StartExchange => "lstmc_start_exchange",
            Import::FinishExchange => "lstmc_finish_exchange",
            Import::Probe => "lstmc_probe",
            Import::Log => "lstmc_log",
            Import::Pow => "lstmc_pow",
        }
    }

    /// Its name in the C library, of a program that is compiled ahead of time.
    fn name_in_c(self) -> &'static str {
        match self {
            Import::Log => "logf",
            Import::Pow => "powf",
            _ => panic!("internal error: {self:?} is not in the C library"),
        }
    }
}

/// Where each import lies in this process, by the name that the module imports it under.
pub(super) fn symbols(library: &Library) -> [(&'static str, *const u8); 15] {
    [
        (Import::Gemm, library.gemm as *const u8),
        (Import::Pack, library.pack as *const u8),
        (Import::Scatter, library.scatter as *const u8),
        (Import::Distinct, library.distinct as *const u8),
        (Import::Barrier, library.barrier as *const u8),
        (Import::BeginStep, library.begin_step as *const u8),
        (Import::EndStep, library.end_step as *const u8),
        (Import::RandomKey, library.random_key as *const u8),
        (Import::Shard, library.shard as *const u8),
        (Import::Collect, library.collect as *const u8),
        (Import::StartExchange, library.start_exchange as *const u8),
        (Import::FinishExchange, library.finish_exchange as *const u8),
        (Import::Probe, library.probe as *const u8),
        (Import::Log, math::log as *const u8),
        (Import::Pow, math::pow as *const u8),
    ]
    .map(|(import, address)| (import.name(), address))
}

/// The program as text, function by function; empty unless asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    pub clif: String,
    pub asm: String,
}

/// What is compiled beside the program itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub text: bool,
    pub probes: bool,
}

/// A vector loop's own function, which a kernel calls and which is still to be defined.
pub(super) struct WideLoop {
    pub id: FuncId,
    pub name: String,
    pub compiled: x86::Loop,
}

/// A module while it is filled.
pub(super) struct Assembly<'m, M: Module> {
    pub module: &'m mut M,
    /// Of a program that is compiled ahead of time, its constants: they are not in the arena.
    pub constants: Option<DataId>,
    imports: HashMap<Import, FuncId>,
    pub fma: bool,
    /// Vectors wider than Cranelift's.
    pub width: Option<Width>,
    /// Whether the entry calls `probe`.
    pub probes: bool,
    context: Context,
    builder: FunctionBuilderContext,
    text: Option<Text>,
    /// How many kernels and parts of the entry have a name.
    kernels: usize,
    parts: usize,
}

impl<'m, M: Module> Assembly<'m, M> {
    pub fn new(module: &'m mut M, wanted: Wanted) -> Self {
        let fma = target::has_fma(module.isa());
        let width = target::wide_vectors(module.isa());
        let context = module.make_context();
        let text = wanted.text.then(Text::default);
        Self {
            module,
            constants: None,
            imports: HashMap::new(),
            fma,
            width,
            probes: wanted.probes,
            context,
            builder: FunctionBuilderContext::new(),
            text,
            kernels: 0,
            parts: 0,
        }
    }

    /// The number of a kernel that has none yet.
    pub fn next_kernel(&mut self) -> usize {
        self.kernels += 1;
        self.kernels - 1
    }

    /// The number of a part of the entry that has none yet.
    pub fn next_part(&mut self) -> usize {
        self.parts += 1;
        self.parts - 1
    }

    /// A function of the library or, in a program that is compiled ahead of time, of C's.
    pub fn import(&mut self, import: Import) -> FuncId {
        if let Some(&known) = self.imports.get(&import) {
            return known;
        }
        let (params, result) = import.types();
        let signature = signature(self.module, params, result);
        let name = if self.constants.is_some() { import.name_in_c() } else { import.name() };
        let id = declare(self.module, name, Linkage::Import, &signature);
        self.imports.insert(import, id);
        id
    }

    /// Whether anything of the library, or of C's, is called so far.
    pub fn has_imports(&self) -> bool {
        !self.imports.is_empty()
    }

    pub fn signature(&self, params: &[Type], result: Option<Type>) -> Signature {
        signature(self.module, params, result)
    }

    pub fn declare(&mut self, name: &str, linkage: Linkage, signature: &Signature) -> FuncId {
        declare(self.module, name, linkage, signature)
    }

    /// Read-only words.
    pub fn constant(&mut self, words: &[u32]) -> Result<DataId, Error> {
        let mut data = DataDescription::new();
        data.define(words.iter().flat_map(|word| word.to_ne_bytes()).collect());
        data.set_align(align_of::<u32>() as u64);
        let id = match self.module.declare_anonymous_data(false, false) {
            Ok(id) => id,
            Err(error) => panic!("internal error: a constant: {error}"),
        };
        defined("a constant", self.module.define_data(id, &data))?;
        Ok(id)
    }

    pub fn define_loop(&mut self, wide: &WideLoop) -> Result<(), Error> {
        let WideLoop { id, name, compiled } = wide;
        defined(name, self.module.define_function_bytes(*id, CODE_ALIGNMENT, &compiled.code, &[]))?;
        if let Some(text) = &mut self.text {
            text.asm.push_str(&format!("; {name}\n{}\n", compiled.text()));
        }
        Ok(())
    }

    /// Generates the function's body with `fill` and compiles it.
    pub fn define<T>(
        &mut self,
        name: &str,
        id: FuncId,
        signature: Signature,
        fill: impl FnOnce(&mut Self, &mut Context, &mut FunctionBuilderContext) -> T,
    ) -> Result<T, Error> {
        let mut context = std::mem::replace(&mut self.context, Context::new());
        let mut builder = std::mem::take(&mut self.builder);
        context.func.signature = signature;
        context.set_disasm(self.text.is_some());
        let result = fill(self, &mut context, &mut builder);
        let clif = self.text.is_some().then(|| context.func.display().to_string());
        defined(name, self.module.define_function(id, &mut context))?;
        if let (Some(text), Some(clif)) = (&mut self.text, clif) {
            let asm = context.compiled_code().and_then(|code| code.vcode.as_deref()).unwrap_or_default();
            text.clif.push_str(&format!("; {name}\n{clif}\n"));
            text.asm.push_str(&format!("; {name}\n{asm}\n"));
        }
        self.module.clear_context(&mut context);
        self.context = context;
        self.builder = builder;
        Ok(result)
    }

    /// The text of all that was defined.
    pub fn finish(self) -> Text {
        self.text.unwrap_or_default()
    }
}

fn signature(module: &impl Module, params: &[Type], result: Option<Type>) -> Signature {
    let mut signature = module.make_signature();
    signature.params.extend(params.iter().map(|&ty| AbiParam::new(ty)));
    signature.returns.extend(result.map(AbiParam::new));
    signature
}

pub(super) fn declare(
    module: &mut impl Module,
    name: &str,
    linkage: Linkage,
    signature: &Signature,
) -> FuncId {
    let declared = module.declare_function(name, linkage, signature);
    declared.unwrap_or_else(|error| panic!("internal error: function {name:?}: {error}"))
}

/// The outcome of a definition: what can fail is the machine's memory.
fn defined(what: &str, outcome: ModuleResult<()>) -> Result<(), Error> {
    match outcome {
        Ok(()) => Ok(()),
        Err(ModuleError::Allocation { err }) => Err(Error::Memory(err.to_string())),
        Err(error) => panic!("internal error: {what}: {error:?}"),
    }
}
