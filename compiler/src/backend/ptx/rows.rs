//! Rows that go to a table by id, and which ids there are: in the order of their places, without atomic operations on reals.

use super::group::Group;
use super::scope::{Scope, THREADS, WARP};
use super::text::{Operand, Reg, Wide};
use crate::kernel::{Distinct, Gather, Scatter};

fn load(scope: &mut Scope, at: Wide, index: impl Into<Operand>) -> Reg {
    let place = scope.w.element(at, index);
    let to = scope.w.reg();
    scope.w.line(format_args!("ld.global.b32 {to}, [{place}]"));
    to
}

fn store(scope: &mut Scope, at: Wide, index: impl Into<Operand>, value: Reg) {
    let place = scope.w.element(at, index);
    scope.w.line(format_args!("st.global.b32 [{place}], {value}"));
}

/// Whether the table has to be full of zeros before rows are added to it.
pub(super) fn is_cleared(scatter: &Scatter) -> bool {
    scatter.gather == Gather::Table
}

/// The table full of zeros; says how many CTAs have something to do.
pub(super) fn clear(scope: &mut Scope, scatter: &Scatter) -> usize {
    let count = scatter.table_rows() * scatter.n;
    let table = scope.buffer(scatter.table);
    let (first, step) = scope.thread_of_all();
    let zero = scope.w.real(0.0);
    scope.each(first, count as u32, step, |scope, at| store(scope, table, at, zero));
    count.div_ceil(THREADS)
}

/// For each place the sum of the rows with its id, at the first of them, in order. A CTA does some columns of a place.
pub(super) fn add_rows(scope: &mut Scope, scatter: &Scatter) -> usize {
    let (count, n) = (scatter.count as u32, scatter.n as u32);
    let chunks = scatter.n.div_ceil(THREADS);
    let (ids, g, table) =
        (scope.pointer(&scatter.ids), scope.pointer(&scatter.g.at), scope.buffer(scatter.table));
    let (cta, ctas, thread) = (scope.cta, scope.ctas, scope.thread);
    scope.each(cta, (scatter.count * chunks) as u32, ctas, |scope, unit| {
        let place = scope.w.op("div.u32", [unit.into(), (chunks as u32).into()]);
        let chunk = scope.w.op("rem.u32", [unit.into(), (chunks as u32).into()]);
        let column = scope.w.mad(chunk, THREADS as u32, thread);
        let id = load(scope, ids, place);
        let end = scope.w.label();
        let within = scope.w.compare("setp.lt.u32", column, n);
        let row = if scatter.gather == Gather::Combine { place } else { id };
        let to = scope.w.mad(row, n, column);
        let sum = scope.w.real(0.0);
        // At a place that is not the first of its id there is nothing to add.
        let is_first = first_place(scope, ids, place, id, |scope| {
            if scatter.gather == Gather::Combine {
                let to = scope.w.element(table, to);
                scope.w.line(format_args!("@{within} st.global.b32 [{to}], {sum}"));
            }
            scope.w.go(end);
        });
        scope.w.place(is_first);
        if scatter.gather == Gather::Add {
            // Read here, where no other CTA writes the row.
            let from = scope.w.element(table, to);
            scope.w.line(format_args!("@{within} ld.global.b32 {sum}, [{from}]"));
        }
        matches_from(scope, ids, place, count, id, |scope, other| {
            let from = scope.w.mad(other, scatter.g.stride as u32, column);
            let from = scope.w.element(g, from);
            let value = scope.w.real(0.0);
            scope.w.line(format_args!("@{within} ld.global.b32 {value}, [{from}]"));
            scope.w.assign(sum, "add.rn.f32", [sum.into(), value.into()]);
        });
        let to = scope.w.element(table, to);
        scope.w.line(format_args!("@{within} st.global.b32 [{to}], {sum}"));
        scope.w.place(end);
    });
    scatter.count * chunks
}

/// Looks for `id` before `place`, a warp's width at a time. Where it is found comes `otherwise`, which must leave; what follows
/// the label that is returned is done where it is not.
fn first_place(
    scope: &mut Scope,
    ids: Wide,
    place: Reg,
    id: Reg,
    otherwise: impl FnOnce(&mut Scope),
) -> super::text::Label {
    let is_first = scope.w.label();
    let found = scope.w.bits(0);
    let start = scope.w.bits(0);
    scope.each(start, place, WARP as u32, |scope, base| {
        let mask = same_ids(scope, ids, base, place, id);
        scope.w.assign(found, "or.b32", [found.into(), mask.into()]);
    });
    let none = scope.w.compare("setp.eq.u32", found, 0);
    scope.w.go_if(none, is_first);
    otherwise(scope);
    is_first
}

/// Which of the places `base ..` below `end` have this id, as bits; the same in all lanes of a warp.
fn same_ids(scope: &mut Scope, ids: Wide, base: Reg, end: impl Into<Operand>, id: Reg) -> Reg {
    let lane = Group::Warp.lane(scope);
    let at = scope.w.add(base, lane);
    let within = scope.w.compare("setp.lt.u32", at, end);
    let place = scope.w.element(ids, at);
    let other = scope.w.bits(0);
    scope.w.line(format_args!("@{within} ld.global.b32 {other}, [{place}]"));
    let same = scope.w.compare("setp.eq.u32", other, id);
    let both = scope.w.both(same, within);
    let mask = scope.w.reg();
    scope.w.line(format_args!("vote.sync.ballot.b32 {mask}, {both}, 0xffffffff"));
    mask
}

/// Which bit of a mask is the lowest that is set, 32 if none is, and the mask less 1, which lacks it.
fn lowest_bit(scope: &mut Scope, mask: Reg) -> (Reg, Reg) {
    let less = scope.w.add(mask, u32::MAX);
    let above = scope.w.op("not.b32", [mask.into()]);
    let below = scope.w.op("and.b32", [above.into(), less.into()]);
    (scope.w.op("popc.b32", [below.into()]), less)
}

/// `body` for every place from `start` on that has this id, in order.
fn matches_from(
    scope: &mut Scope,
    ids: Wide,
    start: Reg,
    count: u32,
    id: Reg,
    body: impl FnOnce(&mut Scope, Reg),
) {
    scope.each(start, count, WARP as u32, |scope, base| {
        let mask = same_ids(scope, ids, base, count, id);
        let places = scope.w.begin();
        let none = scope.w.compare("setp.eq.u32", mask, 0);
        scope.w.go_if(none, places.done);
        let (lowest, less) = lowest_bit(scope, mask);
        let place = scope.w.add(base, lowest);
        body(scope, place);
        scope.w.assign(mask, "and.b32", [mask.into(), less.into()]);
        scope.w.end(places);
    });
}

/// First part of [`Distinct`]: at each place, where its id occurs first. A warp does one place. And nothing is present yet.
pub(super) fn first_places(scope: &mut Scope, distinct: &Distinct) -> usize {
    let (ids, places) = (scope.pointer(&distinct.ids), scope.buffer(distinct.places));
    let (first, step) = Group::Warp.of_all(scope);
    scope.each(first, distinct.len as u32, step, |scope, place| {
        let id = load(scope, ids, place);
        let known = scope.w.op("mov.b32", [place.into()]);
        let start = scope.w.bits(0);
        scope.each(start, place, WARP as u32, |scope, base| {
            let mask = same_ids(scope, ids, base, place, id);
            let (lowest, _) = lowest_bit(scope, mask);
            let candidate = scope.w.add(base, lowest);
            let some = scope.w.compare("setp.ne.u32", mask, 0);
            let earlier = scope.w.op("min.u32", [known.into(), candidate.into()]);
            let better = scope.w.choose(some, [earlier.into(), known.into()]);
            scope.w.assign(known, "mov.b32", [better.into()]);
        });
        let lane = Group::Warp.lane(scope);
        let is_leader = scope.w.compare("setp.eq.u32", lane, 0);
        let to = scope.w.element(places, place);
        scope.w.line(format_args!("@{is_leader} st.global.b32 [{to}], {known}"));
    });
    let mut work = distinct.len.div_ceil(THREADS / WARP);
    let (first, step) = scope.thread_of_all();
    if let Some([ranks, present]) = distinct.inverse {
        let (ranks, present) = (scope.buffer(ranks), scope.buffer(present));
        let zero = scope.w.real(0.0);
        scope.each(first, distinct.rows as u32, step, |scope, at| {
            store(scope, ranks, at, zero);
            store(scope, present, at, zero);
        });
        work = work.max(distinct.rows.div_ceil(THREADS));
    }
    let found = scope.buffer(distinct.distinct);
    let zero = scope.w.real(0.0);
    scope.each(first, distinct.most() as u32, step, |scope, at| store(scope, found, at, zero));
    work.max(distinct.most().div_ceil(THREADS))
}

/// Second part of [`Distinct`]: places become ranks, by the first warp of the first CTA, a warp's width at a time. A place before
/// has its rank already.
pub(super) fn ranks(scope: &mut Scope, distinct: &Distinct) -> usize {
    let (ids, places) = (scope.pointer(&distinct.ids), scope.buffer(distinct.places));
    let (found, count) = (scope.buffer(distinct.distinct), scope.buffer(distinct.count));
    let inverse = distinct.inverse.map(|buffers| buffers.map(|buffer| scope.buffer(buffer)));
    let (number, _) = Group::Warp.of_all(scope);
    let rest = scope.w.label();
    let own = scope.w.compare("setp.eq.u32", number, 0);
    scope.w.go_unless(own, rest);
    let lane = Group::Warp.lane(scope);
    let total = scope.w.bits(0);
    let start = scope.w.bits(0);
    scope.each(start, distinct.len as u32, WARP as u32, |scope, base| {
        let at = scope.w.add(base, lane);
        let within = scope.w.compare("setp.lt.u32", at, distinct.len as u32);
        let place = scope.w.element(places, at);
        let first = scope.w.bits(u32::MAX);
        scope.w.line(format_args!("@{within} ld.global.b32 {first}, [{place}]"));
        let is_new = scope.w.compare("setp.eq.u32", first, at);
        let mask = scope.w.reg();
        scope.w.line(format_args!("vote.sync.ballot.b32 {mask}, {is_new}, 0xffffffff"));
        let own_bit = scope.w.op("shl.b32", [1.into(), lane.into()]);
        let lower_lanes = scope.w.add(own_bit, u32::MAX);
        let new_before = scope.w.op("and.b32", [mask.into(), lower_lanes.into()]);
        let new_before = scope.w.op("popc.b32", [new_before.into()]);
        let rank = scope.w.add(total, new_before);
        // The first place of an id that was seen before lies in these lanes, or has its rank in memory.
        let distance = scope.w.op("sub.u32", [first.into(), base.into()]);
        let from_lane = scope.w.reg();
        scope.w.line(format_args!("shfl.sync.idx.b32 {from_lane}, {rank}, {distance}, 31, 0xffffffff"));
        let earlier = scope.w.compare("setp.lt.u32", first, base);
        let place_of_first = scope.w.element(places, first);
        let from_memory = scope.w.bits(0);
        scope.w.line(format_args!("@{earlier} ld.global.b32 {from_memory}, [{place_of_first}]"));
        let known = scope.w.choose(earlier, [from_memory.into(), from_lane.into()]);
        scope.w.line(format_args!("@{within} st.global.b32 [{place}], {known}"));
        let end = scope.w.label();
        scope.w.go_unless(is_new, end);
        let id = load(scope, ids, at);
        store(scope, found, rank, id);
        if let Some([ranks, present]) = inverse {
            store(scope, ranks, id, rank);
            let one = scope.w.real(1.0);
            store(scope, present, id, one);
        }
        scope.w.place(end);
        let more = scope.w.op("popc.b32", [mask.into()]);
        scope.w.assign(total, "add.u32", [total.into(), more.into()]);
        scope.w.line("bar.warp.sync 0xffffffff");
    });
    let is_leader = scope.w.compare("setp.eq.u32", lane, 0);
    scope.w.line(format_args!("@{is_leader} st.global.b32 [{count}], {total}"));
    scope.w.place(rest);
    1
}
