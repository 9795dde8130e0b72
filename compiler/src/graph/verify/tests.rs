use super::*;
use crate::graph::{Builder, parse};

/// A graph of these nodes and outputs over two matrices, a vector and ids.
fn graph(lines: &str) -> Graph {
    let inputs = "in %0: f[2, 3] param \"a\" parts \"a\" 0 3\n in %1: f[3, 2] param \"b\" parts \"b\" 0 2\n\
                  in %2: f[3] carried \"c\" start 0.0\n in %3: id[2] tokens \"ids\"\n";
    parse(&format!("graph g {{\n{inputs}{lines}\n}}\n")).expect("the text of a test parses")
}

#[track_caller]
fn refused(lines: &str, message: &str) {
    let found = verify(&graph(lines)).expect_err("a broken graph passed");
    assert_eq!(found, message);
}

#[track_caller]
fn accepted(lines: &str) {
    assert_eq!(verify(&graph(lines)), Ok(()));
}

#[test]
fn accepts_loops_that_read_carry_slice_and_stack_outer_values() {
    accepted(
        "%4: f[3] = neg %2
         %5: f[3], %6: f[2, 3], %7: f[2, 3] = loop 2 reverse {
           carry %8: f[3] = %2 next %4
           slice %9: f[3] of %0
           slice %20: id[] of %3
           %10: f[3] = add %8 %9
           %11: f[3] = mul %10 %4
           stack %11
           stack %8
         }
         out %5 update \"c\"
         out %6 update \"a\"
         out %7 gradient \"a\"",
    );
}

#[test]
fn refuses_a_second_definition() {
    refused("%4: f[3] = neg %2\n%4: f[3] = neg %2", "`%4: f[3] = neg %2`: %4 is defined twice");
    refused("%2: f[3] = neg %2", "`%2: f[3] = neg %2`: %2 is defined twice");
    refused(
        "%4: f[3] = loop 2 {\ncarry %2: f[3] = %2 next %2\n}",
        "`%4: f[3] = loop 2 {`: %2 is defined twice",
    );
    refused(
        "%4: f[3] = loop 2 {\ncarry %4: f[3] = %2 next %2\n}",
        "`%4: f[3] = loop 2 {`: %4 is defined twice",
    );
}

#[test]
fn refuses_a_use_before_or_outside_the_definition() {
    let missing = "is not defined before this, in this region or an enclosing one";
    refused("%4: f[3] = neg %5\n%5: f[3] = neg %2", &format!("`%4: f[3] = neg %5`: %5 {missing}"));
    refused("%4: f[3] = neg %4", &format!("`%4: f[3] = neg %4`: %4 {missing}"));
    let inside = "%4: f[3] = loop 2 {\ncarry %5: f[3] = %2 next %6\n%6: f[3] = neg %5\n}\n";
    refused(&format!("{inside}%7: f[3] = neg %6"), &format!("`%7: f[3] = neg %6`: %6 {missing}"));
    refused(&format!("{inside}%7: f[3] = neg %5"), &format!("`%7: f[3] = neg %5`: %5 {missing}"));
    refused(&format!("{inside}out %6 update \"c\""), &format!("output %6 Update(\"c\"): %6 {missing}"));
    refused(
        "%4: f[3] = loop 2 {\ncarry %5: f[3] = %6 next %6\n%6: f[3] = neg %2\n}",
        &format!("`%4: f[3] = loop 2 {{`: %6 {missing}"),
    );
    refused(
        "%4: f[3] = loop 2 {\ncarry %5: f[3] = %2 next %6\n%7: f[3] = neg %5\n}",
        &format!("`%4: f[3] = loop 2 {{`: next of carry %5: %6 {missing}"),
    );
    refused(
        "%4: f[2, 3] = loop 2 {\nstack %5\n}",
        &format!("`%4: f[2, 3] = loop 2 {{`: stack: %5 {missing}"),
    );
    refused(
        "= loop 3 {\nslice %5: f[2] of %1\nslice %6: f[] of %5\n}",
        &format!("` = loop 3 {{`: %5 {missing}"),
    );
}

#[test]
fn loops_carry_and_stack_reals_only() {
    refused(
        "%4: id[2] = loop 3 {\ncarry %5: id[2] = %3 next %5\n}",
        "`%4: id[2] = loop 3 {`: carry %5 is id[2]: only reals are carried",
    );
    refused(
        "%4: id[5, 2] = loop 5 {\nstack %3\n}",
        "`%4: id[5, 2] = loop 5 {`: stack %3 is id[2]: only reals are stacked",
    );
}

#[test]
fn a_loops_results_are_not_seen_in_its_body() {
    refused(
        "%4: f[3] = loop 2 {\ncarry %5: f[3] = %2 next %6\n%6: f[3] = neg %4\n}",
        "`%6: f[3] = neg %4`: %4 is not defined before this, in this region or an enclosing one",
    );
}

#[test]
fn refuses_operands_and_results_of_wrong_types() {
    refused("%4: f[2, 3] = add %0 %1", "`%4: f[2, 3] = add %0 %1`: add does not take (f[2, 3], f[3, 2])");
    refused("%4: f[2] = neg %3", "`%4: f[2] = neg %3`: neg does not take (id[2])");
    refused("%4: f[2, 2] = neg %0", "`%4: f[2, 2] = neg %0`: %4 is f[2, 3], not f[2, 2]");
    refused(
        "%4: f[1] = split %2 axis=0 sizes=[1, 2]",
        "`%4: f[1] = split %2 axis=0 sizes=[1, 2]`: gives 2 results, not 1",
    );
    refused(
        "%4: f[] = reduce_sum %0 axes=[1, 0]",
        "`%4: f[] = reduce_sum %0 axes=[1, 0]`: reduce_sum does not take (f[2, 3])",
    );
}

#[test]
fn refuses_loops_of_wrong_types() {
    refused(
        "= loop 2 {\nslice %5: f[3] of %1\n}",
        "` = loop 2 {`: slice %5 of %1: f[3] is not one of 2 rounds of f[3, 2]",
    );
    refused(
        "= loop 2 {\nslice %5: f[] of %3\n}",
        "` = loop 2 {`: slice %5 of %3: f[] is not one of 2 rounds of id[2]",
    );
    refused(
        "%4: f[3] = loop 2 {\ncarry %5: f[3] = %0 next %2\n}",
        "`%4: f[3] = loop 2 {`: carry %5 is f[3], but its first, %0, is f[2, 3]",
    );
    refused(
        "%4: f[3] = loop 2 {\ncarry %5: f[3] = %2 next %0\n}",
        "`%4: f[3] = loop 2 {`: carry %5 is f[3], but its next, %0, is f[2, 3]",
    );
    refused(
        "%4: f[2, 3] = loop 2 {\ncarry %5: f[3] = %2 next %2\n}",
        "`%4: f[2, 3] = loop 2 {`: carry %5 is f[3], but its last, %4, is f[2, 3]",
    );
    refused(
        "%4: f[4, 3] = loop 2 {\nstack %2\n}",
        "`%4: f[4, 3] = loop 2 {`: stack %2 gives f[2, 3], but %4 is f[4, 3]",
    );
}

#[test]
fn names_the_inner_node_of_a_broken_body() {
    refused(
        "%4: f[2, 3] = loop 2 {\n%5: f[3] = neg %0\nstack %5\n}",
        "`%5: f[3] = neg %0`: %5 is f[2, 3], not f[3]",
    );
}

#[test]
fn refuses_loops_whose_results_are_not_its_own() {
    let mut graph = graph("%4: f[2, 3] = loop 2 {\nstack %2\n}");
    graph.body[0].results.clear();
    assert_eq!(
        verify(&graph).expect_err("no results"),
        "` = loop 2 {`: its results are not those of its carried and stacked values"
    );
    graph.body[0].results = vec![Value(4)];
    graph.body[0].args = vec![Value(2)];
    assert_eq!(
        verify(&graph).expect_err("listed operands"),
        "`%4: f[2, 3] = loop 2 {`: a loop's operands are named in its body, not listed"
    );
}

#[test]
fn refuses_nested_loops() {
    let mut b = Builder::new("g");
    let one = b.constant(1.0);
    b.open_loop();
    b.open_loop();
    let (_, inner) = b.close_loop(2, false, &[], &[], &[one]);
    b.close_loop(2, false, &[], &[], &inner);
    assert_eq!(verify(&b.finish()).expect_err("a nested loop"), "`%1: f[2] = loop 2 {`: loops do not nest");
}

#[test]
fn refuses_values_without_a_type() {
    let mut broken = graph("%4: f[3] = neg %2");
    broken.body[0].args = vec![Value(99)];
    assert_eq!(verify(&broken).expect_err("an operand"), "`%4: f[3] = neg %99`: %99 has no type");
    broken.body[0] = Node { op: Op::Const(1.0), args: vec![], results: vec![Value(99)] };
    assert_eq!(verify(&broken).expect_err("a result"), "`const`: %99 has no type");
}

#[test]
fn refuses_tensors_that_no_machine_holds() {
    let shape = "[4294967295, 4294967295, 0]";
    refused(
        &format!("%4: f[] = const 0.0\n%5: f{shape} = broadcast %4 axes=[] shape={shape}"),
        &format!(
            "`%5: f{shape} = broadcast %4 axes=[] shape={shape}`: %5 is too large for any machine: f{shape}"
        ),
    );
}

fn with_input(name: &str, ty: Type, role: InputRole) -> Result<(), String> {
    let mut b = Builder::new("g");
    b.input("p", Type::real([2]), InputRole::Param { parts: vec![] });
    b.input(name, ty, role);
    verify(&b.finish())
}

#[test]
fn refuses_inputs_that_break_their_role() {
    let part =
        |start, len| InputRole::Param { parts: vec![super::super::Part { name: "x".into(), start, len }] };
    let state = |param: &str| InputRole::OptimizerState { param: param.into(), start: 0.0 };
    assert_eq!(with_input("q", Type::real([2]), part(0, 2)), Ok(()));
    assert_eq!(with_input("q", Type::real([]), part(0, 1)), Ok(()));
    assert_eq!(with_input("q", Type::real([2]), state("p")), Ok(()));
    let cases = [
        ("p", Type::real([]), InputRole::Rate, "another input has this name"),
        ("q", Type::real([2]), InputRole::Tokens, "an input of its role is not f[2]"),
        ("q", Type::real([2]), InputRole::Rate, "an input of its role is not f[2]"),
        ("q", Type::id([2]), InputRole::Carried { start: 0.0 }, "an input of its role is not id[2]"),
        ("q", Type::real([2]), part(1, 2), "part \"x\" lies outside its 2 columns"),
        ("q", Type::real([2]), part(usize::MAX, 2), "part \"x\" lies outside its 2 columns"),
        ("q", Type::real([3]), state("p"), "is f[3], but parameter \"p\" is f[2]"),
        ("q", Type::real([2]), state("q"), "no parameter is named \"q\""),
    ];
    for (name, ty, role, message) in cases {
        assert_eq!(with_input(name, ty, role), Err(format!("input %1 {name:?}: {message}")));
    }
}

#[test]
fn refuses_outputs_that_break_their_role() {
    refused("out %2 update \"z\"", "output %2 Update(\"z\"): no input is named \"z\"");
    refused("out %2 update \"a\"", "output %2 Update(\"a\"): is f[3], but the input is f[2, 3]");
    refused(
        "out %2 update \"c\"\nout %2 update \"c\"",
        "output %2 Update(\"c\"): the input is updated twice",
    );
    refused("out %2 gradient \"c\"", "output %2 Gradient(\"c\"): no parameter is named \"c\"");
    refused("out %1 gradient \"a\"", "output %1 Gradient(\"a\"): is f[3, 2], but parameter \"a\" is f[2, 3]");
    refused("out %2 loss", "output %2 Loss: should be f[], or shaped like the targets, not f[3]");
    refused("out %3 probabilities", "output %3 Probabilities: should be reals, not id[2]");
}
