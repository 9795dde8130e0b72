//! Which launches a library may take the place of, and that what it is told of them is what their kernels do.

use super::super::{Placed, Product, compile};
use super::gpu;
use crate::backend::suite::{fill, module};
use crate::kernel::{Form, Machine, Module, Precision};
use crate::plan::{Verified, plan};
use crate::target::{LibraryProducts, Nvidia, Target};

/// A GPU whose library multiplies faster, whatever it is.
fn target(min_work: u64, alignment: usize) -> Target {
    Target { library: Some(LibraryProducts { min_work, alignment }), ..Target::nvidia(Nvidia::SM_80) }
}

fn planned(module: Module, target: &Target) -> Verified {
    Verified::new(plan(module, target)).unwrap()
}

/// The products that launches are described by, in order.
fn described(module: &Module, target: &Target) -> Vec<Product> {
    compile(&planned(module.clone(), target)).step.iter().filter_map(|launch| launch.product).collect()
}

/// How many products a module of this one item, between matrices with rows of 64, is described by.
fn count(item: &str, target: &Target) -> usize {
    let text = format!(
        r#"module one {{
  buffer %0: f[64, 64] input "a" carried start 0.0
  buffer %1: f[64, 64] input "b" carried start 0.0
  buffer %2: f[256, 64] input "c" carried start 0.0
  buffer %3: id[12] input "tokens" tokens
  buffer %4: id[] temp "count"
  buffer %5: id[12] temp "places"
  buffer %6: id[12] temp "distinct"
  distinct %5 %6 %4: %3 count 12 rows 50
  {item}
}}
"#
    );
    described(&module(&text), target).len()
}

#[test]
fn what_is_more_than_a_product_is_not_described() {
    let target = target(0, 4);
    let operands = "%0 stride 64 @ %1 stride 64";
    for form in ["nn", "nt", "tn"] {
        assert_eq!(count(&format!("gemm {form} 20x30x40 tf32: %2 stride 64 = {operands}"), &target), 1);
        assert_eq!(count(&format!("gemm {form} 20x30x40 bf16: %2 stride 64 += {operands}"), &target), 1);
        for item in [
            format!("gemm {form} 20x30x40: %2 stride 64 = {operands}"),
            format!("gemm {form} 20x30x40 tf32 parts 2: %2 stride 64 = {operands}"),
            format!("gemm {form} 20x30x40 tf32: %2 stride 64 = {operands} prefix %4"),
            format!("loop t0 in 3 {{\n gemm {form} 20x30x40 tf32: %2 stride 64 = {operands}\n}}"),
        ] {
            assert_eq!(count(&item, &target), 0, "{item}");
        }
    }
}

#[test]
fn what_a_library_is_not_faster_at_is_not_described() {
    let aligned = "gemm nn 20x30x40 tf32: %2 stride 64 = %0 stride 64 @ %1 stride 64";
    assert_eq!(count(aligned, &target(2 * 20 * 30 * 40, 16)), 1);
    assert_eq!(count(aligned, &target(2 * 20 * 30 * 40 + 1, 16)), 0);
    assert_eq!(count(aligned, &Target { library: None, ..target(0, 4) }), 0);
    for item in [
        aligned.replace("%0 stride 64", "%0 stride 63"),
        aligned.replace("%1 stride 64", "%1 stride 62"),
        aligned.replace("%2 stride 64", "%2 stride 61"),
        aligned.replace("%0 ", "%0 + 1 "),
        aligned.replace("%1 ", "%1 + 2 "),
        aligned.replace("%2 ", "%2 + 3 "),
    ] {
        assert_eq!(count(&item, &target(0, 16)), 0, "{item}");
        assert_eq!(count(&item, &target(0, 4)), 1, "{item}");
    }
}

#[test]
fn gpus_without_faster_instructions_have_no_library() {
    let has = |sm| Target::nvidia(Nvidia { sm, multiprocessors: 100 }).library.is_some();
    assert_eq!([80, 86, 89, 90, 100, 103, 120].map(has), [false, false, false, true, true, true, false]);
}

/// What the kernel multiplies.
fn rounded(precision: Precision, x: f32) -> f64 {
    let bits = x.to_bits();
    let bits = match precision {
        Precision::F32 | Precision::Bf16x3 | Precision::Bf16x6 => bits,
        Precision::Tf32 => (bits + 0x1000) & !0x1fff,
        Precision::Bf16 => (bits + 0x7fff + (bits >> 16 & 1)) & !0xffff,
    };
    f32::from_bits(bits).into()
}

/// What a product leaves in the words of an arena.
fn multiplied(product: &Product, arena: &[f32]) -> Vec<f64> {
    let at = |place: &Placed, row: usize, column: usize| {
        assert!(row < place.rows && column < place.columns && place.columns <= place.stride);
        place.offset / 4 + row * place.stride + column
    };
    let mut left: Vec<f64> = arena.iter().map(|&x| x.into()).collect();
    for (row, column) in (0..product.m).flat_map(|row| (0..product.n).map(move |column| (row, column))) {
        let one = |depth: usize| {
            let a = if product.form == Form::TN { [depth, row] } else { [row, depth] };
            let b = if product.form == Form::NT { [column, depth] } else { [depth, column] };
            let [a, b] = [at(&product.a, a[0], a[1]), at(&product.b, b[0], b[1])];
            rounded(product.precision, arena[a]) * rounded(product.precision, arena[b])
        };
        let sum: f64 = (0..product.k).map(one).sum();
        let to = at(&product.c, row, column);
        left[to] = if product.accumulate { left[to] + sum } else { sum };
    }
    left
}

/// A product, of matrices that begin inside their buffers and have longer rows than are multiplied.
fn one(form: &str, precision: &str, [m, n, k]: [usize; 3], assign: &str) -> Module {
    let ([a, rows_of_a], [b, rows_of_b]) = match form {
        "nn" => ([k, m], [n, k]),
        "nt" => ([k, m], [k, n]),
        _ => ([m, k], [n, k]),
    };
    let (a, b, c) = (a + 3, b + 1, n + 2);
    module(&format!(
        r#"module one {{
  buffer %0: f[{}] input "a" carried start 0.0
  buffer %1: f[{}] input "b" carried start 0.0
  buffer %2: f[{}] input "c" carried start 0.0
  gemm {form} {m}x{n}x{k} {precision}: %2 + 7 stride {c} {assign} %0 + 2 stride {a} @ %1 + 5 stride {b}
}}
"#,
        2 + rows_of_a * a,
        5 + rows_of_b * b,
        7 + m * c,
    ))
}

#[test]
fn kernels_do_what_is_described() {
    for form in ["nn", "nt", "tn"] {
        for (precision, assign) in [("tf32", "="), ("tf32", "+="), ("bf16", "="), ("bf16", "+=")] {
            let target = target(0, 4);
            let program = planned(one(form, precision, [34, 21, 40], assign), &target);
            let ptx = compile(&program);
            let [launch] = &ptx.step[..] else { panic!("more than a launch") };
            let product = launch.product.expect("a description");
            let mut machine = Machine::<f32>::new(&program.module);
            fill(&mut machine, &["a", "b", "c"]);
            let mut arena = vec![0.0; program.arena_bytes / 4];
            let starts = program.offsets.iter().map(|offset| offset / 4);
            for (name, start) in ["a", "b", "c"].into_iter().zip(starts.clone()) {
                let values = machine.get(name).unwrap();
                arena[start..start + values.len()].copy_from_slice(values);
            }
            let expected = multiplied(&product, &arena);
            gpu::run(&program, &ptx, &mut machine, 0, 0..1, 1).unwrap();
            for (name, start) in ["a", "b", "c"].into_iter().zip(starts) {
                for (index, &found) in machine.get(name).unwrap().iter().enumerate() {
                    let expected = expected[start + index];
                    let far = (f64::from(found) - expected).abs();
                    assert!(
                        far < 1e-5,
                        "{form} {precision} {assign} {name}[{index}]: {found}, not {expected}"
                    );
                }
            }
        }
    }
}
