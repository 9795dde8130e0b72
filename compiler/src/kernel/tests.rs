//! Kernel text there and back, and one broken module for each promise.

use super::{Machine, parse, run, verify};

/// Every kind of buffer, item, statement and expression.
const ALL: &str = r#"module all {
  buffer %0: f[6, 8] input "w" param parts "w_1" 0 4 "w_\"2\"" 4 4
  buffer %1: f[6, 8] input "w.m" optimizer_state of "w" start 0.1
  buffer %2: f[2, 8] input "h" carried start 0.0
  buffer %3: id[3, 2] input "tokens" tokens
  buffer %4: id[2] input "targets" targets
  buffer %5: f[] input "rate" rate
  buffer %6: f[] input "step" step
  buffer %7: f[] output "loss" loss
  buffer %8: f[2, 8] output "p" probabilities
  buffer %9: f[3, 2, 8] temp "tape"
  buffer %10: f[96] packed "w^"
  buffer %11: f[2, 6] temp "x"
  buffer %12: f[6, 8] output "dw" gradient "w"
  buffer %13: f[2, 6] temp "dx"
  buffer %14: f[10, 8] temp "de"
  buffer %15: id[6] temp "places"
  buffer %16: id[6] temp "distinct"
  buffer %17: id[] temp "count"
  buffer %18: id[10] temp "ranks"
  buffer %19: f[10] temp "present"
  buffer %20: f[9] temp "sums"
  pack nn 6x8: %10 = %0 stride 8
  kernel "x" axes 2 6 {
    for a0 parallel {
      for a1 vector {
        v0 = random 7 + 3 + 6*a0 + 1*a1
        v1 = position a1
        v2 = add v0 v1
        store %11 + 6*a0 + 1*a1 = v2
      }
    }
  }
  loop t0 in 3 reverse {
    gemm nn 2x8x6: %9 + 16*t0 stride 8 = %11 stride 6 @ packed %10 stride 8
    kernel "softmax" axes 2 8 {
      for a0 parallel {
        v0 = load_id %3 + 2*t0 + 1*a0
        v1 = load_id %4 + 1*a0
        v2 = number v0
        v3 = number v1
        for a1 vector fold v5 = max v4, v7 = sum v4 {
          v4 = load %9 + 16*t0 + 8*a0 + 1*a1
        }
        for a1 vector {
          v8 = load %9 + 16*t0 + 8*a0 + 1*a1
          v9 = sub v8 v5
          v10 = select v2 v9 v3
          store %9 + 16*t0 + 8*a0 + 1*a1 = v10
        }
      }
    }
  }
  gemm tn 6x8x2: %12 stride 8 = %11 stride 6 @ %9 + 16 stride 8 sums %20 + 1
  gemm nt 2x6x8: %13 stride 6 = %9 stride 8 @ %0 stride 8
  gemm nt 2x6x8: %13 stride 6 += %9 + 32 stride 8 @ %0 stride 8 squares %20 + 3
  scatter %14 [10, 8]: %3 count 6 from %9 stride 8
  distinct %15 %16 %17: %3 count 6 rows 10 inverse %18 %19
  gemm nn 6x8x6: %9 stride 8 = %14 stride 8 @ %1 stride 8 prefix %17
  kernel "update" axes 48 1 {
    v0 = load %5
    v1 = const 1e-7
    v2 = const inf
    v3 = min v1 v2
    for a0 parallel vector {
      v4 = load %12 + 1*a0
      v5 = load %0 + 1*a0
      v6 = mul v4 v0
      v7 = sub v5 v6
      v8 = add v7 v3
      store %0 + 1*a0 = v8
    }
    store %7 = v0
  }
}
"#;

#[test]
fn text_goes_there_and_back() {
    let module = parse(ALL).unwrap();
    verify(&module).unwrap();
    assert_eq!(module.to_string(), ALL);
    assert_eq!(parse(&module.to_string()).unwrap(), module);
}

#[test]
fn the_interpreter_runs_every_kind_of_item() {
    let module = parse(ALL).unwrap();
    let mut machine = Machine::<f64>::new(&module);
    machine.get_mut("w").unwrap().fill(0.5);
    machine.get_mut("rate").unwrap().fill(0.25);
    machine.ids_mut("tokens").unwrap().copy_from_slice(&[1, 2, 3, 4, 9, 9]);
    run(&module, &mut machine, 1, 2).unwrap();
    // Every logit of a row is the same, so the difference from the row's maximum is 0 (chosen where the id is not 0).
    assert_eq!(machine.get("loss").unwrap(), [0.25]);
    assert_eq!(machine.get("w").unwrap(), [0.5 + 1e-7; 48]);
    assert_eq!(machine.get("de").unwrap(), [0.0; 80]);
    assert_eq!(machine.ids("places").unwrap(), [0, 1, 2, 3, 4, 4]);
    assert_eq!(machine.ids("distinct").unwrap(), [1, 2, 3, 4, 9, 0]);
    assert_eq!(machine.ids("count").unwrap(), [5]);
    assert_eq!(machine.ids("ranks").unwrap(), [0, 0, 1, 2, 3, 0, 0, 0, 0, 4]);
    assert_eq!(machine.get("present").unwrap(), [0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!(machine.get("tape").unwrap(), [0.0; 48]);
}

#[test]
fn the_interpreter_checks_ids() {
    let module = parse(ALL).unwrap();
    let mut machine = Machine::<f32>::new(&module);
    machine.ids_mut("tokens").unwrap()[0] = 10;
    let error = run(&module, &mut machine, 1, 2).unwrap_err();
    assert_eq!(error, "scatter: id 10 in a table of 10 rows");
}

#[test]
fn broken_text_names_the_line() {
    let cases = [
        ("pack nn 6x8: %10 = %0 stride 8", "pack nn 6x8x2: %10 = %0 stride 8", 23, "not 2 extents"),
        ("add v0 v1", "add v0", 29, "ends too early"),
        ("add v0 v1", "plus v0 v1", 29, "no operation is called \"plus\""),
        ("store %11 + 6*a0 + 1*a1 = v2", "store %11 + 6*a0 + 1*a1 = v2 v3", 30, "after the end"),
        ("buffer %1:", "buffer %2:", 3, "out of order"),
        ("\"p\" prob", "\"p prob", 10, "not closed"),
    ];
    for (from, to, line, message) in cases {
        assert!(ALL.contains(from), "{from}");
        let error = parse(&ALL.replacen(from, to, 1)).unwrap_err();
        assert_eq!(error.line, line, "{to}: {error}");
        assert!(error.message.contains(message), "{to}: {error}");
    }
    assert_eq!(parse("module a {").unwrap_err().message, "a block is not closed");
    assert_eq!(parse("module a {\n}\nx").unwrap_err().line, 3);
}

/// Changes the module's text so that one promise breaks, and compares what `verify` says.
#[track_caller]
fn rejects(from: &str, to: &str, message: &str) {
    assert!(ALL.contains(from), "the text has no {from:?}");
    let module = parse(&ALL.replacen(from, to, 1)).unwrap();
    let error = verify(&module).expect_err(to);
    assert!(error.contains(message), "{to}: {error}");
}

#[test]
fn verify_wants_unique_names() {
    rejects(r#"temp "dx""#, r#"temp "de""#, "two buffers are called \"de\"");
    rejects(r#"kernel "softmax""#, r#"kernel "x""#, "two kernels are called \"x\"");
    let twice = "  loop t0 in 2 {\n  }\n  gemm tn";
    rejects("  gemm tn", twice, "two loops over t0");
}

#[test]
fn verify_wants_definitions_before_uses() {
    rejects("v2 = add v0 v1", "v2 = add v0 v3", "v3 is used outside its scope");
    rejects("v9 = sub v8 v5", "v9 = sub v8 v4", "v4 is used outside its scope");
    rejects("v1 = position a1", "v0 = position a1", "v0 is defined twice");
    rejects("v1 = position a1", "v1 = position a2", "a2 is used outside its loop");
    rejects("v0 = load %5", "v0 = load %5 + 1*t0", "t0 has no meaning here");
    rejects("v2 = number v0", "v2 = sqrt v0", "v0 is an id, not a real");
    rejects("v3 = number v1", "v3 = number v2", "v2 is a real, not an id");
    rejects("for a1 vector {\n        v0", "for a2 vector {\n        v0", "there is no axis a2");
    rejects("for a1 vector {\n        v0", "for a0 vector {\n        v0", "a loop over a0 inside another");
}

#[test]
fn verify_wants_addresses_inside_their_buffers() {
    rejects("store %11 + 6*a0", "store %11 + 1 + 6*a0", "element 12 of \"x\", which has 12");
    rejects("v1 = load_id %4 + 1*a0", "v1 = load_id %4 + 2*a0", "element 2 of \"targets\"");
    rejects("v0 = load_id %3 + 2*t0", "v0 = load_id %3 + 3*t0", "element 7 of \"tokens\"");
    rejects("%9 + 16*t0 stride 8 =", "%9 + 17*t0 stride 8 =", "element 49 of \"tape\"");
    rejects("v0 = load %5", "v0 = load %21", "there is no buffer %21");
}

#[test]
fn verify_wants_the_right_elements() {
    rejects("v0 = load_id %3 + 2*t0", "v0 = load_id %9 + 2*t0", "\"tape\" has other elements");
    rejects("v0 = load %5", "v0 = load %3", "\"tokens\" has other elements");
    rejects("v0 = load %5", "v0 = load %10", "\"w^\" is packed");
    rejects("store %7 = v0", "store %6 = v0", "\"step\" belongs to the host");
    rejects("store %7 = v0", "store %10 = v0", "\"w^\" is written other than by packing");
}

#[test]
fn verify_wants_neighbours_in_vector_loops() {
    rejects("store %11 + 6*a0 + 1*a1", "store %11 + 1*a0 + 2*a1", "stride 2 in the vector loop over a1");
    rejects("store %11 + 6*a0 + 1*a1", "store %11 + 6*a0", "all iterations of the vector loop over a1");
    let twice = "for a0 parallel vector {\n      for a1 vector";
    rejects("for a0 parallel {\n      for a1 vector", twice, "a vector loop over a1 inside another one");
}

#[test]
fn verify_wants_temporaries_written_first() {
    rejects("v0 = load %5", "v0 = load %7", "\"loss\" is read before it is written");
    rejects(
        "stride 8 = %11 stride 6 @ packed",
        "stride 8 += %11 stride 6 @ packed",
        "\"tape\" is read before",
    );
    rejects("%13 stride 6 = %9 stride 8", "%13 stride 6 += %9 stride 8", "\"dx\" is read before");
}

#[test]
fn verify_wants_products_that_match() {
    rejects("tn 6x8x2: %12 stride 8 = %11 stride 6", "tn 6x8x2: %12 stride 8 = %11 stride 5", "lie 5 apart");
    rejects("gemm tn 6x8x2", "gemm tn 6x8x5", "element 29 of \"x\"");
    rejects("gemm tn 6x8x2: %12 stride 8", "gemm tn 6x8x2: %12 + 1 stride 8", "element 48 of \"dw\"");
    rejects("%12 stride 8 = %11 stride 6 @ %9", "%9 stride 8 = %11 stride 6 @ %9", "overlaps an operand");
    rejects("@ %9 + 16 stride 8", "@ %3 stride 2", "\"tokens\" is not a matrix of reals");
    rejects("gemm tn 6x8x2", "gemm tn 0x8x2", "an empty matrix");
}

/// Forty rows of B in two parts, cut at a multiple of sixteen.
#[test]
fn the_parts_of_a_product_add_up_to_it() {
    let text = r#"module parts {
  buffer %0: f[2, 40] input "a" carried start 0.0
  buffer %1: f[40, 3] input "b" carried start 0.0
  buffer %2: f[2, 2, 3] output "c" probabilities
  gemm nn 2x3x40 parts 2: %2 stride 3 = %0 stride 40 @ %1 stride 3
}
"#;
    let module = parse(text).unwrap();
    assert_eq!(module.to_string(), text);
    verify(&module).unwrap();
    let mut machine = Machine::<f64>::new(&module);
    machine.get_mut("a").unwrap().fill(1.0);
    machine.get_mut("b").unwrap().fill(2.0);
    run(&module, &mut machine, 0, 0).unwrap();
    assert_eq!(machine.get("c").unwrap(), [[32.0; 6], [48.0; 6]].concat());
    let error = verify(&parse(&text.replace("f[2, 2, 3]", "f[2, 1, 3]")).unwrap()).unwrap_err();
    assert!(error.contains("element 11 of \"c\""), "{error}");
    for (from, to) in
        [("parts 2", "parts 0"), ("stride 3 =", "stride 3 +="), ("@ %1 stride 3", "@ %1 stride 3 squares %2")]
    {
        let changed =
            text.replace(from, to).replace("output \"c\" probabilities", "input \"c\" carried start 0.0");
        let error = verify(&parse(&changed).unwrap()).expect_err(to);
        assert!(error.contains("only a product that does nothing else is cut into parts"), "{to}: {error}");
    }
}

#[test]
fn verify_wants_sums_of_what_is_read_as_it_lies() {
    rejects("sums %20 + 1", "sums %20 + 2", "element 9 of \"sums\"");
    rejects("sums %20 + 1", "sums %3", "\"tokens\" is not a matrix of reals");
    rejects("sums %20 + 1", "sums %9 + 20", "overlap the result or an operand");
    rejects("sums %20 + 1", "sums %12 + 40", "overlap the result or an operand");
    let elsewhere = "that is not read as it lies";
    rejects("@ packed %10 stride 8", "@ packed %10 stride 8 sums %20", elsewhere);
    rejects("prefix %17", "prefix %17 sums %20", elsewhere);
    rejects("= %9 stride 8 @ %0 stride 8", "= %9 stride 8 @ %0 stride 8 sums %20", elsewhere);
    let (exact, rounded) = ("gemm tn 6x8x2:", "gemm tn 6x8x2 bf16:");
    rejects(exact, rounded, elsewhere);
}

#[test]
fn verify_wants_squares_in_a_place_of_their_own() {
    rejects("squares %20 + 3", "squares %20 + 4", "element 9 of \"sums\"");
    rejects("squares %20 + 3", "squares %13 + 6", "overlap the result or an operand");
    rejects("sums %20 + 1", "sums %20 + 1 squares %20", "overlap the result or an operand");
    rejects("prefix %17", "prefix %17 squares %20", "some rows are left out");
}

#[test]
fn a_product_sums_what_it_reads_and_squares_of_what_it_writes() {
    let text = r#"module sums {
  buffer %0: f[3, 2] input "a" carried start 0.0
  buffer %1: f[3, 4] input "b" carried start 0.0
  buffer %2: f[2, 2] temp "c"
  buffer %3: f[5] temp "sums"
  buffer %4: f[2] temp "squares"
  gemm tn 2x2x3: %2 stride 2 = %0 stride 2 @ %1 + 1 stride 4 sums %3 + 2 squares %4
}
"#;
    let module = parse(text).unwrap();
    verify(&module).unwrap();
    let mut machine = Machine::<f64>::new(&module);
    let b = machine.get_mut("b").unwrap();
    b.copy_from_slice(&[9.0, 1.0, 2.0, 9.0, 9.0, 3.0, 4.0, 9.0, 9.0, 5.0, 7.0, 9.0]);
    machine.get_mut("a").unwrap().copy_from_slice(&[1.0, 0.0, 0.0, 0.0, 0.0, -2.0]);
    run(&module, &mut machine, 0, 0).unwrap();
    assert_eq!(machine.get("c").unwrap(), [1.0, 2.0, -10.0, -14.0]);
    assert_eq!(machine.get("squares").unwrap(), [101.0, 200.0]);
    assert_eq!(machine.get("sums").unwrap()[2..4], [9.0, 13.0]);
}

#[test]
fn verify_wants_packed_operands_packed() {
    rejects("  pack nn 6x8: %10 = %0 stride 8\n", "", "\"w^\" was not packed before");
    rejects("pack nn 6x8: %10", "pack nn 6x7: %10", "\"w^\" was packed for another product");
    rejects("pack nn 6x8: %10", "pack nn 6x8: %9", "\"tape\" is not a packed buffer");
    rejects("pack nn 6x8: %10", "pack tn 6x8: %10", "only nn and nt are packed");
    rejects("f[96] packed", "f[95] packed", "\"w^\" is too short");
    rejects("@ packed %10 stride 8", "@ packed %10 + 1 stride 8", "starts where its buffer does");
}

#[test]
fn verify_wants_scatters_inside_their_tables() {
    rejects("scatter %14 [10, 8]: %3", "scatter %14 [11, 8]: %3", "element 87 of \"de\"");
    rejects("%3 count 6 from", "%3 count 7 from", "element 55 of \"tape\"");
    rejects("[10, 8]: %3 count 6", "[10, 8]: %9 count 6", "\"tape\" holds no ids");
    rejects("scatter %14 [10, 8]: %3 count", "scatter %9 [6, 8]: %3 count", "the table overlaps an operand");
}

#[test]
fn verify_wants_distinct_ids_in_buffers_of_their_own() {
    rejects("distinct %15 %16 %17: %3 count 6", "distinct %15 %16 %17: %9 count 6", "\"tape\" holds no ids");
    rejects(
        "distinct %15 %16 %17: %3 count 6",
        "distinct %15 %16 %17: %3 count 7",
        "element 6 of \"tokens\"",
    );
    rejects(
        "distinct %15 %16 %17",
        "distinct %15 %16 %16",
        "\"distinct\" is written and also something else",
    );
    rejects("distinct %15 %16 %17", "distinct %15 %16 %14", "\"de\" is not a temporary of its kind");
    rejects("distinct %15 %16 %17", "distinct %4 %16 %17", "\"targets\" is not a temporary of its kind");
    rejects("id[6] temp \"places\"", "id[5] temp \"places\"", "\"places\" has 5 elements instead of 6");
    rejects("id[6] temp \"places\"", "id[7] temp \"places\"", "\"places\" has 7 elements instead of 6");
    rejects("inverse %18 %19", "inverse %19 %18", "\"present\" is not a temporary of its kind");
    rejects("f[10] temp \"present\"", "f[9] temp \"present\"", "\"present\" has 9 elements instead of 10");
    rejects("prefix %17", "prefix %9", "\"tape\" holds no ids");
    rejects("prefix %17", "prefix %17 + 1", "element 1 of \"count\"");
    let late = "  distinct %15 %16 %17: %3 count 6 rows 10 inverse %18 %19\n  gemm nn";
    rejects(late, "  gemm nn", "\"count\" is read before it is written");
}

/// What is left out does not reach the result, were it no number.
#[test]
fn products_of_the_first_rows_leave_out_the_others() {
    let text = r#"module first {
  buffer %0: f[4, 3] input "a" carried start 0.0
  buffer %1: f[4, 2] input "b" carried start 0.0
  buffer %2: f[3, 2] input "w" carried start 0.0
  buffer %3: id[4] input "tokens" tokens
  buffer %4: id[4] temp "places"
  buffer %5: id[4] temp "distinct"
  buffer %6: id[] temp "count"
  buffer %7: f[4, 2] temp "nn"
  buffer %8: f[3, 2] temp "tn"
  buffer %9: f[4, 3] temp "nt"
  distinct %4 %5 %6: %3 count 4 rows 100
  gemm nn 4x2x3: %7 stride 2 = %0 stride 3 @ %2 stride 2 prefix %6
  gemm tn 3x2x4: %8 stride 2 = %0 stride 3 @ %1 stride 2 prefix %6
  gemm nt 4x3x2: %9 stride 3 = %1 stride 2 @ %2 stride 2 prefix %6
}
"#;
    let module = parse(text).unwrap();
    verify(&module).unwrap();
    let mut machine = Machine::<f64>::new(&module);
    machine.ids_mut("tokens").unwrap().copy_from_slice(&[70, 5, 70, 5]);
    for (name, columns) in [("a", 3), ("b", 2)] {
        let values = machine.get_mut(name).unwrap();
        values.fill(f64::NAN);
        values[..2 * columns].fill(2.0);
    }
    machine.get_mut("w").unwrap().fill(3.0);
    run(&module, &mut machine, 0, 0).unwrap();
    assert_eq!(machine.get("nn").unwrap(), [18.0, 18.0, 18.0, 18.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(machine.get("tn").unwrap(), [8.0; 6]);
    assert_eq!(machine.get("nt").unwrap(), [[12.0; 6], [0.0; 6]].concat());
}

/// What a round leaves out is not looked at: A is NaN in the first.
#[test]
fn products_leave_out_a_round() {
    let text = r#"module rounds {
  buffer %0: f[4, 1, 2] input "h" carried start 0.0
  buffer %1: f[2, 2] input "w" carried start 0.0
  buffer %2: f[1, 2] output "c" probabilities
  buffer %3: f[1, 2] temp "next"
  kernel "start" axes 2 {
    for a0 parallel vector {
      v0 = const 1.0
      store %2 + 1*a0 = v0
    }
  }
  loop t0 in 3 {
    gemm nn 1x2x2: %0 + 2 + 2*t0 stride 2 = %0 + 2*t0 stride 2 @ %1 stride 2 after first
    gemm nn 1x2x2: %2 stride 2 += %0 + 2*t0 stride 2 @ %1 stride 2 after first
    kernel "more" axes 2 {
      for a0 parallel vector {
        v0 = load %0 + 2 + 2*t0 + 1*a0
        v1 = const 1.0
        v2 = add v0 v1
        store %0 + 2 + 2*t0 + 1*a0 = v2
      }
    }
    gemm nt 1x2x2: %3 stride 2 = %0 + 2 + 2*t0 stride 2 @ %1 stride 2 before last alternating
  }
}
"#;
    let module = parse(text).unwrap();
    assert_eq!(module.to_string(), text);
    verify(&module).unwrap();
    let mut machine = Machine::<f64>::new(&module);
    machine.get_mut("h").unwrap().fill(f64::NAN);
    machine.get_mut("w").unwrap().fill(0.5);
    run(&module, &mut machine, 0, 0).unwrap();
    // h is 1, then 2, then 3; c adds up what is multiplied by w, but not the NaN before.
    assert_eq!(machine.get("h").unwrap()[2..], [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
    assert_eq!(machine.get("c").unwrap(), [4.0, 4.0]);
    assert_eq!(machine.get("next").unwrap(), [2.0, 2.0]);
}

#[test]
fn verify_wants_products_that_leave_out_a_round_in_loops() {
    let nt = "gemm nt 2x6x8: %13 stride 6 = %9 stride 8 @ %0 stride 8";
    rejects(nt, &format!("{nt} before last"), "is in no loop");
    let nn = "gemm nn 2x8x6: %9 + 16*t0 stride 8 = %11 stride 6 @ packed %10 stride 8";
    rejects(nn, &format!("{nn} prefix %17 after first"), "makes more than C");
    rejects(nn, &format!("{nn} squares %20 after first"), "makes more than C");
    // After the loop C is undefined.
    rejects(nn, &format!("{nn} before last"), "\"tape\" is read before it is written");
}

#[test]
fn verify_wants_products_as_of_few_rows_to_read_packed_weights() {
    let nt = "gemm nt 2x6x8: %13 stride 6 = %9 stride 8 @ %0 stride 8";
    rejects(nt, &format!("{nt} as few"), "its right side is not packed");
}

#[test]
fn verify_wants_products_that_turn_to_read_a_right_side_as_it_lies() {
    let nt = "gemm nt 2x6x8: %13 stride 6 = %9 stride 8 @ %0 stride 8";
    rejects(nt, &format!("{nt} alternating"), "is in no loop");
    let nn = "gemm nn 2x8x6: %9 + 16*t0 stride 8 = %11 stride 6 @ packed %10 stride 8";
    rejects(nn, &format!("{nn} alternating"), "does not just read");
    let rounded = nn.replace("6:", "6 bf16:").replace("packed %10", "%0");
    rejects(nn, &format!("{rounded} alternating"), "does not just read");
}

/// What one iteration writes lies one after the other, what it reads side by side: they meet if a row that is read is one
/// that is written, and do not if only an iteration after the last one would read it.
#[test]
fn verify_knows_where_a_parallel_loop_ends() {
    let text = r#"module turned {
  buffer %0: f[2, 4, 4] input "x" carried start 0.0
  kernel "turned" axes 4 4 4 {
    for a0 parallel {
      for a1 parallel {
        for a2 vector fold v1 = sum v0 {
          v0 = load %0 + 4*a1 + 1*a2
        }
        store %0 + 16 + 4*a0 + 1*a1 = v1
      }
    }
  }
}
"#;
    verify(&parse(text).unwrap()).unwrap();
    let met = text.replace("store %0 + 16 +", "store %0 + 15 +");
    let error = verify(&parse(&met).unwrap()).unwrap_err();
    assert!(error.contains("are not independent"), "{error}");
}

#[test]
fn verify_wants_parallel_iterations_independent() {
    // A row reads what the row before it wrote.
    let text = r#"module scan {
  buffer %0: f[4, 8] temp "x"
  kernel "fill" axes 4 8 {
    for a0 parallel {
      for a1 vector {
        v0 = position a1
        store %0 + 8*a0 + 1*a1 = v0
      }
    }
  }
  kernel "scan" axes 3 8 {
    for a0 parallel {
      for a1 vector {
        v0 = load %0 + 8*a0 + 1*a1
        store %0 + 8 + 8*a0 + 1*a1 = v0
      }
    }
  }
}
"#;
    let error = verify(&parse(text).unwrap()).unwrap_err();
    assert!(error.contains("iterations over a0 are not independent"), "{error}");
    verify(&parse(&text.replace("axes 3 8 {\n    for a0 parallel", "axes 3 8 {\n    for a0")).unwrap())
        .unwrap();
    // Columns of one row do not meet, whatever the rows do.
    let columns = text.replace("axes 3 8 {\n    for a0 parallel", "axes 3 8 {\n    for a0");
    let columns =
        columns.replace("for a1 vector {\n        v0 = load", "for a1 parallel vector {\n        v0 = load");
    verify(&parse(&columns).unwrap()).unwrap();
    let shifted =
        columns.replace("load %0 + 8*a0", "load %0 + 1 + 8*a0").replace("store %0 + 8 +", "store %0 +");
    let error = verify(&parse(&shifted).unwrap()).unwrap_err();
    assert!(error.contains("iterations over a1 are not independent"), "{error}");
}

/// A parameter of which a prologue makes two things that every step reads.
const PREPARED: &str = r#"module prepared {
  buffer %0: f[6, 20] input "w" param parts "w" 0 20
  buffer %1: f[6, 20] temp "w2"
  buffer %2: f[256] packed "w^"
  buffer %3: f[2, 6] input "x" carried start 0.0
  buffer %4: f[2, 20] output "p" probabilities
  buffer %5: f[2, 20] temp "y"
  prologue {
    kernel "double" axes 120 {
      for a0 parallel vector {
        v0 = load %0 + 1*a0
        v1 = add v0 v0
        store %1 + 1*a0 = v1
      }
    }
    pack nn 6x20 int8: %2 = %1 stride 20
  }
  gemm nn 2x20x6: %5 stride 20 = %3 stride 6 @ packed int8 %2 stride 0
  kernel "show" axes 40 {
    for a0 parallel vector {
      v0 = load %5 + 1*a0
      store %4 + 1*a0 = v0
    }
  }
}
"#;

#[test]
fn a_prologue_runs_before_the_step() {
    let module = parse(PREPARED).unwrap();
    verify(&module).unwrap();
    assert_eq!(module.to_string(), PREPARED);
    let mut machine = Machine::<f64>::new(&module);
    machine.get_mut("x").unwrap()[..6].fill(1.0);
    machine.get_mut("w").unwrap().iter_mut().enumerate().for_each(|(i, w)| *w = (i % 20) as f64);
    run(&module, &mut machine, 0, 0).unwrap();
    // A column of equal weights is 127 times its scale, as f32: 2 * column, six times.
    for (column, &found) in machine.get("p").unwrap()[..20].iter().enumerate() {
        let expected = 12.0 * column as f64;
        assert!((found - expected).abs() <= 1e-6 * expected, "column {column} is {found}");
    }
    assert_eq!(machine.get("p").unwrap()[20..], [0.0; 20]);
}

#[test]
fn a_product_in_bf16_rounds_both_operands() {
    let text = PREPARED.replace("2x20x6:", "2x20x6 bf16:").replace(" int8", " bf16");
    let module = parse(&text).unwrap();
    verify(&module).unwrap();
    assert_eq!(module.to_string(), text);
    let mut machine = Machine::<f64>::new(&module);
    let step = 1.0 / 128.0;
    machine.get_mut("x").unwrap()[..6].fill(1.0 + 0.4 * step);
    // Twice this is a tie, which goes to the even neighbour.
    machine.get_mut("w").unwrap().fill(0.5 + 0.75 * step);
    run(&module, &mut machine, 0, 0).unwrap();
    assert_eq!(machine.get("p").unwrap()[..20], [6.0 * (1.0 + 2.0 * step); 20]);
    let other = text.replace(" bf16: %2", " int8: %2").replace("packed bf16", "packed int8");
    let error = verify(&parse(&other).unwrap()).unwrap_err();
    assert!(error.contains("another precision than the product"), "{error}");
}

#[test]
fn verify_wants_a_prologue_that_no_step_undoes() {
    let rejects = |from: &str, to: &str, message: &str| {
        assert!(PREPARED.contains(from), "{from}");
        let error = verify(&parse(&PREPARED.replacen(from, to, 1)).unwrap()).expect_err(to);
        assert!(error.contains(message), "{to}: {error}");
    };
    rejects("store %4 + 1*a0 = v0", "store %0 + 1*a0 = v0", "reads \"w\", which a step may change");
    rejects("store %4 + 1*a0 = v0", "store %1 + 1*a0 = v0", "writes \"w2\", and so does a step");
    rejects("param parts \"w\" 0 20", "carried start 0.0", "reads \"w\", which a step may change");
    rejects("v1 = add v0 v0", "v1 = random 0 + 1*a0", "has random numbers in kernel \"double\"");
    rejects("temp \"w2\"", "output \"w2\" gradient \"w\"", "writes \"w2\", which is not a temporary");
    rejects(
        "    kernel \"double\"",
        "    loop t0 in 2 {\n    }\n    kernel \"double\"",
        "has a loop over time",
    );
    rejects("@ packed int8", "@ packed bf16", "was packed for another product");
    rejects("f[256] packed", "f[79] packed", "is too short");
}
