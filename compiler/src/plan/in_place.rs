//! Which kernels may write their result over an operand.

use super::access::{Access, of_kernel, of_stmts};
use crate::kernel::{BufferId, For, Index, Kernel, Stmt};

/// Whether `output` may lie where `input` lies while `kernel` runs.
///
/// The kernel must be one nest of parallel loops. All its reads of `input` and writes of `output` must lie in the row
/// of the current iteration, at the same place in both; and no read of `input` may come after a write of `output` in
/// the same row, but for a read in the loop that writes, at the very position that is about to be written. `output` may
/// be read where it is written: what is read there was written before, since a temporary always is.
pub fn may_share(kernel: &Kernel, input: BufferId, output: BufferId) -> bool {
    let all = of_kernel(kernel);
    let concerned: Vec<&Access> =
        all.iter().filter(|access| [input, output].contains(&access.address.buffer)).collect();
    let Some(write) = concerned.iter().find(|access| access.address.buffer == output && access.writes) else {
        return false;
    };
    let clean = |access: &&Access| match access.address.buffer == output {
        // What it reads of its output it has written there.
        true => {
            access.address.terms == write.address.terms
                && (access.writes || access.address.offset == write.address.offset)
        }
        false => !access.writes,
    };
    if !concerned.iter().all(clean) {
        return false;
    }
    let same_place = |access: &Access| {
        access.address.offset == write.address.offset && access.address.terms == write.address.terms
    };
    if concerned.iter().all(|access| same_place(access)) {
        return ordered(&kernel.body, &kernel.axes, input, output, &same_place, &mut false);
    }
    // Reads elsewhere in the row: only of rows that one iteration owns.
    let Some(row) = row_loop(&kernel.body) else { return false };
    let row_terms = |access: &Access| -> Vec<(Index, usize)> {
        let mut terms = access.address.terms.clone();
        terms.retain(|(index, _)| matches!(index, Index::Time(_)) || *index == Index::Axis(row.axis));
        terms.sort();
        terms
    };
    let owned = |access: &Access| {
        access.address.offset == write.address.offset
            && row_terms(access) == row_terms(write)
            && row_terms(access).iter().any(|(index, _)| *index == Index::Axis(row.axis))
    };
    concerned.iter().all(|access| owned(access))
        && ordered(&row.body, &kernel.axes, input, output, &same_place, &mut false)
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

/// Whether every read of `input` in these statements comes before the writes of `output`, or is at the same place in
/// a loop, in each round of which it comes before them and which has a place of its own.
fn ordered(
    stmts: &[Stmt],
    axes: &[usize],
    input: BufferId,
    output: BufferId,
    same_place: &impl Fn(&Access) -> bool,
    written: &mut bool,
) -> bool {
    for stmt in stmts {
        let mut inside = vec![];
        of_stmts(std::slice::from_ref(stmt), axes, &mut inside);
        let reads = inside.iter().filter(|access| access.address.buffer == input && !access.writes);
        let writes = inside.iter().any(|access| access.address.buffer == output && access.writes);
        let fine = match stmt {
            Stmt::For(inner) if writes && reads.clone().next().is_some() => {
                let moves = |access: &Access| {
                    access.address.terms.iter().any(|term| term.0 == Index::Axis(inner.axis))
                };
                reads.clone().all(|access| same_place(access) && (inner.parallel || moves(access)))
                    && ordered(&inner.body, axes, input, output, same_place, &mut false)
            }
            _ => true,
        };
        if !fine || (*written && reads.count() > 0) {
            return false;
        }
        *written |= writes;
    }
    true
}
