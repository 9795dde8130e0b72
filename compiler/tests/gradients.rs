//! Gradients of every differentiable graph operation, by itself and in loops, against central differences in f64.
//!
//! [`operations`] is an exhaustive match: an operation without a case does not compile. `gradients/*.txt` are graphs
//! with loops; each runs forwards and backwards.

mod support;

use std::fs;
use std::path::Path;

use lstmc_compiler::grad::gradients;
use lstmc_compiler::graph::{
    Builder, Form, Graph, InputRole, Op, OutputRole, Reduce, Sharded, Sliced, Type, Value, parse,
};
use lstmc_compiler::scalar::Scalar;
use support::differences::{check, objective};
use support::values::{Values, inputs};

/// One operation on operands of these types: parameters and ids.
struct Case {
    op: Op,
    args: Vec<Type>,
    values: Values,
    /// Operands by which the derivative is zero everywhere.
    flat: &'static [usize],
}

/// Operands between -1 and 1.
fn smooth(op: Op, args: &[Type]) -> Case {
    Case { op, args: args.to_vec(), values: Values::Uniform(-1.0, 1.0), flat: &[] }
}

/// Operands between 0.5 and 2.
fn positive(op: Op, args: &[Type]) -> Case {
    Case { values: Values::Uniform(0.5, 2.0), ..smooth(op, args) }
}

/// Operands away from kinks.
fn kinked(op: Op, args: &[Type]) -> Case {
    Case { values: Values::Spaced, ..smooth(op, args) }
}

/// Operands away from jumps, between which the derivative is zero.
fn flat(op: Op, args: &[Type]) -> Case {
    Case { flat: &[0, 1], ..kinked(op, args) }
}

/// Pairs each operation with its cases; the patterns must be exhaustive.
macro_rules! operations {
    ($($pattern:pat => [$($case:expr),* $(,)?],)*) => {
        /// The cases of each operation, with the test that they are about it.
        fn operations() -> Vec<(&'static str, fn(&Op) -> bool, Vec<Case>)> {
            // Never called: it fails to compile when an operation is missing below.
            let _exhaustive = |op: &Op| match op { $($pattern => (),)* };
            vec![$((stringify!($pattern), |op| matches!(op, $pattern), vec![$($case),*])),*]
        }
    };
}

fn f(shape: &[usize]) -> Type {
    Type::real(shape)
}

fn id(shape: &[usize]) -> Type {
    Type::id(shape)
}

fn broadcast(axes: &[usize], shape: &[usize]) -> Op {
    Op::Broadcast { axes: axes.to_vec(), shape: shape.to_vec() }
}

fn reduce(kind: Reduce, axes: &[usize]) -> Op {
    Op::Reduce { kind, axes: axes.to_vec() }
}

fn split(axis: usize, sizes: &[usize]) -> Op {
    Op::Split { axis, sizes: sizes.to_vec() }
}

fn pair() -> [Type; 2] {
    [f(&[2, 3]), f(&[2, 3])]
}

operations! {
    Op::Const(_) => [smooth(Op::Const(1.5), &[])],
    Op::Broadcast { .. } => [
        smooth(broadcast(&[], &[2, 3]), &[f(&[])]),
        smooth(broadcast(&[0], &[2, 3]), &[f(&[2])]),
        smooth(broadcast(&[1], &[2, 3]), &[f(&[3])]),
        smooth(broadcast(&[0, 2], &[2, 3, 4]), &[f(&[2, 4])]),
        smooth(broadcast(&[0, 1], &[2, 3]), &[f(&[2, 3])]),
    ],
    Op::Map(Scalar::Neg) => [smooth(Op::Map(Scalar::Neg), &[f(&[2, 3])])],
    Op::Map(Scalar::Abs) => [kinked(Op::Map(Scalar::Abs), &[f(&[2, 3])])],
    Op::Map(Scalar::Exp) => [smooth(Op::Map(Scalar::Exp), &[f(&[2, 3])])],
    Op::Map(Scalar::Log) => [positive(Op::Map(Scalar::Log), &[f(&[2, 3])])],
    Op::Map(Scalar::Sqrt) => [positive(Op::Map(Scalar::Sqrt), &[f(&[2, 3])])],
    Op::Map(Scalar::Tanh) => [smooth(Op::Map(Scalar::Tanh), &[f(&[2, 3])])],
    Op::Map(Scalar::Sigmoid) => [smooth(Op::Map(Scalar::Sigmoid), &[f(&[2, 3])])],
    Op::Map(Scalar::Add) => [smooth(Op::Map(Scalar::Add), &pair())],
    Op::Map(Scalar::Sub) => [smooth(Op::Map(Scalar::Sub), &pair())],
    Op::Map(Scalar::Mul) => [smooth(Op::Map(Scalar::Mul), &pair())],
    Op::Map(Scalar::Div) => [positive(Op::Map(Scalar::Div), &pair()), kinked(Op::Map(Scalar::Div), &pair())],
    Op::Map(Scalar::Pow) => [positive(Op::Map(Scalar::Pow), &pair())],
    Op::Map(Scalar::Max) => [kinked(Op::Map(Scalar::Max), &pair())],
    Op::Map(Scalar::Min) => [kinked(Op::Map(Scalar::Min), &pair())],
    Op::Map(Scalar::Lt) => [flat(Op::Map(Scalar::Lt), &pair())],
    Op::Map(Scalar::Le) => [flat(Op::Map(Scalar::Le), &pair())],
    Op::Map(Scalar::Gt) => [flat(Op::Map(Scalar::Gt), &pair())],
    Op::Map(Scalar::Ge) => [flat(Op::Map(Scalar::Ge), &pair())],
    Op::Map(Scalar::Eq) => [flat(Op::Map(Scalar::Eq), &pair())],
    Op::Map(Scalar::Ne) => [flat(Op::Map(Scalar::Ne), &pair())],
    // No input is zero: the other branch is that of `gradients/select.txt`.
    Op::Map(Scalar::Select) => [Case {
        flat: &[0, 2],
        ..kinked(Op::Map(Scalar::Select), &[f(&[2, 3]), f(&[2, 3]), f(&[2, 3])])
    }],
    Op::Reduce { kind: Reduce::Sum, .. } => [
        smooth(reduce(Reduce::Sum, &[0]), &[f(&[3])]),
        smooth(reduce(Reduce::Sum, &[0, 2]), &[f(&[2, 3, 4])]),
        smooth(reduce(Reduce::Sum, &[1]), &[f(&[2, 3, 4])]),
        smooth(reduce(Reduce::Sum, &[]), &[f(&[2])]),
    ],
    Op::Reduce { kind: Reduce::Max, .. } => [
        kinked(reduce(Reduce::Max, &[0]), &[f(&[3])]),
        kinked(reduce(Reduce::Max, &[0, 2]), &[f(&[2, 3, 3])]),
        kinked(reduce(Reduce::Max, &[1]), &[f(&[2, 3, 3])]),
    ],
    Op::MatMul(Form::NN) => [
        smooth(Op::MatMul(Form::NN), &[f(&[2, 3]), f(&[3, 4])]),
        smooth(Op::MatMul(Form::NN), &[f(&[2, 2, 3]), f(&[3, 1])]),
    ],
    Op::MatMul(Form::NT) => [
        smooth(Op::MatMul(Form::NT), &[f(&[2, 3]), f(&[4, 3])]),
        smooth(Op::MatMul(Form::NT), &[f(&[2, 2, 3]), f(&[1, 3])]),
    ],
    Op::MatMul(Form::TN) => [
        smooth(Op::MatMul(Form::TN), &[f(&[2, 3]), f(&[2, 4])]),
        smooth(Op::MatMul(Form::TN), &[f(&[2, 2, 3]), f(&[2, 2, 1])]),
    ],
    Op::MatMulPrefix(Form::NN) => [
        smooth(Op::MatMulPrefix(Form::NN), &[f(&[4, 3]), f(&[3, 2]), id(&[])]),
    ],
    Op::MatMulPrefix(Form::NT) => [
        smooth(Op::MatMulPrefix(Form::NT), &[f(&[4, 3]), f(&[2, 3]), id(&[])]),
    ],
    Op::MatMulPrefix(Form::TN) => [
        smooth(Op::MatMulPrefix(Form::TN), &[f(&[4, 3]), f(&[4, 2]), id(&[])]),
    ],
    // Gives ids, and so has no gradient.
    Op::Distinct { .. } => [],
    Op::Take => [
        smooth(Op::Take, &[f(&[4, 2]), id(&[5])]),
        smooth(Op::Take, &[f(&[3, 2]), id(&[2, 3])]),
        smooth(Op::Take, &[f(&[3, 2]), id(&[])]),
    ],
    Op::Scatter { .. } => [
        smooth(Op::Scatter { rows: 4 }, &[id(&[5]), f(&[5, 2])]),
        smooth(Op::Scatter { rows: 3 }, &[id(&[2, 3]), f(&[2, 3, 2])]),
    ],
    Op::Combine { .. } => [
        smooth(Op::Combine { rows: 4 }, &[id(&[5]), f(&[5, 2])]),
        smooth(Op::Combine { rows: 3 }, &[id(&[2, 3]), f(&[2, 3, 2])]),
    ],
    Op::AddRows => [
        smooth(Op::AddRows, &[f(&[4, 2]), id(&[5]), f(&[5, 2])]),
        smooth(Op::AddRows, &[f(&[3, 2]), id(&[2, 3]), f(&[2, 3, 2])]),
    ],
    Op::Pick => [
        smooth(Op::Pick, &[f(&[5, 3]), id(&[5])]),
        smooth(Op::Pick, &[f(&[2, 3, 4]), id(&[2, 3])]),
    ],
    Op::Spread { .. } => [
        smooth(Op::Spread { len: 3 }, &[f(&[5]), id(&[5])]),
        smooth(Op::Spread { len: 4 }, &[f(&[2, 3]), id(&[2, 3])]),
    ],
    Op::Number => [smooth(Op::Number, &[id(&[2, 3])])],
    Op::Positions { .. } => [smooth(Op::Positions { len: 3 }, &[])],
    Op::Random { .. } => [
        smooth(Op::Random { stream: 3, shape: vec![2, 3], part: None }, &[]),
        smooth(Op::Random { stream: 3, shape: vec![2, 3], part: Some(Sharded { axis: 1, count: 4 }) }, &[]),
    ],
    // Not in loops: `what_is_summed_over_shards_has_the_sum_of_their_gradients`.
    Op::SumShards => [],
    Op::Split { .. } => [
        smooth(split(0, &[2, 1]), &[f(&[3])]),
        smooth(split(1, &[1, 2, 1]), &[f(&[2, 4])]),
        smooth(split(1, &[2, 1]), &[f(&[2, 3, 2])]),
    ],
    Op::Concat { .. } => [
        smooth(Op::Concat { axis: 0 }, &[f(&[2]), f(&[1]), f(&[3])]),
        smooth(Op::Concat { axis: 1 }, &[f(&[2, 1, 2]), f(&[2, 3, 2])]),
    ],
    Op::At { .. } => [
        smooth(Op::At { index: 2 }, &[f(&[3])]),
        smooth(Op::At { index: 0 }, &[f(&[3, 2])]),
    ],
    Op::Put { .. } => [
        smooth(Op::Put { index: 1, len: 3 }, &[f(&[])]),
        smooth(Op::Put { index: 2, len: 3 }, &[f(&[2, 2])]),
    ],
    Op::Unsqueeze => [smooth(Op::Unsqueeze, &[f(&[2, 3])]), smooth(Op::Unsqueeze, &[f(&[])])],
    Op::Squeeze => [smooth(Op::Squeeze, &[f(&[2, 3, 1])]), smooth(Op::Squeeze, &[f(&[1])])],
    // Central differences do not see the barrier: `stop_is_a_constant`.
    Op::Stop => [],
    // `loops_of_every_form`, and every case here once more in a loop.
    Op::Loop(_) => [],
}

/// The operands of `case` as inputs `arg 0`, `arg 1`, ..
fn operands(b: &mut Builder, case: &Case) -> Vec<Value> {
    let mut args = vec![];
    for (place, ty) in case.args.iter().enumerate() {
        let role = if ty.is_real() { InputRole::Param { parts: vec![] } } else { InputRole::Tokens };
        args.push(b.input(format!("arg {place}"), ty.clone(), role));
    }
    args
}

/// The operation by itself; its results are the outputs.
fn alone(case: &Case) -> Graph {
    let mut b = Builder::new("alone");
    let args = operands(&mut b, case);
    for result in b.emit(case.op.clone(), &args) {
        b.output(result, OutputRole::Probabilities);
    }
    b.finish()
}

/// The operation in a loop's body, on its operands times a positive number of each round. All that a loop can hand out:
/// its results are stacked, and their sum is carried.
fn in_loop(case: &Case, reverse: bool) -> Graph {
    let mut b = Builder::new("in_loop");
    let args = operands(&mut b, case);
    let logs = b.input("factors", Type::real([3]), InputRole::Param { parts: vec![] });
    let start = b.input("start", Type::real([]), InputRole::Param { parts: vec![] });
    // Between exp(-0.1) and exp(0.2) for all values that inputs have: order, sign and distance to kinks are kept.
    let logs = b.scale(logs, 0.1);
    let factors = b.map(Scalar::Exp, &[logs]);
    b.open_loop();
    let sum = b.carry(start);
    let factor: Sliced = b.slice(factors);
    let mut scaled = vec![];
    for &arg in &args {
        let ty = b.ty(arg).clone();
        scaled.push(if ty.is_real() {
            let factor = b.spread_to(factor.param, vec![], &ty.shape);
            b.mul(arg, factor)
        } else {
            arg
        });
    }
    let results = b.emit(case.op.clone(), &scaled);
    let mut next = b.scale(sum, 0.5);
    for &result in &results {
        let all = b.sum_all(result);
        next = b.add(next, all);
    }
    let (lasts, stacks) = b.close_loop(3, reverse, &[(start, sum, next)], &[factor], &results);
    for value in lasts.into_iter().chain(stacks) {
        b.output(value, OutputRole::Probabilities);
    }
    b.finish()
}

/// Checks one case in one graph, and that the check saw every operand that is not flat.
fn check_case(case: &Case, graph: &Graph) -> Result<(), String> {
    let graph = objective(graph);
    let differences = check(gradients, &graph, &graph, &inputs(&graph, case.values))?;
    for (place, _) in case.args.iter().enumerate().filter(|(_, ty)| ty.is_real()) {
        let name = format!("arg {place}");
        let moves = differences[&name].iter().any(|slope| slope.abs() > 1e-3);
        if moves == case.flat.contains(&place) {
            return Err(format!("{name:?} is {} flat", if moves { "not" } else { "unexpectedly" }));
        }
    }
    Ok(())
}

#[test]
fn every_operation() {
    let mut faults = vec![];
    let without = ["Op::Stop", "Op::SumShards", "Op::Distinct { .. }", "Op::Loop(_)"];
    for (pattern, is_about, cases) in operations() {
        assert!(!cases.is_empty() || without.contains(&pattern), "no case for {pattern}");
        for case in cases {
            assert!(is_about(&case.op), "{} is not a case for {pattern}", case.op.name());
            for graph in [alone(&case), in_loop(&case, false), in_loop(&case, true)] {
                if let Err(fault) = check_case(&case, &graph) {
                    faults.push(format!("{} of {:?}: {fault}", case.op.name(), case.args));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} gradients are wrong\n\n{}", faults.len(), faults.join("\n\n"));
}

/// A graph whose outputs are the objective, forwards and backwards.
fn both_ways(text: &str) -> Vec<Graph> {
    let forwards = parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let backwards = text.replace("= loop 3 {", "= loop 3 reverse {");
    let backwards = parse(&backwards).unwrap_or_else(|error| panic!("{error}\n{backwards}"));
    vec![objective(&forwards), objective(&backwards)]
}

#[test]
fn loops_of_every_form() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gradients");
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .expect("the folder of the cases")
        .map(|entry| entry.expect("a folder of the tests can be listed").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no cases in {}", folder.display());
    let mut faults = vec![];
    for path in paths {
        let text = fs::read_to_string(&path).expect("a case can be read");
        for graph in both_ways(&text) {
            let values = inputs(&graph, Values::Uniform(-1.0, 1.0));
            if let Err(fault) = check(gradients, &graph, &graph, &values) {
                faults.push(format!("{}: {fault}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{} gradients are wrong\n\n{}", faults.len(), faults.join("\n\n"));
}

/// A gradient does not flow through `stop`: what is stopped counts as an input of its own.
#[track_caller]
fn stops(text: &str) {
    let held = text.replace("stop %0", "stop %1");
    assert_ne!(held, text);
    for (graph, reference) in both_ways(text).iter().zip(both_ways(&held)) {
        let values = inputs(graph, Values::Uniform(-1.0, 1.0));
        check(gradients, graph, &reference, &values).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

#[test]
fn stop_is_a_constant() {
    let head = "graph g {\n in %0: f[2] param \"x\" parts\n in %1: f[2] carried \"held x\" start 0.0\n";
    stops(&format!("{head}%2: f[2] = stop %0\n%3: f[2] = mul %0 %2\nout %3 probabilities\n}}"));
    stops(&format!("{head}%2: f[2] = stop %0\nout %2 probabilities\n}}"));
    stops(&format!(
        "{head}%4: f[2], %5: f[3, 2] = loop 3 {{
           carry %6: f[2] = %0 next %9
           %7: f[2] = stop %0
           %8: f[2] = mul %6 %7
           %9: f[2] = add %8 %0
           stack %7
         }}
         out %4 probabilities
         out %5 probabilities
         }}"
    ));
}

#[test]
fn what_is_summed_over_shards_has_the_sum_of_their_gradients() {
    let case = smooth(Op::SumShards, &[f(&[2, 3])]);
    let graph = alone(&case);
    check_case(&case, &graph).unwrap();
    let sums = gradients(&objective(&graph)).to_string().matches("sum_shards").count();
    assert_eq!(sums, 2, "forward, and the adjoint of what other shards made of it");
}

#[test]
fn other_outputs_stay_and_unused_parameters_have_gradient_zero() {
    let text = "graph g {
        in %0: f[2] param \"used\" parts
        in %1: f[2] param \"unused\" parts
        in %2: f[] param \"itself\" parts
        in %3: f[2] carried \"h\" start 0.0
        %4: f[2] = mul %0 %3
        %5: f[] = reduce_sum %4 axes=[0]
        out %5 loss
        out %2 objective
        out %4 update \"h\"
        }";
    let graph = parse(text).expect("it parses");
    let values = inputs(&graph, Values::Uniform(-1.0, 1.0));
    let differences = check(gradients, &graph, &graph, &values).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(differences["unused"].iter().copied().collect::<Vec<_>>(), [0.0, 0.0]);
    let roles: Vec<OutputRole> = gradients(&graph).outputs.into_iter().map(|output| output.role).collect();
    let gradient = |name: &str| OutputRole::Gradient(name.into());
    let updates = [OutputRole::Loss, OutputRole::Update("h".into())];
    assert_eq!(roles[..2], updates);
    assert_eq!(roles[2..], [gradient("used"), gradient("unused"), gradient("itself")]);
}

/// The harness sees an error in a single element.
#[test]
fn a_wrong_gradient_fails() {
    fn doubled(graph: &Graph) -> Graph {
        let mut wrong = gradients(graph);
        for output in &mut wrong.outputs {
            if output.role == OutputRole::Gradient("x".into()) {
                output.value = wrong.inputs[1].value;
            }
        }
        wrong
    }
    let text = "graph g {\n in %0: f[2] param \"x\" parts\n in %1: f[2] param \"y\" parts\n\
                %2: f[2] = mul %0 %1\n%3: f[2] = mul %0 %2\n%4: f[] = reduce_sum %3 axes=[0]\nout %4 objective\n}";
    let graph = parse(text).expect("it parses");
    let values = inputs(&graph, Values::Uniform(0.5, 1.0));
    assert!(check(gradients, &graph, &graph, &values).is_ok());
    let fault = check(doubled, &graph, &graph, &values).expect_err("a wrong gradient passed");
    assert!(fault.starts_with("gradient of \"x\" at [0] is"), "{fault}");
}
