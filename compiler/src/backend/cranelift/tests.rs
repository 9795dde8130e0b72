//! Compiled code against the kernel interpreter.

use super::support::execute;
use crate::kernel::{Machine, Module, parse, run, verify};

fn module(text: &str) -> Module {
    let module = parse(text).unwrap();
    verify(&module).unwrap();
    module
}

#[test]
fn adds_two_vectors() {
    let module = module(
        r#"module add {
  buffer %0: f[37] input "a" carried start 0.0
  buffer %1: f[37] input "b" carried start 0.0
  buffer %2: f[37] temp "c"
  kernel "add" axes 37 {
    for a0 parallel vector {
      v0 = load %0 + 1*a0
      v1 = load %1 + 1*a0
      v2 = add v0 v1
      v3 = tanh v2
      store %2 + 1*a0 = v3
    }
  }
}
"#,
    );
    let mut expected = Machine::<f32>::new(&module);
    for (i, x) in expected.get_mut("a").unwrap().iter_mut().enumerate() {
        *x = i as f32 * 0.1 - 1.5;
    }
    expected.get_mut("b").unwrap().fill(0.25);
    let mut actual = expected.clone();
    run(&module, &mut expected, 0, 0).unwrap();
    for workers in 1..4 {
        execute(&module, &mut actual, workers, 0, 0, 1);
        for (a, e) in actual.get("c").unwrap().iter().zip(expected.get("c").unwrap()) {
            assert!((a - e).abs() <= 2e-7, "{a} {e}");
        }
    }
}
