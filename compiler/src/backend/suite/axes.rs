//! Loops along an axis: any length, any number of values, rows and folds.

use super::{Executor, agree, bits, fill, module};
use crate::kernel::{Machine, Module};

pub fn elements_do_not_depend_on_the_length_of_an_axis(ways: &[&dyn Executor]) {
    // The same element-wise function over arrays of every length; element i has the same bits in all of them. Back ends
    // may compile short loops otherwise than long ones, and those with logarithms or powers otherwise than others.
    for last in ["mul v2 v3", "log v3", "pow v3 v1"] {
        let mut longest: Vec<u32> = Vec::new();
        for length in (1..150).rev() {
            let text = format!(
                r#"module cell {{
  buffer %0: f[{length}] input "x" carried start 0.0
  buffer %1: f[{length}] temp "y"
  kernel "cell" axes {length} {{
    for a0 parallel vector {{
      v0 = load %0 + 1*a0
      v1 = exp v0
      v2 = tanh v1
      v3 = sigmoid v0
      v4 = {last}
      v5 = add v4 v1
      store %1 + 1*a0 = v5
    }}
  }}
}}
"#
            );
            let module = module(&text);
            for way in ways {
                let mut machine = Machine::new(&module);
                fill(&mut machine, &["x"]);
                way.run(&module, &mut machine, 0, 0..1);
                let y = bits(machine.get("y").unwrap());
                if longest.is_empty() {
                    longest.clone_from(&y);
                }
                assert_eq!(y, longest[..length], "length {length}, {last}, {way:?}");
            }
        }
    }
}

/// A loop over 500 elements that loads `count` rows, `apart` with strides of their own, sums their products with numbers,
/// and folds as many of the rows as `folds` says.
fn crowded(count: usize, folds: usize, apart: bool) -> Module {
    let lines = |line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let loads = lines(&|i| {
        let stride = if apart { 500 + i } else { 500 };
        format!("      v{i} = load %0 + {} + {stride}*a0 + 1*a1\n", 4000 * i)
    });
    let ids = lines(&|i| format!("      v{} = load %1 + {i}\n", count + i));
    let products = lines(&|i| format!("      v{} = mul v{i} v{}\n", 2 * count + i, count + i));
    let sums = lines(&|i| match i {
        0 => format!("      v{} = add v{} v{}\n", 3 * count, 2 * count, count - 1),
        _ => format!("      v{} = add v{} v{}\n", 3 * count + i, 3 * count + i - 1, count * 2 + i),
    });
    let first_fold = 4 * count;
    let folded: Vec<String> = (0..folds).map(|i| format!("v{} = sum v{i}", first_fold + i)).collect();
    let fold = if folds == 0 { String::new() } else { format!(" fold {}", folded.join(", ")) };
    let stores: String =
        (0..folds).map(|i| format!("    store %3 + {i} + {folds}*a0 = v{}\n", first_fold + i)).collect();
    let (rows, all, totals) = (4, 4000 * count, 4 * folds.max(1));
    let text = format!(
        r#"module crowded {{
  buffer %0: f[{all}] input "x" carried start 0.0
  buffer %1: f[{count}] input "scale" carried start 0.0
  buffer %2: f[{rows}, 500] temp "y"
  buffer %3: f[{totals}] temp "totals"
  kernel "crowded" axes {rows} 500 {{
  for a0 {{
    for a1 vector{fold} {{
{loads}{ids}{products}{sums}      store %2 + 500*a0 + 1*a1 = v{}
    }}
{stores}  }}
  }}
}}
"#,
        4 * count - 1
    );
    module(&text)
}

pub fn loops_with_many_values_and_folds_agree(ways: &[&dyn Executor]) {
    let sizes = [(3, 0), (9, 2), (14, 14), (27, 1), (40, 3), (60, 40)];
    for ((count, folds), apart) in sizes.into_iter().flat_map(|size| [(size, false), (size, true)]) {
        let module = crowded(count, folds, apart);
        let mut machine = Machine::new(&module);
        fill(&mut machine, &["x", "scale"]);
        // Sums of 500 numbers, in another order than the interpreter's.
        agree(ways, &module, &machine, if folds == 0 { &["y"] } else { &["y", "totals"] }, 1e-4);
    }
}
