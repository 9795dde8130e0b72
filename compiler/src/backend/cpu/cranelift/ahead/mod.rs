//! A trained model as an object file, to be linked into any program.
//!
//! Of its symbols only the functions that [`crate::backend::standalone`] lists are seen outside, and they need nothing but `malloc` and
//! `free`, and `logf` and `powf` where the model's equations have these. Weights, words and tables are read-only data.

mod functions;
mod product;
mod step;

use std::collections::HashMap;

use cranelift_frontend::FunctionBuilder;
use cranelift_module::{DataDescription, DataId, Linkage, Module, default_libcall_names};
use cranelift_object::object::{BinaryFormat, SectionKind};
use cranelift_object::{ObjectBuilder, ObjectModule};

use super::assembly::{Assembly, Wanted};
use super::homes::{Homes, Origin};
use super::kernel;
use super::target::{self, Error};
use crate::backend::standalone::syntax::{self, Function, Type};
use crate::backend::standalone::{self, About, Extras, Layout, Place, Tables};
use crate::kernel::BufferId;
use crate::plan::{Program, Verified};
use functions::Names;
pub use target::Cpu;

/// A model as an object file.
#[derive(Clone, Debug)]
pub struct Object {
    pub bytes: Vec<u8>,
    pub header: String,
    /// Whether it calls functions of libm.
    pub needs_libm: bool,
    pub layout: Layout,
}

/// Weights begin where a cache line does.
const ALIGNMENT: u64 = 64;

/// A program for one text, with the bytes of its [constants](Program::constants), as an object file.
///
/// # Errors
/// What cannot be compiled so (see [`standalone::check`] and [`Tables::of`]); a machine that is not known.
///
/// # Panics
/// If the program is not planned for [`crate::target::Target::standalone`].
pub fn object(program: &Verified, constants: &[u8], about: &About, cpu: Cpu) -> Result<Object, String> {
    standalone::check(program)?;
    let layout = Layout::of(program);
    let tables = Tables::of(about, &layout)?;
    let isa = target::isa_ahead(cpu)?;
    let builder = ObjectBuilder::new(isa, about.prefix.as_str(), default_libcall_names());
    let mut module = ObjectModule::new(builder.map_err(|error| error.to_string())?);
    let functions = syntax::parse(&standalone::source_of(about, Extras { allocates: true }));
    let needs_libm = fill(&mut module, program, constants, (about, &layout, &tables), &functions)
        .map_err(|error| error.to_string())?;
    let mut product = module.finish();
    // Linkers take a stack for executable where nothing says that it need not be.
    if product.object.format() == BinaryFormat::Elf {
        product.object.add_section(vec![], b".note.GNU-stack".to_vec(), SectionKind::Other);
    }
    let bytes = product.emit().map_err(|error| format!("the object file: {error}"))?;
    let header =
        standalone::header(about, &layout, constants.len() + tables.bytes(), Extras { allocates: true });
    Ok(Object { bytes, header, needs_libm, layout })
}

/// Defines all that the model is. Says whether it needs libm.
fn fill<M: Module>(
    module: &mut M,
    program: &Program,
    constants: &[u8],
    (about, layout, tables): (&About, &Layout, &Tables),
    functions: &[Function],
) -> Result<bool, Error> {
    let mut names = Names { numbers: numbers(about, layout), parts: parts(layout), ..Names::default() };
    for (name, bytes, of) in [
        ("model_text", tables.text.clone(), Type::Byte),
        ("model_starts", words(&tables.starts), Type::Word),
        ("model_sorted", words(&tables.sorted), Type::Word),
        ("model_state_ends", words(&tables.state_ends), Type::Word),
        ("model_state_starts", reals(&tables.state_starts), Type::Float),
    ] {
        names.tables.insert(name.into(), (data(module, name, bytes)?, of));
    }
    let weights = data(module, "weights", constants.to_vec())?;
    declare(module, about, functions, &mut names);
    let mut assembly = Assembly::new(module, Wanted::default());
    assembly.constants = Some(weights);
    compute(&mut assembly, program, layout, &names)?;
    for function in functions {
        let (id, _) = names.functions[&function.name];
        let signature = functions::signature(function, assembly.module);
        assembly.define(&function.name, id, signature, |assembly, context, builder| {
            let b = FunctionBuilder::new(&mut context.func, builder);
            functions::build(assembly.module, &names, function, b);
        })?;
    }
    Ok(assembly.has_imports())
}

/// The step's function, and what it calls.
fn compute<M: Module>(
    assembly: &mut Assembly<'_, M>,
    program: &Program,
    layout: &Layout,
    names: &Names,
) -> Result<(), Error> {
    let homes = homes(program, layout);
    let (id, function) = &names.functions["model_compute"];
    let signature = functions::signature(function, assembly.module);
    let called = assembly.define("compute", *id, signature, |assembly, context, builder| {
        step::build(assembly, program, &homes, context, builder)
    })?;
    called.kernels.iter().try_for_each(|call| kernel::define(assembly, program, &homes, call))?;
    let mut products: Vec<_> = called.products.into_iter().collect();
    products.sort_by_key(|(_, (id, _))| *id);
    for (kind, (id, name)) in products {
        let signature = assembly.signature(&product::PARAMETERS, None);
        let wide = assembly.define(&name, id, signature, |assembly, context, builder| {
            let mut b = FunctionBuilder::new(&mut context.func, builder);
            let wide = product::build(assembly, &name, kind, &mut b);
            b.seal_all_blocks();
            b.finalize(assembly.module.target_config());
            wide
        })?;
        wide.iter().try_for_each(|wide| assembly.define_loop(wide))?;
    }
    Ok(())
}

/// Declares the functions of the parts in C, the step's and those of the C library.
fn declare<M: Module>(module: &mut M, about: &About, functions: &[Function], names: &mut Names) {
    let mut add = |seen_as: &str, linkage, function: Function| {
        let signature = functions::signature(&function, module);
        let id = super::assembly::declare(module, seen_as, linkage, &signature);
        names.functions.insert(function.name.clone(), (id, function));
    };
    for function in functions {
        if function.public {
            add(&function.name.replacen("model", &about.prefix, 1), Linkage::Export, function.clone());
        } else {
            add(&function.name, Linkage::Local, function.clone());
        }
    }
    let pointer = |of: Type| Type::Pointer(Box::new(of));
    for (result, name, param, linkage) in [
        (Type::Void, "model_compute", pointer(Type::Model), Linkage::Local),
        (pointer(Type::Void), "malloc", Type::Long, Linkage::Import),
        (Type::Void, "free", pointer(Type::Model), Linkage::Import),
    ] {
        let (name, params) = (name.to_owned(), vec![(param, "x".into())]);
        add(&name.clone(), linkage, Function { public: false, result, name, params, body: vec![] });
    }
}

fn data<M: Module>(module: &mut M, name: &str, bytes: Vec<u8>) -> Result<DataId, Error> {
    let internal = |error| -> DataId { panic!("internal error: {name}: {error}") };
    let id = module.declare_data(name, Linkage::Local, false, false).unwrap_or_else(internal);
    let mut description = DataDescription::new();
    description.set_align(ALIGNMENT);
    description.define(bytes.into_boxed_slice());
    module.define_data(id, &description).map_err(|error| Error::Memory(error.to_string()))?;
    Ok(id)
}

/// The tables of an object file have the target's order of bytes; all targets have the lower first.
fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn reals(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn numbers(about: &About, layout: &Layout) -> HashMap<String, u64> {
    let numbers = standalone::numbers(about, layout).into_iter();
    let bytes = ("MODEL_RAM_BYTES", 4 * layout.all() as u64);
    numbers.chain([bytes]).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Where the parts of the model's block lie.
fn parts(layout: &Layout) -> HashMap<String, (i64, Type)> {
    let at = |elements: usize| 4 * elements as i64;
    let scratch = layout.text();
    [
        ("model_state", 0, Type::Float),
        ("model_recent", layout.recent(), Type::Word),
        ("model_seen", layout.recent() + layout.window, Type::Word),
        ("model_scratch", scratch, Type::Float),
        ("model_probabilities", scratch + layout.probabilities, Type::Float),
        ("model_order", scratch + layout.scratch, Type::Word),
    ]
    .map(|(name, elements, of)| (name.to_owned(), (at(elements), of)))
    .into()
}

/// Where the step's buffers lie: in the model's block, or among the constants.
fn homes(program: &Program, layout: &Layout) -> Homes {
    let place = |index: usize| match layout.place(BufferId(index as u32)) {
        Place::State(at) => (Origin::Arena, 4 * at),
        Place::Recent => (Origin::Arena, 4 * layout.recent()),
        Place::Scratch(at) => (Origin::Arena, 4 * (layout.text() + at)),
        Place::Constant(at) => (Origin::Constants, 4 * at),
        Place::Nowhere => (Origin::Constants, usize::MAX / 2),
    };
    Homes { places: (0..program.module.buffers.len()).map(place).collect() }
}
