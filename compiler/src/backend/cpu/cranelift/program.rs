//! A program put into a Cranelift module, one in memory or an object file: its entry and all that this calls.

use cranelift_codegen::ir::types;
use cranelift_module::{FuncId, Linkage, Module};

use super::assembly::{Assembly, Text, Wanted};
use super::homes::Homes;
use super::target::Error;
use super::{calls, entry, kernel};
use crate::plan::Program;

/// Name of the compiled [`crate::backend::cpu::abi::Entry`].
const ENTRY: &str = "lstmc_entry";

/// Defines the program in `module` and returns its entry, with the program's text.
pub(super) fn emit<M: Module>(
    module: &mut M,
    program: &Program,
    wanted: Wanted,
) -> Result<(FuncId, Text), Error> {
    let mut assembly = Assembly::new(module, wanted);
    let signature = assembly.signature(&[types::I64, types::I32], None);
    let id = assembly.declare(ENTRY, Linkage::Export, &signature);
    let mut calls = assembly.define(ENTRY, id, signature, |assembly, context, builder| {
        entry::build(assembly, program, context, builder)
    })??;
    while !calls.parts.is_empty() {
        for part in std::mem::take(&mut calls.parts) {
            let signature = calls::part_signature(&assembly, part.times.len(), part.rounds.is_some());
            let inner =
                assembly.define(&part.name, part.id, signature, |assembly, context, builder| {
                    entry::build_part(assembly, program, &part, context, builder)
                })??;
            calls.kernels.extend(inner.kernels);
            calls.parts.extend(inner.parts);
        }
    }
    let homes = Homes::of(program);
    calls.kernels.iter().try_for_each(|call| kernel::define(&mut assembly, program, &homes, call))?;
    Ok((id, assembly.finish()))
}
