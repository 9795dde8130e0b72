//! What the lint finds in kernels with one mistake, and that it finds nothing in right ones.

mod common;
mod programs;

use common::text;
use programs::{grid, tiles};
use ptx_vm::{Finding, Lint, Rule, lint};

fn rules(entries: &str, allowed: Lint) -> Vec<Rule> {
    let findings: Vec<Finding> = lint(&text(entries), allowed).unwrap();
    findings.into_iter().map(|finding| finding.rule).collect()
}

/// One change, which the rule finds and nothing else does.
fn finds(entries: &str, from: &str, to: &str, rule: Rule) {
    assert!(entries.contains(from), "`{from}` is not there");
    let found = rules(&entries.replacen(from, to, 1), Lint::default());
    assert!(!found.is_empty() && found.iter().all(|&found| found == rule), "`{from}` -> `{to}`: {found:?}");
}

#[test]
fn right_kernels_say_nothing_wrong() {
    let fences = grid::ROUNDS
        .replace("red.release.gpu.global.add.u32", "fence.acq_rel.gpu;\n red.relaxed.gpu.global.add.u32")
        .replace("ld.acquire", "ld.relaxed")
        .replace("@%p1 bra met;", "@%p1 bra seen;")
        .replace("trap;", "trap;\nseen: fence.acq_rel.gpu;");
    let own =
        [programs::ADD, programs::REDUCE, programs::TRANSPOSE, grid::ROUNDS, grid::CLUSTER, tiles::PIPELINE];
    for entries in own.into_iter().chain([tiles::TF32, tiles::BF16, &fences, &through_shared()]) {
        assert_eq!(rules(entries, Lint::default()), [], "{entries}");
    }
}

#[test]
fn a_forgotten_rounding() {
    for register in ["%a0", "%a3"] {
        let index = &register[2..];
        finds(
            tiles::TF32,
            &format!("cvt.rna.tf32.f32 {register}, %f{index}"),
            &format!("mov.b32 {register}, %f{index}"),
            Rule::Tf32Rounding,
        );
    }
    finds(tiles::TF32, "{%b0,%b1}", "{%b0,%r1}", Rule::Tf32Rounding);
    finds(tiles::TF32, "mma.sync", "add.f32 %b0, %b0, %b0; mma.sync", Rule::Tf32Rounding);
    let shared = through_shared();
    finds(&shared, "cvt.rna.tf32.f32 %a0, %f0;", "mov.b32 %a0, %f0;", Rule::Tf32Rounding);
    // By cp.async nothing is rounded, unless it was before.
    let copied = shared.replace("bar.warp.sync", "cp.async.ca.shared.global [room], [%d0], 4; bar.warp.sync");
    assert!(rules(&copied, Lint::default()).contains(&Rule::Tf32Rounding));
    assert_eq!(rules(&copied, Lint { rounded_buffers: true, ..Lint::default() }), []);
}

/// A product whose first operand goes through shared memory once it is rounded, beside a sum that is not.
fn through_shared() -> String {
    let entries = tiles::TF32.replace(
        "mma.sync",
        ".shared .align 4 .b8 room[256];
         mov.u32 %r6, room; mad.lo.u32 %r6, %r0, 4, %r6;
         st.shared.b32 [%r6], %a0; .reg .f32 %sum; add.f32 %sum, %f0, %f1; st.shared.f32 [%r6+128], %sum;
         bar.warp.sync 0xffffffff;
         ld.shared.b32 %r7, [%r6];
         mma.sync",
    );
    entries.replace("{%a0,%a1", "{%r7,%a1")
}

#[test]
fn barriers_of_the_grid() {
    let rounds = |from: &str, to: &str, rule| finds(grid::ROUNDS, from, to, rule);
    rounds("red.release.gpu.global", "red.relaxed.gpu.global", Rule::Ordering);
    rounds("red.release.gpu.global", "red.global", Rule::Ordering);
    rounds("ld.acquire.gpu", "ld.relaxed.gpu", Rule::Ordering);
    rounds("ld.acquire.gpu", "ld.volatile", Rule::Ordering);
    rounds("trap;", "", Rule::Spin);
    rounds("add.u32 %r9, %r9, 1;", "", Rule::Spin);
    rounds("setp.lt.u32 %p1, %r9, 100000000;\n    @%p1 bra poll;", "bra poll;", Rule::Spin);
}

#[test]
fn instructions_that_are_not_allowed() {
    finds(programs::ADD, "st.global.f32 [%d5]", "red.global.add.f32 [%d5]", Rule::FloatAtomic);
    finds(programs::ADD, "st.global.f32 [%d5]", "red.relaxed.gpu.global.add.f32 [%d5]", Rule::FloatAtomic);
    let approximate = "ex2.approx.ftz.f32 %f2, %f0;";
    finds(programs::ADD, "add.rn.f32 %f2, %f0, %f1;", approximate, Rule::Approximate);
    finds(programs::ADD, "add.rn.f32 %f2, %f0, %f1;", "div.full.f32 %f2, %f0, %f1;", Rule::Approximate);
    let allowed = Lint { approximate: true, ..Lint::default() };
    assert_eq!(rules(&programs::ADD.replace("add.rn.f32 %f2, %f0, %f1;", approximate), allowed), []);
    finds(programs::ADD, "st.global.f32 [%d5]", "st.global.f32 [%d3]", Rule::NonCoherent);
    finds(grid::ROUNDS, "ld.global.f32 %f0", "ld.global.nc.f32 %f0", Rule::NonCoherent);
}
