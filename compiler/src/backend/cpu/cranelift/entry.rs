//! The entry function: the prologue, the loop over steps, time loops, barriers, and calls in the order of the schedule.
//! A long schedule is divided into parts ([`super::parts`]), each of which is a function that the entry calls.

use std::collections::HashMap;
use std::mem::offset_of;

use cranelift_codegen::Context;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    InstBuilder, MemFlagsData, StackSlot, StackSlotData, StackSlotKind, Value, types,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, Linkage, Module};

use super::assembly::{Assembly, Import};
use super::calls::{self, Calls, KernelCall, Part};
use super::counted::Counted;
use super::parts;
use super::target::Error;
use crate::backend::cpu::abi::{
    Cut, DistinctShape, Flag, GemmPlaces, GemmShape, PackShape, PartShape, Run, ScatterShape,
};
use crate::kernel::{
    Address, Distinct, Exchange, Gemm, Index, Kernel, Pack, Phase, Rounds, Scatter, ShardSum, Time, TimeLoop,
};
use crate::plan::{Program, Schedule, Split, Task, worker_range};

struct Entry<'e, 'f, 'm, 'p, M: Module> {
    assembly: &'e mut Assembly<'m, M>,
    program: &'p Program,
    b: FunctionBuilder<'f>,
    run: Value,
    worker: Value,
    arena: Value,
    /// This worker's range, by extent and grain.
    ranges: HashMap<(usize, usize), (Value, Value)>,
    times: Vec<(Time, Value)>,
    /// Of the innermost time loop: how many rounds have been done, and how many there are.
    round: Option<(Value, usize)>,
    calls: Calls<'p>,
    /// The number of the next leaf, where probes are wanted.
    next_probe: Option<u32>,
    /// A [`GemmPlaces`], which each product fills anew but for the run's queues.
    places: StackSlot,
}

/// Generates the entry; returns what it calls.
pub(super) fn build<'p, M: Module>(
    assembly: &mut Assembly<'_, M>,
    program: &'p Program,
    context: &mut Context,
    builder: &mut FunctionBuilderContext,
) -> Result<Calls<'p>, Error> {
    let mut b = FunctionBuilder::new(&mut context.func, builder);
    let params = begin(&mut b);
    let (run, worker) = (params[0], params[1]);
    let constant = MemFlagsData::trusted().with_readonly().with_can_move();
    let arena = b.ins().load(types::I64, constant, run, offset_of!(Run, arena) as i32);
    let steps = b.ins().load(types::I64, constant, run, offset_of!(Run, steps) as i32);
    let mut entry = Entry::new(assembly, program, b, [run, worker, arena]);
    entry.own_ranges(program.prologue_schedule());
    entry.own_ranges(program.step_schedule());
    entry.prologue()?;
    entry.steps(steps)?;
    Ok(entry.finish())
}

/// Generates a part of the entry; returns what it calls.
pub(super) fn build_part<'p, M: Module>(
    assembly: &mut Assembly<'_, M>,
    program: &'p Program,
    part: &Part<'p>,
    context: &mut Context,
    builder: &mut FunctionBuilderContext,
) -> Result<Calls<'p>, Error> {
    let mut b = FunctionBuilder::new(&mut context.func, builder);
    let params = begin(&mut b);
    let (run, worker) = (params[0], params[1]);
    let constant = MemFlagsData::trusted().with_readonly().with_can_move();
    let arena = b.ins().load(types::I64, constant, run, offset_of!(Run, arena) as i32);
    let mut entry = Entry::new(assembly, program, b, [run, worker, arena]);
    entry.times = part.times.iter().copied().zip(params[2..].iter().copied()).collect();
    entry.round = part.rounds.map(|rounds| (params[2 + part.times.len()], rounds));
    entry.next_probe = part.next_probe;
    entry.own_ranges(part.tasks);
    entry.in_line(part.tasks)?;
    Ok(entry.finish())
}

/// Opens a function's first block and returns its parameters.
fn begin(b: &mut FunctionBuilder<'_>) -> Vec<Value> {
    let start = b.create_block();
    b.append_block_params_for_function_params(start);
    b.switch_to_block(start);
    b.block_params(start).to_vec()
}

impl<'e, 'f, 'm, 'p, M: Module> Entry<'e, 'f, 'm, 'p, M> {
    fn new(
        assembly: &'e mut Assembly<'m, M>,
        program: &'p Program,
        mut b: FunctionBuilder<'f>,
        [run, worker, arena]: [Value; 3],
    ) -> Self {
        let constant = MemFlagsData::trusted().with_readonly().with_can_move();
        let size = size_of::<GemmPlaces>() as u32;
        let places = b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, size, 3));
        let queues = b.ins().load(types::I64, constant, run, offset_of!(Run, queues) as i32);
        b.ins().stack_store(types::I64, queues, places, offset_of!(GemmPlaces, queues) as i32);
        Self {
            assembly,
            program,
            b,
            run,
            worker,
            arena,
            ranges: HashMap::new(),
            times: Vec::new(),
            round: None,
            calls: Calls::default(),
            next_probe: None,
            places,
        }
    }

    fn finish(mut self) -> Calls<'p> {
        self.b.ins().return_(&[]);
        self.b.seal_all_blocks();
        let config = self.assembly.module.target_config();
        self.b.finalize(config);
        self.calls
    }
}

impl<'p, M: Module> Entry<'_, '_, '_, 'p, M> {
    /// What comes before the steps; see [`crate::backend::cpu::abi`].
    fn prologue(&mut self) -> Result<(), Error> {
        if self.program.prologue.is_empty() {
            return Ok(());
        }
        let prepared_at = offset_of!(Run, prepared) as i32;
        let prepared = self.b.ins().load(types::I32, MemFlagsData::trusted(), self.run, prepared_at);
        let (work, after) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(prepared, after, &[], work, &[]);
        self.b.switch_to_block(work);
        self.schedule(self.program.prologue_schedule())?;
        self.barrier();
        self.b.ins().jump(after, &[]);
        self.b.switch_to_block(after);
        Ok(())
    }

    /// The outer loop; see [`crate::backend::cpu::abi`].
    fn steps(&mut self, steps: Value) -> Result<(), Error> {
        let zero = self.b.ins().iconst(types::I64, 0);
        let steps_loop = Counted::begin(&mut self.b, zero, steps, true, &[]);
        let step = steps_loop.index;
        let halt_at = offset_of!(Run, halt) as i32;
        self.on_first_worker(|entry| {
            let halt = entry.call_import(Import::BeginStep, &[entry.run, step])[0];
            entry.b.ins().store(MemFlagsData::trusted(), halt, entry.run, halt_at);
        });
        self.barrier();
        let halt = self.b.ins().load(types::I32, MemFlagsData::trusted(), self.run, halt_at);
        let stop = self.b.create_block();
        let work = self.b.create_block();
        self.b.ins().brif(halt, stop, &[], work, &[]);
        self.b.switch_to_block(stop);
        self.b.ins().return_(&[]);
        self.b.switch_to_block(work);
        if self.assembly.probes {
            self.probe(word(self.program.leaves().len() + 1));
            self.next_probe = Some(0);
        }
        self.schedule(self.program.step_schedule())?;
        self.barrier();
        self.probe_next();
        self.on_first_worker(|entry| {
            entry.call_import(Import::EndStep, &[entry.run, step]);
        });
        steps_loop.end(&mut self.b, 1, steps, &[]);
        Ok(())
    }

    /// Tasks in their order, in parts where they are many.
    fn schedule(&mut self, tasks: Schedule<'p>) -> Result<(), Error> {
        match parts::divide(tasks)[..] {
            [all] => self.in_line(all),
            ref parts => {
                parts.iter().for_each(|&tasks| self.part(tasks));
                Ok(())
            }
        }
    }

    /// Calls a function that does these tasks.
    fn part(&mut self, tasks: Schedule<'p>) {
        let signature = calls::part_signature(self.assembly, self.times.len(), self.round.is_some());
        let name = format!("p{}", self.assembly.next_part());
        let id = self.assembly.declare(&name, Linkage::Local, &signature);
        let times = self.times.iter().map(|&(_, value)| value);
        let numbers = times.chain(self.round.map(|(round, _)| round));
        let args: Vec<Value> = [self.run, self.worker].into_iter().chain(numbers).collect();
        self.call(id, &args);
        let times = self.times.iter().map(|&(time, _)| time).collect();
        let rounds = self.round.map(|(_, rounds)| rounds);
        self.calls.parts.push(Part { id, name, tasks, times, rounds, next_probe: self.next_probe });
        self.next_probe = self.next_probe.map(|number| number + word(tasks.count_leaves()));
    }

    fn in_line(&mut self, tasks: Schedule<'p>) -> Result<(), Error> {
        for task in tasks.tasks() {
            match task {
                Task::Loop(inner, body) => {
                    self.time_loop(inner, body)?;
                    continue;
                }
                Task::Kernel(kernel, split) => self.kernel(kernel, split),
                Task::Gemm(gemm, split) => self.gemm(gemm, split)?,
                Task::Pack(pack, split) => self.pack(pack, split)?,
                Task::Scatter(scatter, split) => self.scatter(scatter, split)?,
                Task::Distinct(distinct) => self.distinct(distinct)?,
                Task::Exchange(exchange) => self.exchange(exchange)?,
                Task::Barrier => self.barrier(),
            }
            self.probe_next();
        }
        Ok(())
    }

    fn probe_next(&mut self) {
        if let Some(number) = self.next_probe {
            self.probe(number);
            self.next_probe = Some(number + 1);
        }
    }

    fn probe(&mut self, number: u32) {
        let number = self.b.ins().iconst(types::I32, i64::from(number));
        self.call_import(Import::Probe, &[self.run, self.worker, number]);
    }

    fn time_loop(&mut self, inner: &TimeLoop, body: Schedule<'p>) -> Result<(), Error> {
        let count = inner.rounds;
        if count == 0 {
            return Ok(());
        }
        let from = self.b.ins().iconst(types::I64, 0);
        let to = self.b.ins().iconst(types::I64, count as i64);
        let rounds = Counted::begin(&mut self.b, from, to, false, &[]);
        let now = if inner.reverse {
            let last = self.b.ins().iconst(types::I64, count as i64 - 1);
            self.b.ins().isub(last, rounds.index)
        } else {
            rounds.index
        };
        self.times.push((inner.time, now));
        let around = self.round.replace((rounds.index, count));
        self.schedule(body)?;
        self.round = around;
        self.times.pop();
        rounds.end(&mut self.b, 1, to, &[]);
        Ok(())
    }

    fn kernel(&mut self, kernel: &'p Kernel, split: Split) {
        let name = format!("k{}.{}", self.assembly.next_kernel(), kernel.name);
        let signature = calls::kernel_signature(self.assembly, self.times.len());
        let id = self.assembly.declare(&name, Linkage::Local, &signature);
        let times = self.times.iter().map(|&(time, _)| time).collect();
        self.calls.kernels.push(KernelCall { id, kernel, split, times });
        let values: Vec<Value> = self.times.iter().map(|&(_, value)| value).collect();
        let call = |entry: &mut Self, low: Value, high: Value| {
            let args = [&[entry.run, entry.arena, low, high], &values[..]].concat();
            entry.call(id, &args);
        };
        let Split::Axis(axis) = split else {
            let zero = self.b.ins().iconst(types::I64, 0);
            return self.on_first_worker(|entry| call(entry, zero, zero));
        };
        let extent = kernel.axes[axis.0 as usize];
        let grain = split.grain(kernel.is_vector_axis(axis), self.program.target.column_grain);
        let (low, high) = self.own_range(extent, grain);
        let some = self.b.ins().icmp(IntCC::SignedLessThan, low, high);
        self.when(some, |entry| call(entry, low, high));
    }

    fn gemm(&mut self, gemm: &Gemm, split: Split) -> Result<(), Error> {
        let shape = GemmShape {
            form: gemm.form.into(),
            precision: gemm.precision.into(),
            m: word(gemm.m),
            n: word(gemm.n),
            k: word(gemm.k),
            parts: word(gemm.parts),
            a_stride: word(gemm.a.stride),
            b_stride: word(gemm.b.stride),
            c_stride: word(gemm.c.stride),
            accumulate: gemm.accumulate.into(),
            from_end: Flag::Off,
            as_few: gemm.cpu.as_few.into(),
            packed: gemm.cpu.packed.into(),
            cut: split.into(),
        };
        let at = self.shape_in_round(gemm, shape)?;
        let [a, b, c] = [&gemm.a.at, &gemm.b.at, &gemm.c.at].map(Some);
        let places = [
            (offset_of!(GemmPlaces, a), a),
            (offset_of!(GemmPlaces, b), b),
            (offset_of!(GemmPlaces, c), c),
            (offset_of!(GemmPlaces, prefix), gemm.prefix.as_ref()),
            (offset_of!(GemmPlaces, right_sums), gemm.cpu.right_sums.as_ref()),
            (offset_of!(GemmPlaces, squares), gemm.cpu.squares.as_ref()),
        ];
        for (offset, at) in places {
            let place = match at {
                Some(at) => self.address(at),
                None => self.b.ins().iconst(types::I64, 0),
            };
            self.b.ins().stack_store(types::I64, place, self.places, offset as i32);
        }
        let places = self.b.ins().stack_addr(types::I64, self.places, 0);
        let call = |entry: &mut Self| entry.library(Import::Gemm, at, &[places], shape.cut);
        if gemm.rounds == Rounds::BeforeLast {
            let (round, rounds) = self.round();
            let is_wanted = self.b.ins().icmp_imm_u(IntCC::NotEqual, round, rounds as i64 - 1);
            self.when(is_wanted, call);
        } else {
            call(self);
        }
        Ok(())
    }

    /// The address of the shape that a product has in this round.
    fn shape_in_round(&mut self, gemm: &Gemm, shape: GemmShape) -> Result<Value, Error> {
        let mut at = self.constant(&shape.words())?;
        if gemm.cpu.alternating {
            let from_end = self.constant(&GemmShape { from_end: Flag::On, ..shape }.words())?;
            let time = self.time();
            let odd = self.b.ins().band_imm_u(time, 1);
            let is_turned = self.b.ins().icmp_imm_u(IntCC::Equal, odd, i64::from(gemm.from_end(1)));
            at = self.b.ins().select(is_turned, from_end, at);
        }
        if gemm.rounds == Rounds::AfterFirst {
            let nothing = self.constant(&GemmShape { k: 0, ..shape }.words())?;
            let (round, _) = self.round();
            let is_first = self.b.ins().icmp_imm_u(IntCC::Equal, round, 0);
            at = self.b.ins().select(is_first, nothing, at);
        }
        Ok(at)
    }

    /// How many rounds of the time loop around have been done, and how many there are.
    fn round(&self) -> (Value, usize) {
        let known = self.round;
        known
            .unwrap_or_else(|| unreachable!("internal error: a product that leaves out a round is in a loop"))
    }

    /// The index of the time loop around.
    fn time(&self) -> Value {
        let Some(&(_, now)) = self.times.last() else {
            unreachable!("internal error: an alternating product is in a loop")
        };
        now
    }

    fn pack(&mut self, pack: &Pack, split: Split) -> Result<(), Error> {
        let shape = PackShape {
            form: pack.form.into(),
            k: word(pack.k),
            n: word(pack.n),
            b_stride: word(pack.b.stride),
            format: pack.format.into(),
            cut: split.into(),
        };
        let at = self.constant(&shape.words())?;
        let whole = Address { buffer: pack.to, offset: 0, terms: Vec::new() };
        let operands = [&pack.b.at, &whole].map(|at| self.address(at));
        self.library(Import::Pack, at, &operands, shape.cut);
        Ok(())
    }

    fn scatter(&mut self, scatter: &Scatter, split: Split) -> Result<(), Error> {
        let shape = ScatterShape {
            gather: scatter.gather.into(),
            count: word(scatter.count),
            rows: word(scatter.rows),
            n: word(scatter.n),
            g_stride: word(scatter.g.stride),
            cut: split.into(),
        };
        let at = self.constant(&shape.words())?;
        let table = Address { buffer: scatter.table, offset: 0, terms: Vec::new() };
        let operands = [&scatter.ids, &scatter.g.at, &table].map(|at| self.address(at));
        self.library(Import::Scatter, at, &operands, shape.cut);
        Ok(())
    }

    fn distinct(&mut self, distinct: &Distinct) -> Result<(), Error> {
        let shape = DistinctShape { len: word(distinct.len), rows: word(distinct.rows) };
        let shape = self.constant(&shape.words())?;
        let whole = |buffer| Address { buffer, offset: 0, terms: Vec::new() };
        let results = [distinct.places, distinct.distinct, distinct.count].map(whole);
        let [ids, places, found, count] =
            [&distinct.ids, &results[0], &results[1], &results[2]].map(|at| self.address(at));
        let [ranks, present] = match distinct.inverse {
            Some(inverse) => inverse.map(|buffer| self.address(&whole(buffer))),
            None => [self.b.ins().iconst(types::I64, 0); 2],
        };
        self.on_first_worker(|entry| {
            let args = [shape, ids, places, found, count, ranks, present];
            entry.call_import(Import::Distinct, &args);
        });
        Ok(())
    }

    fn exchange(&mut self, exchange: &Exchange) -> Result<(), Error> {
        let mut sums = Vec::new();
        for ShardSum { from, to, rows, n } in &exchange.sums {
            if exchange.phase == Phase::Start {
                let shape = self.constant(&PartShape { rows: word(*rows), n: word(*n) }.words())?;
                let whole = Address { buffer: *to, offset: 0, terms: Vec::new() };
                let [from, to] = [from, &whole].map(|at| self.address(at));
                sums.push([shape, from, to]);
            }
        }
        self.on_first_worker(|entry| {
            for [shape, from, to] in sums {
                entry.call_import(Import::Collect, &[entry.run, shape, from, to]);
            }
            let number = entry.b.ins().iconst(types::I32, i64::from(exchange.number));
            let function = match exchange.phase {
                Phase::Start => Import::StartExchange,
                Phase::Finish => Import::FinishExchange,
            };
            entry.call_import(function, &[entry.run, number]);
        });
        Ok(())
    }

    /// The address of these words.
    fn constant(&mut self, words: &[u32]) -> Result<Value, Error> {
        let data = self.assembly.constant(words)?;
        let data = self.assembly.module.declare_data_in_func(data, self.b.func);
        Ok(self.b.ins().symbol_value(types::I64, data))
    }

    /// Calls a library function with the address of its shape, its operands and the caller's place among the workers.
    fn library(&mut self, function: Import, shape: Value, operands: &[Value], cut: Cut) {
        let workers = self.b.ins().iconst(types::I32, self.program.target.workers as i64);
        let args = [&[shape], operands, &[self.worker, workers]].concat();
        let call = |entry: &mut Self| {
            entry.call_import(function, &args);
        };
        if cut == Cut::Whole { self.on_first_worker(call) } else { call(self) }
    }

    /// Where an element lies whose address has terms in time only.
    fn address(&mut self, at: &Address) -> Value {
        let offset = self.program.offsets[at.buffer.0 as usize] + at.offset * 4;
        let mut pointer = self.b.ins().iadd_imm_s(self.arena, offset as i64);
        for &(index, stride) in &at.terms {
            let known = self.times.iter().find(|&&(time, _)| index == Index::Time(time));
            let &(_, now) =
                known.unwrap_or_else(|| panic!("internal error: {index:?} in a library call's address"));
            let term = self.b.ins().imul_imm_s(now, stride as i64 * 4);
            pointer = self.b.ins().iadd(pointer, term);
        }
        pointer
    }

    /// Computes this worker's ranges of all cut kernels once, before the loops.
    fn own_ranges(&mut self, tasks: Schedule<'_>) {
        for task in tasks.tasks() {
            match task {
                Task::Kernel(kernel, split @ Split::Axis(axis)) => {
                    let grain = split.grain(kernel.is_vector_axis(axis), self.program.target.column_grain);
                    self.own_range(kernel.axes[axis.0 as usize], grain);
                }
                Task::Loop(_, body) => self.own_ranges(body),
                _ => {}
            }
        }
    }

    /// [`worker_range`] of this worker.
    fn own_range(&mut self, extent: usize, grain: usize) -> (Value, Value) {
        if let Some(&known) = self.ranges.get(&(extent, grain)) {
            return known;
        }
        let workers = self.program.target.workers;
        let ends = if workers == 1 {
            let all = worker_range(extent, 0, 1, grain);
            (
                self.b.ins().iconst(types::I64, all.start as i64),
                self.b.ins().iconst(types::I64, all.end as i64),
            )
        } else {
            let worker = self.b.ins().uextend(types::I64, self.worker);
            let next = self.b.ins().iadd_imm_s(worker, 1);
            (self.start(worker, extent, grain), self.start(next, extent, grain))
        };
        self.ranges.insert((extent, grain), ends);
        ends
    }

    /// Where `worker`'s range begins, by the arithmetic of [`worker_range`].
    fn start(&mut self, worker: Value, extent: usize, grain: usize) -> Value {
        let units = extent.div_ceil(grain) as i64;
        let start = self.b.ins().imul_imm_s(worker, units);
        let start = self.b.ins().udiv_imm_u(start, self.program.target.workers as i64);
        let start = self.b.ins().imul_imm_s(start, grain as i64);
        let extent = self.b.ins().iconst(types::I64, extent as i64);
        self.b.ins().umin(start, extent)
    }

    fn barrier(&mut self) {
        self.call_import(Import::Barrier, &[self.run, self.worker]);
    }

    fn on_first_worker(&mut self, emit: impl FnOnce(&mut Self)) {
        if self.program.target.workers == 1 {
            return emit(self);
        }
        let first = self.b.ins().icmp_imm_u(IntCC::Equal, self.worker, 0);
        self.when(first, emit);
    }

    fn when(&mut self, condition: Value, emit: impl FnOnce(&mut Self)) {
        let yes = self.b.create_block();
        let after = self.b.create_block();
        self.b.ins().brif(condition, yes, &[], after, &[]);
        self.b.switch_to_block(yes);
        emit(self);
        self.b.ins().jump(after, &[]);
        self.b.switch_to_block(after);
    }

    fn call_import(&mut self, function: Import, args: &[Value]) -> Vec<Value> {
        let function = self.assembly.import(function);
        self.call(function, args)
    }

    fn call(&mut self, function: FuncId, args: &[Value]) -> Vec<Value> {
        let function = self.assembly.module.declare_func_in_func(function, self.b.func);
        let call = self.b.ins().call(function, args);
        self.b.inst_results(call).to_vec()
    }
}

/// A field of a shape; `verify` bounds them all.
fn word(value: usize) -> u32 {
    u32::try_from(value).unwrap_or_else(|_| panic!("internal error: {value} in a library call's shape"))
}
