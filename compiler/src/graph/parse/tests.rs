use proptest::prelude::*;

use super::*;
use crate::graph::verify;

/// Every form of every line.
const ALL: &str = r#"graph train {
  in %0: f[10, 8] param "embedding_1.table" parts "embedding_1.table" 0 8
  in %1: id[2, 3] tokens "tokens"
  in %2: id[2, 3] targets "targets"
  in %3: f[3, 8] carried "h \"x\"\\\n\u{1b}é" start 0.0
  in %4: f[] rate "rate"
  in %5: f[] step "step"
  in %6: f[10, 8] optimizer_state "s" of "embedding_1.table" start -1e-7
  in %7: f[8, 4] param "W" parts "W_i" 0 1 "W_f" 1 3
  %10: f[] = const -inf
  %11: f[] = const NaN
  %12: f[] = const 1e300
  %13: f[2, 3, 8] = take %0 %1
  %14: f[2, 3, 8] = broadcast %3 axes=[1, 2] shape=[2, 3, 8]
  %15: f[2, 3, 8] = add %13 %14
  %16: f[] = reduce_sum %15 axes=[0, 1, 2]
  %17: f[2, 8] = reduce_max %15 axes=[1]
  %18: f[2, 3, 4] = matmul_nn %15 %7
  %19: f[2, 3, 8] = matmul_nt %18 %7
  %20: f[8, 4] = matmul_tn %15 %18
  %21: f[10, 8] = scatter %1 %15 rows=10
  %22: f[2, 3] = pick %15 %1
  %23: f[2, 3, 8] = spread %22 %1 len=8
  %24: f[2, 3] = number %1
  %25: f[3, 8] = random stream=4294967295 shape=[3, 8]
  %26: f[2, 3, 3], %27: f[2, 3, 5] = split %15 axis=2 sizes=[3, 5]
  %28: f[2, 3, 8] = concat %27 %26 axis=2
  %29: f[3, 8] = at %28 index=1
  %30: f[2, 3, 8] = put %29 index=1 len=2
  %31: f[2, 3, 1] = unsqueeze %24
  %32: f[2, 3] = squeeze %31
  %33: f[3, 8] = stop %29
  %34: f[] = random stream=0 shape=[]
  %50: f[3, 8], %51: f[2, 3, 8], %52: f[2, 2, 3, 8] = loop 2 reverse {
    carry %40: f[3, 8] = %3 next %43
    slice %41: f[3, 8] of %13
    slice %42: id[3] of %1
    %43: f[3, 8] = select %40 %41 %33
    %44: f[2, 3, 8] = broadcast %41 axes=[1, 2] shape=[2, 3, 8]
    stack %40
    stack %44
  }
  out %50 update "h \"x\"\\\n\u{1b}é"
  out %21 gradient "embedding_1.table"
  out %16 loss
  out %12 hits
  out %15 probabilities
  out %16 objective
}
"#;

#[test]
fn prints_what_it_parsed() {
    let graph = parse(ALL).expect("the text parses");
    assert_eq!(verify(&graph), Ok(()));
    assert_eq!(graph.to_string(), ALL);
}

#[test]
fn reads_every_scalar_operation() {
    let scalars = crate::scalar::Scalar::ALL.map(|op| op.name());
    for name in scalars {
        let args = " %0".repeat(name.parse::<crate::scalar::Scalar>().map_or(0, |op| op.arity()));
        let text = format!("graph g {{\n  in %0: f[] rate \"r\"\n  %1: f[] = {name}{args}\n}}\n");
        let graph = parse(&text).expect(name);
        assert_eq!(verify(&graph), Ok(()), "{name}");
        assert_eq!(graph.to_string(), text);
    }
}

#[test]
fn skips_comments_and_blank_lines() {
    let graph = parse("\n// a graph\ngraph g { // of one node\n\n  %1: f[] = const 2 // two\n}\n// end")
        .expect("parses");
    assert_eq!(graph.to_string(), "graph g {\n  %1: f[] = const 2.0\n}\n");
}

#[test]
fn says_what_is_wrong_and_where() {
    let cases = [
        ("", 0, "a graph was expected"),
        ("grph g {", 1, "`graph` was expected, not `grph`"),
        ("graph g {\n", 1, "the graph is not closed by `}`"),
        ("graph g {\n}\nx", 3, "text after the graph's end"),
        ("graph g {\n%0: g[] = const 1\n}", 2, "`g` is not a type: a type is f[..] or id[..]"),
        ("graph g {\n%0: f[2 3] = const 1\n}", 2, "`,` was expected, not `3`"),
        ("graph g {\n%0: f[-1] = const 1\n}", 2, "`-1` is not a size"),
        ("graph g {\n%0: f[4294967296] = const 1\n}", 2, "`4294967296` is not a size"),
        ("graph g {\n%0: f[] = const x\n}", 2, "`x` is not a number"),
        ("graph g {\n%0: f[] = frob %0\n}", 2, "`frob` is not an operation"),
        ("graph g {\n%0: f[] = neg %1 %2 3\n}", 2, "the line's end was expected, not `3`"),
        ("graph g {\n%0: f[] = take %1 %2 shape=[]\n}", 2, "the line's end was expected, not `shape`"),
        ("graph g {\n%0: f[] = at %1 len=2\n}", 2, "`index` was expected, not `len`"),
        (
            "graph g {\n%9999999: f[] = const 1\n}",
            2,
            "%9999999 is above the largest number of a value, 1048575",
        ),
        ("graph g {\n%x: f[] = const 1\n}", 2, "`%` is not a value"),
        ("graph g {\n%0: f[] ? const 1\n}", 2, "'?' does not belong in a graph"),
        ("graph g {\nstack %0\n}", 2, "`stack` does not belong here"),
        ("graph g {\n= loop 2 {\nin %0: f[] rate \"r\"\n}\n}", 3, "`in` does not belong in a loop"),
        (
            "graph g {\n= loop 2 {\nstack %1\n}\n}",
            4,
            "the loop of line 2 has 0 results, but carries 0 and stacks 1",
        ),
        ("graph g {\n= loop 2 {\n= loop 3 {\n", 3, "loops do not nest"),
        ("graph g {\n= loop 2 {\n", 2, "the loop is not closed by `}`"),
        ("graph g {\nin %0: f[] rate \"r\n}", 2, "a quoted name is not closed"),
        ("graph g {\nin %0: f[] rate \"\\u{d800}\"\n}", 2, "`\\u{d800}` is not a character"),
        ("graph g {\nin %0: f[] rate \"\\q\"\n}", 2, "an unknown escape in a quoted name"),
        ("graph g {\nin %0: f[] fast \"r\"\n}", 2, "`fast` is not a role of an input"),
        ("graph g {\nout %0 fast\n}", 2, "`fast` is not a role of an output"),
        ("graph g {\nin %0: f[] random stream=1\n}", 2, "a quoted name was expected, not `stream`"),
    ];
    for (text, line, message) in cases {
        let expected = ParseError { line, message: message.into() };
        assert_eq!(parse(text).expect_err(text), expected, "{text}");
    }
}

/// Text that looks like a graph: lines of [`ALL`], some with a piece cut out, doubled or replaced.
fn mangled() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(ALL.split_whitespace().collect::<Vec<_>>());
    proptest::collection::vec((any::<prop::sample::Index>(), word, 0..4_u8), 1..4).prop_map(|edits| {
        let mut words: Vec<&str> = ALL.split_inclusive(' ').collect();
        for (place, word, kind) in edits {
            let place = place.index(words.len());
            match kind {
                0 if words.len() > 1 => drop(words.remove(place)),
                1 => words.insert(place, word),
                2 => words[place] = word,
                _ => words.truncate(place + 1),
            }
        }
        words.concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn never_panics(text in "\\PC*|graph g \\{\n([ -~]*\n)*") {
        let _ = parse(&text);
    }

    #[test]
    fn mangled_text_is_refused_or_stays_itself(text in mangled()) {
        if let Ok(graph) = parse(&text) {
            let _ = verify(&graph);
            let printed = graph.to_string();
            prop_assert_eq!(parse(&printed).expect("printed text parses").to_string(), printed);
        }
    }

    #[test]
    fn names_survive(name in any::<String>()) {
        let text = format!("graph g {{\n  in %0: f[] rate {name:?}\n}}\n");
        let graph = parse(&text).expect("any name can be quoted");
        prop_assert_eq!(&graph.inputs[0].name, &name);
        prop_assert_eq!(graph.to_string(), text);
    }

    #[test]
    fn constants_survive(bits in any::<u64>()) {
        let text = format!("graph g {{\n  %0: f[] = const {:?}\n}}\n", f64::from_bits(bits));
        prop_assert_eq!(parse(&text).expect("any number is read").to_string(), text);
    }
}
