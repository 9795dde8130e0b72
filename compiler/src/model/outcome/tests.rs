//! Which results are distributions, which are logits, and which are neither.

#[path = "../../../tests/support/checked.rs"]
mod checked;

use checked::checked;

use crate::model::Model;

/// `layer end(x: [in]) { .. }` with this body after `dense(vocab)`, of a vocabulary of 6.
fn model(body: &str) -> Result<Model, String> {
    chain(&format!("layer end(x: [in]) {{ {body} }}"), "embedding(3) -> dense(vocab) -> end")
}

fn chain(definitions: &str, stages: &str) -> Result<Model, String> {
    let text = format!(
        "{definitions}
        data {{ train: \"t\"; tokens: words; batches: stream(rows: 2, steps: 3) }}
        model {{ tokens -> {stages} }}
        train {{ loss: cross_entropy; optimizer: sgd; epochs: 1 }}"
    );
    checked(&text, 6)
}

/// Fails unless the model is taken as it is (`Some(false)`), with a softmax added (`Some(true)`), or refused (`None`).
#[track_caller]
fn is(found: &Result<Model, String>, added: Option<bool>, what: &str) {
    let is_added = |model: &Model| model.layers[model.output].name == "softmax (from logits)";
    match (found, added) {
        (Ok(model), Some(added)) => assert_eq!(is_added(model), added, "{what}"),
        (Err(errors), None) => assert!(errors.contains("E0312"), "{what}: {errors}"),
        (Ok(model), None) => panic!("{what} is accepted, with softmax: {}", is_added(model)),
        (Err(errors), Some(_)) => panic!("{what}: {errors}"),
    }
}

#[test]
fn distributions() {
    for body in [
        "e = exp(x); return e / sum(e)",
        "e = exp(x - max(x)); return e * (1 / sum(e))",
        "e = exp((x - stop(max(x))) / 0.7); return e / sum(e)",
        "e = sigmoid(x); return e / sum(e)",
        "e = relu(x) + 0.001; return e / sum(e)",
        "e = x * x; return e / (mean(e) * in)",
        "e = x ^ 2; return e / sum(stop(x) ^ 2)",
        "return exp(x - log(sum(exp(x))))",
        "m = max(x); return exp(x - (m + log(sum(exp(x - m)))))",
        "m = max(x); return exp(x - m) / sum(exp(x))  * exp(m)",
        // Mixtures, by a gate, by fixed shares, and by shares that are themselves a distribution.
        "p = exp(x) / sum(exp(x)); g = sigmoid(sum(x)); q = exp(-x) / sum(exp(-x)); return g * p + (1 - g) * q",
        "e = exp(x); return 0.9 * e / sum(e) + 0.1 / in",
        "param P: [in, 3]; s = exp(x @ P); s_sum = sum(s); w = s / s_sum
         a = exp(x); b = exp(2 * x); c = exp(3 * x)
         return sum(w[0:1]) * a / sum(a) + sum(w[1:2]) * b / sum(b) + sum(w[2:3]) * c / sum(c)",
        // Over classes, and words within a class.
        "g = sigmoid(sum(x)); a = exp(x[0:2]); b = exp(x[2:6])
         return concat(g * a / sum(a), (1 - g) * b / sum(b))",
        "a = exp(x[0:2]); b = exp(x[2:6]); return concat(a, b) / (sum(a) + sum(b))",
        "a = exp(x[0:2]); return concat(a, a, a) / (3 * sum(a))",
        // A running mean of distributions.
        "state p: [in] = 1 / in; e = exp(x); next p = 0.9 * p + 0.1 * e / sum(e); return next p",
        "state p: [in] = 1 / in; e = exp(x); next p = e / sum(e); return 0.5 * p + 0.5 * next p",
        "e = exp(x); f = 2 ^ x; return if training then e / sum(e) else f / sum(f)",
    ] {
        is(&model(body), Some(false), body);
    }
    for stages in [
        "embedding(3) -> dense(vocab) -> softmax",
        "embedding(3) -> dense(vocab, activation: sigmoid) -> softmax",
        "embedding(3) -> dense(vocab) -> softmax -> softmax",
        "embedding(vocab) -> same -> softmax -> same",
    ] {
        is(&chain("layer same(x: [in]) { return x }", stages), Some(false), stages);
    }
}

#[test]
fn logits() {
    for body in [
        "return x",
        "return tanh(x)",
        "return 30 * tanh(x / 30)",
        "return x - mean(x)",
        "return x - log(sum(exp(x)))",
        "return -abs(x)",
        "return x * sigmoid(x)",
        "return exp(x) - 1",
        "state h: [in]; next h = 0.5 * h + x; return next h",
        "state h: [in] = -1; next h = 0.5 * h; return next h",
    ] {
        is(&model(body), Some(true), body);
    }
    for stages in
        ["embedding(vocab)", "embedding(3) -> lstm(vocab)", "embedding(3) -> dense(vocab) -> layer_norm"]
    {
        is(&chain("", stages), Some(true), stages);
    }
}

#[test]
fn neither() {
    for body in [
        "return exp(x) * 9",
        "return sigmoid(x)",
        "return relu(x)",
        "return log(1 + exp(x))",
        "return (tanh(x) + 1) / 2",
        "return 1 - sigmoid(x)",
        "e = exp(x); return e / (sum(e) + 1)",
        "e = exp(x); return 0.9 * e / sum(e) + 0.2 / in",
        "e = exp(x); return e / sum(exp(2 * x))",
        "e = exp(x); return e / sum(e) * random(x)",
        "e = exp(x); return if x > 0 then e / sum(e) else e / sum(e)",
        "p = exp(x) / sum(exp(x)); g = sigmoid(sum(x)); return g * p + g * p",
        "state h: [in]; next h = h + exp(x); return next h",
        "state p: [in]; e = exp(x); next p = 0.9 * p + 0.1 * e / sum(e); return next p",
        // Adds up to 1, and may be negative.
        "return x / sum(x)",
    ] {
        is(&model(body), None, body);
    }
    for stages in [
        "embedding(3) -> dense(vocab, activation: sigmoid)",
        "embedding(3) -> dense(vocab, activation: relu)",
        "embedding(3) -> dense(vocab) -> softmax -> dropout(0.5)",
    ] {
        is(&chain("", stages), None, stages);
    }
}

/// No model takes long to look into: a value that doubles at each of many equations, and many layers.
#[test]
fn what_is_too_much_to_look_into_is_left() {
    let doubled: String = (0..60).map(|i| format!("y{} = y{i} + exp(y{i}); ", i + 1)).collect();
    is(&model(&format!("y0 = exp(x); {doubled} return y60")), None, "doubled");
    let deep = " -> same".repeat(300);
    let layer = "layer same(x: [in]) { return x + 1 }";
    is(&chain(layer, &format!("embedding(vocab) -> softmax{deep}")), None, "deep");
}
