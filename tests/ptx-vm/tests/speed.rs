//! How fast the machine is: `cargo test -p ptx-vm --test speed -- --ignored --nocapture`.

mod common;

use std::time::Instant;

use common::module;
use ptx_vm::{Arg, Launch, Machine};

#[test]
#[ignore = "measures"]
fn speed_of_instructions() {
    for (what, body) in [
        ("add.u32", "add.u32 %a, %a, %b;"),
        ("mad.lo.u32", "mad.lo.u32 %a, %a, %b, %c;"),
        ("add.s64", "add.s64 %A, %A, %B;"),
        ("mad.wide.u32", "mad.wide.u32 %A, %a, 4, %out;"),
        ("add.f32", "add.rn.f32 %f, %f, %g;"),
        ("fma.rn.f32", "fma.rn.f32 %f, %f, %g, %g;"),
        ("div.rn.f32", "div.rn.f32 %f, %f, %g;"),
        ("ex2.approx.f32", "ex2.approx.f32 %f, %g;"),
        ("setp.lt.u32", "setp.lt.u32 %q, %a, %b;"),
        ("selp.b32", "selp.b32 %a, %b, %c, %p;"),
        ("ld.shared.f32", "ld.shared.f32 %f, [%s];"),
        ("ld.shared.v4.f32", "ld.shared.v4.f32 {%f, %g, %h, %i}, [%s4];"),
        ("st.shared.f32", "st.shared.f32 [%s], %g;"),
        ("ld.global.f32", "ld.global.f32 %f, [%to];"),
        ("ld.global.f32, all the same", "ld.global.f32 %f, [%out];"),
        ("st.global.f32", "st.global.f32 [%to2], %g;"),
        ("shfl", "shfl.sync.bfly.b32 %f, %g, 1, 31, 0xffffffff;"),
        (
            "mma tf32 k8",
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f,%g,%h,%i}, {%a,%b,%c,%c}, {%a,%b}, {%f,%g,%h,%i};",
        ),
    ] {
        let module = module(&format!(
            ".visible .entry k(.param .u64 out)\n{{\n\
             .reg .b32 %a, %b, %c, %n, %s, %s4; .reg .b64 %A, %B, %out, %to, %to2; .reg .b32 %f, %g, %h, %i;\n\
             .reg .pred %p, %q; .shared .align 16 .b8 room[4096];\n\
             mov.u32 %a, %tid.x; mov.u32 %b, 3; mov.u32 %c, 5; mov.u64 %A, 0; mov.u64 %B, 0;\n\
             mov.b32 %f, 0f3F800000; mov.b32 %g, 0f3F800001; mov.b32 %h, %f; mov.b32 %i, %f;\n\
             ld.param.u64 %out, [out]; mad.wide.u32 %to, %a, 4, %out;\n\
             mov.u32 %n, %ctaid.x; mad.lo.u32 %n, %n, 256, %a; mad.wide.u32 %to2, %n, 4, %out; add.s64 %to2, %to2, 4096;\n\
             mov.u32 %s4, room; mad.lo.u32 %s, %a, 4, %s4; mad.lo.u32 %s4, %a, 16, %s4;\n\
             st.shared.v4.b32 [%s4], {{%f, %g, %h, %i}};\n\
             bar.sync 0;\n\
             mov.u32 %n, 0; setp.eq.u32 %p, 1, 1;\n\
             again: {}\n\
             add.u32 %n, %n, 1; setp.lt.u32 %q, %n, 100; @%q bra again;\n}}",
            body.repeat(40)
        ));
        let mut machine = Machine::new();
        let out = machine.upload_f32(&vec![1.0; 8192]);
        let parameters = [Arg::U64(out)];
        let launch = Launch {
            kernel: "k",
            grid: [4, 1, 1],
            block: [256, 1, 1],
            parameters: &parameters,
            cooperative: true,
            ..Launch::default()
        };
        let start = Instant::now();
        let stats = machine.launch(&module, &launch).unwrap();
        let time = start.elapsed().as_secs_f64();
        println!("{what:>28}: {:6.1} ns for a warp", time * 1e9 / stats.instructions as f64);
    }
}
