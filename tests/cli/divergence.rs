//! A training whose numbers stop being finite: where that begins is shown in the source.

use crate::support::Folder;

fn refused(layers: &str, model: &str, optimizer: &str) -> String {
    let folder = Folder::new();
    let text = format!(
        "{layers}\n\
         data {{ train: \"text.txt\" tokens: words batches: stream(rows: 2, steps: 5) }}\n\
         model {{ tokens -> {model} }}\n\
         train {{ loss: cross_entropy optimizer: {optimizer} epochs: 40 }}\n"
    );
    folder.write("tiny.lstm", text);
    let message = folder.refused(&["train", "tiny.lstm", "--threads", "1", "--out", "run"]);
    assert!(message.starts_with("error[E0501]: ") && message.contains("training has diverged"), "{message}");
    message
}

/// The line of source that is pointed at, and what is said there.
fn pointed(message: &str) -> (String, String) {
    let lines: Vec<&str> = message.lines().collect();
    let at = lines.iter().position(|line| line.contains('^')).expect("a caret");
    let after = |line: &str, what: &str| line.split_once(what).map_or("", |(_, text)| text).trim().to_owned();
    (after(lines[at - 1], "│"), after(lines[at], "^ "))
}

#[test]
fn an_equation_is_named_with_its_step_and_row() {
    // What it has read makes it 1e30 times as large: from 1e-3 that is too much for `f32` after two steps.
    let layer = "layer grow(x: [in], units) {\n\
                 param W: [in, units]\n\
                 state s: [units] = 0.001\n\
                 next s = s * 1e30\n\
                 return x @ W + 0 * next s\n\
                 }";
    let message = refused(layer, "embedding(8) -> grow(9) -> dense(vocab)", "sgd(rate: 0.1)");
    let (line, text) = pointed(&message);
    assert_eq!(line, "next s = s * 1e30");
    assert_eq!(text, "`next s` is the first that is not finite: inf in update 1, time step 2, row 1");
    assert!(message.contains("in this use, `grow_1`"), "{message}");
}

#[test]
fn an_equation_of_the_prelude_is_shown_with_its_use() {
    let layers = "rnn(16, activation: relu) -> rnn(16, activation: relu)";
    let message = refused("", &format!("embedding(8) -> {layers} -> dense(vocab)"), "sgd(rate: 100000)");
    assert!(pointed(&message).1.contains("is the first that is not finite: "), "{message}");
    assert!(message.contains("prelude/layers.lstm:") && message.contains("in this use, `"), "{message}");
}

#[test]
fn a_gradient_is_named_where_all_is_finite_forwards() {
    // The derivative of a square root at zero.
    let layer = "layer root(x: [in], units) {\nparam W: [in, units]\ny = x @ W\nreturn sqrt(y * y)\n}";
    let message = refused(layer, "embedding(8, init: 0) -> root(9) -> dense(vocab)", "sgd(rate: 0.1)");
    let (line, text) = pointed(&message);
    assert_eq!(line, "param W: [in, units]");
    let expected =
        "the gradient of `root_1.W` is the first that is not finite: NaN in update 1; forwards all is finite";
    assert_eq!(text, expected);
    assert!(message.contains("in this use, `root_1`"), "{message}");
}

#[test]
fn an_optimizer_is_named_where_all_gradients_are_finite() {
    let optimizer = "optimizer jumps(p, g, rate = 0.1) {\nreturn p / (step - 12) - rate * g\n}";
    let message = refused(optimizer, "embedding(8) -> dense(vocab)", "jumps");
    let (line, text) = pointed(&message);
    assert_eq!(line, "return p / (step - 12) - rate * g");
    assert_eq!(text, "in update 12 all gradients are finite, and what `jumps` makes of them is not");
}
