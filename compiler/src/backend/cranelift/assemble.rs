//! A program's functions and constants, put into a Cranelift module: one in memory or an object file.

use cranelift_codegen::Context;
use cranelift_codegen::ir::{AbiParam, Signature, Type, types};
use cranelift_frontend::FunctionBuilderContext;
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module, ModuleError};

use super::{Error, Text, Wanted, entry, kernel, math, target};
use crate::backend::abi::Library;
use crate::plan::Program;

/// Name of the compiled [`crate::backend::abi::Entry`].
const ENTRY: &str = "lstmc_entry";

/// The functions that compiled code imports.
#[derive(Clone, Copy)]
pub(super) struct Imports {
    pub gemm: FuncId,
    pub pack: FuncId,
    pub scatter: FuncId,
    pub distinct: FuncId,
    pub barrier: FuncId,
    pub begin_step: FuncId,
    pub end_step: FuncId,
    pub random_key: FuncId,
    pub mark: FuncId,
    pub log: FuncId,
    pub pow: FuncId,
    pub exp: FuncId,
    pub sigmoid: FuncId,
    pub tanh: FuncId,
    pub log_all: FuncId,
}

/// Where each import lies in this process, by the name that the module imports it under.
pub(super) fn symbols(library: &Library) -> [(&'static str, *const u8); 15] {
    [
        ("lstmc_gemm", library.gemm as *const u8),
        ("lstmc_pack", library.pack as *const u8),
        ("lstmc_scatter", library.scatter as *const u8),
        ("lstmc_distinct", library.distinct as *const u8),
        ("lstmc_barrier", library.barrier as *const u8),
        ("lstmc_begin_step", library.begin_step as *const u8),
        ("lstmc_end_step", library.end_step as *const u8),
        ("lstmc_random_key", library.random_key as *const u8),
        ("lstmc_mark", library.mark as *const u8),
        ("lstmc_log", math::log as *const u8),
        ("lstmc_pow", math::pow as *const u8),
        ("lstmc_exp", library.math.exp as *const u8),
        ("lstmc_sigmoid", library.math.sigmoid as *const u8),
        ("lstmc_tanh", library.math.tanh as *const u8),
        ("lstmc_log_all", library.math.log as *const u8),
    ]
}

/// A module while it is filled.
pub(super) struct Assembly<'m, M: Module> {
    pub module: &'m mut M,
    pub imports: Imports,
    pub fma: bool,
    /// Whether vectors wider than Cranelift's are worth a call.
    pub wide: bool,
    /// Whether the entry calls `mark`.
    pub marks: bool,
    context: Context,
    builder: FunctionBuilderContext,
    text: Option<Text>,
}

/// Defines the program in `module` and returns its entry, with the program's text.
pub(super) fn emit<M: Module>(
    module: &mut M,
    program: &Program,
    wanted: Wanted,
) -> Result<(FuncId, Text), Error> {
    let mut assembly = Assembly::new(module, wanted);
    let signature = assembly.signature(&[types::I64, types::I32], None);
    let id = assembly.declare(ENTRY, Linkage::Export, &signature);
    let kernels = assembly.define(ENTRY, id, signature, |assembly, context, builder| {
        entry::build(assembly, program, context, builder)
    })??;
    for call in &kernels {
        let signature = kernel::signature(&assembly, call.times.len());
        assembly.define(&call.kernel.name, call.id, signature, |assembly, context, builder| {
            kernel::build(assembly, program, call, context, builder);
        })?;
    }
    Ok((id, assembly.text.unwrap_or_default()))
}

impl<'m, M: Module> Assembly<'m, M> {
    fn new(module: &'m mut M, wanted: Wanted) -> Self {
        let pointer = types::I64;
        let word = types::I32;
        let mut import = |name: &str, params: &[Type], result: Option<Type>| {
            let signature = signature(module, params, result);
            declare(module, name, Linkage::Import, &signature)
        };
        let imports = Imports {
            gemm: import("lstmc_gemm", &[pointer, pointer, word, word], None),
            pack: import("lstmc_pack", &[pointer, pointer, pointer, word, word], None),
            scatter: import("lstmc_scatter", &[pointer, pointer, pointer, pointer, word, word], None),
            distinct: import("lstmc_distinct", &[pointer; 7], None),
            barrier: import("lstmc_barrier", &[pointer, word], None),
            begin_step: import("lstmc_begin_step", &[pointer, types::I64], Some(word)),
            end_step: import("lstmc_end_step", &[pointer, types::I64], None),
            random_key: import("lstmc_random_key", &[pointer, word], Some(word)),
            mark: import("lstmc_mark", &[pointer, word, word], None),
            log: import("lstmc_log", &[types::F32], Some(types::F32)),
            pow: import("lstmc_pow", &[types::F32, types::F32], Some(types::F32)),
            exp: import("lstmc_exp", &[pointer, types::I64], None),
            sigmoid: import("lstmc_sigmoid", &[pointer, types::I64], None),
            tanh: import("lstmc_tanh", &[pointer, types::I64], None),
            log_all: import("lstmc_log_all", &[pointer, types::I64], None),
        };
        let fma = target::has_fma(module.isa());
        let wide = target::has_wide_vectors(module.isa());
        let context = module.make_context();
        let text = wanted.text.then(Text::default);
        Self {
            module,
            imports,
            fma,
            wide,
            marks: wanted.marks,
            context,
            builder: FunctionBuilderContext::new(),
            text,
        }
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
        match self.module.define_data(id, &data) {
            Ok(()) => Ok(id),
            Err(ModuleError::Allocation { err }) => Err(Error::Memory(err.to_string())),
            Err(error) => panic!("internal error: a constant: {error}"),
        }
    }

    /// Generates the function's body with `fill` and compiles it.
    fn define<T>(
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
        match self.module.define_function(id, &mut context) {
            Ok(()) => {}
            Err(ModuleError::Allocation { err }) => return Err(Error::Memory(err.to_string())),
            Err(error) => panic!("internal error: function {name:?}: {error:?}"),
        }
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
}

fn signature(module: &impl Module, params: &[Type], result: Option<Type>) -> Signature {
    let mut signature = module.make_signature();
    signature.params.extend(params.iter().map(|&ty| AbiParam::new(ty)));
    signature.returns.extend(result.map(AbiParam::new));
    signature
}

fn declare(module: &mut impl Module, name: &str, linkage: Linkage, signature: &Signature) -> FuncId {
    let declared = module.declare_function(name, linkage, signature);
    declared.unwrap_or_else(|error| panic!("internal error: function {name:?}: {error}"))
}
