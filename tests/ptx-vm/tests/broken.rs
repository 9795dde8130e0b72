//! Kernels with one mistake each, all of which the assembler takes: each is caught, under every schedule unless it says
//! otherwise.

mod common;
mod programs;

use common::{SEEDS, broken, module};
use programs::{Outcome, grid, tiles};
use ptx_vm::{FaultKind, Launch, Machine, Module};

/// One change gives this fault under every schedule.
fn caught(text: &str, run: fn(&Module, u64) -> Outcome, from: &str, to: &str, kinds: &[FaultKind]) {
    let module = broken(text, from, to);
    for seed in SEEDS {
        match run(&module, seed) {
            Ok(_) => panic!("`{from}` -> `{to}`: not caught with seed {seed}"),
            Err(fault) => assert!(kinds.contains(&fault.kind), "`{from}` -> `{to}`: seed {seed}: {fault}"),
        }
    }
}

/// Another one gives results that are wrong.
fn wrong(text: &str, run: fn(&Module, u64) -> Outcome, expected: &[f32], from: &str, to: &str) {
    let found = run(&broken(text, from, to), 0).unwrap_or_else(|fault| panic!("`{from}` -> `{to}`: {fault}"));
    assert_ne!(found, expected, "`{from}` -> `{to}`");
}

const POLL: &str = "ld.acquire.gpu.global.u32";
const ARRIVE: &str = "red.release.gpu.global.add.u32";

/// Which of the two is seen first is up to the schedule.
const UNORDERED: &[FaultKind] = &[FaultKind::Race, FaultKind::UninitialisedMemory];
const NEVER: &[FaultKind] = &[FaultKind::Race, FaultKind::UninitialisedMemory, FaultKind::Deadlock];

#[test]
fn a_missing_barrier_of_the_block() {
    caught(programs::REDUCE, programs::reduce, "bar.sync 0;", "", UNORDERED);
    caught(programs::TRANSPOSE, programs::transpose, "bar.sync 0;", "", UNORDERED);
    caught(tiles::PIPELINE, tiles::pipeline, "bar.sync 0;", "", UNORDERED);
    // Who reads must be done before the next tile arrives.
    caught(tiles::PIPELINE, tiles::pipeline, "bar.sync 0; // read", "", UNORDERED);
    // Lanes of a warp.
    caught(tiles::BF16, tiles::bf16, "bar.warp.sync 0xffffffff;", "", UNORDERED);
}

#[test]
fn a_grid_barrier_that_orders_nothing() {
    let rounds = |from: &str, to: &str| caught(grid::ROUNDS, grid::rounds, from, to, UNORDERED);
    rounds(ARRIVE, "red.relaxed.gpu.global.add.u32");
    rounds(ARRIVE, "red.release.cta.global.add.u32");
    rounds(ARRIVE, "red.global.add.u32");
    rounds(POLL, "ld.relaxed.gpu.global.u32");
    rounds(POLL, "ld.volatile.global.u32");
    rounds(POLL, "ld.acquire.cta.global.u32");
    // A poll that may never see a new value.
    rounds(POLL, "ld.global.u32");
    // The other threads' stores, and loads, must be within it.
    rounds("bar.sync 0;\n    setp.ne", "setp.ne");
    rounds("met:\n    bar.sync 0;", "met:");
    // A fence on one side alone.
    rounds(ARRIVE, "fence.acq_rel.cta; red.relaxed.gpu.global.add.u32");
}

#[test]
fn a_read_that_may_be_stale() {
    caught(grid::ROUNDS, grid::rounds, "ld.global.f32 %f0", "ld.global.nc.f32 %f0", &[FaultKind::Race]);
    let text = grid::ROUNDS.replace("ld.global.f32", "ld.global.cg.f32");
    caught(&text, grid::rounds, POLL, "ld.relaxed.gpu.global.u32", &[FaultKind::Race]);
}

#[test]
fn one_buffer_where_two_are_needed() {
    caught(grid::ROUNDS, grid::rounds, "add.s64 %d3, %d0, 1024;", "mov.u64 %d3, %d0;", &[FaultKind::Race]);
    caught(
        tiles::PIPELINE,
        tiles::pipeline,
        "xor.b32 %r6, %r5, 1024;",
        "mov.u32 %r6, %r5;",
        &[FaultKind::Race],
    );
}

#[test]
fn barriers_that_not_all_come_to() {
    let skip = "bar.sync 0;\n    setp.eq.u32 %p1, %r1, 2; @%p1 bra met;\n    setp.ne";
    caught(grid::ROUNDS, grid::rounds, "bar.sync 0;\n    setp.ne", skip, NEVER);
    let leaves = "setp.eq.u32 %p2, %r1, 2; @%p2 ret;\n    setp.lt.u32 %p2, %r6, 5;";
    caught(grid::ROUNDS, grid::rounds, "setp.lt.u32 %p2, %r6, 5;", leaves, NEVER);
    // Half a warp, and whole warps.
    let half = "setp.lt.u32 %p, %r0, 16; @%p bar.sync 0;";
    caught(programs::REDUCE, programs::reduce, "bar.sync 0;", half, &[FaultKind::MissingLanes]);
    let some = "setp.ge.u32 %p, %r0, 64; @%p ret; bar.sync 0;";
    caught(programs::REDUCE, programs::reduce, "bar.sync 0;", some, &[FaultKind::Barrier]);
    let other = "shr.u32 %r7, %r0, 6; bar.sync %r7;";
    caught(programs::REDUCE, programs::reduce, "bar.sync 0;", other, &[FaultKind::Deadlock]);
    let counts = "shr.u32 %r7, %r0, 6; mad.lo.u32 %r7, %r7, 32, 64; bar.sync 0, %r7;";
    let module = broken(programs::REDUCE, "bar.sync 0;", counts);
    for seed in SEEDS {
        programs::reduce(&module, seed).expect_err("counts that differ");
    }
}

#[test]
fn a_missing_wait_for_what_arrives() {
    let pipeline = |from: &str, to: &str, kind| caught(tiles::PIPELINE, tiles::pipeline, from, to, kind);
    let unwritten = &[FaultKind::UninitialisedMemory];
    pipeline("cp.async.wait_group 1;", "cp.async.wait_group 2;", unwritten);
    pipeline("cp.async.wait_group 1;", "", unwritten);
    pipeline("last:\n    cp.async.commit_group;", "last:", unwritten);
    // Its own wait makes it visible to the thread alone.
    pipeline("cp.async.wait_group 1;\n    bar.sync 0;", "bar.sync 0;\n    cp.async.wait_group 1;", UNORDERED);
}

#[test]
fn addresses_that_are_wrong() {
    caught(
        programs::ADD,
        programs::add,
        "setp.ge.u32 %p, %r3, %r4;",
        "setp.gt.u32 %p, %r3, %r4;",
        &[FaultKind::OutOfBounds],
    );
    caught(programs::ADD, programs::add, "[%d5], %f2", "[%d5+2], %f2", &[FaultKind::Misaligned]);
    caught(
        programs::TRANSPOSE,
        programs::transpose,
        "%r1, 17, %r0;",
        "%r1, 18, %r0;",
        &[FaultKind::OutOfBounds],
    );
    caught(
        programs::REDUCE,
        programs::reduce,
        "shl.b32 %r5, %r5, 2;",
        "shl.b32 %r5, %r5, 3;",
        &[FaultKind::OutOfBounds],
    );
    caught(
        programs::ADD,
        programs::add,
        "mad.wide.u32 %d5, %r3, 4, %d2;",
        "mov.u64 %d5, %d2;",
        &[FaultKind::Race],
    );
}

#[test]
fn what_nobody_has_written() {
    caught(
        programs::REDUCE,
        programs::reduce,
        "setp.ne.u32 %p, %r4, 0;",
        "setp.ne.u32 %p, %r0, 0;",
        &[FaultKind::UninitialisedMemory],
    );
    caught(
        tiles::PIPELINE,
        tiles::pipeline,
        "mov.f32 %f0, 0f00000000;",
        "",
        &[FaultKind::UninitialisedRegister],
    );
    caught(
        programs::ADD,
        programs::add,
        "ld.global.f32 %f1, [%d4]",
        "ld.global.f32 %f1, [%d5]",
        &[FaultKind::UninitialisedMemory],
    );
}

#[test]
fn fragments_that_are_mixed_up() {
    let tf32 = |from: &str, to: &str| wrong(tiles::TF32, tiles::tf32, &tiles::tf32_expected(), from, to);
    tf32("[%d1+256]", "[%d1+16]");
    tf32("{%a0,%a1,%a2,%a3}", "{%a0,%a2,%a1,%a3}");
    tf32("{%b0,%b1}", "{%b1,%b0}");
    tf32("st.global.v2.f32 [%d5], {%f4, %f5};", "st.global.v2.f32 [%d5], {%f4, %f6};");
    let bf16 = |from: &str, to: &str| wrong(tiles::BF16, tiles::bf16, &tiles::bf16_expected(), from, to);
    bf16("{%a0,%a1,%a2,%a3}, {%b0,%b1}", "{%a0,%a2,%a1,%a3}, {%b0,%b1}");
    bf16("cvt.rn.bf16x2.f32 %a0, %f1, %f0;", "cvt.rn.bf16x2.f32 %a0, %f0, %f1;");
    bf16("x2.trans.shared", "x2.shared");
}

#[test]
fn a_cluster_without_its_barriers() {
    let first = "barrier.cluster.arrive.release.aligned;\n    barrier.cluster.wait.acquire.aligned;\n";
    caught(grid::CLUSTER, grid::cluster, first, "", &[FaultKind::Race]);
    let second = "barrier.cluster.arrive.release.aligned; // second\n    barrier.cluster.wait.acquire.aligned; // second\n";
    let module = broken(grid::CLUSTER, second, "");
    for seed in SEEDS {
        let fault = grid::cluster(&module, seed).expect_err("no second barrier");
        assert!(
            matches!(fault.kind, FaultKind::Race | FaultKind::UninitialisedMemory | FaultKind::OutOfBounds),
            "{fault}"
        );
    }
    let relaxed = "barrier.cluster.arrive.relaxed.aligned;\n    barrier.cluster.wait.acquire.aligned;\n";
    caught(grid::CLUSTER, grid::cluster, first, relaxed, &[FaultKind::Race]);
    caught(
        grid::CLUSTER,
        grid::cluster,
        "ld.shared::cluster.u32 %r9",
        "ld.shared.u32 %r9",
        &[FaultKind::OutOfBounds],
    );
    caught(
        grid::CLUSTER,
        grid::cluster,
        "add.u32 %r7, %r1, 1;",
        "add.u32 %r7, %r1, 4; mov.u32 %r2, 9;",
        &[FaultKind::OutOfBounds],
    );
    // Only the readers are late: nothing holds a CTA whose shared memory is still read.
    let read_only =
        grid::CLUSTER.replace("st.shared::cluster.u32 [%r11+128], %r10;", "st.shared.u32 [%r6+128], %r10;");
    module_is_right(&read_only);
    let leaves = broken(&read_only, second, "");
    for seed in SEEDS {
        let fault = grid::cluster(&leaves, seed).expect_err("a CTA that leaves early");
        assert!(matches!(fault.kind, FaultKind::Race | FaultKind::OutOfBounds), "{fault}");
    }
}

fn module_is_right(text: &str) {
    let module = module(text);
    for seed in SEEDS {
        grid::cluster(&module, seed).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
    }
}

#[test]
fn an_operand_that_is_not_rounded() {
    let more = tiles::TF32
        .replace("cvt.rna.tf32.f32 %a0, %f0;", "add.f32 %f0, %f0, 0f3A000000;\n cvt.rna.tf32.f32 %a0, %f0;");
    caught(&more, tiles::tf32, "cvt.rna.tf32.f32 %a0, %f0;", "mov.b32 %a0, %f0;", &[FaultKind::Unrounded]);
}

/// Runs a kernel of its own on two warps in each of two CTAs of a cluster, under every schedule.
fn all_fault(body: &str, kinds: &[FaultKind]) {
    let module = module(&format!(
        ".visible .entry k() {{
            .reg .pred %p, %q; .reg .b32 %t, %c, %n, %r, %x, %y;
            .shared .align 4 .b8 room[4];
            mov.u32 %t, %tid.x; mov.u32 %c, %cluster_ctarank; mov.u32 %n, 0;
            setp.ne.u32 %p, %t, 0; @%p bra filled; st.shared.u32 [room], 1; filled: bar.sync 0;
            {body}
        }}"
    ));
    for seed in 0..32 {
        let launch = Launch {
            kernel: "k",
            grid: [2, 1, 1],
            block: [64, 1, 1],
            cluster: [2, 1, 1],
            seed,
            ..Launch::default()
        };
        let fault = Machine::new().launch(&module, &launch).expect_err(body);
        assert!(kinds.contains(&fault.kind), "seed {seed}: {fault}");
    }
}

#[test]
fn whoever_comes_first() {
    // Of two readers the last writes: the other one has no order with that.
    let readers = "and.b32 %y, %t, 31; setp.ne.u32 %p, %y, 0; @%p ret; ld.shared.u32 %x, [room]; \
                   setp.eq.u32 %p, %t, 0; @%p ret; st.shared.u32 [room], 2;";
    all_fault(readers, &[FaultKind::Race]);
    // Warps that leave long after, or before, others wait for them.
    let late = "setp.lt.u32 %p, %t, 32; @%p bra wait; more: add.u32 %n, %n, 1; setp.lt.u32 %q, %n, 5000; @%q bra more; ret; \
                wait: bar.sync 0;";
    all_fault(late, &[FaultKind::Barrier]);
    // A CTA that leaves while its neighbour may still read, which may be long before.
    let visited = "barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned; setp.ne.u32 %p, %c, 0; @%p bra leave; \
                   mov.u32 %r, room; mapa.shared::cluster.u32 %r, %r, 1; ld.shared::cluster.u32 %x, [%r]; ret; \
                   leave: add.u32 %n, %n, 1; setp.lt.u32 %q, %n, 5000; @%q bra leave; ret;";
    all_fault(visited, &[FaultKind::Race, FaultKind::OutOfBounds]);
}

#[test]
fn float_atomics() {
    let float = "red.global.add.f32 [%d5], %f2;";
    caught(programs::ADD, programs::add, "st.global.f32 [%d5], %f2;", float, &[FaultKind::FloatAtomic]);
}

#[test]
fn a_fault_says_where_it_was() {
    let module = broken(programs::TRANSPOSE, "bar.sync 0;", "");
    let fault = programs::transpose(&module, 1).unwrap_err();
    let words = fault.to_string();
    assert!(words.starts_with("transpose: line "), "{words}");
    assert!(words.contains("shared.f32"), "{words}");
    let module = broken(grid::ROUNDS, ", %r7;\n    @%p1 bra met;", ", 99;\n    @%p1 bra met;");
    let fault = grid::rounds(&module, 1).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Deadlock);
    assert!(fault.reason.contains("CTA 3 warp 1 waits at barrier 0"), "{fault}");
}
