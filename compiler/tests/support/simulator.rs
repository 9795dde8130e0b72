//! Plans, checked element by element: a program is walked as its workers would, each with its own ranges, and every word
//! of the arena remembers which buffer's element it holds and who touched it since the last barrier.
//!
//! Found are: a read of memory that holds another buffer's element or nothing (a wrong overlap, a missing write), an
//! input or output that does not survive the step, and two workers that touch a word between two barriers, one of them
//! writing (a missing barrier). What a library call touches is what `kernel::access` says; of what `plan` concludes from
//! that it knows nothing: time loops are run round by round, so the back edge of a loop needs no argument. Where that finds nothing, running the program in its arena gives what the
//! kernel interpreter gives in separate buffers: every read finds the last write of the same element.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use lstmc_compiler::kernel::access::{Access, COLUMNS, DEPTH, Effect, PANELS, PARTS, ROWS, SUMS};
use lstmc_compiler::kernel::{
    Address, Axis, BufferId, BufferKind, Distinct, Elem, Exchange, Expr, For, Form, Gemm, Index, Kernel,
    PANEL, Pack, Rounds, Scatter, Stmt, Time, Var,
};
use lstmc_compiler::plan::{Program, Schedule, Split, Task, worker_range};

/// The order in which a vector loop's iterations touch memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One iteration after the other.
    Scalar,
    /// All iterations do a statement before any does the next one.
    Lockstep,
}

/// Walks the prologue, if there is one, and two steps of `program`: what the prologue leaves must outlive a step. Without
/// one a step is enough. `ids` are the contents of the buffers of token ids, by name.
pub fn simulate(program: &Program, ids: &HashMap<String, Vec<u32>>) -> Result<(), String> {
    [Order::Scalar, Order::Lockstep].into_iter().try_for_each(|order| simulate_in(program, ids, order))
}

fn simulate_in(program: &Program, ids: &HashMap<String, Vec<u32>>, order: Order) -> Result<(), String> {
    let mut simulator = Simulator::new(program, ids, order);
    simulator.schedule(program.prologue_schedule())?;
    simulator.barrier();
    let rounds = if program.prologue.is_empty() { 1 } else { 2 };
    for _ in 0..rounds {
        simulator.schedule(program.step_schedule())?;
        simulator.item = "the end of the step".into();
        simulator.barrier();
    }
    for (index, buffer) in program.module.buffers.iter().enumerate() {
        if matches!(buffer.kind, BufferKind::Input(_) | BufferKind::Output(_)) {
            for element in 0..buffer.len() {
                simulator.read(0, BufferId(index as u32), element)?;
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Default)]
struct Word {
    holds: Option<BufferId>,
    /// Since the last barrier, bit by worker; valid if `interval` is the current one.
    readers: u32,
    writers: u32,
    interval: u32,
}

struct Simulator<'p> {
    program: &'p Program,
    /// The contents of the buffers of ids, by name: inputs, and what the program has made.
    ids: HashMap<String, Vec<u32>>,
    order: Order,
    words: Vec<Word>,
    interval: u32,
    times: HashMap<Time, usize>,
    /// Of the innermost time loop: how many rounds have been done, and how many there are.
    round: (usize, usize),
    /// What is being run, for messages.
    item: String,
    /// How many items have been run.
    items: usize,
}

/// One worker in one kernel.
struct Frame<'k> {
    kernel: &'k Kernel,
    worker: usize,
    cut: Option<(Axis, Range<usize>)>,
    axes: HashMap<Axis, usize>,
    /// The vector loop whose iterations go in lockstep.
    lanes: Option<(Axis, Range<usize>)>,
    /// Token ids, one or one for each lane.
    ids: HashMap<Var, Vec<u32>>,
}

impl<'p> Simulator<'p> {
    fn new(program: &'p Program, ids: &HashMap<String, Vec<u32>>, order: Order) -> Self {
        let words = vec![Word::default(); program.arena_bytes / 4];
        let mut new = Self {
            program,
            ids: ids.clone(),
            order,
            words,
            interval: 1,
            times: HashMap::new(),
            round: (0, 0),
            item: String::new(),
            items: 0,
        };
        for (index, buffer) in program.module.buffers.iter().enumerate() {
            if matches!(buffer.kind, BufferKind::Input(_)) {
                for element in 0..buffer.len() {
                    let word = new.word(BufferId(index as u32), element);
                    new.words[word].holds = Some(BufferId(index as u32));
                }
            }
        }
        new
    }

    fn barrier(&mut self) {
        self.interval += 1;
    }

    fn word(&self, buffer: BufferId, element: usize) -> usize {
        self.program.offsets[buffer.0 as usize] / 4 + element
    }

    fn name(&self, buffer: BufferId) -> &str {
        &self.program.module.buffer(buffer).name
    }

    /// The word, with what workers did before the last barrier forgotten.
    fn touched(&mut self, buffer: BufferId, element: usize) -> Result<&mut Word, String> {
        if element >= self.program.module.buffer(buffer).len() {
            return Err(format!("{}: element {element} of {:?}", self.item, self.name(buffer)));
        }
        let place = self.word(buffer, element);
        let interval = self.interval;
        let word = self.words.get_mut(place).ok_or("beyond the arena")?;
        if word.interval != interval {
            *word = Word { holds: word.holds, interval, ..Word::default() };
        }
        Ok(word)
    }

    fn read(&mut self, worker: usize, buffer: BufferId, element: usize) -> Result<(), String> {
        let word = self.touched(buffer, element)?;
        let (others, holds) = (word.writers & !(1 << worker), word.holds);
        word.readers |= 1 << worker;
        if others != 0 {
            return Err(self.race(worker, buffer, element, "reads", "wrote"));
        }
        if holds != Some(buffer) {
            let found = holds.map_or("nothing", |other| self.name(other));
            let name = self.name(buffer);
            return Err(format!("{}: reads {name:?}[{element}], but there lies {found:?}", self.item));
        }
        Ok(())
    }

    fn write(&mut self, worker: usize, buffer: BufferId, element: usize) -> Result<(), String> {
        let word = self.touched(buffer, element)?;
        let others = (word.writers | word.readers) & !(1 << worker);
        word.writers |= 1 << worker;
        word.holds = Some(buffer);
        if others == 0 { Ok(()) } else { Err(self.race(worker, buffer, element, "writes", "touched")) }
    }

    fn race(&self, worker: usize, buffer: BufferId, element: usize, does: &str, did: &str) -> String {
        let (item, name) = (&self.item, self.name(buffer));
        format!(
            "{item}: worker {worker} {does} {name:?}[{element}], which another {did} since the last barrier"
        )
    }

    fn schedule(&mut self, schedule: Schedule<'_>) -> Result<(), String> {
        for task in schedule.tasks() {
            self.items += 1;
            match task {
                Task::Kernel(kernel, split) => self.kernel(kernel, split)?,
                Task::Gemm(gemm, split) => self.gemm(gemm, split)?,
                Task::Pack(pack, split) => self.pack(pack, split)?,
                Task::Scatter(scatter, split) => self.scatter(scatter, split)?,
                Task::Distinct(distinct) => self.distinct(distinct)?,
                Task::Exchange(exchange) => self.exchange(exchange)?,
                Task::Loop(inner, body) => {
                    for round in 0..inner.rounds {
                        let time = if inner.reverse { inner.rounds - 1 - round } else { round };
                        self.times.insert(inner.time, time);
                        self.round = (round, inner.rounds);
                        self.schedule(body)?;
                    }
                    self.times.remove(&inner.time);
                }
                Task::Barrier => self.barrier(),
            }
        }
        Ok(())
    }

    fn kernel(&mut self, kernel: &Kernel, split: Split) -> Result<(), String> {
        self.item = format!("kernel {:?}", kernel.name);
        for worker in 0..self.program.target.workers {
            let cut = match split {
                Split::Axis(axis) => {
                    let grain = split.grain(kernel.is_vector_axis(axis), self.program.target.column_grain);
                    let own = worker_range(
                        kernel.axes[axis.0 as usize],
                        worker,
                        self.program.target.workers,
                        grain,
                    );
                    Some((axis, own))
                }
                Split::Any if self.takes_any(worker) => None,
                Split::Any => continue,
                _ if worker > 0 => continue,
                _ => None,
            };
            let (axes, ids) = (HashMap::new(), HashMap::new());
            let mut frame = Frame { kernel, worker, cut, axes, lanes: None, ids };
            self.block(&kernel.body, &mut frame)?;
        }
        Ok(())
    }

    fn block(&mut self, stmts: &[Stmt], frame: &mut Frame<'_>) -> Result<(), String> {
        for stmt in stmts {
            match stmt {
                Stmt::Let { expr: Expr::Load(from), .. } => {
                    for element in self.elements(from, frame) {
                        self.read(frame.worker, from.buffer, element)?;
                    }
                }
                Stmt::Let { var, expr: Expr::LoadId(from) } => {
                    let mut loaded = vec![];
                    for element in self.elements(from, frame) {
                        self.read(frame.worker, from.buffer, element)?;
                        loaded.push(self.id(from.buffer, element)?);
                    }
                    frame.ids.insert(*var, loaded);
                }
                Stmt::Let { .. } => {}
                Stmt::Store { to, .. } => {
                    for element in self.elements(to, frame) {
                        self.write(frame.worker, to.buffer, element)?;
                    }
                }
                Stmt::For(inner) => self.for_loop(inner, frame)?,
            }
        }
        Ok(())
    }

    fn for_loop(&mut self, inner: &For, frame: &mut Frame<'_>) -> Result<(), String> {
        let all = 0..frame.kernel.axes[inner.axis.0 as usize];
        let range = frame.cut.iter().find(|cut| cut.0 == inner.axis).map_or(all, |cut| cut.1.clone());
        if inner.vector && self.order == Order::Lockstep && !range.is_empty() {
            frame.lanes = Some((inner.axis, range));
            self.block(&inner.body, frame)?;
            frame.lanes = None;
            return Ok(());
        }
        for at in range {
            frame.axes.insert(inner.axis, at);
            self.block(&inner.body, frame)?;
        }
        frame.axes.remove(&inner.axis);
        Ok(())
    }

    fn id(&self, buffer: BufferId, element: usize) -> Result<u32, String> {
        let module = &self.program.module;
        assert_eq!(module.buffer(buffer).elem, Elem::Id, "{}", self.name(buffer));
        let ids =
            self.ids.get(self.name(buffer)).ok_or_else(|| format!("ids for {:?}", self.name(buffer)))?;
        ids.get(element).copied().ok_or_else(|| format!("id {element} of {:?}", self.name(buffer)))
    }

    /// Whether a worker does an item that anyone may do: each item another one, so that two that meet are seen to.
    fn takes_any(&self, worker: usize) -> bool {
        self.items % self.program.target.workers == worker
    }

    /// The elements that an address names, one for each lane.
    fn elements(&self, at: &Address, frame: &Frame<'_>) -> Vec<usize> {
        let lanes = frame.lanes.as_ref().map_or(0..1, |(_, range)| 0..range.len());
        let element = |lane: usize| {
            let index = |index: Index| match index {
                Index::Time(time) => self.times[&time],
                Index::Axis(axis) => match &frame.lanes {
                    Some((own, range)) if *own == axis => range.start + lane,
                    _ => frame.axes[&axis],
                },
                Index::Id(var) => {
                    let ids = &frame.ids[&var];
                    ids[lane.min(ids.len() - 1)] as usize
                }
            };
            at.offset + at.terms.iter().map(|&(own, stride)| index(own) * stride).sum::<usize>()
        };
        let mut elements: Vec<usize> = lanes.map(element).collect();
        // Lanes that agree touch one element once.
        if elements.windows(2).all(|pair| pair[0] == pair[1]) {
            elements.truncate(1);
        }
        elements
    }

    fn base(&self, at: &Address) -> usize {
        let time = |index: &Index| match index {
            Index::Time(time) => self.times[time],
            other => panic!("{other} in a library call"),
        };
        at.offset + at.terms.iter().map(|(index, stride)| time(index) * stride).sum::<usize>()
    }

    /// The elements of an access at these positions of its axes; all of an axis for which `own` has none.
    fn accessed(&self, access: &Access<'_>, own: &impl Fn(Axis) -> Option<Vec<usize>>) -> Elements {
        let mut found = vec![access.address.offset];
        for &(index, stride) in &access.address.terms {
            let positions = match index {
                Index::Time(time) => vec![self.times[&time]],
                Index::Axis(axis) => own(axis).unwrap_or_else(|| (0..access.extent(axis)).collect()),
                Index::Id(_) => panic!("{index} in a library call"),
            };
            let further = |start: usize| positions.iter().map(move |at| start + at * stride);
            found = found.into_iter().flat_map(further).collect();
        }
        found.into_iter().map(|element| (access.buffer(), element)).collect()
    }

    /// The worker's range of an extent that `by` cuts.
    fn range(&self, extent: usize, split: Split, by: Split, worker: usize) -> Range<usize> {
        let grain = by.grain(false, self.program.target.column_grain);
        match split {
            Split::Whole if worker > 0 => 0..0,
            Split::Any if !self.takes_any(worker) => 0..0,
            split if split == by || (split, by) == (Split::AnyColumns, Split::Columns) => {
                worker_range(extent, worker, self.program.target.workers, grain)
            }
            _ => 0..extent,
        }
    }

    /// The columns of C that a worker has.
    fn columns(&self, gemm: &Gemm, split: Split, worker: usize) -> Vec<usize> {
        match split {
            Split::Units(_) | Split::Terms(_) => self.of_units(gemm.n, split, worker),
            _ => self.range(gemm.n, split, Split::Columns, worker).collect(),
        }
    }

    /// The positions of an axis that belong to a worker's units.
    fn of_units(&self, extent: usize, split: Split, worker: usize) -> Vec<usize> {
        let (Split::Units(units) | Split::Terms(units)) = split else { return vec![] };
        let own = worker_range(units, worker, self.program.target.workers, 1);
        (0..extent).filter(|position| own.contains(&(position % units))).collect()
    }

    fn gemm(&mut self, gemm: &Gemm, split: Split) -> Result<(), String> {
        self.item = gemm.to_string();
        let (round, rounds) = self.round;
        let by_terms = matches!(split, Split::Terms(_));
        if gemm.rounds == Rounds::BeforeLast && round + 1 == rounds {
            if by_terms {
                self.barrier();
            }
            return Ok(());
        }
        let reads = gemm.rounds != Rounds::AfterFirst || round > 0;
        let mut calls = vec![];
        let first = match &gemm.prefix {
            Some(at) => self.id(at.buffer, self.base(at))? as usize,
            None => usize::MAX,
        };
        let (m, k) = match gemm.form {
            Form::TN => (gemm.m, gemm.k.min(first)),
            Form::NN | Form::NT => (gemm.m.min(first), gemm.k),
        };
        for worker in 0..self.program.target.workers {
            let rows = self.range(m, split, Split::Rows, worker);
            let zeros = self.range(gemm.m - m, split, Split::Rows, worker);
            let columns = self.columns(gemm, split, worker);
            let parts = self.range(gemm.parts, split, Split::Parts, worker);
            let deep = gemm.part(parts.start).start..gemm.part(parts.end).start;
            let deep = if gemm.parts == 1 { 0..k } else { deep };
            if rows.len() + zeros.len() == 0 || columns.is_empty() {
                continue;
            }
            let zeros = m + zeros.start..m + zeros.end;
            let mut call = Call::of(worker);
            gemm.each_access(&mut |access| {
                if access.effect == Effect::Read && !reads {
                    return;
                }
                let own = |axis: Axis| {
                    let range = match axis {
                        ROWS if access.effect.writes() => {
                            return Some(rows.clone().chain(zeros.clone()).collect());
                        }
                        ROWS => rows.clone(),
                        // Partial sums are of all columns.
                        COLUMNS if by_terms && !access.effect.writes() => return None,
                        COLUMNS => return Some(columns.clone()),
                        DEPTH if by_terms => return Some(self.of_units(k, split, worker)),
                        DEPTH => deep.clone(),
                        PARTS => parts.clone(),
                        PANELS => panels(&span(&columns)),
                        SUMS if rows.start > 0 => 0..0,
                        SUMS => span(&columns),
                        _ => return None,
                    };
                    Some(range.collect())
                };
                call.add(access.effect, self.accessed(&access, &own));
            });
            calls.push(call);
        }
        if by_terms {
            let reads = calls.iter_mut().map(Call::take_reads).collect();
            self.library(reads)?;
            self.barrier();
        }
        self.library(calls)
    }

    fn pack(&mut self, pack: &Pack, split: Split) -> Result<(), String> {
        self.item = pack.to_string();
        let mut calls = vec![];
        for worker in 0..self.program.target.workers {
            let columns = self.range(pack.n, split, Split::Columns, worker);
            let own = |axis: Axis| match axis {
                COLUMNS => Some(columns.clone().collect()),
                PANELS => Some(panels(&columns).collect()),
                _ => None,
            };
            let mut call = Call::of(worker);
            pack.each_access(&mut |access| call.add(access.effect, self.accessed(&access, &own)));
            calls.push(call);
        }
        self.library(calls)
    }

    fn scatter(&mut self, scatter: &Scatter, split: Split) -> Result<(), String> {
        self.item = scatter.to_string();
        let mut calls = vec![];
        for worker in 0..self.program.target.workers {
            let columns = self.range(scatter.n, split, Split::Columns, worker);
            if columns.is_empty() {
                continue;
            }
            let own = |axis: Axis| (axis == COLUMNS).then(|| columns.clone().collect());
            let mut call = Call::of(worker);
            scatter.each_access(&mut |access| call.add(access.effect, self.accessed(&access, &own)));
            calls.push(call);
        }
        self.library(calls)
    }

    fn distinct(&mut self, distinct: &Distinct) -> Result<(), String> {
        self.item = distinct.to_string();
        let start = self.base(&distinct.ids);
        let ids: Vec<u32> = (start..start + distinct.len)
            .map(|element| self.id(distinct.ids.buffer, element))
            .collect::<Result<_, _>>()?;
        let mut found: Vec<u32> = vec![];
        let mut places = vec![];
        for &id in &ids {
            let known = found.iter().position(|&other| other == id);
            places.push(known.unwrap_or(found.len()) as u32);
            found.extend(known.is_none().then_some(id));
        }
        let mut ranks = vec![0; distinct.rows];
        (0..).zip(&found).for_each(|(rank, &id)| ranks[id as usize] = rank);
        let count = vec![found.len() as u32];
        found.resize(distinct.most(), 0);
        let made = distinct.results().into_iter().zip([places, found, count, ranks]);
        made.for_each(|((buffer, _), values)| _ = self.ids.insert(self.name(buffer).to_owned(), values));
        let mut call = Call::of(0);
        distinct.each_access(&mut |access| call.add(access.effect, self.accessed(&access, &|_| None)));
        self.library(vec![call])
    }

    /// By worker 0. What it begins goes on beside other items, which `kernel::verify` keeps away from it.
    fn exchange(&mut self, exchange: &Exchange) -> Result<(), String> {
        self.item = exchange.to_string();
        let mut call = Call::of(0);
        exchange.each_access(&mut |access| call.add(access.effect, self.accessed(&access, &|_| None)));
        self.library(vec![call])
    }

    /// The calls of the workers that take part. The library reads its operands while it writes its results, so these share
    /// no word; what it updates is an operand of its own.
    fn library(&mut self, calls: Vec<Call>) -> Result<(), String> {
        for Call { worker, reads, updates, .. } in &calls {
            let mut read = reads.iter().chain(updates);
            read.try_for_each(|&(buffer, element)| self.read(*worker, buffer, element))?;
        }
        for Call { worker, reads, updates, writes } in &calls {
            let operands: HashSet<usize> =
                reads.iter().map(|&(buffer, element)| self.word(buffer, element)).collect();
            for &(buffer, element) in updates.iter().chain(writes) {
                if operands.contains(&self.word(buffer, element)) {
                    return Err(format!("{}: the result lies over an operand", self.item));
                }
                self.write(*worker, buffer, element)?;
            }
        }
        Ok(())
    }
}

/// Elements of buffers.
type Elements = Vec<(BufferId, usize)>;

/// What a worker does in a library call.
struct Call {
    worker: usize,
    reads: Elements,
    updates: Elements,
    writes: Elements,
}

impl Call {
    fn of(worker: usize) -> Self {
        Self { worker, reads: vec![], updates: vec![], writes: vec![] }
    }

    /// What it reads, as a call of its own.
    fn take_reads(&mut self) -> Self {
        Self { reads: std::mem::take(&mut self.reads), ..Self::of(self.worker) }
    }

    fn add(&mut self, effect: Effect, elements: Elements) {
        let known = match effect {
            Effect::Read => &mut self.reads,
            Effect::Update => &mut self.updates,
            Effect::Write => &mut self.writes,
        };
        known.extend(elements);
    }
}

/// From the first of these columns to the last.
fn span(columns: &[usize]) -> Range<usize> {
    match (columns.first(), columns.last()) {
        (Some(&first), Some(&last)) => first..last + 1,
        _ => 0..0,
    }
}

/// The panels of a packed operand that hold these columns.
fn panels(columns: &Range<usize>) -> Range<usize> {
    let first = columns.start / PANEL;
    if columns.is_empty() { first..first } else { first..columns.end.div_ceil(PANEL) }
}
