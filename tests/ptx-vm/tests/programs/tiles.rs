//! Kernels that move tiles and multiply them.

use super::Outcome;
use ptx_vm::{Arg, Launch, Machine, Module};

/// Sums, for each of 64 threads, what its neighbour has copied of each of four tiles; two tiles are on their way at once.
pub const PIPELINE: &str = "
.visible .entry pipeline(.param .u64 in, .param .u64 out)
.reqntid 64, 1, 1
{
    .reg .pred %p;
    .reg .b32 %r<16>;
    .reg .b64 %d<4>;
    .reg .f32 %f<6>;
    .shared .align 16 .b8 tiles[2048];
    mov.u32 %r0, %tid.x;
    ld.param.u64 %d0, [in];
    mad.wide.u32 %d0, %r0, 16, %d0;
    mov.u32 %r1, tiles;
    mad.lo.u32 %r2, %r0, 16, %r1;
    xor.b32 %r3, %r0, 33;
    mad.lo.u32 %r3, %r3, 16, %r1;
    mov.f32 %f0, 0f00000000;
    cp.async.cg.shared.global [%r2], [%d0], 16;
    cp.async.commit_group;
    mov.u32 %r4, 0;
    mov.u32 %r5, 0;
next:
    // The tile after this one, into the other half; after the last there is none.
    xor.b32 %r6, %r5, 1024;
    add.u32 %r7, %r2, %r6;
    add.s64 %d0, %d0, 1024;
    setp.ge.u32 %p, %r4, 3;
    @%p bra last;
    cp.async.cg.shared.global [%r7], [%d0], 16;
last:
    cp.async.commit_group;
    cp.async.wait_group 1;
    bar.sync 0;
    add.u32 %r8, %r3, %r5;
    ld.shared.v4.f32 {%f1, %f2, %f3, %f4}, [%r8];
    add.rn.f32 %f1, %f1, %f2;
    add.rn.f32 %f3, %f3, %f4;
    add.rn.f32 %f1, %f1, %f3;
    add.rn.f32 %f0, %f0, %f1;
    bar.sync 0; // read
    mov.u32 %r5, %r6;
    add.u32 %r4, %r4, 1;
    setp.lt.u32 %p, %r4, 4;
    @%p bra next;
    ld.param.u64 %d1, [out];
    mad.wide.u32 %d1, %r0, 4, %d1;
    st.global.f32 [%d1], %f0;
    ret;
}";

pub fn pipeline(module: &Module, seed: u64) -> Outcome {
    let mut machine = Machine::new();
    let input = machine.upload_f32(&(0..1024).map(|i| (i % 11) as f32).collect::<Vec<_>>());
    let out = machine.alloc(256);
    let parameters = [Arg::U64(input), Arg::U64(out)];
    let launch =
        Launch { kernel: "pipeline", block: [64, 1, 1], parameters: &parameters, seed, ..Launch::default() };
    machine.launch(module, &launch)?;
    Ok(machine.read_f32(out, 64))
}

pub fn pipeline_expected() -> Vec<f32> {
    let four =
        |tile: usize, t: usize| (0..4).map(move |i| ((256 * tile + 4 * t + i) % 11) as f32).sum::<f32>();
    (0..64).map(|t| (0..4).map(|tile| four(tile, t ^ 33)).sum()).collect()
}

/// D = A B + C in tf32: A 16 x 8 by rows, B 8 x 8 by rows, C 16 x 8 by rows.
pub const TF32: &str = "
.visible .entry tf32(.param .u64 a, .param .u64 b, .param .u64 c)
.reqntid 32, 1, 1
{
    .reg .b32 %r<8>;
    .reg .b32 %a<4>;
    .reg .b32 %b<2>;
    .reg .b64 %d<8>;
    .reg .f32 %f<8>;
    mov.u32 %r0, %laneid;
    shr.u32 %r1, %r0, 2;
    and.b32 %r2, %r0, 3;
    ld.param.u64 %d0, [a];
    mad.lo.u32 %r3, %r1, 8, %r2;
    mad.wide.u32 %d1, %r3, 4, %d0;
    ld.global.f32 %f0, [%d1];
    ld.global.f32 %f1, [%d1+256];
    ld.global.f32 %f2, [%d1+16];
    ld.global.f32 %f3, [%d1+272];
    cvt.rna.tf32.f32 %a0, %f0;
    cvt.rna.tf32.f32 %a1, %f1;
    cvt.rna.tf32.f32 %a2, %f2;
    cvt.rna.tf32.f32 %a3, %f3;
    ld.param.u64 %d2, [b];
    mad.lo.u32 %r4, %r2, 8, %r1;
    mad.wide.u32 %d3, %r4, 4, %d2;
    ld.global.f32 %f0, [%d3];
    ld.global.f32 %f1, [%d3+128];
    cvt.rna.tf32.f32 %b0, %f0;
    cvt.rna.tf32.f32 %b1, %f1;
    ld.param.u64 %d4, [c];
    shl.b32 %r5, %r2, 1;
    mad.lo.u32 %r5, %r1, 8, %r5;
    mad.wide.u32 %d5, %r5, 4, %d4;
    ld.global.v2.f32 {%f4, %f5}, [%d5];
    ld.global.v2.f32 {%f6, %f7}, [%d5+256];
    mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f4,%f5,%f6,%f7}, {%a0,%a1,%a2,%a3}, {%b0,%b1}, {%f4,%f5,%f6,%f7};
    st.global.v2.f32 [%d5], {%f4, %f5};
    st.global.v2.f32 [%d5+256], {%f6, %f7};
    ret;
}";

/// The same by two products of half the depth.
pub fn tf32_halves() -> String {
    let whole = TF32.lines().find(|line| line.contains("mma.sync")).expect("the product");
    let half = |a: &str, b: &str| {
        format!(
            "    mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {{%f4,%f5,%f6,%f7}}, {{{a}}}, {{{b}}}, {{%f4,%f5,%f6,%f7}};\n"
        )
    };
    TF32.replace(whole, &(half("%a0,%a1", "%b0") + &half("%a2,%a3", "%b1")))
}

fn a() -> Vec<f32> {
    (0..128).map(|i| (i * 7 % 23) as f32 - 9.0).collect()
}

fn b() -> Vec<f32> {
    (0..64).map(|i| (i * 5 % 17) as f32 - 6.0).collect()
}

fn c() -> Vec<f32> {
    (0..128).map(|i| i as f32 / 4.0).collect()
}

pub fn tf32(module: &Module, seed: u64) -> Outcome {
    let mut machine = Machine::new();
    let [a, b, c] = [a(), b(), c()].map(|values| machine.upload_f32(&values));
    let parameters = [Arg::U64(a), Arg::U64(b), Arg::U64(c)];
    machine.launch(module, &Launch { kernel: "tf32", parameters: &parameters, seed, ..Launch::default() })?;
    Ok(machine.read_f32(c, 128))
}

pub fn tf32_expected() -> Vec<f32> {
    product(&a(), &b(), &c(), 8)
}

fn product(a: &[f32], b: &[f32], c: &[f32], depth: usize) -> Vec<f32> {
    let element = |i: usize| c[i] + (0..depth).map(|k| a[i / 8 * depth + k] * b[8 * k + i % 8]).sum::<f32>();
    (0..128).map(element).collect()
}

/// D = A B in bf16: A 16 x 16 and B 16 x 8, both by rows, through shared memory and `ldmatrix`.
pub const BF16: &str = "
.visible .entry bf16(.param .u64 a, .param .u64 b, .param .u64 c)
.reqntid 32, 1, 1
{
    .reg .b32 %r<16>;
    .reg .b32 %a<4>;
    .reg .b32 %b<2>;
    .reg .b64 %d<8>;
    .reg .f32 %f<8>;
    .shared .align 16 .b8 left[512];
    .shared .align 16 .b8 right[256];
    mov.u32 %r0, %laneid;
    // Eight neighbours of A and four of B for each lane.
    ld.param.u64 %d0, [a];
    mad.wide.u32 %d0, %r0, 32, %d0;
    ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%d0];
    ld.global.v4.f32 {%f4, %f5, %f6, %f7}, [%d0+16];
    cvt.rn.bf16x2.f32 %a0, %f1, %f0;
    cvt.rn.bf16x2.f32 %a1, %f3, %f2;
    cvt.rn.bf16x2.f32 %a2, %f5, %f4;
    cvt.rn.bf16x2.f32 %a3, %f7, %f6;
    mov.u32 %r1, left;
    mad.lo.u32 %r2, %r0, 16, %r1;
    st.shared.v4.b32 [%r2], {%a0, %a1, %a2, %a3};
    ld.param.u64 %d1, [b];
    mad.wide.u32 %d1, %r0, 16, %d1;
    ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%d1];
    cvt.rn.bf16x2.f32 %b0, %f1, %f0;
    cvt.rn.bf16x2.f32 %b1, %f3, %f2;
    mov.u32 %r3, right;
    mad.lo.u32 %r4, %r0, 8, %r3;
    st.shared.v2.b32 [%r4], {%b0, %b1};
    bar.warp.sync 0xffffffff;
    // Matrices: rows 0-7 and 8-15 of columns 0-7, then of 8-15.
    and.b32 %r5, %r0, 15;
    shr.u32 %r6, %r0, 4;
    mad.lo.u32 %r7, %r5, 32, %r1;
    mad.lo.u32 %r7, %r6, 16, %r7;
    ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%a0, %a1, %a2, %a3}, [%r7];
    mad.lo.u32 %r8, %r5, 16, %r3;
    ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%b0, %b1}, [%r8];
    mov.f32 %f0, 0f00000000;
    mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f4,%f5,%f6,%f7}, {%a0,%a1,%a2,%a3}, {%b0,%b1}, {%f0,%f0,%f0,%f0};
    ld.param.u64 %d2, [c];
    shr.u32 %r9, %r0, 2;
    and.b32 %r10, %r0, 3;
    shl.b32 %r10, %r10, 1;
    mad.lo.u32 %r11, %r9, 8, %r10;
    mad.wide.u32 %d3, %r11, 4, %d2;
    st.global.v2.f32 [%d3], {%f4, %f5};
    st.global.v2.f32 [%d3+256], {%f6, %f7};
    ret;
}";

/// The same by two products of half the depth.
pub fn bf16_halves() -> String {
    let whole = BF16.lines().find(|line| line.contains("mma.sync")).expect("the product");
    let half = |a: &str, b: &str, c: &str| {
        format!(
            "    mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {{%f4,%f5,%f6,%f7}}, {{{a}}}, {{{b}}}, {{{c}}};\n"
        )
    };
    let both = half("%a0,%a1", "%b0", "%f0,%f0,%f0,%f0") + &half("%a2,%a3", "%b1", "%f4,%f5,%f6,%f7");
    BF16.replace(whole, &both)
}

fn wide_a() -> Vec<f32> {
    (0..256).map(|i| (i * 7 % 23) as f32 - 9.0).collect()
}

fn long_b() -> Vec<f32> {
    (0..128).map(|i| (i * 5 % 17) as f32 - 6.0).collect()
}

pub fn bf16(module: &Module, seed: u64) -> Outcome {
    let mut machine = Machine::new();
    let [a, b] = [wide_a(), long_b()].map(|values| machine.upload_f32(&values));
    let c = machine.alloc(512);
    let parameters = [Arg::U64(a), Arg::U64(b), Arg::U64(c)];
    machine.launch(module, &Launch { kernel: "bf16", parameters: &parameters, seed, ..Launch::default() })?;
    Ok(machine.read_f32(c, 128))
}

pub fn bf16_expected() -> Vec<f32> {
    product(&wide_a(), &long_b(), &[0.0; 128], 16)
}
