//! Products in tiles of every shape, also of those that only larger products than tests have would be computed in.

use super::super::math::Math;
use super::super::product::{Shape, TILES, in_tiles};
use super::super::{Compiler, Ptx, Scope};
use super::gpu;
use crate::backend::suite::{fill, module};
use crate::kernel::{Form, Gemm, Item, Machine, Module, run};
use crate::plan::{Program, plan};
use crate::target::{Nvidia, Target};

/// The module's last item, in tiles of a shape, for this many CTAs.
fn compiled(program: &Program, shape: impl Fn(&Gemm) -> Shape, ctas: usize) -> Ptx {
    let Program { module, offsets, .. } = program;
    let Some(Item::Gemm(gemm)) = module.items.last() else { panic!("no product") };
    let mut scope = Scope::new(offsets);
    in_tiles(&mut scope, gemm, shape(gemm));
    let mut compiler = Compiler::new(program, Nvidia::SM_80);
    let launch = compiler.entry(&scope, "product", ctas, 0, None);
    compiler.finished(vec![], vec![launch])
}

/// One product of matrices whose rows are `beyond` elements longer than what is multiplied.
fn one(form: Form, math: Math, [m, n, k]: [usize; 3], beyond: [usize; 3], accumulate: bool) -> Module {
    let ([a_rows, a_columns], [b_rows, b_columns], name) = match form {
        Form::NN => ([m, k], [k, n], "nn"),
        Form::NT => ([m, k], [n, k], "nt"),
        Form::TN => ([k, m], [k, n], "tn"),
    };
    let strides = [a_columns + beyond[0], b_columns + beyond[1], n + beyond[2]];
    let precision = match math {
        Math::F32 => "",
        Math::Tf32 => " tf32",
        Math::Bf16 => " bf16",
    };
    let assign = if accumulate { "+=" } else { "=" };
    module(&format!(
        r#"module one {{
  buffer %0: f[{a_rows}, {}] input "a" carried start 0.0
  buffer %1: f[{b_rows}, {}] input "b" carried start 0.0
  buffer %2: f[{m}, {}] input "c" carried start 0.0
  gemm {name} {m}x{n}x{k}{precision}: %2 stride {} {assign} %0 stride {} @ %1 stride {}
}}
"#,
        strides[0], strides[1], strides[2], strides[2], strides[0], strides[1]
    ))
}

fn apart(expected: &[f64], found: &[f32]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let error = norm(&mut expected.iter().zip(found).map(|(a, &b)| a - f64::from(b)));
    error / norm(&mut expected.iter().copied())
}

#[test]
fn tiles_of_every_shape_give_the_same_bits() {
    for (math, tolerance) in [(Math::F32, 1e-6), (Math::Tf32, 1e-3), (Math::Bf16, 1e-6)] {
        for (number, form) in [Form::NN, Form::NT, Form::TN].into_iter().enumerate() {
            // Rows that begin at multiples of 4, 2 and 1 elements.
            for beyond in [[1, 3, 1], [3, 1, 3], [0, 0, 0]] {
                let module = one(form, math, [131, 133 - beyond[0], 51], beyond, number == 1);
                let program = plan(module, &Target::nvidia(Nvidia::SM_80));
                let mut before = Machine::<f32>::new(&program.module);
                fill(&mut before, &["a", "b", "c"]);
                let mut exact = Machine::<f64>::new(&program.module);
                for name in ["a", "b", "c"] {
                    let to = exact.get_mut(name).unwrap();
                    to.iter_mut().zip(before.get(name).unwrap()).for_each(|(to, &x)| *to = x.into());
                }
                run(&program.module, &mut exact, 0, 0).unwrap();
                let mut first: Option<Vec<f32>> = None;
                for (schedule, tile) in TILES.into_iter().enumerate() {
                    if math == Math::F32 && tile == [128, 128] {
                        continue;
                    }
                    let ptx = compiled(&program, |gemm| Shape::new(math, gemm.form, tile), 1 + schedule);
                    let mut machine = before.clone();
                    gpu::run(&program, &ptx, &mut machine, 0, 0..1, schedule as u64)
                        .unwrap_or_else(|fault| panic!("{form:?} {math:?} {tile:?} {beyond:?}: {fault}"));
                    let found = machine.get("c").unwrap();
                    let far = apart(exact.get("c").unwrap(), found);
                    assert!(far < tolerance, "{form:?} {math:?} {tile:?} {beyond:?}: {far}");
                    let first = first.get_or_insert_with(|| found.to_vec());
                    assert_eq!(first, found, "{form:?} {math:?} {tile:?} {beyond:?}: other bits");
                }
            }
        }
    }
}
