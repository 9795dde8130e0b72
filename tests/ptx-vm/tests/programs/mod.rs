//! Small kernels, each with how it is run and what has to come out.

#![allow(dead_code)]

pub mod grid;
pub mod tiles;

use ptx_vm::{Arg, Fault, Launch, Machine, Module};

/// What a run gives.
pub type Outcome = Result<Vec<f32>, Fault>;

/// `c[i] = a[i] + b[i]` for i < n.
pub const ADD: &str = "
.visible .entry add(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n)
.maxntid 64, 1, 1
{
    .reg .pred %p;
    .reg .b32 %r<8>;
    .reg .b64 %d<8>;
    .reg .f32 %f<4>;
    mov.u32 %r0, %ctaid.x;
    mov.u32 %r1, %ntid.x;
    mov.u32 %r2, %tid.x;
    mad.lo.u32 %r3, %r0, %r1, %r2;
    ld.param.u32 %r4, [n];
    setp.ge.u32 %p, %r3, %r4;
    @%p ret;
    ld.param.u64 %d0, [a];
    ld.param.u64 %d1, [b];
    ld.param.u64 %d2, [c];
    mad.wide.u32 %d3, %r3, 4, %d0;
    mad.wide.u32 %d4, %r3, 4, %d1;
    mad.wide.u32 %d5, %r3, 4, %d2;
    ld.global.nc.f32 %f0, [%d3];
    ld.global.f32 %f1, [%d4];
    add.rn.f32 %f2, %f0, %f1;
    st.global.f32 [%d5], %f2;
}";

pub fn add(module: &Module, seed: u64) -> Outcome {
    let n = 150;
    let mut machine = Machine::new();
    let a = machine.upload_f32(&(0..n).map(|i| i as f32).collect::<Vec<_>>());
    let b = machine.upload_f32(&vec![0.5; n]);
    let c = machine.alloc(4 * n);
    let parameters = [Arg::U64(a), Arg::U64(b), Arg::U64(c), Arg::U32(n as u32)];
    let launch = Launch {
        kernel: "add",
        grid: [3, 1, 1],
        block: [64, 1, 1],
        parameters: &parameters,
        seed,
        ..Launch::default()
    };
    machine.launch(module, &launch)?;
    Ok(machine.read_f32(c, n))
}

pub fn add_expected() -> Vec<f32> {
    (0..150).map(|i| i as f32 + 0.5).collect()
}

/// The sum of 128 numbers for each CTA, by warps and then over warps.
pub const REDUCE: &str = "
.visible .entry reduce(.param .u64 in, .param .u64 out)
.reqntid 128, 1, 1
{
    .reg .pred %p;
    .reg .b32 %r<8>;
    .reg .b64 %d<8>;
    .reg .f32 %f<8>;
    .shared .align 4 .b8 sums[16];
    mov.u32 %r0, %tid.x;
    mov.u32 %r1, %ctaid.x;
    shl.b32 %r2, %r1, 7;
    add.u32 %r2, %r2, %r0;
    ld.param.u64 %d0, [in];
    mad.wide.u32 %d1, %r2, 4, %d0;
    ld.global.f32 %f0, [%d1];
    mov.u32 %r3, 16;
fold:
    shfl.sync.bfly.b32 %f1, %f0, %r3, 31, 0xffffffff;
    add.rn.f32 %f0, %f0, %f1;
    shr.u32 %r3, %r3, 1;
    setp.ne.u32 %p, %r3, 0;
    @%p bra fold;
    and.b32 %r4, %r0, 31;
    setp.ne.u32 %p, %r4, 0;
    @%p bra written;
    shr.u32 %r5, %r0, 5;
    shl.b32 %r5, %r5, 2;
    mov.u32 %r6, sums;
    add.u32 %r6, %r6, %r5;
    st.shared.f32 [%r6], %f0;
written:
    bar.sync 0;
    setp.ne.u32 %p, %r0, 0;
    @%p ret;
    ld.shared.v4.f32 {%f2, %f3, %f4, %f5}, [sums];
    add.rn.f32 %f2, %f2, %f3;
    add.rn.f32 %f2, %f2, %f4;
    add.rn.f32 %f2, %f2, %f5;
    ld.param.u64 %d2, [out];
    mad.wide.u32 %d3, %r1, 4, %d2;
    st.global.f32 [%d3], %f2;
    ret;
}";

pub fn reduce(module: &Module, seed: u64) -> Outcome {
    let mut machine = Machine::new();
    let input = machine.upload_f32(&(0..512).map(|i| (i % 37) as f32).collect::<Vec<_>>());
    let out = machine.alloc(16);
    let parameters = [Arg::U64(input), Arg::U64(out)];
    let launch = Launch {
        kernel: "reduce",
        grid: [4, 1, 1],
        block: [128, 1, 1],
        parameters: &parameters,
        seed,
        ..Launch::default()
    };
    machine.launch(module, &launch)?;
    Ok(machine.read_f32(out, 4))
}

pub fn reduce_expected() -> Vec<f32> {
    (0..4).map(|cta| (128 * cta..128 * cta + 128).map(|i| (i % 37) as f32).sum()).collect()
}

/// The transpose of 32 x 32 numbers, by tiles of 16 x 16 through dynamic shared memory.
pub const TRANSPOSE: &str = "
.extern .shared .align 16 .b8 tile[];
.visible .entry transpose(.param .u64 in, .param .u64 out)
{
    .reg .b32 %r<16>;
    .reg .b64 %d<8>;
    .reg .f32 %f<2>;
    mov.u32 %r0, %tid.x;
    mov.u32 %r1, %tid.y;
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ctaid.y;
    mad.lo.u32 %r4, %r2, 16, %r0;
    mad.lo.u32 %r5, %r3, 16, %r1;
    mad.lo.u32 %r6, %r5, 32, %r4;
    ld.param.u64 %d0, [in];
    mad.wide.u32 %d1, %r6, 4, %d0;
    ld.global.f32 %f0, [%d1];
    mov.u32 %r7, tile;
    mad.lo.u32 %r8, %r1, 17, %r0;
    mad.lo.u32 %r8, %r8, 4, %r7;
    st.shared.f32 [%r8], %f0;
    bar.sync 0;
    mad.lo.u32 %r9, %r0, 17, %r1;
    mad.lo.u32 %r9, %r9, 4, %r7;
    ld.shared.f32 %f1, [%r9];
    mad.lo.u32 %r10, %r3, 16, %r0;
    mad.lo.u32 %r11, %r2, 16, %r1;
    mad.lo.u32 %r12, %r11, 32, %r10;
    ld.param.u64 %d2, [out];
    mad.wide.u32 %d3, %r12, 4, %d2;
    st.global.f32 [%d3], %f1;
    ret;
}";

pub fn transpose(module: &Module, seed: u64) -> Outcome {
    let mut machine = Machine::new();
    let input = machine.upload_f32(&(0..1024).map(|i| i as f32).collect::<Vec<_>>());
    let out = machine.alloc(4096);
    let parameters = [Arg::U64(input), Arg::U64(out)];
    let launch = Launch {
        kernel: "transpose",
        grid: [2, 2, 1],
        block: [16, 16, 1],
        shared_bytes: 16 * 17 * 4,
        parameters: &parameters,
        seed,
        ..Launch::default()
    };
    machine.launch(module, &launch)?;
    Ok(machine.read_f32(out, 1024))
}

pub fn transpose_expected() -> Vec<f32> {
    (0..1024).map(|i| (i % 32 * 32 + i / 32) as f32).collect()
}
