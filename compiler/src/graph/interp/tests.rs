use ndarray::arr1;

use super::*;
use crate::graph::parse;

fn reals(shape: &[usize], elements: &[f64]) -> Tensor<f64> {
    Tensor::Real(ArrayD::from_shape_vec(IxDyn(shape), elements.to_vec()).expect("elements fill the shape"))
}

fn ids(shape: &[usize], elements: &[u32]) -> Tensor<f64> {
    Tensor::Id(ArrayD::from_shape_vec(IxDyn(shape), elements.to_vec()).expect("elements fill the shape"))
}

/// What every test graph may read: `%0: f[2, 3]`, `%1: f[3, 2]`, `%2: f[3]`, `%3: id[2]`.
fn inputs() -> HashMap<String, Tensor<f64>> {
    HashMap::from([
        ("a".into(), reals(&[2, 3], &[1.0, -2.0, 3.0, 4.0, 5.0, -6.0])),
        ("b".into(), reals(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        ("c".into(), reals(&[3], &[10.0, 20.0, 30.0])),
        ("ids".into(), ids(&[2], &[2, 0])),
    ])
}

fn graph(lines: &str) -> Graph {
    let inputs = "in %0: f[2, 3] carried \"a\" start 0.0\n in %1: f[3, 2] carried \"b\" start 0.0\n\
                  in %2: f[3] carried \"c\" start 0.0\n in %3: id[2] tokens \"ids\"\n";
    parse(&format!("graph g {{\n{inputs}{lines}\n}}\n")).expect("the text of a test parses")
}

/// The graph's outputs are these.
#[track_caller]
fn gives(lines: &str, expected: &[Tensor<f64>]) {
    assert_eq!(run(&graph(lines), &inputs(), 0, 0).as_deref(), Ok(expected));
}

#[track_caller]
fn fails(lines: &str, message: &str) {
    assert_eq!(run(&graph(lines), &inputs(), 0, 0).expect_err("it ran"), message);
}

/// `%9: f[..] = {op}` is this tensor.
#[track_caller]
fn op_gives(op: &str, shape: &[usize], elements: &[f64]) {
    let ty = Type::real(shape);
    gives(&format!("%9: {ty} = {op}\nout %9 probabilities"), &[reals(shape, elements)]);
}

#[test]
fn constants_and_broadcasts() {
    op_gives("const 2.5", &[], &[2.5]);
    op_gives("broadcast %2 axes=[1] shape=[2, 3]", &[2, 3], &[10.0, 20.0, 30.0, 10.0, 20.0, 30.0]);
    op_gives("broadcast %2 axes=[0] shape=[3, 2]", &[3, 2], &[10.0, 10.0, 20.0, 20.0, 30.0, 30.0]);
}

#[test]
fn scalar_operations_of_each_arity() {
    op_gives("abs %2", &[3], &[10.0, 20.0, 30.0]);
    op_gives("mul %0 %0", &[2, 3], &[1.0, 4.0, 9.0, 16.0, 25.0, 36.0]);
    op_gives("lt %0 %0", &[2, 3], &[0.0; 6]);
    gives(
        "%4: f[] = const 0.0\n%5: f[2, 3] = broadcast %4 axes=[] shape=[2, 3]\n%6: f[2, 3] = gt %0 %5\n\
         %7: f[2, 3] = select %6 %0 %5\nout %7 probabilities",
        &[reals(&[2, 3], &[1.0, 0.0, 3.0, 4.0, 5.0, 0.0])],
    );
}

#[test]
fn reductions() {
    op_gives("reduce_sum %0 axes=[0]", &[3], &[5.0, 3.0, -3.0]);
    op_gives("reduce_sum %0 axes=[1]", &[2], &[2.0, 3.0]);
    op_gives("reduce_sum %0 axes=[0, 1]", &[], &[5.0]);
    op_gives("reduce_max %0 axes=[1]", &[2], &[3.0, 5.0]);
    op_gives("reduce_max %0 axes=[0, 1]", &[], &[5.0]);
}

#[test]
fn products() {
    op_gives("matmul_nn %0 %1", &[2, 2], &[10.0, 12.0, -11.0, -8.0]);
    op_gives("matmul_nt %0 %0", &[2, 2], &[14.0, -24.0, -24.0, 77.0]);
    op_gives("matmul_tn %1 %1", &[2, 2], &[35.0, 44.0, 44.0, 56.0]);
}

#[test]
fn products_collapse_leading_axes() {
    let lead = "%4: f[2, 2, 3] = put %0 index=1 len=2\n";
    gives(
        &format!("{lead}%5: f[2, 2, 2] = matmul_nn %4 %1\nout %5 probabilities"),
        &[reals(&[2, 2, 2], &[0.0, 0.0, 0.0, 0.0, 10.0, 12.0, -11.0, -8.0])],
    );
    gives(
        &format!("{lead}%5: f[2, 2, 2] = matmul_nt %4 %0\nout %5 probabilities"),
        &[reals(&[2, 2, 2], &[0.0, 0.0, 0.0, 0.0, 14.0, -24.0, -24.0, 77.0])],
    );
    gives(
        &format!("{lead}%5: f[3, 3] = matmul_tn %4 %4\nout %5 probabilities"),
        &[reals(&[3, 3], &[17.0, 18.0, -21.0, 18.0, 29.0, -36.0, -21.0, -36.0, 45.0])],
    );
}

#[test]
fn lookups() {
    op_gives("take %1 %3", &[2, 2], &[5.0, 6.0, 1.0, 2.0]);
    op_gives(
        "scatter %3 %0 rows=4",
        &[4, 3],
        &[4.0, 5.0, -6.0, 0.0, 0.0, 0.0, 1.0, -2.0, 3.0, 0.0, 0.0, 0.0],
    );
    op_gives("pick %0 %3", &[2], &[3.0, 4.0]);
    op_gives("number %3", &[2], &[2.0, 0.0]);
    gives(
        "%4: f[2] = number %3\n%5: f[2, 3] = spread %4 %3 len=3\nout %5 probabilities",
        &[reals(&[2, 3], &[0.0, 0.0, 2.0, 0.0, 0.0, 0.0])],
    );
}

#[test]
fn scatter_adds_where_ids_repeat() {
    let mut given = inputs();
    given.insert("ids".into(), ids(&[2], &[1, 1]));
    let graph = graph("%4: f[2, 3] = scatter %3 %0 rows=2\nout %4 probabilities");
    let expected = reals(&[2, 3], &[0.0, 0.0, 0.0, 5.0, 3.0, -3.0]);
    assert_eq!(run(&graph, &given, 0, 0), Ok(vec![expected]));
}

#[test]
fn ids_beyond_the_table_are_refused() {
    fails("%4: f[2, 3] = scatter %3 %0 rows=2", "id 2 is beyond 2 rows");
    fails("%4: f[2, 3] = take %0 %3", "id 2 is beyond 2 rows");
    fails("%4: f[2] = number %3\n%5: f[2, 2] = spread %4 %3 len=2", "id 2 is beyond 2 rows");
    fails("%4: f[2] = number %3\n%5: f[2, 1] = unsqueeze %4\n%6: f[2] = pick %5 %3", "id 2 is beyond 1 rows");
}

#[test]
fn cutting_and_joining() {
    gives(
        "%4: f[2, 1], %5: f[2, 2] = split %0 axis=1 sizes=[1, 2]\nout %4 probabilities\nout %5 probabilities",
        &[reals(&[2, 1], &[1.0, 4.0]), reals(&[2, 2], &[-2.0, 3.0, 5.0, -6.0])],
    );
    op_gives("concat %2 %2 axis=0", &[6], &[10.0, 20.0, 30.0, 10.0, 20.0, 30.0]);
    gives(
        "%4: f[3, 1] = unsqueeze %2\n%5: f[3, 3] = concat %4 %1 axis=1\n%6: f[3] = squeeze %4\n\
         out %5 probabilities\nout %6 probabilities",
        &[
            reals(&[3, 3], &[10.0, 1.0, 2.0, 20.0, 3.0, 4.0, 30.0, 5.0, 6.0]),
            reals(&[3], &[10.0, 20.0, 30.0]),
        ],
    );
    op_gives("at %1 index=1", &[2], &[3.0, 4.0]);
    op_gives("put %2 index=1 len=2", &[2, 3], &[0.0, 0.0, 0.0, 10.0, 20.0, 30.0]);
    op_gives("stop %2", &[3], &[10.0, 20.0, 30.0]);
}

#[test]
fn random_numbers_are_those_of_the_seed_step_stream_and_index() {
    let graph = graph("%4: f[2, 2] = random stream=7 shape=[2, 2]\nout %4 probabilities");
    let key = scalar::random_key(3, 4, 7);
    let expected: Vec<f64> = (0..4).map(|i| f64::from(scalar::random(key, i))).collect();
    assert_eq!(run(&graph, &inputs(), 3, 4), Ok(vec![reals(&[2, 2], &expected)]));
    assert_ne!(run(&graph, &inputs(), 3, 5), Ok(vec![reals(&[2, 2], &expected)]));
}

/// Carries `c <- 2 c + slice`, and stacks `c` at the start of each round.
fn doubling(reverse: &str) -> String {
    format!(
        "%4: f[3], %5: f[2, 3] = loop 2{reverse} {{
           carry %6: f[3] = %2 next %9
           slice %7: f[3] of %0
           %8: f[3] = add %6 %6
           %9: f[3] = add %8 %7
           stack %6
         }}
         out %4 probabilities
         out %5 probabilities"
    )
}

#[test]
fn loops_run_forwards() {
    gives(
        &doubling(""),
        &[reals(&[3], &[46.0, 81.0, 120.0]), reals(&[2, 3], &[10.0, 20.0, 30.0, 21.0, 38.0, 63.0])],
    );
}

#[test]
fn loops_run_backwards() {
    gives(
        &doubling(" reverse"),
        &[reals(&[3], &[49.0, 88.0, 111.0]), reals(&[2, 3], &[24.0, 45.0, 54.0, 10.0, 20.0, 30.0])],
    );
}

#[test]
fn carried_values_are_handed_on_together() {
    gives(
        "%4: f[3] = neg %2
         %5: f[3], %6: f[3] = loop 3 {
           carry %7: f[3] = %2 next %8
           carry %8: f[3] = %4 next %7
         }
         out %5 probabilities
         out %6 probabilities",
        &[reals(&[3], &[-10.0, -20.0, -30.0]), reals(&[3], &[10.0, 20.0, 30.0])],
    );
}

#[test]
fn loops_of_no_rounds_give_the_first_values() {
    gives(
        "%4: f[3], %5: f[0, 3] = loop 0 {
           carry %6: f[3] = %2 next %7
           %7: f[3] = neg %6
           stack %7
         }
         out %4 probabilities
         out %5 probabilities",
        &[reals(&[3], &[10.0, 20.0, 30.0]), reals(&[0, 3], &[])],
    );
}

#[test]
fn loops_slice_ids() {
    gives(
        "%4: f[2] = loop 2 {
           slice %5: id[] of %3
           %6: f[] = number %5
           stack %6
         }
         out %4 probabilities",
        &[reals(&[2], &[2.0, 0.0])],
    );
}

#[test]
fn refuses_broken_graphs_and_wrong_inputs() {
    fails("%4: f[2] = neg %2", "`%4: f[2] = neg %2`: %4 is f[3], not f[2]");
    let graph = graph("out %2 probabilities");
    let mut given = inputs();
    given.insert("c".into(), Tensor::Real(arr1(&[1.0]).into_dyn()));
    assert_eq!(run(&graph, &given, 0, 0).expect_err("it ran"), "input \"c\" should be f[3], not f[1]");
    given.remove("c");
    assert_eq!(run(&graph, &given, 0, 0).expect_err("it ran"), "input \"c\" is missing");
}

#[test]
fn runs_in_single_precision() {
    let graph = graph("%4: f[] = reduce_sum %2 axes=[0]\n%5: f[] = log %4\nout %5 probabilities");
    let narrow = inputs().into_iter().map(|(name, tensor)| {
        let tensor = match tensor {
            Tensor::Real(x) => Tensor::Real(x.mapv(|e| e as f32)),
            Tensor::Id(ids) => Tensor::Id(ids),
        };
        (name, tensor)
    });
    let outputs = run(&graph, &narrow.collect(), 0, 0).expect("it runs");
    assert_eq!(outputs[0].real().map(|x| x[[]]), Some(60.0_f32.ln()));
}
