//! The function that computes a step of a text: its kernels and products in order, on one thread.

use std::collections::HashMap;

use cranelift_codegen::Context;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, Linkage, Module};

use super::super::assembly::Assembly;
use super::super::calls::{self, KernelCall};
use super::super::counted::Counted;
use super::super::homes::{Homes, Origin};
use super::product::{self, Kind};
use crate::kernel::{Address, Gemm, Index, Item, Kernel, Rounds, Time, TimeLoop};
use crate::plan::{Program, Split};

/// What a step calls and is still to be defined.
#[derive(Default)]
pub(super) struct Called<'p> {
    pub kernels: Vec<KernelCall<'p>>,
    pub products: HashMap<Kind, (FuncId, String)>,
}

/// Generates the step's body, a function of the model's block.
pub(super) fn build<'p, M: Module>(
    assembly: &mut Assembly<'_, M>,
    program: &'p Program,
    homes: &Homes,
    context: &mut Context,
    builder: &mut FunctionBuilderContext,
) -> Called<'p> {
    let constants =
        assembly.constants.map(|data| assembly.module.declare_data_in_func(data, &mut context.func));
    let mut b = FunctionBuilder::new(&mut context.func, builder);
    let start = b.create_block();
    b.append_block_params_for_function_params(start);
    b.switch_to_block(start);
    let block = b.block_params(start)[0];
    let constants = constants.map_or(block, |data| b.ins().symbol_value(types::I64, data));
    let called = Called::default();
    let mut step = Step { assembly, homes, b, block, constants, times: vec![], round: None, called };
    step.items(&program.module.items);
    let Step { assembly, mut b, called, .. } = step;
    b.ins().return_(&[]);
    b.seal_all_blocks();
    b.finalize(assembly.module.target_config());
    called
}

struct Step<'s, 'f, 'm, 'p, M: Module> {
    assembly: &'s mut Assembly<'m, M>,
    homes: &'s Homes,
    b: FunctionBuilder<'f>,
    block: Value,
    constants: Value,
    times: Vec<(Time, Value)>,
    /// Of the innermost time loop: how many rounds have been done, and how many there are.
    round: Option<(Value, usize)>,
    called: Called<'p>,
}

impl<'p, M: Module> Step<'_, '_, '_, 'p, M> {
    fn items(&mut self, items: &'p [Item]) {
        for item in items {
            match item {
                Item::Kernel(kernel) => self.kernel(kernel),
                Item::Gemm(gemm) => self.gemm(gemm),
                Item::Loop(inner) => self.time_loop(inner),
                Item::Pack(_) | Item::Scatter(_) | Item::Distinct(_) | Item::Exchange(_) => {
                    panic!("internal error: an item of a program that trains, or of another target")
                }
            }
        }
    }

    fn time_loop(&mut self, inner: &'p TimeLoop) {
        if inner.rounds == 0 {
            return;
        }
        let from = self.b.ins().iconst(types::I64, 0);
        let to = self.b.ins().iconst(types::I64, inner.rounds as i64);
        let rounds = Counted::begin(&mut self.b, from, to, false, &[]);
        let last = self.b.ins().iconst(types::I64, inner.rounds as i64 - 1);
        let now = if inner.reverse { self.b.ins().isub(last, rounds.index) } else { rounds.index };
        self.times.push((inner.time, now));
        let around = self.round.replace((rounds.index, inner.rounds));
        self.items(&inner.items);
        self.round = around;
        self.times.pop();
        rounds.end(&mut self.b, 1, to, &[]);
    }

    fn kernel(&mut self, kernel: &'p Kernel) {
        let name = format!("k{}", self.assembly.next_kernel());
        let signature = calls::kernel_signature(self.assembly, self.times.len());
        let id = self.assembly.declare(&name, Linkage::Local, &signature);
        let times = self.times.iter().map(|&(time, _)| time).collect();
        self.called.kernels.push(KernelCall { id, kernel, split: Split::Whole, times });
        let none = self.b.ins().iconst(types::I64, 0);
        let times: Vec<Value> = self.times.iter().map(|&(_, value)| value).collect();
        // There is no run, and no range.
        self.call(id, &[&[none, self.block, none, none], &times[..]].concat());
    }

    fn gemm(&mut self, gemm: &Gemm) {
        let id = self.product(Kind::of(gemm));
        let places = [&gemm.a.at, &gemm.b.at, &gemm.c.at].map(|at| self.address(at));
        let mut terms = self.b.ins().iconst(types::I64, gemm.k as i64);
        match (gemm.rounds, self.round) {
            (Rounds::AfterFirst, Some((round, _))) => {
                let is_first = self.b.ins().icmp_imm_u(IntCC::Equal, round, 0);
                let nothing = self.b.ins().iconst(types::I64, 0);
                terms = self.b.ins().select(is_first, nothing, terms);
            }
            (Rounds::BeforeLast, Some((round, rounds))) => {
                let is_wanted = self.b.ins().icmp_imm_u(IntCC::NotEqual, round, rounds as i64 - 1);
                let (yes, after) = (self.b.create_block(), self.b.create_block());
                self.b.ins().brif(is_wanted, yes, &[], after, &[]);
                self.b.switch_to_block(yes);
                self.call(id, &[&places[..], &[terms]].concat());
                self.b.ins().jump(after, &[]);
                return self.b.switch_to_block(after);
            }
            _ => {}
        }
        self.call(id, &[&places[..], &[terms]].concat());
    }

    fn product(&mut self, kind: Kind) -> FuncId {
        let count = self.called.products.len();
        if let Some((id, _)) = self.called.products.get(&kind) {
            return *id;
        }
        let name = format!("product{count}");
        let signature = self.assembly.signature(&product::PARAMETERS, None);
        let id = self.assembly.declare(&name, Linkage::Local, &signature);
        self.called.products.insert(kind, (id, name));
        id
    }

    /// Where an element lies whose address has terms in time only.
    fn address(&mut self, at: &Address) -> Value {
        let (origin, start) = self.homes.get(at.buffer);
        let base = if origin == Origin::Arena { self.block } else { self.constants };
        let mut pointer = self.b.ins().iadd_imm_s(base, (start + at.offset * 4) as i64);
        for &(index, stride) in &at.terms {
            let known = self.times.iter().find(|&&(time, _)| index == Index::Time(time));
            let &(_, now) =
                known.unwrap_or_else(|| panic!("internal error: {index:?} in a product's address"));
            let term = self.b.ins().imul_imm_s(now, stride as i64 * 4);
            pointer = self.b.ins().iadd(pointer, term);
        }
        pointer
    }

    fn call(&mut self, function: FuncId, args: &[Value]) {
        let function = self.assembly.module.declare_func_in_func(function, self.b.func);
        self.b.ins().call(function, args);
    }
}
