//! Kernels whose CTAs work together: a barrier of the grid, and a cluster.

use super::Outcome;
use ptx_vm::{Arg, Launch, Machine, Module};

/// `h = [h[i + 64] + h[i + 1]]` over a ring of 256 numbers, five times, each CTA its 64; a barrier of all CTAs between.
/// `h` has two buffers.
pub const ROUNDS: &str = "
.visible .entry rounds(.param .u64 h, .param .u64 counter)
.reqntid 64, 1, 1
{
    .reg .pred %p<3>;
    .reg .b32 %r<16>;
    .reg .b64 %d<10>;
    .reg .f32 %f<3>;
    ld.param.u64 %d0, [h];
    ld.param.u64 %d1, [counter];
    mov.u32 %r0, %tid.x;
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %nctaid.x;
    mad.lo.u32 %r3, %r1, 64, %r0;
    add.u32 %r4, %r3, 64;
    and.b32 %r4, %r4, 255;
    add.u32 %r5, %r3, 1;
    and.b32 %r5, %r5, 255;
    mov.u32 %r6, 0;
    mov.u32 %r7, 0;
    mov.u64 %d2, %d0;
    add.s64 %d3, %d0, 1024;
step:
    mad.wide.u32 %d4, %r4, 4, %d2;
    mad.wide.u32 %d5, %r5, 4, %d2;
    ld.global.f32 %f0, [%d4];
    ld.global.f32 %f1, [%d5];
    add.rn.f32 %f2, %f0, %f1;
    mad.wide.u32 %d6, %r3, 4, %d3;
    st.global.f32 [%d6], %f2;
    // The barrier.
    add.u32 %r7, %r7, %r2;
    bar.sync 0;
    setp.ne.u32 %p0, %r0, 0;
    @%p0 bra met;
    red.release.gpu.global.add.u32 [%d1], 1;
    mov.u32 %r9, 0;
poll:
    ld.acquire.gpu.global.u32 %r8, [%d1];
    setp.ge.u32 %p1, %r8, %r7;
    @%p1 bra met;
    add.u32 %r9, %r9, 1;
    setp.lt.u32 %p1, %r9, 100000000;
    @%p1 bra poll;
    trap;
met:
    bar.sync 0;
    mov.u64 %d7, %d2;
    mov.u64 %d2, %d3;
    mov.u64 %d3, %d7;
    add.u32 %r6, %r6, 1;
    setp.lt.u32 %p2, %r6, 5;
    @%p2 bra step;
    ret;
}";

pub fn rounds(module: &Module, seed: u64) -> Outcome {
    let mut machine = Machine::new();
    let h = machine.alloc(2048);
    machine.write_f32(h, &start());
    let counter = machine.upload_u32(&[0]);
    let parameters = [Arg::U64(h), Arg::U64(counter)];
    machine.patience = 200_000;
    let launch = Launch {
        kernel: "rounds",
        grid: [4, 1, 1],
        block: [64, 1, 1],
        cooperative: true,
        parameters: &parameters,
        seed,
        ..Launch::default()
    };
    machine.launch(module, &launch)?;
    Ok(machine.read_f32(h + 1024, 256))
}

fn start() -> Vec<f32> {
    (0..256).map(|i| (i % 5) as f32).collect()
}

pub fn rounds_expected() -> Vec<f32> {
    (0..5).fold(start(), |h, _| (0..256).map(|i| h[(i + 64) % 256] + h[(i + 1) % 256]).collect())
}

/// Each CTA of a cluster of four gives its neighbour 32 numbers, once by the neighbour's read and once by its own write.
pub const CLUSTER: &str = "
.visible .entry exchange(.param .u64 out)
.reqntid 32, 1, 1
{
    .reg .b32 %r<16>;
    .reg .b64 %d<4>;
    .shared .align 4 .b8 own[128];
    .shared .align 4 .b8 given[128];
    mov.u32 %r0, %tid.x;
    mov.u32 %r1, %cluster_ctarank;
    mov.u32 %r2, %cluster_nctarank;
    mov.u32 %r3, %ctaid.x;
    mad.lo.u32 %r4, %r3, 100, %r0;
    mov.u32 %r5, own;
    mad.lo.u32 %r6, %r0, 4, %r5;
    st.shared.u32 [%r6], %r4;
    barrier.cluster.arrive.release.aligned;
    barrier.cluster.wait.acquire.aligned;
    add.u32 %r7, %r1, 1;
    rem.u32 %r7, %r7, %r2;
    mapa.shared::cluster.u32 %r8, %r6, %r7;
    ld.shared::cluster.u32 %r9, [%r8];
    add.u32 %r10, %r9, 1;
    mapa.shared::cluster.u32 %r11, %r6, %r7;
    st.shared::cluster.u32 [%r11+128], %r10;
    barrier.cluster.arrive.release.aligned; // second
    barrier.cluster.wait.acquire.aligned; // second
    ld.shared.u32 %r12, [%r6+128];
    ld.param.u64 %d0, [out];
    mad.lo.u32 %r13, %r3, 32, %r0;
    mad.wide.u32 %d1, %r13, 8, %d0;
    st.global.v2.u32 [%d1], {%r9, %r12};
    ret;
}";

pub fn cluster(module: &Module, seed: u64) -> Outcome {
    let mut machine = Machine::new();
    let out = machine.alloc(8 * 32 * 8);
    let parameters = [Arg::U64(out)];
    let launch = Launch {
        kernel: "exchange",
        grid: [8, 1, 1],
        block: [32, 1, 1],
        cluster: [4, 1, 1],
        parameters: &parameters,
        seed,
        ..Launch::default()
    };
    machine.launch(module, &launch)?;
    Ok(machine.read_u32(out, 512).into_iter().map(|x| x as f32).collect())
}

pub fn cluster_expected() -> Vec<f32> {
    let neighbour = |cta: usize| cta / 4 * 4 + (cta + 1) % 4;
    let pairs = (0..8).flat_map(|cta| (0..32).map(move |t| (cta, t)));
    // What its neighbour has, and what the CTA before it has given: its own plus 1.
    pairs.flat_map(|(cta, t)| [(100 * neighbour(cta) + t) as f32, (100 * cta + t + 1) as f32]).collect()
}
