//! Which ids there are, in the order in which each occurs first.

use lstmc_compiler::backend::cpu::abi::DistinctShape;

use super::scratch;

/// All of it; see [`lstmc_compiler::kernel::Distinct`].
///
/// Where an id was found stands in a table that is never cleared: an entry counts if it names a place that the id has
/// (Briggs and Torczon, "An efficient representation for sparse sets", 1993).
///
/// # Safety
/// `ids` must hold `len` numbers below `rows`, `places` have room for as many and `distinct` for the lesser of the two;
/// `count` must be valid; `ranks` and `present` must have room for `rows` numbers each or both be null; none may overlap
/// another, and nothing else may touch them until the call returns.
pub unsafe extern "C" fn distinct(
    shape: *const DistinctShape,
    ids: *const u32,
    places: *mut u32,
    distinct: *mut u32,
    count: *mut u32,
    ranks: *mut u32,
    present: *mut f32,
) {
    // SAFETY: the caller promises as much.
    let (ids, places, distinct, count, rows) = unsafe {
        let DistinctShape { len, rows } = *shape;
        let (len, rows) = (len as usize, rows as usize);
        let ids = std::slice::from_raw_parts(ids, len);
        let places = std::slice::from_raw_parts_mut(places, len);
        (ids, places, std::slice::from_raw_parts_mut(distinct, len.min(rows)), &mut *count, rows)
    };
    scratch::with(rows, |memory| {
        // SAFETY: the scratch has as many elements as ids can be, and any bits are a number.
        let found: &mut [u32] = unsafe { std::slice::from_raw_parts_mut(memory.cast(), rows) };
        let mut known = 0;
        for (&id, to) in ids.iter().zip(places) {
            let place = &mut found[id as usize];
            if *place >= known || distinct[*place as usize] != id {
                *place = known;
                distinct[known as usize] = id;
                known += 1;
            }
            *to = *place;
        }
        distinct[known as usize..].fill(0);
        *count = known;
    });
    if !ranks.is_null() && !present.is_null() {
        // SAFETY: they have room for `rows` numbers.
        let (ranks, present) = unsafe {
            (std::slice::from_raw_parts_mut(ranks, rows), std::slice::from_raw_parts_mut(present, rows))
        };
        ranks.fill(0);
        present.fill(0.0);
        for (&id, rank) in distinct.iter().zip(0..*count) {
            ranks[id as usize] = rank;
            present[id as usize] = 1.0;
        }
    }
}
