//! `lstmc import`: weights of PyTorch's give what they give there, what does not fit is listed, and the result is a run.
//!
//! `tests/weights/make_weights.py` says what the files are and wrote them.

mod map;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;

use crate::support::{Folder, TINY, names};

/// How far a logarithm of a probability may be from PyTorch's: both round some hundred operations to 6e-8, in different orders.
const TOLERANCE: f64 = 1e-5;

/// Words in `words.txt`, and predictions that `expected.json` has.
const WORDS: usize = 11;
const READ: usize = 20;

/// A model of a chain on the text beside the weights.
fn model(chain: &str) -> String {
    format!(
        "data {{\n train: \"text.txt\"\n test: \"text.txt\"\n tokens: words(newline: \"<eos>\")\n \
         batches: stream(rows: 1, steps: 5)\n}}\nmodel {{\n {chain}\n}}\n\
         train {{\n loss: cross_entropy\n optimizer: adam\n epochs: 2\n}}\n"
    )
}

const LSTM: &str = "tokens -> embedding(6) -> lstm(8) -> dropout(0.5) -> lstm(8) -> dense(vocab)";
const TIED: &str = "param T: [vocab, 8]\n tokens -> lookup(T) -> lstm(8) -> readout(T)";
const TIED_LAYERS: &str = "layer lookup(t: token, table: [rows, width]) { return table[t] }
layer readout(x: [in], table: [rows, in]) { param c: [rows] = zeros; return x @ transpose(table) + c }
";

/// A folder with the weights, the text, and `net.lstm` of a chain.
fn folder(chain: &str) -> Folder {
    let folder = Folder::new();
    for name in names(&weights()) {
        fs::copy(weights().join(&name), folder.path(&name)).expect("a copy");
    }
    folder.write("net.lstm", model(chain));
    folder
}

fn weights() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/weights")
}

/// Imports a file of weights into the run `run`.
#[track_caller]
fn import(folder: &Folder, file: &str, more: &[&str]) -> String {
    let args = ["import", "net.lstm", file, "--vocabulary", "words.txt", "--out", "run"];
    folder.ok(&[&args, more].concat())
}

/// The logarithms of the probabilities that a run gives each word at each place, by word.
fn found(folder: &Folder, run: &str) -> Vec<BTreeMap<String, f64>> {
    let (count, words) = (READ.to_string(), WORDS.to_string());
    let rows = folder.ok(&["predict", run, "--json", "--count", &count, "--top-k", &words, "--threads", "1"]);
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).expect("JSON");
        let likely = row["top"].as_array().expect("the most likely words").clone();
        let pair = |one: Value| {
            let probability = one["probability"].as_f64().expect("a probability");
            (one["token"].as_str().expect("a word").to_owned(), probability.ln())
        };
        likely.into_iter().map(pair).collect()
    };
    rows.lines().map(row).collect()
}

/// Compares what a run gives with what PyTorch does.
#[track_caller]
fn agrees(folder: &Folder, run: &str, expected: &str) {
    let text = fs::read_to_string(weights().join("expected.json")).expect("what PyTorch found");
    let all: Value = serde_json::from_str(&text).expect("JSON");
    let words = fs::read_to_string(weights().join("words.txt")).expect("the words");
    let found = found(folder, run);
    assert_eq!(found.len(), READ);
    let mut moved = 0.0f64;
    for (at, row) in found.iter().enumerate() {
        assert_eq!(row.len(), WORDS);
        for (id, word) in words.lines().enumerate() {
            let of = |at: usize| all[expected][at][id].as_f64().expect("a logarithm");
            let off = (row[word] - of(at)).abs();
            assert!(off < TOLERANCE, "{expected}: {word} at {at} is off by {off:.1e}");
            moved = moved.max((of(at) - of(0)).abs());
        }
    }
    assert!(moved > 0.1, "{expected}: it says the same everywhere");
}

#[test]
fn weights_of_pytorch_give_what_they_give_there() {
    let lstm = "nn.Embedding encoder, nn.LSTM rnn (2 layers), nn.Linear decoder";
    for (file, chain, expected, said) in [
        ("lstm.pt", LSTM, "lstm", lstm),
        ("lstm-legacy.pt", LSTM, "lstm", lstm),
        ("lstm.safetensors", LSTM, "lstm", lstm),
        ("lstm-nested.pt", LSTM, "lstm", "beside      optimizer (33 tensors)"),
        ("lstm-module.pt", LSTM, "lstm-module", lstm),
        ("gru.pt", "tokens -> embedding(6) -> gru(8) -> dense(vocab)", "gru", "7 tensors of f16 to f32"),
        (
            "rnn.pt",
            "tokens -> embedding(6) -> rnn(8, activation: relu) -> dense(vocab)",
            "rnn",
            "converted   4 tensors of bf16 to f32\nzeros       rnn_1.b, dense_1.b: the file has no such biases",
        ),
        ("tied.pt", TIED, "tied", "tensors of f64 to f32"),
        (
            "cells.pt",
            "tokens -> embedding(6) -> gru(7) -> gru(9) -> dense(5, activation: relu) -> dense(vocab)",
            "cells",
            "nn.Embedding emb, nn.GRU cells.0, nn.GRU cells.1, nn.Linear fc1, nn.Linear fc2",
        ),
    ] {
        let folder = folder(chain);
        folder.write("net.lstm", format!("{TIED_LAYERS}{}", model(chain)));
        let out = import(&folder, file, &[]);
        assert!(out.contains(said), "{file}: {out}");
        assert!(out.ends_with("run         run: use it with  lstmc eval run\n"), "{out}");
        agrees(&folder, "run", expected);
        // One of them asks for a command to be run by who reads it.
        assert!(!folder.path("was-run").exists());
    }
    let nested = fs::read(weights().join("lstm-nested.pt")).expect("the file");
    assert!(nested.windows(7).any(|bytes| bytes == b"was-run"), "it asks for none");
}

/// A tensor of a file: its name, shape and values.
type Tensor = (String, Vec<usize>, Vec<f32>);

/// The tensors of a safetensors file.
fn tensors(folder: &Folder, file: &str) -> Vec<Tensor> {
    let bytes = fs::read(folder.path(file)).expect("a file");
    let stored = SafeTensors::deserialize(&bytes).expect("safetensors");
    let tensor = |(name, view): (String, TensorView<'_>)| {
        let values = view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        (name, view.shape().to_vec(), values)
    };
    stored.tensors().into_iter().map(tensor).collect()
}

/// Writes a file of other tensors, and of counts with these names.
fn write(folder: &Folder, file: &str, tensors: &[Tensor], counts: &[&str]) {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let data: Vec<Vec<u8>> = tensors.iter().map(|(.., values)| bytes(values)).collect();
    let view = |dtype, shape: &[usize], data| TensorView::new(dtype, shape.to_vec(), data).expect("a tensor");
    let floats = tensors
        .iter()
        .zip(&data)
        .map(|((name, shape, _), data)| (name.as_str(), view(Dtype::F32, shape, data)));
    let counts = counts.iter().map(|name| (*name, view(Dtype::I64, &[1], &[7, 0, 0, 0, 0, 0, 0, 0])));
    folder.write(file, safetensors::serialize(floats.chain(counts), None).expect("a file"));
}

#[test]
fn what_does_not_fit_is_listed_with_both_sides() {
    let refused = |chain: &str, tensors: &[Tensor], counts: &[&str]| {
        let folder = folder(chain);
        write(&folder, "w.safetensors", tensors, counts);
        let said = folder.refused(&["import", "net.lstm", "w.safetensors", "--vocabulary", "words.txt"]);
        assert!(!folder.path("runs").exists(), "nothing is written");
        said
    };
    let whole = tensors(&folder(LSTM), "lstm.safetensors");
    let said = refused("tokens -> embedding(6) -> lstm(7) -> lstm(8) -> dense(vocab)", &whole, &[]);
    for row in [
        "in the model                        in the file\n",
        "lstm_1 (nn.LSTM) weight_ih [28, 6]  rnn.weight_ih_l0 [32, 6]\n",
        "lstm_2 (nn.LSTM) weight_ih [32, 7]  ",
    ] {
        assert!(said.contains(row), "{row}: {said}");
    }
    let said =
        refused("tokens -> embedding(6) -> lstm(8) -> lstm(8) -> dense(9) -> dense(vocab)", &whole, &[]);
    assert!(said.contains("dense_1 (nn.Linear) weight [9, 8]   decoder.weight [11, 8]\n"), "{said}");
    let said = refused("tokens -> embedding(6) -> lstm(8) -> dense(vocab)", &whole, &[]);
    assert!(said.contains("nothing ") && said.contains("rnn.weight_hh_l1 [32, 8]\n"), "{said}");
    let backwards = ("rnn.weight_ih_l0_reverse".to_owned(), vec![32, 6], vec![0.0; 192]);
    let said = refused(LSTM, &[whole.clone(), vec![backwards]].concat(), &[]);
    assert!(said.contains("nothing ") && said.contains("rnn.weight_ih_l0_reverse [32, 6]\n"), "{said}");
    assert!(said.contains("what reads backwards too sees the token"), "{said}");
    // Of the model's own names.
    let own = [("embedding_1.E".to_owned(), vec![11, 6], vec![0.0; 66]), ("else".into(), vec![1], vec![0.0])];
    let said = refused("tokens -> embedding(6) -> rnn(8) -> dense(vocab)", &own, &[]);
    for row in
        ["rnn_1.W [6, 8]     nothing\n", "dense_1.b [11]     nothing\n", "nothing            else [1]\n"]
    {
        assert!(said.contains(row), "{row}: {said}");
    }
    // A cell that is none of PyTorch's.
    let cell = "tokens -> embedding(6) -> own -> dense(vocab)";
    let folder = folder(cell);
    let layer =
        "layer own(x: [in]) { param a: [in] = ones; state s: [in]; next s = a * s + x; return next s }\n";
    folder.write("net.lstm", format!("{layer}{}", model(cell)));
    let said = folder.refused(&["import", "net.lstm", "lstm.pt", "--vocabulary", "words.txt"]);
    assert!(said.contains("what own_1 would be in PyTorch is not known"), "{said}");
}

#[test]
fn numbers_that_no_parameter_is_made_of_are_refused_and_counts_beside_are_named() {
    let folder = folder(LSTM);
    let mut whole = tensors(&folder, "lstm.safetensors");
    write(&folder, "w.safetensors", &whole, &["rnn.num_batches_tracked"]);
    let out = import(&folder, "w.safetensors", &[]);
    assert!(out.contains("not taken   rnn.num_batches_tracked [1] i64\n"), "{out}");
    agrees(&folder, "run", "lstm");
    let args = ["import", "net.lstm", "w.safetensors", "--vocabulary", "words.txt"];
    whole[3].2[5] = f32::NAN;
    write(&folder, "w.safetensors", &whole, &[]);
    let said = folder.refused(&args);
    let name = &whole[3].0;
    assert!(
        said.contains(&format!("{name} holds numbers that are NaN or infinite; the first is element 5")),
        "{said}"
    );
    folder.write(
        "bias.map",
        "rnn_1.b = count\nrnn_1.W = 0\nrnn_1.R = 0\nembedding_1.E = 0\ndense_1.W = 0\ndense_1.b = 0\n",
    );
    folder.write("net.lstm", model("tokens -> embedding(1) -> rnn(1) -> dense(vocab)"));
    write(&folder, "w.safetensors", &[], &["count"]);
    let said = folder.refused(&[&args[..], &["--map", "bias.map"]].concat());
    assert!(said.contains("count holds i64, and a parameter is made of f32, f64, f16 or bf16"), "{said}");
}

#[test]
fn files_of_other_kinds_are_named() {
    let folder = folder(LSTM);
    let refused = |bytes: &[u8]| {
        folder.write("w", bytes);
        folder.refused(&["import", "net.lstm", "w", "--vocabulary", "words.txt"])
    };
    for (bytes, message) in [
        (&b""[..], "it is empty"),
        (b"hello world", "neither safetensors nor a PyTorch checkpoint"),
        (b"\x89HDF\r\n\x1a\n", "it is HDF5, as Keras writes it"),
        (b"\x80\x02}q\x00.", "it is a pickle, and has no tensors of PyTorch"),
        (b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "torch.save(model.state_dict(), \"weights.pt\")"),
        (b"\x08\0\0\0\0\0\0\0{}      ", "error: w has no tensors"),
    ] {
        let said = refused(bytes);
        assert!(said.contains(message), "{message}: {said}");
    }
    let said = folder.refused(&["import", "net.lstm", "missing.pt"]);
    assert!(said.contains("cannot find the weights \"missing.pt\""), "{said}");
    folder.train("tiny-run", &["--steps", "0"]);
    let said = folder.refused(&["import", "net.lstm", "tiny-run"]);
    assert!(said.contains("tiny-run is a run: begin another one with its parameters with"), "{said}");
}

/// What lstmc exports comes back, with its vocabulary, as does a checkpoint.
#[test]
fn what_lstmc_has_written_comes_back() {
    let folder = Folder::new();
    folder.train("run", &["--epochs", "3"]);
    folder.ok(&["export", "run", "--format", "safetensors"]);
    let checkpoint = folder.trained("run").latest();
    let before = folder.trained("run").tensors();
    // But for the line that names the checkpoint.
    let eval = |run: &str| -> Vec<String> {
        let out = folder.ok(&["eval", run]);
        out.lines().filter(|line| !line.starts_with("model ")).map(str::to_owned).collect()
    };
    for (name, file, said) in [
        ("exported", "run.safetensors".as_ref(), "vocabulary  8 ids, that of run.safetensors"),
        (
            "checkpoint",
            checkpoint.as_path(),
            "a checkpoint of lstmc, 15 tensors\nnames       the model's own\n",
        ),
    ] {
        let out = folder.ok(&["import", "tiny.lstm", &file.to_string_lossy(), "--out", name]);
        assert!(out.contains(said), "{out}");
        let after = folder.trained(name).tensors();
        for param in before.keys().filter(|param| !param.contains('/')) {
            assert_eq!(before[param], after[param], "{param}");
        }
        assert!(after.keys().eq(before.keys()), "with states of the optimizer and of the layers");
        assert_eq!(eval(name), eval("run"));
    }
    // A model of no names of PyTorch's.
    folder.write(
        "tiny.lstm",
        crate::support::Model { model: "tokens -> embedding(8) -> gru(16) -> dense(vocab)", ..TINY }.text(),
    );
    folder.train("gru", &["--epochs", "1"]);
    folder.ok(&["export", "gru", "--format", "safetensors"]);
    folder.ok(&["import", "tiny.lstm", "gru.safetensors", "--out", "again"]);
    assert_eq!(eval("again"), eval("gru"));
    // Of another text's vocabulary than the checkpoint's.
    folder.write("text.txt", "one two three four five six seven eight nine\n".repeat(10));
    let file = folder.trained("gru").latest();
    let said = folder.refused(&["import", "tiny.lstm", &file.to_string_lossy()]);
    assert!(said.contains("trained with another vocabulary than that of these texts"), "{said}");
}

#[test]
fn the_result_is_a_run() {
    let folder = folder(LSTM);
    import(&folder, "lstm.pt", &[]);
    let run = folder.trained("run");
    assert_eq!(run.checkpoints(), ["step-000000.safetensors"]);
    assert!(run.metrics().is_empty());
    let vocabulary = fs::read_to_string(folder.path("run/vocab.json")).expect("the vocabulary");
    assert!(vocabulary.contains(r#""words":["mouse","the","cat","<eos>","bell""#), "{vocabulary}");
    assert!(
        fs::read_to_string(folder.path("run/log.txt")).expect("the log").contains("nn.LSTM rnn (2 layers)")
    );
    for args in [
        &["eval", "run", "--weights", "f32,int8"][..],
        &["generate", "run", "--prompt", "the old", "--length", "5"],
        &["score", "run", "text.txt"],
        &["export", "run", "--format", "onnx"],
        &["compare", "run", "run"],
    ] {
        folder.ok(args);
    }
    let out = folder.ok(&["train", "net.lstm", "--from", "run", "--steps", "0", "--out", "from"]);
    assert!(out.contains("from        run after 0 updates: 27 of 27 parameters"), "{out}");
    // It is not taken for a run that has nothing yet.
    for args in [
        &["train", "net.lstm", "--out", "run"][..],
        &["import", "net.lstm", "lstm.pt", "--vocabulary", "words.txt", "--out", "run"],
    ] {
        assert!(folder.refused(args).contains("already holds a run"), "{args:?}");
    }
    folder.ok(&["train", "--resume", "run", "--threads", "1"]);
    assert_eq!(run.metrics().len(), 2);
    // One that was ended before its weights were written would go on with other ones.
    folder.ok(&["import", "net.lstm", "lstm.pt", "--vocabulary", "words.txt", "--out", "ended"]);
    fs::remove_file(folder.trained("ended").latest()).expect("the checkpoint");
    fs::remove_file(folder.path("ended/latest")).expect("its name");
    let said = folder.refused(&["train", "--resume", "ended"]);
    assert!(
        said.contains("the import of ") && said.contains(" into ended did not end: import it again"),
        "{said}"
    );
    folder.ok(&["import", "net.lstm", "lstm.pt", "--vocabulary", "words.txt", "--out", "ended"]);
}

#[test]
fn a_vocabulary_is_asked_for_where_it_is_missing() {
    let folder = folder(LSTM);
    let done = folder.run(&["import", "net.lstm", "lstm.pt", "--out", "guessed"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.err.contains("warning: which word has which id is guessed"), "{}", done.err);
    assert!(
        !folder.run(&["import", "net.lstm", "lstm.pt", "--vocabulary", "words.txt"]).err.contains("guessed")
    );
    // Other sizes.
    folder.write("text.txt", "the old mouse\n");
    let said = folder.refused(&["import", "net.lstm", "lstm.pt"]);
    assert!(
        said.contains(
            "the weights are for a vocabulary of 11, and that of the model has 4: give theirs with"
        ),
        "{said}"
    );
    folder.write("text.txt", "the old mouse fled\n");
    let args = ["import", "net.lstm", "lstm.pt", "--vocabulary"];
    let said = folder.refused(&[&args[..], &["words.txt"]].concat());
    assert!(
        said.contains("fled") && said.contains("the vocabulary is that of words.txt: if a word of it"),
        "{said}"
    );
    // As JSON, and a text that is not there.
    folder.write(
        "words.json",
        r#"{"mouse":0,"the":1,"cat":2,"<eos>":3,"bell":4,"old":5,"a":6,"said":7,"of":8,"we":9,"fear":10}"#,
    );
    fs::remove_file(folder.path("text.txt")).expect("the text");
    let done = folder.run(&[&args[..], &["words.json", "--out", "ids"]].concat());
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(
        done.err.contains("note: cannot find the training text") && done.err.contains("--data"),
        "{}",
        done.err
    );
    folder.ok(&["generate", "ids", "--prompt", "the old", "--length", "3"]);
    fs::copy(weights().join("text.txt"), folder.path("text.txt")).expect("the text");
    assert!(folder.refused(&["eval", "ids"]).contains("has no record of having read it"));
    folder.ok(&["eval", "ids", "--data", "."]);
    folder.write("words.txt", "a\nb\na\n");
    let said = folder.refused(&[&args[..], &["words.txt"]].concat());
    assert!(
        said.contains("words.txt is no vocabulary: \"a\" is there twice, the second time in line 3"),
        "{said}"
    );
}

#[test]
fn a_dictionary_of_the_file_is_chosen() {
    let folder = folder(LSTM);
    let whole = tensors(&folder, "lstm.safetensors");
    let under = |name: &str, factor: f32| {
        let tensor = move |(own, shape, values): &Tensor| {
            (format!("{name}.{own}"), shape.clone(), values.iter().map(|value| factor * value).collect())
        };
        whole.iter().map(tensor).collect::<Vec<Tensor>>()
    };
    write(&folder, "w.safetensors", &[under("ema", 1.0), under("model", 0.5)].concat(), &[]);
    let args = ["import", "net.lstm", "w.safetensors", "--vocabulary", "words.txt"];
    let said = folder.refused(&args);
    assert!(said.contains("embedding_1 (nn.Embedding) may be ema.encoder, model.encoder\n"), "{said}");
    assert!(said.contains("--under looks at one dictionary"), "{said}");
    import(&folder, "w.safetensors", &["--under", "ema"]);
    agrees(&folder, "run", "lstm");
    let said = folder.refused(&[&args[..], &["--under", "other"]].concat());
    assert!(said.contains("--under other: no tensor is called so; there are ema.decoder.bias, "), "{said}");
}

/// Two matrices where the model has one.
#[test]
fn what_layers_share_has_to_be_the_same() {
    let folder = folder(TIED);
    folder.write("net.lstm", format!("{TIED_LAYERS}{}", model(TIED)));
    folder.write("untied.lstm", model("tokens -> embedding(8) -> lstm(8) -> dense(vocab)"));
    let args = ["--vocabulary", "words.txt", "--out"];
    folder.ok(&[&["import", "untied.lstm", "tied.pt"], &args[..], &["untied"]].concat());
    folder.ok(&["export", "untied", "--format", "safetensors"]);
    import(&folder, "untied.safetensors", &[]);
    agrees(&folder, "run", "tied");
    let mut whole = tensors(&folder, "untied.safetensors");
    let table = whole.iter_mut().find(|(name, ..)| name == "linear.weight").expect("the table");
    table.2[7] += 1e-3;
    write(&folder, "w.safetensors", &whole, &[]);
    let said = folder.refused(&[&["import", "net.lstm", "w.safetensors"], &args[..], &["other"]].concat());
    assert!(
        said.contains("embedding.weight and linear.weight are one parameter of the model, and differ"),
        "{said}"
    );
    // One of the two is enough.
    whole.retain(|(name, ..)| name != "linear.weight");
    write(&folder, "w.safetensors", &whole, &[]);
    folder.ok(&[&["import", "net.lstm", "w.safetensors"], &args[..], &["one"]].concat());
    agrees(&folder, "one", "tied");
}
