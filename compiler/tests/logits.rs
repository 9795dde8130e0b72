//! A model that ends in logits is, in every program, the model with softmax after them.

mod support;

use lstmc_compiler::graph::Purpose;
use lstmc_compiler::pipeline;
use lstmc_compiler::target::Target;
use support::checked::checked;

fn source(chain: &str, batches: &str) -> String {
    format!(
        "data {{ train: \"t\"; tokens: words; batches: {batches} }}
        model {{ param E: [vocab, 4] let x = tokens -> lookup(E); {chain} }}
        layer lookup(t: token, E: [rows, n]) {{ return E[t] }}
        layer readout(x: [n], E: [rows, n]) {{ return x @ transpose(E) }}
        train {{ loss: cross_entropy; optimizer: adam; clip: norm(1); epochs: 1 }}"
    )
}

#[test]
fn logits_compile_as_with_softmax() {
    let each = "stream(rows: 3, steps: 4)";
    let last = "windows(length: 4, stride: 1, rows: 3, targets: last)";
    for (chain, batches) in [
        ("x -> lstm(5) -> dropout(0.5) -> dense(vocab)", each),
        ("x -> gru(4) -> readout(E)", each),
        ("x -> lstm(5) -> last -> dropout(0.5) -> dense(vocab)", last),
        ("x -> dropout(0.1) -> rnn(vocab)", each),
        ("x -> rnn(vocab) -> last", last),
    ] {
        let model = |end: &str| {
            let text = source(&format!("{chain}{end}"), batches);
            checked(&text, 9).unwrap_or_else(|errors| panic!("{errors}"))
        };
        let (logits, softmax) = (model(""), model(" -> softmax"));
        for purpose in [Purpose::Train, Purpose::Evaluate, Purpose::Generate { tokens: 100 }] {
            let stages = |model| {
                let mut stages = vec![];
                pipeline::graph_of(model, purpose, &Target::cpu(1), &mut |_, graph| {
                    stages.push(graph.to_string())
                });
                stages
            };
            assert_eq!(stages(&logits), stages(&softmax), "{chain} {purpose:?}");
        }
    }
}
