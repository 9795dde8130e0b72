//! Which kernels may write their result over an operand.

use std::collections::HashMap;

use crate::kernel::access::{Access, Place};
use crate::kernel::{BufferId, For, Index, Kernel, Stmt};

/// Whether `output` may lie where `input` lies while `kernel` runs.
///
/// The kernel must be one nest of parallel loops. All its reads of `input` and writes of `output` must lie in the row
/// of the current iteration, at the same place in both; and no read of `input` may come after a write of `output` in
/// the same row, but for a read in the loop that writes, at the very position that is about to be written. `output` may
/// be read where it is written: what is read there was written before, since a temporary always is.
pub fn may_share(kernel: &Kernel, input: BufferId, output: BufferId) -> bool {
    Sharing::of(kernel).may_share(input, output)
}

/// The accesses of a kernel by buffer, to be asked about several pairs of buffers.
pub(super) struct Sharing<'k> {
    by_buffer: HashMap<BufferId, Vec<Located<'k>>>,
    row: Option<&'k For>,
}

/// An access and where it stands in the kernel.
struct Located<'k> {
    access: Access<'k>,
    place: Place<'k>,
}

impl<'k> Sharing<'k> {
    pub fn of(kernel: &'k Kernel) -> Self {
        let mut by_buffer: HashMap<BufferId, Vec<Located<'k>>> = HashMap::new();
        kernel.each_access(&mut |access, place| {
            let located = Located { access, place: place.clone() };
            by_buffer.entry(located.access.buffer()).or_default().push(located);
        });
        Self { by_buffer, row: row_loop(&kernel.body) }
    }

    /// [`may_share`] in this kernel.
    pub fn may_share(&self, input: BufferId, output: BufferId) -> bool {
        let of = |id: BufferId| self.by_buffer.get(&id).map_or(&[][..], |located| located);
        let others = if input == output { &[][..] } else { of(input) };
        let mut concerned: Vec<&Located> = of(output).iter().chain(others).collect();
        concerned.sort_by(|a, b| a.place.path.cmp(&b.place.path));
        let is_output = |access: &Access<'_>| access.buffer() == output;
        let mut writes = concerned
            .iter()
            .map(|located| &located.access)
            .filter(|access| is_output(access) && access.effect.writes());
        let Some(write) = writes.next() else { return false };
        let clean = |located: &&Located| {
            let access = &located.access;
            match is_output(access) {
                // What it reads of its output it has written there.
                true => {
                    access.address.terms == write.address.terms
                        && (access.effect.writes() || access.address.offset == write.address.offset)
                }
                false => !access.effect.writes(),
            }
        };
        if !concerned.iter().all(clean) {
            return false;
        }
        let same_place = |access: &Access<'_>| {
            access.address.offset == write.address.offset && access.address.terms == write.address.terms
        };
        // Reads of `input` and writes of `output`, which are what must be in order.
        let ordering: Vec<&Located> = concerned
            .iter()
            .copied()
            .filter(|located| match located.access.effect.writes() {
                true => is_output(&located.access),
                false => located.access.buffer() == input,
            })
            .collect();
        if concerned.iter().all(|located| same_place(&located.access)) {
            return ordered(&ordering, 0, &same_place);
        }
        // Reads elsewhere in the row: only of rows that one iteration owns.
        let Some(row) = self.row else { return false };
        let row_terms = |access: &Access<'_>| -> Vec<(Index, usize)> {
            let mut terms = access.address.terms.clone();
            terms.retain(|(index, _)| matches!(index, Index::Time(_)) || *index == Index::Axis(row.axis));
            terms.sort();
            terms
        };
        let owned = |access: &Access<'_>| {
            access.address.offset == write.address.offset
                && row_terms(access) == row_terms(write)
                && row_terms(access).iter().any(|(index, _)| *index == Index::Axis(row.axis))
        };
        let inside: Vec<&Located> =
            ordering.into_iter().filter(|located| !located.place.loops.is_empty()).collect();
        concerned.iter().all(|located| owned(&located.access)) && ordered(&inside, 1, &same_place)
    }
}

/// The one parallel loop that is all of a kernel but for constants.
fn row_loop(stmts: &[Stmt]) -> Option<&For> {
    let mut loops = stmts.iter().filter_map(|stmt| match stmt {
        Stmt::For(inner) => Some(inner),
        _ => None,
    });
    let only = loops.next().filter(|inner| inner.parallel)?;
    let rest_is_plain = stmts.iter().all(|stmt| !matches!(stmt, Stmt::Store { .. }));
    (loops.next().is_none() && rest_is_plain).then_some(only)
}

/// Whether every read among these accesses, which are in order and in the same `depth` loops, comes before the writes, or
/// is at the same place in a loop, in each round of which it comes before them and which has a place of its own.
fn ordered(accesses: &[&Located], depth: usize, same_place: &impl Fn(&Access<'_>) -> bool) -> bool {
    let mut written = false;
    for stmt in accesses.chunk_by(|a, b| a.place.path[depth] == b.place.path[depth]) {
        let mut reads = stmt.iter().map(|located| &located.access).filter(|access| !access.effect.writes());
        let writes = stmt.iter().any(|located| located.access.effect.writes());
        let some_read = reads.clone().next().is_some();
        let fine = match stmt[0].place.loops.get(depth) {
            Some(inner) if writes && some_read => {
                let moves = |access: &Access<'_>| {
                    access.address.terms.iter().any(|term| term.0 == Index::Axis(inner.axis))
                };
                reads.all(|access| same_place(access) && (inner.parallel || moves(access)))
                    && ordered(stmt, depth + 1, same_place)
            }
            Some(_) | None => true,
        };
        if !fine || (written && some_read) {
            return false;
        }
        written |= writes;
    }
    true
}
