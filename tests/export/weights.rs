//! Parameters alone, in safetensors.

use std::fs;

use crate::{Folder, expected, models, python, root, small};

/// The names and shapes that an export prints.
fn tensors(printed: &str) -> Vec<&str> {
    printed.lines().filter_map(|line| line.strip_prefix("tensor      ")).collect()
}

#[test]
fn an_lstm_has_pytorchs_names() {
    let folder = Folder::new();
    let chain =
        "tokens -> embedding(12) -> dropout(0.5) -> lstm(16, forget_bias: 1) -> dropout(0.5) -> lstm(16)";
    folder.train("two", &small("", chain, "weights: average(after: 1)"), "5");
    let aesop = models("models").into_iter().find(|(name, _)| name == "aesop").expect("aesop").1;
    folder.train("aesop", &aesop.replace("512", "24"), "5");
    // The prelude's equations under another name.
    let renamed = fs::read_to_string(root().join("compiler/prelude/layers.lstm")).expect("the prelude");
    let own = renamed[renamed.find("layer lstm(").expect("lstm")..].split("\n}\n").next().expect("its end");
    let own = format!("{}\n}}\n", own.replacen("lstm", "cell", 1));
    folder.train("renamed", &small(&own, "tokens -> embedding(12) -> cell(16)", ""), "5");
    let mut cases = vec![];
    for name in ["two", "aesop", "renamed"] {
        let file = format!("{name}.safetensors");
        let printed = folder.lstmc(&["export", name, "--format", "safetensors"]);
        assert!(printed.contains("names       PyTorch's"), "{printed}");
        if name == "two" {
            let names = tensors(&printed);
            assert_eq!(names[1..3], ["lstm.weight_ih_l0 [64, 12]", "lstm.weight_hh_l0 [64, 16]"]);
            assert_eq!(names.len(), 1 + 8 + 2, "{names:?}");
        }
        cases.push(folder.expected(name, &file));
    }
    if let Some(python) = python::with("numpy") {
        println!("{}", folder.compare(&python, "pytorch.py", &cases));
    }
}

/// Another model's parameters are those of its checkpoint.
#[test]
fn other_models_have_their_own_names() {
    let folder = Folder::new();
    let changed = "layer lstm(x: [in], units) {\n param W_i: [in, units]\n state h: [units]\n next h = tanh(x @ W_i + h)\n return next h }";
    let embedded = "tokens -> embedding(12)";
    let models = [
        ("changed", small(changed, &format!("{embedded} -> lstm(16)"), ""), "lstm_1.W_i [12, 16]"),
        ("gru", small("", &format!("{embedded} -> gru(16)"), ""), "gru_1.R_z [16, 16]"),
        ("widths", small("", &format!("{embedded} -> lstm(16) -> lstm(8)"), ""), "lstm_2.R_f [8, 8]"),
        ("normed", small("", &format!("{embedded} -> lstm(16) -> layer_norm"), ""), "layer_norm_1.gain [16]"),
        ("deep", small("", &format!("{embedded} -> lstm(16) -> dense(9)"), ""), "dense_2.W [9, 79]"),
        ("inside", small("", &format!("{embedded} -> lstm(16) -> softmax"), ""), "lstm_1.R_f [16, 16]"),
        ("none", small("", embedded, ""), "embedding_1.E [79, 12]"),
    ];
    for (name, text, expected) in &models {
        folder.train(name, text, "2");
        let printed = folder.lstmc(&["export", name, "--format", "safetensors"]);
        assert!(printed.contains("names       the model's own"), "{printed}");
        let vocab = expected::vocabulary(&folder.path(name)).to_string();
        assert!(tensors(&printed).contains(&expected.replace("79", &vocab).as_str()), "{printed}");
        let bytes = fs::read(folder.path(&format!("{name}.safetensors"))).expect("the file");
        let found = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
        assert_eq!(found.len(), tensors(&printed).len());
        for (param, values) in expected::parameters(&folder.path(name)) {
            let stored: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            assert!(found.tensor(&param).expect("a parameter").data() == stored, "{name}: {param}");
        }
    }
}
