//! What an item reads and writes, and how it may be cut among workers: said here once, for the passes, the planner, its
//! verifier and the simulator that tests it.
//!
//! An access is an address with one term for each index that varies within the item, and the extent of each axis. The
//! axes of a kernel's accesses are the kernel's. Those of a library call are [`ROWS`] and the others here: a call that is
//! cut by columns, for example, gives each worker a range of [`COLUMNS`] in every access that has this axis.
//!
//! An access covers all that an item may touch. Of a product with a `prefix`, or that is left out in some round, and of
//! a scatter, whose rows depend on ids, it may touch less.
//!
//! The accesses of a kernel happen in the order of its statements, so that a result may take the place of an operand
//! (`plan::may_share` says when). A library call reads its operands while it writes its results: no result of one may
//! overlap anything else that the call touches.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{
    Address, Axis, BufferId, Distinct, Exchange, Expr, For, Form, Format, Gather, Gemm, Index, Item, Kernel,
    Matrix, Pack, Phase, Scatter, ShardSum, Stmt,
};

/// Rows: of the result of a product; of what a scatter adds up. The elements of a list.
pub const ROWS: Axis = Axis(0);
/// Columns: of the result of a product, of what is packed, of a scatter's table.
pub const COLUMNS: Axis = Axis(1);
/// The contraction of a product; the rows of what is packed for one.
pub const DEPTH: Axis = Axis(2);
/// Parts of a contraction, see [`super::Gemm::parts`].
pub const PARTS: Axis = Axis(3);
/// Panels of a packed operand. Columns lie in the panel of their number divided by [`super::PANEL`].
pub const PANELS: Axis = Axis(4);
/// The elements of a panel.
pub const IN_PANEL: Axis = Axis(5);
/// Sums down the columns of a product's right side or result, one for each column. Of the workers that have a column, the
/// one with the first rows writes its sum.
pub const SUMS: Axis = Axis(6);
/// Rows of a scatter's table.
pub const TABLE: Axis = Axis(7);

/// Units that the columns of a result are cut by, see [`Access::by_unit`].
pub const UNITS: Axis = Axis(8);

/// The axes above.
const CALL_AXES: usize = 9;

/// What happens to the elements of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Read,
    Write,
    /// Each element is read before it is written.
    Update,
}

impl Effect {
    pub fn reads(self) -> bool {
        self != Effect::Write
    }

    pub fn writes(self) -> bool {
        self != Effect::Read
    }
}

/// What an item does to some elements of a buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Access<'i> {
    pub address: Cow<'i, Address>,
    /// By axis.
    pub extents: Cow<'i, [usize]>,
    pub effect: Effect,
}

impl Access<'_> {
    pub fn buffer(&self) -> BufferId {
        self.address.buffer
    }

    pub fn extent(&self, axis: Axis) -> usize {
        self.extents[axis.0 as usize]
    }

    /// Of a library call, with positions on an axis as groups of [`UNITS`]: position `n` is unit `n % units` of group `n / units`,
    /// and the axis counts the groups. `units` divides its extent.
    #[must_use]
    pub fn by_unit(mut self, axis: Axis, units: usize) -> Self {
        if let Some(term) = self.address.terms.iter().position(|(index, _)| *index == Index::Axis(axis)) {
            let address = self.address.to_mut();
            let stride = address.terms[term].1;
            address.terms[term].1 = stride * units;
            address.terms.push((Index::Axis(UNITS), stride));
            let extents = self.extents.to_mut();
            extents[axis.0 as usize] /= units;
            extents[UNITS.0 as usize] = units;
        }
        self
    }
}

/// Where a statement stands in a kernel.
#[derive(Clone, Debug, Default)]
pub struct Place<'k> {
    /// Its number among the kernel's statements, then among those of the loop there, and so on.
    pub path: Vec<usize>,
    /// The loops around it, outermost first.
    pub loops: Vec<&'k For>,
}

/// The buffers of the accesses that `each` gives, where their effect is `wanted`.
fn touched<'i>(
    wanted: fn(Effect) -> bool,
    each: impl FnOnce(&mut dyn FnMut(Access<'i>)),
) -> HashSet<BufferId> {
    let mut found = HashSet::new();
    each(&mut |access| {
        if wanted(access.effect) {
            found.insert(access.buffer());
        }
    });
    found
}

impl Item {
    /// Calls `see` with every access, for a time loop those of its items.
    pub fn each_access<'i>(&'i self, see: &mut impl FnMut(Access<'i>)) {
        match self {
            Item::Kernel(kernel) => kernel.each_access(&mut |access, _| see(access)),
            Item::Gemm(gemm) => gemm.each_access(see),
            Item::Pack(pack) => pack.each_access(see),
            Item::Scatter(scatter) => scatter.each_access(see),
            Item::Distinct(distinct) => distinct.each_access(see),
            Item::Exchange(exchange) => exchange.each_access(see),
            Item::Loop(inner) => inner.items.iter().for_each(|item| item.each_access(see)),
        }
    }

    /// The buffers that it reads.
    pub fn loaded(&self) -> HashSet<BufferId> {
        touched(Effect::reads, |see| self.each_access(&mut |access| see(access)))
    }

    /// The buffers that it writes.
    pub fn stored(&self) -> HashSet<BufferId> {
        touched(Effect::writes, |see| self.each_access(&mut |access| see(access)))
    }
}

impl Kernel {
    /// Calls `see` with every access in the order of the statements, and where it stands.
    pub fn each_access<'k>(&'k self, see: &mut impl FnMut(Access<'k>, &Place<'k>)) {
        walk(&self.body, &self.axes, &mut Place::default(), see);
    }

    /// The buffers that it reads.
    pub fn loaded(&self) -> HashSet<BufferId> {
        touched(Effect::reads, |see| self.each_access(&mut |access, _| see(access)))
    }

    /// The buffers that it writes.
    pub fn stored(&self) -> HashSet<BufferId> {
        touched(Effect::writes, |see| self.each_access(&mut |access, _| see(access)))
    }

    /// Whether workers may have ranges of this axis, or why not: every loop over it must be parallel and have no folds,
    /// and every store must lie in one.
    pub fn check_cut(&self, axis: Axis) -> Result<(), &'static str> {
        fn check(stmts: &[Stmt], axis: Axis, inside: bool) -> Result<(), &'static str> {
            for stmt in stmts {
                match stmt {
                    Stmt::For(inner) if inner.axis == axis => {
                        if !inner.parallel {
                            return Err("a loop over the axis is not parallel");
                        }
                        if !inner.folds.is_empty() {
                            return Err("a loop over the axis has folds");
                        }
                        check(&inner.body, axis, true)?;
                    }
                    Stmt::For(inner) => check(&inner.body, axis, inside)?,
                    Stmt::Store { .. } if !inside => return Err("it stores outside the loops over the axis"),
                    Stmt::Store { .. } | Stmt::Let { .. } => {}
                }
            }
            Ok(())
        }
        check(&self.body, axis, false)
    }
}

fn walk<'k>(
    stmts: &'k [Stmt],
    axes: &'k [usize],
    place: &mut Place<'k>,
    see: &mut impl FnMut(Access<'k>, &Place<'k>),
) {
    for (number, stmt) in stmts.iter().enumerate() {
        place.path.push(number);
        let access = |address, effect| Access {
            address: Cow::Borrowed(address),
            extents: Cow::Borrowed(axes),
            effect,
        };
        match stmt {
            Stmt::Let { expr: Expr::Load(from) | Expr::LoadId(from), .. } => {
                see(access(from, Effect::Read), place);
            }
            Stmt::Let { .. } => {}
            Stmt::Store { to, .. } => see(access(to, Effect::Write), place),
            Stmt::For(inner) => {
                place.loops.push(inner);
                walk(&inner.body, axes, place, see);
                place.loops.pop();
            }
        }
        place.path.pop();
    }
}

impl Gemm {
    /// Calls `see` with every access.
    pub fn each_access<'i>(&self, see: &mut impl FnMut(Access<'i>)) {
        let (rows, columns, depth) = ((ROWS, self.m), (COLUMNS, self.n), (DEPTH, self.k));
        let a = if self.form == Form::TN { [depth, rows] } else { [rows, depth] };
        see(matrix(&self.a, a, Effect::Read));
        match self.cpu.packed {
            Some(format) => see(panels(self.b.at.buffer, format, [self.k, self.n], Effect::Read)),
            None => {
                let b = if self.form == Form::NT { [columns, depth] } else { [depth, columns] };
                see(matrix(&self.b, b, Effect::Read));
            }
        }
        if let Some(at) = &self.prefix {
            see(strided(at, &[], Effect::Read));
        }
        let stride = self.c.stride;
        let c = [(PARTS, self.parts, self.m * stride), (ROWS, self.m, stride), (COLUMNS, self.n, 1)];
        see(strided(&self.c.at, &c, if self.accumulate { Effect::Update } else { Effect::Write }));
        self.fused_sums().for_each(|at| see(strided(at, &[(SUMS, self.n, 1)], Effect::Write)));
    }
}

impl Pack {
    /// Calls `see` with every access.
    pub fn each_access<'i>(&self, see: &mut impl FnMut(Access<'i>)) {
        let (columns, depth) = ((COLUMNS, self.n), (DEPTH, self.k));
        let b = if self.form == Form::NT { [columns, depth] } else { [depth, columns] };
        see(matrix(&self.b, b, Effect::Read));
        see(panels(self.to, self.format, [self.k, self.n], Effect::Write));
    }
}

impl Scatter {
    /// Calls `see` with every access.
    pub fn each_access<'i>(&self, see: &mut impl FnMut(Access<'i>)) {
        see(strided(&self.ids, &[(ROWS, self.count, 1)], Effect::Read));
        see(matrix(&self.g, [(ROWS, self.count), (COLUMNS, self.n)], Effect::Read));
        let effect = match self.gather {
            Gather::Add => Effect::Update,
            Gather::Table | Gather::Combine => Effect::Write,
        };
        let table = Matrix { at: start_of(self.table), stride: self.n };
        see(matrix(&table, [(TABLE, self.table_rows()), (COLUMNS, self.n)], effect));
    }
}

impl Distinct {
    /// Calls `see` with every access.
    pub fn each_access<'i>(&self, see: &mut impl FnMut(Access<'i>)) {
        see(strided(&self.ids, &[(ROWS, self.len, 1)], Effect::Read));
        for (to, len) in self.results() {
            see(strided(&start_of(to), &[(ROWS, len, 1)], Effect::Write));
        }
    }
}

impl Exchange {
    /// Calls `see` with every access. What is summed stays as it is from start to finish, and sums are not whole before.
    pub fn each_access<'i>(&self, see: &mut impl FnMut(Access<'i>)) {
        let effect = match self.phase {
            Phase::Start => Effect::Write,
            Phase::Finish => Effect::Update,
        };
        for ShardSum { from, to, rows, n } in &self.sums {
            see(strided(from, &[(ROWS, *rows, *n), (COLUMNS, *n, 1)], Effect::Read));
            see(strided(&start_of(*to), &[(ROWS, *rows, *n), (COLUMNS, *n, 1)], effect));
        }
    }
}

fn start_of(buffer: BufferId) -> Address {
    Address { buffer, offset: 0, terms: vec![] }
}

/// A matrix, by the axis and extent of its rows and of its columns.
fn matrix<'i>(matrix: &Matrix, [rows, columns]: [(Axis, usize); 2], effect: Effect) -> Access<'i> {
    strided(&matrix.at, &[(rows.0, rows.1, matrix.stride), (columns.0, columns.1, 1)], effect)
}

/// A packed operand of `k` rows and `n` columns.
fn panels<'i>(buffer: BufferId, format: Format, [k, n]: [usize; 2], effect: Effect) -> Access<'i> {
    let len = format.panel_len(k);
    let count = format.packed_len(k, n) / len.max(1);
    strided(&start_of(buffer), &[(PANELS, count, len), (IN_PANEL, len, 1)], effect)
}

/// What lies from an address on along axes, each with its extent and the elements from one position to the next.
fn strided<'i>(at: &Address, axes: &[(Axis, usize, usize)], effect: Effect) -> Access<'i> {
    let mut address = at.clone();
    let mut extents = vec![1; CALL_AXES];
    for &(axis, extent, stride) in axes {
        address.terms.push((Index::Axis(axis), stride));
        extents[axis.0 as usize] = extent;
    }
    Access { address: Cow::Owned(address), extents: Cow::Owned(extents), effect }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::kernel::{Machine, Module, parse, run};

    #[test]
    fn library_calls_say_what_they_read_and_write() {
        let text = r#"module m {
  buffer %0: f[8, 16] input "x" carried start 0.0
  buffer %1: f[16, 4] input "w" param parts "w" 0 4
  buffer %2: id[8] input "tokens" tokens
  buffer %3: f[8, 4] temp "y"
  buffer %4: f[4] temp "sums"
  buffer %5: f[9, 4] input "table" param parts "table" 0 4
  buffer %6: f[256] packed "packed"
  gemm nn 8x4x16: %3 stride 4 = %0 stride 16 @ %1 stride 4 sums %4
  gemm nn 8x4x16: %3 stride 4 += %0 stride 16 @ %1 stride 4
  add_rows %5 [9, 4]: %2 count 8 from %3 stride 4
  pack nn 16x4: %6 = %1 stride 4
}
"#;
        let module = parse(text).unwrap_or_else(|error| panic!("{error}"));
        let ids = |found: HashSet<BufferId>| {
            let mut ids: Vec<u32> = found.iter().map(|id| id.0).collect();
            ids.sort_unstable();
            ids
        };
        let of = |at: usize| (ids(module.items[at].loaded()), ids(module.items[at].stored()));
        assert_eq!(of(0), (vec![0, 1], vec![3, 4]));
        // What is added to is read.
        assert_eq!(of(1), (vec![0, 1, 3], vec![3]));
        assert_eq!(of(2), (vec![2, 3, 5], vec![5]));
        assert_eq!(of(3), (vec![1], vec![6]));
    }

    /// A buffer's number and a place in it.
    type Element = (u32, usize);
    type Valued = (Element, f64);

    /// Of a module's buffers of reals all elements, by buffer and place.
    fn values(module: &Module, machine: &Machine<f64>) -> Vec<Valued> {
        let of = |(id, name): (u32, &str)| {
            let values = machine.get(name).unwrap_or(&[]).to_vec();
            values.into_iter().enumerate().map(move |(at, value)| ((id, at), value))
        };
        (0..).zip(module.buffers.iter().map(|buffer| buffer.name.as_str())).flat_map(of).collect()
    }

    /// The elements of the accesses with such an effect.
    fn elements(item: &Item, wanted: fn(Effect) -> bool) -> BTreeSet<Element> {
        let mut found = BTreeSet::new();
        item.each_access(&mut |access| {
            let mut places = vec![access.address.offset];
            for &(index, stride) in &access.address.terms {
                let Index::Axis(axis) = index else { panic!("{index}") };
                let along = |start: usize| (0..access.extent(axis)).map(move |at| start + at * stride);
                places = places.into_iter().flat_map(along).collect();
            }
            if wanted(access.effect) {
                found.extend(places.into_iter().map(|place| (access.buffer().0, place)));
            }
        });
        found
    }

    /// By running an item with each element changed in turn: which ones it writes, and which ones these depend on.
    fn observed(module: &Module, start: &Machine<f64>) -> [BTreeSet<Element>; 2] {
        let after = |start: &Machine<f64>| {
            let mut machine = start.clone();
            run(module, &mut machine, 0, 0).unwrap();
            values(module, &machine)
        };
        let (before, result) = (values(module, start), after(start));
        let changed = before.iter().zip(&result).filter(|(old, new)| old != new);
        let written: BTreeSet<_> = changed.map(|(old, _)| old.0).collect();
        let reaches = |&place: &Element| {
            let mut other = start.clone();
            let name = &module.buffers[place.0 as usize].name;
            other.get_mut(name).unwrap()[place.1] += 0.5;
            let differs = |(old, new): (&Valued, &Valued)| {
                old.1 != new.1 && (old.0 != place || written.contains(&place))
            };
            result.iter().zip(&after(&other)).any(differs)
        };
        let read = before.iter().map(|(place, _)| *place).filter(reaches).collect();
        [written, read]
    }

    #[test]
    fn library_calls_touch_the_elements_that_they_say() {
        for call in [
            "gemm nn 2x3x4: %2 + 2 stride 5 = %0 + 1 stride 6 @ %1 stride 7",
            "gemm nt 2x3x4: %2 stride 5 = %0 + 1 stride 6 @ %1 stride 7",
            "gemm tn 2x3x4: %2 stride 5 = %0 + 1 stride 6 @ %1 stride 7",
            "gemm nn 2x3x4: %2 + 2 stride 5 += %0 + 1 stride 6 @ %1 stride 7",
            "gemm nn 2x3x4: %2 stride 5 = %0 stride 6 @ %1 stride 7 sums %3 + 1",
            "gemm nt 2x3x4: %2 stride 5 = %0 stride 6 @ %1 stride 7 squares %3",
            "gemm nn 2x3x32 parts 2: %2 stride 5 = %0 stride 40 @ %1 stride 3",
            "scatter %2 [4, 5]: %4 count 4 from %0 stride 6",
            "add_rows %2 [4, 5]: %4 count 4 from %0 stride 6",
            "combine %2 [4, 5]: %4 count 4 from %0 stride 6",
        ] {
            let text = format!(
                "module m {{
  buffer %0: f[100] input \"a\" carried start 0.0
  buffer %1: f[100] input \"b\" carried start 0.0
  buffer %2: f[20] input \"c\" carried start 0.0
  buffer %3: f[4] input \"sums\" carried start 0.0
  buffer %4: id[4] input \"tokens\" tokens
  {call}
}}
"
            );
            let module = parse(&text).unwrap_or_else(|error| panic!("{error}"));
            let mut machine = Machine::new(&module);
            for (salt, name) in [(1, "a"), (2, "b"), (3, "c"), (4, "sums")] {
                let values = machine.get_mut(name).unwrap();
                (1..).zip(values).for_each(|(at, value)| *value = f64::from(at * (at + salt)).sin());
            }
            machine.ids_mut("tokens").unwrap().copy_from_slice(&[2, 0, 3, 1]);
            let item = &module.items[0];
            let said = [elements(item, Effect::writes), elements(item, Effect::reads)];
            let mut found = observed(&module, &machine);
            // Ids are not changed here.
            let ids = item.loaded().contains(&BufferId(4));
            found[1].extend((0..4).filter(|_| ids).map(|at| (4, at)));
            assert_eq!(found, said, "{call}");
        }
    }
}
