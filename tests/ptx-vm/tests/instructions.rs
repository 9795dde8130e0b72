//! Each instruction, against what the ISA says of it.

mod common;

use common::module;
use ptx_vm::{Arg, Fault, FaultKind, Launch, Machine};

/// Runs lines in a warp, and gives `%x` of each lane; `%l` is the lane's number.
fn lanes(body: &str) -> Result<Vec<u32>, Fault> {
    let module = module(&format!(
        ".visible .entry k(.param .u64 out)\n{{\n\
         .reg .b16 %h, %i; .reg .b32 %x, %a, %b, %c, %d, %l, %at;\n\
         .reg .b64 %X, %A, %B, %C, %out, %to; .reg .f32 %f; .reg .pred %p, %q, %s;\n\
         .shared .align 16 .b8 room[1024];\n\
         mov.u32 %l, %laneid;\n{body}\n\
         ld.param.u64 %out, [out];\n\
         mul.wide.u32 %to, %l, 4;\n\
         add.s64 %to, %to, %out;\n\
         st.global.b32 [%to], %x;\n\
         ret;\n}}"
    ));
    let mut machine = Machine::new();
    let out = machine.alloc(128);
    machine.launch(&module, &Launch { kernel: "k", parameters: &[Arg::U64(out)], ..Launch::default() })?;
    Ok(machine.read_u32(out, 32))
}

/// The one value that all lanes get.
fn word(body: &str) -> u32 {
    let all = lanes(body).unwrap_or_else(|fault| panic!("{fault}"));
    assert!(all.iter().all(|&x| x == all[0]), "{body}: {all:x?}");
    all[0]
}

/// The value of `%X`.
fn double(body: &str) -> u64 {
    let low = word(&format!("{body}\ncvt.u32.u64 %x, %X;"));
    let high = word(&format!("{body}\nshr.u64 %X, %X, 32; cvt.u32.u64 %x, %X;"));
    u64::from(high) << 32 | u64::from(low)
}

fn real(body: &str) -> f32 {
    f32::from_bits(word(body))
}

#[test]
fn integers_of_32_bits() {
    for (body, expected) in [
        ("add.u32 %x, 0xffffffff, 3;", 2),
        ("sub.s32 %x, 3, 5;", -2i32 as u32),
        ("mul.lo.u32 %x, 0x10001, 0x10001;", 0x20001),
        ("mul.hi.u32 %x, 0xffffffff, 0xffffffff;", 0xffff_fffe),
        ("mul.hi.s32 %x, -1, 5;", 0xffff_ffff),
        ("mad.lo.s32 %x, -3, 4, 5;", -7i32 as u32),
        ("mad.hi.u32 %x, 0x80000000, 6, 5;", 8),
        ("mad.hi.s32 %x, 0x80000000, 2, 5;", 4),
        ("div.u32 %x, 0xfffffffe, 2;", 0x7fff_ffff),
        ("div.s32 %x, -7, 2;", -3i32 as u32),
        ("rem.u32 %x, 17, 5;", 2),
        ("rem.s32 %x, -17, 5;", -2i32 as u32),
        ("min.u32 %x, 0xffffffff, 3;", 3),
        ("min.s32 %x, -1, 3;", -1i32 as u32),
        ("max.u32 %x, 0xffffffff, 3;", 0xffff_ffff),
        ("max.s32 %x, -1, 3;", 3),
        ("mov.b32 %a, -5; abs.s32 %x, %a;", 5),
        ("mov.b32 %a, 5; neg.s32 %x, %a;", -5i32 as u32),
        ("and.b32 %x, 0xff0, 0x0ff;", 0x0f0),
        ("or.b32 %x, 0xf00, 0x0ff;", 0xfff),
        ("xor.b32 %x, 0xff0, 0x0ff;", 0xf0f),
        ("not.b32 %x, 0xff;", 0xffff_ff00),
        ("shl.b32 %x, 3, 4;", 48),
        ("shl.b32 %x, 3, 32;", 0),
        ("shr.u32 %x, 0x80000000, 4;", 0x0800_0000),
        ("shr.b32 %x, 0x80000000, 40;", 0),
        ("shr.s32 %x, 0x80000000, 4;", 0xf800_0000),
        ("shr.s32 %x, 0x80000000, 40;", 0xffff_ffff),
        ("shf.l.wrap.b32 %x, 0x80000001, 0x2, 33;", 5),
        ("shf.l.clamp.b32 %x, 0x80000001, 0x2, 33;", 0x8000_0001),
        ("shf.r.wrap.b32 %x, 0x10, 0x3, 36;", 0x3000_0001),
        ("shf.r.clamp.b32 %x, 0x10, 0x3, 36;", 3),
        ("bfe.u32 %x, 0xabcd1234, 8, 12;", 0xd12),
        ("bfe.s32 %x, 0x00000f00, 8, 4;", 0xffff_ffff),
        ("bfe.s32 %x, 0x80000000, 28, 8;", 0xffff_fff8),
        ("bfe.u32 %x, 5, 3, 0;", 0),
        ("bfi.b32 %x, 0xff, 0x12345678, 8, 4;", 0x1234_5f78),
        ("bfi.b32 %x, 0xff, 0x12345678, 28, 8;", 0xf234_5678),
        ("prmt.b32 %x, 0x33221100, 0x77665544, 0x7250;", 0x7722_5500),
        ("prmt.b32 %x, 0x80112233, 0x44556677, 0xb3b8;", 0xff80_ff00),
        ("popc.b32 %x, 0xf0f0;", 8),
        ("clz.b32 %x, 0x00010000;", 15),
        ("brev.b32 %x, 0x3;", 0xc000_0000),
        ("lop3.b32 %x, 0xff00, 0xf0f0, 0xcccc, 0x96;", 0xff00 ^ 0xf0f0 ^ 0xcccc),
        // Rows of the table: a = f0, b = cc, c = aa; (a & !b) | (b & c).
        ("lop3.b32 %x, 0xff00, 0xf0f0, 0xcccc, 0xb8;", 0xff00 & !0xf0f0 | 0xf0f0 & 0xcccc),
    ] {
        assert_eq!(word(body), expected, "{body}");
    }
}

#[test]
fn integers_of_16_and_64_bits() {
    for (body, expected) in [
        ("mov.u16 %h, 0xffff; add.u16 %h, %h, 3; cvt.u32.u16 %x, %h;", 2),
        ("mov.s16 %h, -4; mul.wide.s16 %x, %h, 3;", -12i32 as u32),
        ("mov.s16 %h, -4; shr.s16 %h, %h, 1; cvt.s32.s16 %x, %h;", -2i32 as u32),
        ("mov.b16 %h, 0xff0f; and.b16 %h, %h, 0xf0f; cvt.u32.u16 %x, %h;", 0xf0f),
        ("mov.u16 %h, 300; mul.hi.u16 %h, %h, 300; cvt.u32.u16 %x, %h;", 1),
        ("mov.s16 %h, -3; mov.s16 %i, 2; mad.wide.s16 %x, %h, %i, 10;", 4),
        ("popc.b64 %x, 0xf000000000000001;", 5),
        ("clz.b64 %x, 0x1;", 63),
    ] {
        assert_eq!(word(body), expected, "{body}");
    }
    for (body, expected) in [
        ("add.s64 %X, 0xffffffff, 1;", 1 << 32),
        ("sub.s64 %X, 1, 2;", !0),
        ("mul.lo.s64 %X, 0x100000001, 3;", 0x3_0000_0003),
        ("mul.hi.u64 %X, 0x8000000000000000, 6;", 3),
        ("mul.wide.u32 %X, 0xffffffff, 2;", 0x1_ffff_fffe),
        ("mul.wide.s32 %X, -1, 2;", -2i64 as u64),
        ("mad.lo.s64 %X, 3, 4, -20;", -8i64 as u64),
        ("mad.wide.u32 %X, 0xffffffff, 2, 5;", 0x2_0000_0003),
        ("mad.wide.s32 %X, -3, 2, 5;", -1i64 as u64),
        ("div.s64 %X, -9, 2;", -4i64 as u64),
        ("rem.u64 %X, 0x100000003, 4;", 3),
        ("shl.b64 %X, 1, 40;", 1 << 40),
        ("shr.s64 %X, 0x8000000000000000, 63;", !0),
        ("bfe.u64 %X, 0x123456789abcdef0, 40, 16;", 0x3456),
        ("bfe.s64 %X, 0xf00, 8, 4;", !0),
        ("bfi.b64 %X, 0xff, 0, 60, 8;", 0xf << 60),
        ("min.s64 %X, -1, 1;", !0),
        ("max.u64 %X, -1, 1;", !0),
        ("mov.u64 %A, -7; abs.s64 %X, %A;", 7),
        ("xor.b64 %X, 0xff00000000000000, 0xf;", 0xff00_0000_0000_000f),
        ("mov.b32 %a, 0x12345678; mov.b32 %b, 0x9abcdef0; mov.b64 %X, {%a, %b};", 0x9abc_def0_1234_5678),
    ] {
        assert_eq!(double(body), expected, "{body}");
    }
    assert_eq!(word("mov.b64 %A, 0x9abcdef012345678; mov.b64 {%a, %x}, %A;"), 0x9abc_def0);
    assert_eq!(word("mov.b32 %a, 0x12345678; mov.b32 {%h, %i}, %a; mov.b32 %x, {%i, %h};"), 0x5678_1234);
    assert_eq!(word("mov.b32 %a, 0x12345678; mov.b32 {_, %i}, %a; cvt.u32.u16 %x, %i;"), 0x1234);
}

#[test]
fn reals_of_32_bits() {
    let tiny = f32::from_bits(1);
    for (body, expected) in [
        ("add.rn.f32 %x, 0f3F800000, 0f33800000;", 1.0),
        ("add.f32 %x, 0f3F800000, 0f40000000;", 3.0),
        ("sub.rn.f32 %x, 0f3F800000, 0f40000000;", -1.0),
        ("mul.rn.f32 %x, 0f3FC00000, 0f40000000;", 3.0),
        ("mul.f32 %x, 0f00000001, 0f3F800000;", tiny),
        ("mul.ftz.f32 %x, 0f00000001, 0f3F800000;", 0.0),
        ("add.sat.f32 %x, 0f3F800000, 0f40000000;", 1.0),
        ("add.sat.f32 %x, 0fBF800000, 0f00000000;", 0.0),
        (
            "fma.rn.f32 %x, 0f3F800001, 0f3F800001, 0fBF800002;",
            1.0f32.next_up().mul_add(1.0f32.next_up(), -(1.0 + 2.0 * f32::EPSILON)),
        ),
        ("div.rn.f32 %x, 0f3F800000, 0f40400000;", 1.0 / 3.0),
        ("sqrt.rn.f32 %x, 0f40000000;", std::f32::consts::SQRT_2),
        ("rcp.rn.f32 %x, 0f40400000;", 1.0 / 3.0),
        ("min.f32 %x, 0f3F800000, 0fBF800000;", -1.0),
        ("min.f32 %x, 0f7FC00000, 0f3F800000;", 1.0),
        ("max.f32 %x, 0f3F800000, 0f7FC00000;", 1.0),
        ("max.f32 %x, 0f3F800000, 0f40000000;", 2.0),
        ("neg.f32 %x, 0f3F800000;", -1.0),
        ("abs.f32 %x, 0fBF800000;", 1.0),
        ("copysign.f32 %x, 0fBF800000, 0f40000000;", -2.0),
        ("mov.f32 %x, 0f40490FDB;", std::f32::consts::PI),
        ("mov.f32 %x, 1.5;", 1.5),
    ] {
        assert_eq!(real(body).to_bits(), expected.to_bits(), "{body}: {}", real(body));
    }
    for body in [
        "min.NaN.f32 %x, 0f3F800000, 0f7FC00000;",
        "max.NaN.f32 %x, 0f7FC00001, 0f3F800000;",
        "add.f32 %x, 0f7F800000, 0fFF800000;",
        "sqrt.rn.f32 %x, 0fBF800000;",
    ] {
        assert_eq!(word(body), 0x7fff_ffff, "{body}");
    }
    assert_eq!(word("min.f32 %x, 0f00000000, 0f80000000;"), 0x8000_0000);
    assert_eq!(word("min.f32 %x, 0f80000000, 0f00000000;"), 0x8000_0000);
    assert_eq!(word("max.f32 %x, 0f80000000, 0f00000000;"), 0);
    assert_eq!(word("max.f32 %x, 0f00000000, 0f80000000;"), 0);
}

#[test]
fn reals_of_64_bits() {
    for (body, expected) in [
        ("add.rn.f64 %X, 0d3FF0000000000000, 0d4000000000000000;", 3.0),
        ("sub.f64 %X, 0d3FF0000000000000, 0d4000000000000000;", -1.0),
        ("mul.f64 %X, 0d4008000000000000, 0d4000000000000000;", 6.0),
        ("fma.rn.f64 %X, 0d4008000000000000, 0d4000000000000000, 0d3FF0000000000000;", 7.0),
        ("div.rn.f64 %X, 0d3FF0000000000000, 0d4008000000000000;", 1.0 / 3.0),
        ("sqrt.rn.f64 %X, 0d4000000000000000;", std::f64::consts::SQRT_2),
        ("rcp.rn.f64 %X, 0d4008000000000000;", 1.0 / 3.0),
        ("max.f64 %X, 0d4008000000000000, 0d3FF0000000000000;", 3.0),
        ("neg.f64 %X, 0d4008000000000000;", -3.0),
    ] {
        assert_eq!(f64::from_bits(double(body)), expected, "{body}");
    }
}

#[test]
fn approximations_are_near_and_not_exact() {
    type Case = (&'static str, fn(f64) -> f64, f64);
    let cases: [Case; 8] = [
        ("ex2.approx.f32", f64::exp2, 1.2e-7),
        ("lg2.approx.f32", f64::log2, 1.2e-7),
        ("rcp.approx.f32", |x| 1.0 / x, 1.2e-7),
        ("rsqrt.approx.f32", |x| 1.0 / x.sqrt(), 1.2e-7),
        ("sqrt.approx.f32", f64::sqrt, 1.2e-7),
        ("tanh.approx.f32", f64::tanh, 2f64.powi(-11)),
        ("sin.approx.f32", f64::sin, 1e-5),
        ("cos.approx.f32", f64::cos, 1e-5),
    ];
    for (name, exact, bound) in cases {
        let body =
            format!("cvt.rn.f32.u32 %f, %l; fma.rn.f32 %f, %f, 0f3DCCCCCD, 0f4019999A; {name} %x, %f;");
        let found = lanes(&body).unwrap();
        let mut differ = 0;
        for (lane, &bits) in found.iter().enumerate() {
            let x = (lane as f32).mul_add(0.1, 2.4);
            let (got, wanted) = (f32::from_bits(bits), exact(x.into()));
            assert!(
                (f64::from(got) - wanted).abs() <= bound * wanted.abs().max(1e-2),
                "{name} of {x}: {got}, {wanted}"
            );
            differ += i32::from(got != wanted as f32);
        }
        assert!(differ > 4, "{name} is exact");
    }
    assert_eq!(real("ex2.approx.ftz.f32 %x, 0f00000000;"), 1.0);
    assert_eq!(real("ex2.approx.f32 %x, 0fFF800000;"), 0.0);
    assert_eq!(real("rcp.approx.f32 %x, 0f00000000;"), f32::INFINITY);
    assert!((real("div.approx.f32 %x, 0f3F800000, 0f40400000;") - 1.0 / 3.0).abs() < 1e-7);
}

#[test]
fn comparisons_and_predicates() {
    let holds = |compare: &str| word(&format!("{compare} selp.u32 %x, 1, 0, %p;")) == 1;
    for (compare, expected) in [
        ("setp.eq.u32 %p, 3, 3;", true),
        ("setp.ne.b32 %p, 3, 3;", false),
        ("setp.lt.u32 %p, 0xffffffff, 3;", false),
        ("setp.lt.s32 %p, -1, 3;", true),
        ("setp.le.s32 %p, 3, 3;", true),
        ("setp.gt.s32 %p, 3, 3;", false),
        ("setp.ge.u64 %p, -1, 3;", true),
        ("setp.lo.u32 %p, 2, 3;", true),
        ("setp.hs.u32 %p, 2, 3;", false),
        ("mov.u16 %h, 9; setp.gt.u16 %p, %h, 8;", true),
        ("setp.lt.f32 %p, 0f3F800000, 0f40000000;", true),
        ("setp.eq.f32 %p, 0f7FC00000, 0f7FC00000;", false),
        ("setp.ne.f32 %p, 0f7FC00000, 0f3F800000;", false),
        ("setp.neu.f32 %p, 0f7FC00000, 0f3F800000;", true),
        ("setp.equ.f32 %p, 0f7FC00000, 0f3F800000;", true),
        ("setp.ltu.f32 %p, 0f7FC00000, 0f3F800000;", true),
        ("setp.ltu.f32 %p, 0f40000000, 0f3F800000;", false),
        ("setp.leu.f32 %p, 0f3F800000, 0f3F800000;", true),
        ("setp.gtu.f32 %p, 0f3F800000, 0f3F800000;", false),
        ("setp.geu.f32 %p, 0f7FC00000, 0f3F800000;", true),
        ("setp.num.f32 %p, 0f7FC00000, 0f3F800000;", false),
        ("setp.nan.f32 %p, 0f7FC00000, 0f3F800000;", true),
        ("setp.gt.f64 %p, 0d4000000000000000, 0d3FF0000000000000;", true),
        ("setp.eq.u32 %q, 1, 2; setp.lt.and.u32 %p, 1, 2, %q;", false),
        ("setp.eq.u32 %q, 1, 2; setp.lt.and.u32 %p, 1, 2, !%q;", true),
        ("setp.eq.u32 %q, 1, 1; setp.lt.or.u32 %p, 2, 2, %q;", true),
        ("setp.eq.u32 %q, 1, 1; setp.lt.xor.u32 %p, 1, 2, %q;", false),
        ("setp.eq.u32 %q, 1, 1; setp.eq.u32 %s, 1, 2; and.pred %p, %q, %s;", false),
        ("setp.eq.u32 %q, 1, 1; setp.eq.u32 %s, 1, 2; or.pred %p, %q, %s;", true),
        ("setp.eq.u32 %q, 1, 1; setp.eq.u32 %s, 1, 2; xor.pred %p, %q, %s;", true),
        ("setp.eq.u32 %q, 1, 1; not.pred %p, %q;", false),
        ("setp.eq.u32 %q, 1, 1; mov.pred %p, %q;", true),
        ("testp.finite.f32 %p, 0f7F800000;", false),
        ("testp.notanumber.f32 %p, 0f7FC00000;", true),
    ] {
        assert_eq!(holds(compare), expected, "{compare}");
    }
    assert_eq!(real("setp.eq.u32 %p, 1, 2; selp.f32 %x, 0f3F800000, 0f40000000, %p;"), 2.0);
    assert_eq!(double("setp.eq.u32 %p, 1, 1; selp.b64 %X, 7, 8, %p;"), 7);
}

#[test]
fn conversions() {
    for (body, expected) in [
        ("cvt.u32.u8 %x, 0x1ff;", 0xff),
        ("mov.b32 %a, 0x80; cvt.s32.s8 %x, %a;", 0xffff_ff80),
        ("mov.b32 %a, 0x1234ffff; cvt.s32.s16 %x, %a;", 0xffff_ffff),
        ("mov.b64 %A, 0x123456789; cvt.u32.u64 %x, %A;", 0x2345_6789),
        ("mov.b32 %a, 300; cvt.sat.u8.u32 %x, %a;", 255),
        ("cvt.rni.s32.f32 %x, 0f40200000;", 2),
        ("cvt.rzi.s32.f32 %x, 0fC0600000;", -3i32 as u32),
        ("cvt.rmi.s32.f32 %x, 0fC0600000;", -4i32 as u32),
        ("cvt.rpi.s32.f32 %x, 0f40200000;", 3),
        ("cvt.rzi.u32.f32 %x, 0fBF800000;", 0),
        ("cvt.rzi.s32.f32 %x, 0f7F800000;", i32::MAX as u32),
        ("cvt.rzi.s32.f32 %x, 0f7FC00000;", 0),
        ("cvt.rzi.u32.f32 %x, 0f4F800000;", u32::MAX),
        ("cvt.rn.f32.s32 %x, -3;", (-3f32).to_bits()),
        ("cvt.rn.f32.u32 %x, 0xffffffff;", 4294967296f32.to_bits()),
        ("mov.b64 %A, -5; cvt.rn.f32.s64 %x, %A;", (-5f32).to_bits()),
        ("mov.b64 %A, 0xffffffffffffffff; cvt.rn.f32.u64 %x, %A;", 18446744073709551616f32.to_bits()),
        ("cvt.rn.f32.f64 %x, 0d3FD5555555555555;", (1f32 / 3.0).to_bits()),
        ("cvt.rni.f32.f32 %x, 0f40200000;", 2f32.to_bits()),
        ("cvt.rmi.f32.f32 %x, 0fBF000000;", (-1f32).to_bits()),
        ("cvt.rna.tf32.f32 %x, 0f3F801000;", 0x3f80_2000),
        ("cvt.rn.bf16x2.f32 %x, 0f3F800000, 0f40490FDB;", 0x3f80_4049),
        ("cvt.rn.f16x2.f32 %x, 0f3F800000, 0f40490FDB;", 0x3c00_4248),
        ("cvt.rn.bf16.f32 %h, 0f40490FDB; mov.b32 %x, {%h, %h};", 0x4049_4049),
        ("cvt.rn.f16.f32 %h, 0f40490FDB; mov.b32 %x, {%h, %h};", 0x4248_4248),
        ("mov.b16 %h, 0x4049; cvt.f32.bf16 %x, %h;", 0x4049_0000),
        ("mov.b16 %h, 0x0001; cvt.f32.f16 %x, %h;", (2f32.powi(-24)).to_bits()),
    ] {
        assert_eq!(word(body), expected, "{body}: {:x}", word(body));
    }
    assert_eq!(double("cvt.u64.u32 %X, 0xffffffff;"), 0xffff_ffff);
    assert_eq!(double("cvt.s64.s32 %X, -2;"), -2i64 as u64);
    assert_eq!(double("cvt.f64.f32 %X, 0f3F800000;"), 1f64.to_bits());
    assert_eq!(double("cvt.rn.f64.s32 %X, -3;"), (-3f64).to_bits());
    assert_eq!(double("cvt.rzi.s64.f32 %X, 0fC0600000;"), -3i64 as u64);
}

#[test]
fn lanes_exchange_registers() {
    let full = "0xffffffff";
    let found = |line: &str| lanes(&format!("add.u32 %a, %l, 100; {line}")).unwrap();
    let expect =
        |line: &str, f: fn(u32) -> u32| assert_eq!(found(line), (0..32).map(f).collect::<Vec<_>>(), "{line}");
    expect(&format!("shfl.sync.bfly.b32 %x, %a, 5, 31, {full};"), |l| 100 + (l ^ 5));
    expect(&format!("shfl.sync.idx.b32 %x, %a, 7, 31, {full};"), |_| 107);
    expect(&format!("shfl.sync.up.b32 %x, %a, 3, 0, {full};"), |l| if l < 3 { 100 + l } else { 97 + l });
    expect(&format!("shfl.sync.down.b32 %x, %a, 3, 31, {full};"), |l| if l > 28 { 100 + l } else { 103 + l });
    // Segments of 8 lanes.
    expect(&format!("shfl.sync.idx.b32 %x, %a, 2, 0x181f, {full};"), |l| 102 + (l & 24));
    expect(&format!("shfl.sync.down.b32 %x, %a, 3, 0x181f, {full};"), |l| {
        if l % 8 < 5 { 103 + l } else { 100 + l }
    });
    expect(&format!("shfl.sync.down.b32 %b|%p, %a, 3, 31, {full}; selp.u32 %x, 1, 0, %p;"), |l| {
        (l <= 28).into()
    });
    expect(&format!("shfl.sync.up.b32 %b|%p, %a, 3, 0, {full}; selp.u32 %x, 1, 0, %p;"), |l| (l >= 3).into());
    let odd = "and.b32 %b, %l, 1; setp.eq.u32 %p, %b, 1;";
    expect(&format!("{odd} vote.sync.ballot.b32 %x, %p, {full};"), |_| 0xaaaa_aaaa);
    expect(&format!("{odd} vote.sync.ballot.b32 %x, !%p, {full};"), |_| 0x5555_5555);
    expect(&format!("{odd} vote.sync.any.pred %q, %p, {full}; selp.u32 %x, 1, 0, %q;"), |_| 1);
    expect(&format!("{odd} vote.sync.all.pred %q, %p, {full}; selp.u32 %x, 1, 0, %q;"), |_| 0);
    expect(&format!("{odd} vote.sync.uni.pred %q, %p, {full}; selp.u32 %x, 1, 0, %q;"), |_| 0);
    expect(&format!("redux.sync.add.u32 %x, %a, {full};"), |_| 32 * 100 + 31 * 16);
    expect(&format!("sub.s32 %a, %l, 5; redux.sync.min.s32 %x, %a, {full};"), |_| -5i32 as u32);
    expect(&format!("sub.s32 %a, %l, 5; redux.sync.max.u32 %x, %a, {full};"), |_| u32::MAX);
    expect(&format!("redux.sync.or.b32 %x, %l, {full};"), |_| 31);
    expect(&format!("redux.sync.and.b32 %x, %a, {full};"), |_| (100..132).fold(!0, |a, b| a & b));
    expect(&format!("redux.sync.xor.b32 %x, %l, {full};"), |_| 0);
    expect("mov.u32 %x, %lanemask_lt;", |l| (1 << l) - 1);
    expect("mov.u32 %x, %lanemask_ge;", |l| !0 << l);
    // Lanes that have parted have masks of their own.
    let parted = "setp.lt.u32 %p, %l, 8; mov.u32 %x, 0; @!%p bra far; activemask.b32 %x; \
                  shfl.sync.idx.b32 %x, %x, 0, 31, 0xff; far:";
    expect(parted, |l| if l < 8 { 0xff } else { 0 });
}

#[test]
fn lanes_that_are_missing_are_found() {
    let kind = |body: &str| lanes(body).unwrap_err().kind;
    let part = "setp.lt.u32 %p, %l, 8; mov.u32 %x, 0;";
    for body in [
        "@%p shfl.sync.bfly.b32 %x, %l, 1, 31, 0xffffffff;",
        "@%p vote.sync.any.pred %q, %p, 0xffffffff;",
        "@%p redux.sync.add.u32 %x, %l, 0xffff;",
        "@%p bar.warp.sync 0xffffffff;",
        "shfl.sync.bfly.b32 %x, %l, 1, 31, 0xff;",
        "@%p shfl.sync.idx.b32 %x, %l, 9, 31, 0xff;",
        "@%p bar.sync 0;",
        "@%p ret; bar.sync 0;",
    ] {
        assert_eq!(kind(&format!("{part} {body}")), FaultKind::MissingLanes, "{body}");
    }
}

#[test]
fn lanes_part_and_meet() {
    // Each lane counts down from its number; all meet after the loop.
    let body = "mov.u32 %x, 0; mov.u32 %a, %l;\n\
                again: setp.eq.u32 %p, %a, 0; @%p bra done;\n\
                add.u32 %x, %x, %a; sub.u32 %a, %a, 1; bra again;\n\
                done: activemask.b32 %b; setp.ne.u32 %q, %b, 0xffffffff; @%q trap;";
    let expected: Vec<u32> = (0..32).map(|l| l * (l + 1) / 2).collect();
    assert_eq!(lanes(body).unwrap(), expected);
    // Both arms of a choice, which meet.
    let body = "and.b32 %a, %l, 1; setp.eq.u32 %p, %a, 1; @%p bra odd; mov.u32 %x, 10; bra.uni meet;\n\
                odd: mov.u32 %x, 20;\n\
                meet: shfl.sync.bfly.b32 %x, %x, 1, 31, 0xffffffff;";
    assert_eq!(lanes(body).unwrap()[..2], [20, 10]);
    assert_eq!(lanes("trap; mov.u32 %x, 0;").unwrap_err().kind, FaultKind::Trap);
}

#[test]
fn scopes_have_their_own_names() {
    let body = "mov.u32 %x, 1; { .reg .b32 %x; mov.u32 %x, 5; bra inner; inner: { .reg .b32 %y<3>; mov.u32 %y2, %x; } } \
                { bra inner; trap; inner: }";
    assert_eq!(word(body), 1);
}

#[test]
fn shared_memory_and_its_widths() {
    let own = "mov.u32 %a, room; shl.b32 %b, %l, 4; add.u32 %a, %a, %b;";
    for (body, expected) in [
        ("st.shared.u8 [%a+3], 0x1ff; ld.shared.u8 %x, [%a+3];", 0xff),
        ("st.shared.u8 [%a+3], 0x80; ld.shared.s8 %x, [%a+3];", 0xffff_ff80),
        ("st.shared.u16 [%a+2], 0x8001; ld.shared.s16 %x, [%a+2];", 0xffff_8001),
        ("st.shared.v2.b32 [%a], {5, 7}; ld.shared.v2.b32 {%c, %x}, [%a];", 7),
        ("st.shared.v4.b32 [%a], {5, 7, 8, 9}; ld.shared.b32 %x, [%a+12];", 9),
        ("mov.b64 %A, 0x500000007; st.shared.b64 [%a+8], %A; ld.shared.b32 %x, [%a+12];", 5),
        ("st.volatile.shared.b32 [%a], 3; ld.volatile.shared.b32 %x, [%a];", 3),
        ("st.shared.b32 [%a], 3; atom.shared.add.u32 %b, [%a], 4; ld.shared.b32 %x, [%a];", 7),
        ("st.shared.b32 [%a], 3; atom.shared.exch.b32 %x, [%a], 4;", 3),
        ("st.shared.b32 [%a], 3; atom.shared.cas.b32 %b, [%a], 3, 9; ld.shared.b32 %x, [%a];", 9),
        ("st.shared.b32 [%a], 3; atom.shared.cas.b32 %b, [%a], 4, 9; ld.shared.b32 %x, [%a];", 3),
        ("st.shared.b32 [%a], -3; atom.shared.min.s32 %b, [%a], 9; ld.shared.b32 %x, [%a];", -3i32 as u32),
        ("st.shared.b32 [%a], -3; atom.shared.min.u32 %b, [%a], 9; ld.shared.b32 %x, [%a];", 9),
        ("st.shared.b32 [%a], -3; red.shared.max.s32 [%a], 9; ld.shared.b32 %x, [%a];", 9),
        ("st.shared.b32 [%a], 3; red.shared.or.b32 [%a], 4; ld.shared.b32 %x, [%a];", 7),
        ("st.shared.b32 [%a], 7; red.shared.and.b32 [%a], 12; ld.shared.b32 %x, [%a];", 4),
        ("st.shared.b32 [%a], 7; red.shared.xor.b32 [%a], 12; ld.shared.b32 %x, [%a];", 11),
        ("st.shared.b32 [%a], 7; red.shared.inc.u32 [%a], 7; ld.shared.b32 %x, [%a];", 0),
        ("mov.b64 %A, 1; st.shared.b64 [%a], %A; red.shared.add.u64 [%a], -2; ld.shared.b32 %x, [%a+4];", !0),
    ] {
        assert_eq!(word(&format!("{own} {body}")), expected, "{body}");
    }
}

#[test]
fn memory_is_checked() {
    let own = "mov.u32 %x, 0; mov.u32 %a, room; shl.b32 %b, %l, 4; add.u32 %a, %a, %b;";
    for (body, expected) in [
        ("ld.shared.b32 %x, [%a];", FaultKind::UninitialisedMemory),
        ("st.shared.u16 [%a], 1; ld.shared.b32 %x, [%a];", FaultKind::UninitialisedMemory),
        ("st.shared.b32 [%a+2], 1;", FaultKind::Misaligned),
        ("st.shared.v4.b32 [%a+4], {1, 2, 3, 4};", FaultKind::Misaligned),
        ("st.shared.b32 [%a+1024], 1;", FaultKind::OutOfBounds),
        ("st.shared.b32 [room+-4], 1;", FaultKind::OutOfBounds),
        ("add.u32 %x, %x, %c;", FaultKind::UninitialisedRegister),
        ("@%p add.u32 %x, %x, 1;", FaultKind::UninitialisedRegister),
        ("setp.eq.u32 %p, %l, 3; @%p mov.u32 %c, 1; mov.u32 %x, %c;", FaultKind::UninitialisedRegister),
        (
            "ld.param.u64 %out, [out]; add.s64 %out, %out, 128; st.global.b32 [%out], 1;",
            FaultKind::OutOfBounds,
        ),
        ("ld.param.u64 %out, [out]; ld.global.b32 %x, [%out];", FaultKind::UninitialisedMemory),
        ("ld.param.u64 %out, [out]; red.global.add.f32 [%out], 0f3F800000;", FaultKind::FloatAtomic),
        (
            "shr.u32 %c, %l, 1; shl.b32 %c, %c, 2; add.u32 %c, %c, 0x400; st.shared.b32 [%c], %l;",
            FaultKind::Race,
        ),
        ("st.shared.b32 [%a], 1; xor.b32 %c, %a, 16; ld.shared.b32 %x, [%c];", FaultKind::Race),
        (
            "ld.param.u64 %out, [out]; mad.wide.u32 %to, %l, 4, %out; st.global.b32 [%to], 1; ld.global.nc.b32 %x, [%to]; ret;",
            FaultKind::Race,
        ),
    ] {
        let fault = lanes(&format!("{own} {body}")).unwrap_err();
        assert_eq!(fault.kind, expected, "{body}: {fault}");
    }
    let fine = "st.shared.b32 [%a], 1; xor.b32 %c, %a, 16; bar.warp.sync 0xffffffff; ld.shared.b32 %x, [%c];";
    assert_eq!(word(&format!("{own} {fine}")), 1);
    // Lanes that write the same by one instruction.
    assert_eq!(word("mov.u32 %x, 4; st.shared.b32 [room], %x;"), 4);
}

#[test]
fn matrices_are_loaded_by_rows() {
    // Row r of matrix m has elements 64 m + 8 r + c.
    let fill = "mov.u32 %a, room; shl.b32 %b, %l, 4; add.u32 %a, %a, %b; shl.b32 %c, %l, 3;\n\
                { .reg .b32 %v<4>;\n\
                mad.lo.u32 %v0, %c, 0x10001, 0x10000; add.u32 %v1, %v0, 0x20002; add.u32 %v2, %v1, 0x20002;\n\
                add.u32 %v3, %v2, 0x20002; st.shared.v4.b32 [%a], {%v0, %v1, %v2, %v3}; }\n\
                bar.warp.sync 0xffffffff;";
    let pair = |low: u32, high: u32| high << 16 | low;
    let x = |line: &str| lanes(&format!("{fill} {line}")).unwrap();
    let rows = x("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%b, %c, %d, %x}, [%a];");
    for (lane, &word) in rows.iter().enumerate() {
        let (row, column) = (lane as u32 / 4, 2 * (lane as u32 % 4));
        assert_eq!(word, pair(192 + 8 * row + column, 192 + 8 * row + column + 1));
    }
    let columns = x("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%b, %x}, [%a];");
    for (lane, &word) in columns.iter().enumerate() {
        let (column, row) = (lane as u32 / 4, 2 * (lane as u32 % 4));
        assert_eq!(word, pair(64 + 8 * row + column, 64 + 8 * row + 8 + column));
    }
    let one = x("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%x}, [%a];");
    assert_eq!(one[5], pair(8 + 2, 8 + 3));
    let fault =
        lanes(&format!("{fill} add.u32 %a, %a, 8; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%x}}, [%a];"));
    assert_eq!(fault.unwrap_err().kind, FaultKind::Misaligned);
}

#[test]
fn copies_come_with_their_group_and_zeros_where_less_is_taken() {
    // Each lane copies 16 bytes of what lane l has written as 4 l and the next, and takes the first of them back.
    let begin = "ld.param.u64 %out, [out]; shr.u32 %c, %l, 2; mul.wide.u32 %X, %c, 16; add.s64 %to, %out, %X;\n\
                 mul.wide.u32 %X, %l, 4; add.s64 %A, %out, %X; st.global.b32 [%A], %l; bar.warp.sync 0xffffffff;\n\
                 mov.u32 %a, room; shl.b32 %b, %l, 4; add.u32 %a, %a, %b;";
    let x = |line: &str| lanes(&format!("{begin} {line} bar.warp.sync 0xffffffff;"));
    let all = "cp.async.wait_all;";
    for (taken, there) in [(16, 4), (12, 3), (4, 1), (0, 0)] {
        for word in 0..4 {
            let copy = format!("mov.u32 %d, {taken}; cp.async.cg.shared.global [%a], [%to], 16, %d;");
            let found = x(&format!("{copy} {all} ld.shared.b32 %x, [%a+{}];", 4 * word)).unwrap();
            for (lane, found) in found.into_iter().enumerate() {
                let expected = if word < there { lane as u32 / 4 * 4 + word } else { 0 };
                assert_eq!(found, expected, "word {word} of {taken} bytes, lane {lane}");
            }
        }
    }
    // Of 4 and 8 bytes; where nothing is taken the address may be any.
    let four = "cp.async.ca.shared.global [%a], [%A], 4; cp.async.ca.shared.global [%a+8], [%to], 8;";
    let found =
        x(&format!("{four} {all} ld.shared.b32 %b, [%a]; ld.shared.b32 %c, [%a+12]; sub.u32 %x, %b, %c;"));
    assert_eq!(found.unwrap()[6], 6 - 5);
    let nowhere = "mov.u32 %d, 0; mov.u64 %A, 3; cp.async.cg.shared.global [%a], [%A], 16, %d;";
    assert_eq!(x(&format!("{nowhere} {all} ld.shared.b32 %x, [%a+4];")).unwrap()[9], 0);
    // A group that is waited for has come, and one after it has not; what is in no group waits for all.
    let group = |at: u32| format!("cp.async.cg.shared.global [%a+{at}], [%to], 16;");
    let two = format!("{} cp.async.commit_group; {} cp.async.commit_group;", group(0), group(512));
    let read = "ld.shared.b32 %x, [room];";
    for (wait, fails) in [("wait_group 1", false), ("wait_group 2", true), ("wait_all", false)] {
        let result = x(&format!("{two} cp.async.{wait}; bar.warp.sync 0xffffffff; {read}"));
        assert_eq!(
            result.as_ref().err().map(|fault| fault.kind),
            fails.then_some(FaultKind::UninitialisedMemory),
            "{wait}"
        );
    }
    let loose = format!("{} cp.async.wait_group 0;", group(0));
    assert_eq!(x(&format!("{loose} {read}")).unwrap_err().kind, FaultKind::UninitialisedMemory);
    for (body, expected) in [
        ("mov.u32 %d, 20; cp.async.cg.shared.global [%a], [%to], 16, %d;", FaultKind::Undefined),
        ("add.s64 %to, %to, 4; cp.async.cg.shared.global [%a], [%to], 16;", FaultKind::Misaligned),
        ("add.u32 %a, %a, 4; cp.async.cg.shared.global [%a], [%to], 16;", FaultKind::Misaligned),
        ("add.s64 %to, %to, 128; cp.async.cg.shared.global [%a], [%to], 16;", FaultKind::OutOfBounds),
        (
            "cp.async.cg.shared.global [%a], [%to], 16; ld.shared.b32 %x, [%a];",
            FaultKind::UninitialisedMemory,
        ),
        ("cp.async.cg.shared.global [%a], [%to], 16; st.shared.b32 [%a], 1;", FaultKind::Race),
    ] {
        assert_eq!(x(body).unwrap_err().kind, expected, "{body}");
    }
}

#[test]
fn what_is_not_known_is_refused_by_line() {
    let parse = |body: &str| {
        let text =
            common::text(&format!(".visible .entry k()\n{{\n.reg .b32 %a; .reg .b64 %A;\n{body}\nret;\n}}"));
        ptx_vm::Module::parse(&text).unwrap_err()
    };
    for (body, words) in [
        ("add.rz.f32 %a, %a, %a;", "add.rz.f32"),
        ("wgmma.fence.sync.aligned;", "wgmma"),
        ("add.u32 %a, %b, 1;", "no register `%b`"),
        ("add.u64 %A, %A, %a;", "32 bits where 64"),
        ("bra nowhere;", "nowhere"),
        ("ld.b32 %a, [%A];", "generic"),
        ("ld.acquire.global.b32 %a, [%A];", "scope"),
        ("mov.u32 %a, %clock;", "%clock"),
        ("st.global.b32 [%a], %a;", "32 bits"),
        (
            "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%a,%a,%a,%a}, {%a,%a}, {%a}, {%a,%a,%a,%a};",
            "mma",
        ),
        (".local .b32 x;", ".local"),
    ] {
        let error = parse(body);
        assert_eq!(error.line, 7, "{body}: {error}");
        assert!(error.message.contains(words), "{body}: {error}");
    }
}
