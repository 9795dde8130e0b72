//! Small kernels give the same right results under every schedule.

mod common;
mod programs;

use common::{SEEDS, module, under_seeds};
use programs::{Outcome, grid, tiles};
use ptx_vm::{Arg, FaultKind, Launch, Machine, Module, Stats};

fn right(text: &str, run: fn(&Module, u64) -> Outcome, expected: Vec<f32>) {
    let module = module(text);
    for seed in SEEDS {
        let found = run(&module, seed).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        assert_eq!(found, expected, "seed {seed}");
    }
}

#[test]
fn vectors_are_added() {
    right(programs::ADD, programs::add, programs::add_expected());
}

#[test]
fn a_block_is_reduced() {
    right(programs::REDUCE, programs::reduce, programs::reduce_expected());
}

#[test]
fn a_matrix_is_transposed_through_shared_memory() {
    right(programs::TRANSPOSE, programs::transpose, programs::transpose_expected());
}

#[test]
fn ctas_meet_at_a_counter() {
    right(grid::ROUNDS, grid::rounds, grid::rounds_expected());
}

#[test]
fn fences_make_relaxed_accesses_a_barrier() {
    let text = grid::ROUNDS
        .replace("red.release.gpu.global.add.u32", "fence.acq_rel.gpu;\n red.relaxed.gpu.global.add.u32")
        .replace("ld.acquire", "ld.relaxed")
        .replace("@%p1 bra met;", "@%p1 bra seen;")
        .replace("trap;", "trap;\nseen: fence.acq_rel.gpu;");
    right(&text, grid::rounds, grid::rounds_expected());
    let text = grid::ROUNDS
        .replace("red.release.gpu.global.add.u32", "membar.gl;\n red.global.add.u32")
        .replace("ld.acquire.gpu", "ld.volatile")
        .replace("@%p1 bra met;", "@%p1 bra seen;")
        .replace("trap;", "trap;\nseen: membar.gl;");
    right(&text, grid::rounds, grid::rounds_expected());
}

#[test]
fn a_cluster_exchanges_through_shared_memory() {
    right(grid::CLUSTER, grid::cluster, grid::cluster_expected());
}

#[test]
fn tiles_arrive_while_others_are_summed() {
    right(tiles::PIPELINE, tiles::pipeline, tiles::pipeline_expected());
}

#[test]
fn products_are_those_of_a_plain_loop() {
    right(tiles::TF32, tiles::tf32, tiles::tf32_expected());
    right(&tiles::tf32_halves(), tiles::tf32, tiles::tf32_expected());
    right(tiles::BF16, tiles::bf16, tiles::bf16_expected());
    right(&tiles::bf16_halves(), tiles::bf16, tiles::bf16_expected());
}

#[test]
fn operands_of_tf32_have_to_be_rounded_or_are_cut() {
    let module = module(&tiles::TF32.replace("cvt.rna.tf32.f32", "mov.b32"));
    let mut machine = Machine::new();
    let a = machine.upload_f32(&[1.0 + 0.9 / 1024.0; 128]);
    let b = machine.upload_f32(&[1.0; 64]);
    let c = machine.upload_f32(&[0.0; 128]);
    let parameters = [Arg::U64(a), Arg::U64(b), Arg::U64(c)];
    let launch = Launch { kernel: "tf32", parameters: &parameters, ..Launch::default() };
    assert_eq!(machine.launch(&module, &launch).unwrap_err().kind, FaultKind::Unrounded);
    machine.cuts_tf32 = true;
    machine.launch(&module, &launch).unwrap();
    assert_eq!(machine.read_f32(c, 1), [8.0]);
}

#[test]
fn what_ran_is_counted() {
    let module = module(tiles::TF32);
    let mut machine = Machine::new();
    let [a, b, c] = [128, 64, 128].map(|n| machine.upload_f32(&vec![1.0; n]));
    let parameters = [Arg::U64(a), Arg::U64(b), Arg::U64(c)];
    let stats: Stats = machine
        .launch(&module, &Launch { kernel: "tf32", parameters: &parameters, ..Launch::default() })
        .unwrap();
    assert_eq!(stats.count("mma.sync"), 1);
    assert_eq!(stats.count("cvt.rna.tf32.f32"), 6);
    assert_eq!(stats.count("ld.global"), 8);
    let resources = module.resources("tf32").unwrap();
    assert_eq!(resources.registers.into_iter().collect::<Vec<_>>(), [(32, 8 + 4 + 2 + 8), (64, 8)]);
    assert_eq!(self::module(programs::REDUCE).resources("reduce").unwrap().static_shared, 16);
}

#[test]
fn the_same_seed_is_the_same_run() {
    let module = module(grid::ROUNDS);
    let instructions = |seed: u64| {
        let mut machine = Machine::new();
        let h = machine.upload_f32(&[1.0; 512]);
        let counter = machine.upload_u32(&[0]);
        let parameters = [Arg::U64(h), Arg::U64(counter)];
        let launch = Launch {
            kernel: "rounds",
            grid: [4, 1, 1],
            block: [64, 1, 1],
            cooperative: true,
            parameters: &parameters,
            seed,
            ..Launch::default()
        };
        machine.launch(&module, &launch).unwrap().instructions
    };
    let runs = under_seeds(instructions);
    assert_eq!(runs, under_seeds(instructions));
    assert!(runs.iter().any(|&run| run != runs[0]), "all schedules are one");
}

#[test]
fn variables_of_a_module_have_their_values() {
    let module = module(
        ".const .align 4 .b32 table[4] = {10, 20, 30, 40};
         .global .align 4 .u32 total = 5;
         .visible .entry k(.param .u64 out, .param .align 8 .b8 pair[8], .param .f32 x) {
            .reg .b64 %d<4>; .reg .b32 %r<8>; .reg .f32 %f;
            mov.u64 %d0, table;
            ld.const.b32 %r0, [%d0+8];
            ld.const.b32 %r1, [table+4];
            ld.global.u32 %r2, [total];
            ld.param.v2.b32 {%r3, %r4}, [pair];
            ld.param.f32 %f, [x];
            cvt.rzi.u32.f32 %r5, %f;
            add.u32 %r0, %r0, %r1; add.u32 %r0, %r0, %r2; add.u32 %r0, %r0, %r3; add.u32 %r0, %r0, %r4;
            add.u32 %r0, %r0, %r5;
            ld.param.u64 %d1, [out];
            mov.u32 %r6, %tid.x; setp.ne.u32 %p, %r6, 0; @%p ret;
            st.global.u32 [%d1], %r0;
         }"
        .replace(".reg .f32 %f;", ".reg .f32 %f; .reg .pred %p;")
        .as_str(),
    );
    let mut machine = Machine::new();
    let out = machine.alloc(4);
    let pair = [1u32.to_le_bytes(), 2u32.to_le_bytes()].concat();
    let parameters = [Arg::U64(out), Arg::Bytes(pair), Arg::F32(7.5)];
    machine.launch(&module, &Launch { kernel: "k", parameters: &parameters, ..Launch::default() }).unwrap();
    assert_eq!(machine.read_u32(out, 1), [30 + 20 + 5 + 3 + 7]);
}

#[test]
fn launches_have_to_fit_their_kernel() {
    let module = module(programs::REDUCE);
    let mut machine = Machine::new();
    let parameters = [Arg::U64(0), Arg::U64(0)];
    let fits = Launch { kernel: "reduce", block: [128, 1, 1], parameters: &parameters, ..Launch::default() };
    for launch in [
        Launch { kernel: "other", ..fits.clone() },
        Launch { block: [64, 1, 1], ..fits.clone() },
        Launch { parameters: &parameters[..1], ..fits.clone() },
        Launch { parameters: &[Arg::U64(0), Arg::U32(0)], ..fits.clone() },
        Launch { shared_bytes: 16, ..fits.clone() },
        Launch { grid: [3, 1, 1], cluster: [2, 1, 1], ..fits.clone() },
        Launch { grid: [0, 1, 1], ..fits.clone() },
    ] {
        assert_eq!(machine.launch(&module, &launch).unwrap_err().kind, FaultKind::Launch, "{launch:?}");
    }
    assert_eq!(machine.launch(&module, &fits).unwrap_err().kind, FaultKind::OutOfBounds);
}
