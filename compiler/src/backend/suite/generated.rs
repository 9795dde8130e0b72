//! Random small kernels of exact operations: a back end and the interpreter agree on every bit.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::Executor;
use crate::kernel::{Machine, Module, parse, run, verify};
use crate::scalar::Scalar;

/// Operations that round as IEEE 754 says, or not at all.
const EXACT: [Scalar; 17] = [
    Scalar::Neg,
    Scalar::Abs,
    Scalar::Sqrt,
    Scalar::Add,
    Scalar::Sub,
    Scalar::Mul,
    Scalar::Div,
    Scalar::Max,
    Scalar::Min,
    Scalar::Lt,
    Scalar::Le,
    Scalar::Gt,
    Scalar::Ge,
    Scalar::Eq,
    Scalar::Ne,
    Scalar::Select,
    Scalar::Mul,
];

/// One operation: which, and which of the variables so far are its operands.
type Operation = (usize, [usize; 3]);

#[derive(Clone, Debug)]
struct Recipe {
    rows: usize,
    columns: usize,
    vector: bool,
    by_column: bool,
    inner: Vec<Operation>,
    outer: Vec<Operation>,
    values: Vec<f32>,
    ids: Vec<u32>,
}

fn recipes() -> impl Strategy<Value = Recipe> {
    let operations = || prop::collection::vec((0..EXACT.len(), prop::array::uniform3(0..100usize)), 1..8);
    let value = prop_oneof![
        6 => -4.0f32..4.0,
        1 => prop::sample::select(vec![0.0, -0.0, 1e-41, f32::NAN, f32::INFINITY, -1e38]),
    ];
    let sizes = (1..6usize, 1..150usize, any::<bool>(), any::<bool>());
    (sizes, operations(), operations(), prop::collection::vec(value, 300), prop::collection::vec(0..5u32, 8))
        .prop_map(|((rows, columns, vector, by_column), inner, outer, values, ids)| Recipe {
            rows,
            columns,
            vector,
            by_column,
            inner,
            outer,
            values,
            ids,
        })
}

/// The kernel's text while its variables are counted.
struct Writer {
    text: String,
    next: usize,
}

impl Writer {
    fn define(&mut self, expr: &str) -> usize {
        let var = self.next;
        self.next += 1;
        self.text.push_str(&format!("v{var} = {expr}\n"));
        var
    }

    /// Adds operations on the variables in `reals`, and their results to it.
    fn operations(&mut self, operations: &[Operation], reals: &mut Vec<usize>) {
        for &(op, picks) in operations {
            let op = EXACT[op];
            let args = picks[..op.arity()].iter().map(|pick| format!(" v{}", reals[pick % reals.len()]));
            let expr = format!("{op}{}", args.collect::<String>());
            let var = self.define(&expr);
            reals.push(var);
        }
    }
}

/// A kernel over rows or over columns: loads, operations, a fold of the inner axis, operations, stores.
fn write(recipe: &Recipe) -> Module {
    let Recipe { rows, columns, vector, by_column, .. } = recipe;
    let vector = |here: bool| if *vector && here { " vector" } else { "" };
    let (outer, inner, extent) = if *by_column { (1, 0, columns) } else { (0, 1, rows) };
    let mut w = Writer { text: String::new(), next: 0 };
    w.text.push_str(&format!("for a{outer} parallel{} {{\n", vector(*by_column)));
    let line = w.define(&format!("load %{} + 1*a{outer}", 1 + outer));
    let position = w.define(&format!("position a{outer}"));
    let id = w.define(&format!("load_id %3 + {}*a0", usize::from(!by_column)).replace(" + 0*a0", ""));
    let number = w.define(&format!("number v{id}"));
    let mut reals = vec![line, position, number];
    let fold = w.next;
    w.next += 2;
    let head = w.text.len();
    let outside = reals.clone();
    let cell = w.define(&format!("load %0 + {columns}*a0 + 1*a1"));
    let row = w.define(&format!("load %4 + {columns}*v{id} + 1*a1"));
    let random = w.define(&format!("random 3 + 5 + {columns}*a0 + 1*a1"));
    let here = w.define(&format!("position a{inner}"));
    reals.extend([cell, row, random, here]);
    w.operations(&recipe.inner, &mut reals);
    let last = reals[reals.len() - 1];
    w.text.push_str(&format!("store %5 + {columns}*a0 + 1*a1 = v{last}\n"));
    // Sums of truths are exact in any order; of zeros of either sign, the maximum keeps the same one.
    let truth = w.define(&format!("lt v{last} v{cell}"));
    let size = w.define(&format!("abs v{last}"));
    w.text.push_str("}\n");
    let sum = format!("fold v{fold} = sum v{truth}, v{} = max v{size}", fold + 1);
    w.text.insert_str(head, &format!("for a{inner}{} {sum} {{\n", vector(!by_column)));
    let mut reals = outside;
    reals.extend([fold, fold + 1]);
    w.operations(&recipe.outer, &mut reals);
    let last = reals[reals.len() - 1];
    w.text.push_str(&format!("store %6 + 1*a{outer} = v{last}\n}}\n"));
    let text = format!(
        r#"module generated {{
  buffer %0: f[{rows}, {columns}] input "x" carried start 0.0
  buffer %1: f[{rows}] input "left" carried start 0.0
  buffer %2: f[{columns}] input "top" carried start 0.0
  buffer %3: id[{rows}] input "ids" tokens
  buffer %4: f[5, {columns}] input "table" carried start 0.0
  buffer %5: f[{rows}, {columns}] temp "y"
  buffer %6: f[{extent}] temp "z"
  kernel "generated" axes {rows} {columns} {{
{}  }}
}}
"#,
        w.text
    );
    let module = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    verify(&module).unwrap_or_else(|error| panic!("{error}\n{text}"));
    module
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Kernels to try.
const CASES: u32 = 96;

pub fn random_kernels_agree_with_the_interpreter(ways: &[&dyn Executor]) {
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let agrees = TestRunner::new(config).run(&recipes(), |recipe| {
        let module = write(&recipe);
        prop_assert_eq!(&parse(&module.to_string()).unwrap(), &module);
        let mut machine = Machine::<f32>::new(&module);
        for name in ["x", "left", "top", "table"] {
            let to = machine.get_mut(name).unwrap();
            to.iter_mut().zip(recipe.values.iter().cycle()).for_each(|(to, &value)| *to = value);
        }
        let ids = machine.ids_mut("ids").unwrap();
        ids.iter_mut().zip(&recipe.ids).for_each(|(to, &id)| *to = id);
        let mut expected = machine.clone();
        run(&module, &mut expected, 4, 9).unwrap();
        for way in ways {
            let mut actual = machine.clone();
            way.run(&module, &mut actual, 4, 9..10);
            for name in ["y", "z"] {
                for (&a, &e) in actual.get(name).unwrap().iter().zip(expected.get(name).unwrap()) {
                    prop_assert!(same(a, e), "{} is {}, not {}, {:?}\n{}", name, a, e, way, module);
                }
            }
        }
        Ok(())
    });
    agrees.unwrap_or_else(|error| panic!("{error}"));
}
