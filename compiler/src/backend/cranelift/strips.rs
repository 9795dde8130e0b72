//! Loops with exponentials and the like in strips, so that these are computed by [`VectorMath`]'s functions, which know
//! wider vectors than Cranelift does.
//!
//! A vector loop's body is cut into phases: what the argument of a call needs comes in an earlier phase than what reads
//! the call's result. A strip of iterations goes through all phases before the next strip does:
//!
//! ```text
//! for each strip {
//!     for a in strip { x = load ..; y = x + ..; strip of s = y }     phase 0
//!     call sigmoid(strip of s)
//!     for a in strip { store .. = strip of s * .. }                  phase 1
//! }
//! ```
//!
//! What a later phase needs of an earlier one lies in a strip of the stack; what costs no more than a load is computed
//! again. Every element goes through the operations that the plain loop has, and a strip's place depends on the
//! loop's range alone, so results depend neither on strips nor on how an axis is cut.
//!
//! [`VectorMath`]: crate::backend::abi::VectorMath

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{FuncRef, InstBuilder, StackSlot, StackSlotData, StackSlotKind, Value, types};

use super::counted::Counted;
use super::kernel::{Body, Bounds, Emitter, Strip};
use crate::kernel::{Axis, BufferId, Expr, Fold, For, Index, Stmt, Var};
use crate::scalar::Scalar;

/// Iterations of a strip: long enough that a call's cost vanishes, short enough that a dozen strips stay in the
/// first-level cache. A multiple of [`crate::plan::COLUMN_GRAIN`].
const STRIP: i64 = 256;

/// Fewer iterations than this are not worth a call.
const MIN_EXTENT: usize = 16;

/// Whether [`crate::backend::abi::VectorMath`] has the operation.
fn has_function(op: Scalar) -> bool {
    matches!(op, Scalar::Exp | Scalar::Sigmoid | Scalar::Tanh | Scalar::Log)
}

/// A vector loop's body cut at its calls.
pub(super) struct Phases<'k> {
    phases: Vec<Phase<'k>>,
}

/// One loop over a strip, and the calls after it.
#[derive(Default)]
struct Phase<'k> {
    stmts: Vec<&'k Stmt>,
    folds: Vec<Fold>,
    /// Variables that earlier phases or calls have left in strips.
    reads: BTreeSet<Var>,
    /// Strips to fill, and with which variable.
    writes: BTreeSet<(Var, Var)>,
    /// Functions to apply to a strip.
    calls: Vec<(Scalar, Var)>,
}

/// What is known of a body's variables before it is cut.
struct Analysis<'k> {
    stmts: Vec<&'k Stmt>,
    definitions: HashMap<Var, usize>,
    /// Computed again wherever they are needed: what does not vary along the axis, loads of memory that the kernel
    /// does not change, positions.
    repeated: HashSet<Var>,
    /// Results of calls.
    called: BTreeSet<Var>,
    /// The phase in which each other variable is computed, and from which on a call's result can be read.
    phase: HashMap<Var, usize>,
}

impl<'k> Phases<'k> {
    /// The phases of a vector loop; none if nothing in it is worth a call.
    pub fn of(inner: &'k For, extent: usize, readonly: &HashSet<BufferId>) -> Option<Self> {
        if extent < MIN_EXTENT {
            return None;
        }
        let analysis = Analysis::of(inner, readonly)?;
        let count = 1 + analysis.phase.values().max()?;
        let mut phases: Vec<Phase> = (0..count).map(|_| Phase::default()).collect();
        for (index, phase) in phases.iter_mut().enumerate() {
            phase.folds =
                inner.folds.iter().filter(|fold| analysis.known_in(fold.value) == index).copied().collect();
            analysis.fill(index, phase);
        }
        // What a call leaves in a strip is there already; the rest is left there by the phase that computes it.
        let read: BTreeSet<Var> = phases.iter().flat_map(|phase| phase.reads.iter().copied()).collect();
        for &var in read.difference(&analysis.called) {
            phases[analysis.phase[&var]].writes.insert((var, var));
        }
        Some(Self { phases })
    }
}

impl<'k> Analysis<'k> {
    fn of(inner: &'k For, readonly: &HashSet<BufferId>) -> Option<Self> {
        let mut analysis = Self {
            stmts: inner.body.iter().collect(),
            definitions: HashMap::new(),
            repeated: HashSet::new(),
            called: BTreeSet::new(),
            phase: HashMap::new(),
        };
        let mut varying = HashSet::new();
        let mut stored = false;
        for (place, stmt) in inner.body.iter().enumerate() {
            match stmt {
                Stmt::For(_) => return None,
                Stmt::Store { .. } => stored = true,
                Stmt::Let { var, expr } => {
                    analysis.definitions.insert(*var, place);
                    if varies(expr, inner.axis, &varying) {
                        varying.insert(*var);
                    }
                    let plain = !varying.contains(var) || repeats(expr, readonly, &varying);
                    if plain {
                        analysis.repeated.insert(*var);
                        continue;
                    }
                    // A load of what a store may have changed keeps its place, which is before all stores.
                    if matches!(expr, Expr::LoadId(_)) || (matches!(expr, Expr::Load(_)) && stored) {
                        return None;
                    }
                    let earliest = analysis.earliest(expr);
                    match expr {
                        Expr::Map(op, _) if has_function(*op) => {
                            analysis.called.insert(*var);
                            analysis.phase.insert(*var, earliest + 1);
                        }
                        _ => _ = analysis.phase.insert(*var, earliest),
                    }
                }
            }
        }
        (!analysis.called.is_empty()).then_some(analysis)
    }

    /// The phase in which all operands are known.
    fn earliest(&self, expr: &Expr) -> usize {
        operands(expr).filter_map(|var| self.phase.get(&var)).copied().max().unwrap_or(0)
    }

    /// The phase from which on a variable is known.
    fn known_in(&self, var: Var) -> usize {
        self.phase.get(&var).copied().unwrap_or(0)
    }

    /// Whether the loop of this phase computes the variable itself.
    fn computed_in(&self, var: Var, phase: usize) -> bool {
        self.repeated.contains(&var) || (!self.called.contains(&var) && self.phase.get(&var) == Some(&phase))
    }

    /// The statements, reads and calls of one phase, whose folds are known.
    fn fill(&self, index: usize, phase: &mut Phase<'k>) {
        let mut places = BTreeSet::new();
        for fold in phase.folds.clone() {
            self.want(fold.value, index, phase, &mut places);
        }
        for (place, stmt) in self.stmts.iter().enumerate() {
            match stmt {
                Stmt::Let { var, expr: Expr::Map(op, args) }
                    if self.called.contains(var) && self.phase[var] == index + 1 =>
                {
                    self.want(args[0], index, phase, &mut places);
                    phase.writes.insert((*var, args[0]));
                    phase.calls.push((*op, *var));
                }
                Stmt::Let { var, .. } if self.phase.contains_key(var) && self.computed_in(*var, index) => {
                    self.want(*var, index, phase, &mut places);
                }
                Stmt::Store { value, .. } if self.known_in(*value) == index => {
                    self.want_operands(stmt, index, phase, &mut places);
                    places.insert(place);
                }
                _ => {}
            }
        }
        phase.stmts = places.into_iter().map(|place| self.stmts[place]).collect();
    }

    /// Has a variable at hand in a phase: computed there, or read from its strip.
    fn want(&self, var: Var, index: usize, phase: &mut Phase<'k>, places: &mut BTreeSet<usize>) {
        let Some(&place) = self.definitions.get(&var) else { return };
        if !self.computed_in(var, index) {
            phase.reads.insert(var);
        } else if places.insert(place) {
            self.want_operands(self.stmts[place], index, phase, places);
        }
    }

    fn want_operands(&self, stmt: &Stmt, index: usize, phase: &mut Phase<'k>, places: &mut BTreeSet<usize>) {
        match stmt {
            Stmt::Let { expr, .. } => {
                operands(expr).for_each(|var| self.want(var, index, phase, places));
            }
            Stmt::Store { to, value } => {
                self.want(*value, index, phase, places);
                ids(&to.terms).for_each(|var| self.want(var, index, phase, places));
            }
            Stmt::For(_) => {}
        }
    }
}

/// The variables that an expression reads.
fn operands(expr: &Expr) -> Box<dyn Iterator<Item = Var> + '_> {
    match expr {
        Expr::Map(_, args) => Box::new(args.iter().copied()),
        Expr::Number(var) => Box::new(std::iter::once(*var)),
        Expr::Load(at) | Expr::LoadId(at) => Box::new(ids(&at.terms)),
        Expr::Random { terms, .. } => Box::new(ids(terms)),
        Expr::Const(_) | Expr::Position(_) => Box::new(std::iter::empty()),
    }
}

fn ids(terms: &[(Index, usize)]) -> impl Iterator<Item = Var> {
    terms.iter().filter_map(|&(index, _)| match index {
        Index::Id(var) => Some(var),
        _ => None,
    })
}

/// Whether an expression's value differs from iteration to iteration.
fn varies(expr: &Expr, axis: Axis, varying: &HashSet<Var>) -> bool {
    let along = |terms: &[(Index, usize)]| terms.iter().any(|&(index, _)| index == Index::Axis(axis));
    let moves = match expr {
        Expr::Load(at) | Expr::LoadId(at) => along(&at.terms),
        Expr::Random { terms, .. } => along(terms),
        Expr::Position(own) => *own == axis,
        Expr::Const(_) | Expr::Map(..) | Expr::Number(_) => false,
    };
    moves || operands(expr).any(|var| varying.contains(&var))
}

/// Whether computing an expression again costs no more than reading it from a strip, and gives the same.
fn repeats(expr: &Expr, readonly: &HashSet<BufferId>, varying: &HashSet<Var>) -> bool {
    match expr {
        Expr::Load(at) => readonly.contains(&at.buffer) && ids(&at.terms).all(|var| !varying.contains(&var)),
        Expr::Position(_) => true,
        _ => false,
    }
}

impl Emitter<'_, '_> {
    /// A vector loop in strips; returns its folds, the strips' joined in order.
    pub fn strips(
        &mut self,
        phases: &Phases<'_>,
        inner: &For,
        bounds: Bounds,
        start: &[Value],
    ) -> Vec<Value> {
        let slots = self.strip_slots(phases);
        let (from, to) = match bounds {
            Bounds::Fixed(from, to) => {
                (self.b.ins().iconst(types::I64, from), self.b.ins().iconst(types::I64, to))
            }
            Bounds::Share(from, to) => (from, to),
        };
        let guarded = matches!(bounds, Bounds::Share(..));
        let rounds = Counted::begin(&mut self.b, from, to, guarded, start);
        let first = rounds.index;
        let end = self.b.ins().iadd_imm_s(first, STRIP);
        let within = self.b.ins().icmp(IntCC::SignedLessThan, end, to);
        let end = self.b.ins().select(within, end, to);
        let strips: BTreeMap<Var, Strip> = slots
            .iter()
            .map(|(&var, &slot)| {
                let at = self.b.ins().stack_addr(types::I64, slot, 0);
                (var, Strip { at, first })
            })
            .collect();
        let mut totals = rounds.carried.clone();
        for phase in &phases.phases {
            let body = Body {
                axis: inner.axis,
                folds: phase.folds.clone(),
                stmts: phase.stmts.clone(),
                reads: phase.reads.iter().map(|var| (*var, strips[var])).collect(),
                writes: phase.writes.iter().map(|(strip, var)| (strips[strip], *var)).collect(),
            };
            let neutral: Vec<Value> = phase.folds.iter().map(|fold| self.neutral(fold.kind)).collect();
            let sums = self.vector_loop(&body, Bounds::Share(first, end), &neutral);
            for (fold, sum) in phase.folds.iter().zip(sums) {
                if let Some(place) = inner.folds.iter().position(|own| own.var == fold.var) {
                    totals[place] = self.math().fold(fold.kind, totals[place], sum);
                }
            }
            let length = self.b.ins().isub(end, first);
            for &(op, var) in &phase.calls {
                let function = self.vector_function(op);
                self.b.ins().call(function, &[strips[&var].at, length]);
            }
        }
        rounds.end(&mut self.b, STRIP, to, &totals)
    }

    /// A strip of the stack for each variable that needs one.
    fn strip_slots(&mut self, phases: &Phases<'_>) -> BTreeMap<Var, StackSlot> {
        let written: BTreeSet<Var> =
            phases.phases.iter().flat_map(|phase| phase.writes.iter().map(|&(strip, _)| strip)).collect();
        let bytes = STRIP as u32 * 4;
        let slot = |var| {
            let data = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 6);
            (var, self.b.create_sized_stack_slot(data))
        };
        written.into_iter().map(slot).collect()
    }

    fn vector_function(&self, op: Scalar) -> FuncRef {
        let functions = self.functions;
        match op {
            Scalar::Exp => functions.exp,
            Scalar::Sigmoid => functions.sigmoid,
            Scalar::Tanh => functions.tanh,
            Scalar::Log => functions.log,
            _ => unreachable!("internal error: no function for {op}"),
        }
    }
}
