//! Mapping files.

use std::fs;
use std::path::Path;

use super::{Tensor, agrees, folder, found, import, tensors, write};

#[test]
fn modules_that_could_be_each_other_are_told_apart_by_a_mapping_file() {
    let folder = folder("tokens -> embedding(8) -> lstm(8) -> lstm(8) -> layer_norm -> dense(vocab)");
    let args = ["import", "net.lstm", "two.pt", "--vocabulary", "words.txt"];
    let said = folder.refused(&args);
    assert!(said.contains("several modules of two.pt fit:\n"), "{said}");
    assert!(said.contains("lstm_1 (nn.LSTM) may be first, second\n"), "{said}");
    assert!(!said.contains("embedding_1") && said.contains("--print-map"), "{said}");
    // The draft takes them in their order, which is right here.
    let map = folder.ok(&[&args[..], &["--print-map"]].concat());
    assert!(map.contains("lstm_2.b_f = second.bias_ih_l0[2 of 4] + second.bias_hh_l0[2 of 4]"), "{map}");
    assert!(map.contains("layer_norm_1.gain = norm.weight "), "{map}");
    assert!(!folder.path("runs").exists());
    folder.write("two.map", &map);
    import(&folder, "two.pt", &["--map", "two.map"]);
    agrees(&folder, "run", "two");
    // The other way about it is another model.
    folder.write("two.map", map.replace("first", "1st").replace("second", "first").replace("1st", "second"));
    folder.ok(&[&args[..], &["--map", "two.map", "--out", "other"]].concat());
    assert_ne!(found(&folder, "run")[3], found(&folder, "other")[3]);
}

/// Gates in another order, in columns, as one matrix for both inputs: what other programs have.
#[test]
fn a_mapping_file_cuts_turns_joins_and_adds() {
    let folder = folder("tokens -> embedding(6) -> lstm(8) -> lstm(8) -> dense(vocab)");
    let before = tensors(&folder, "lstm.safetensors");
    let of = |name: &str| before.iter().find(|(own, ..)| own == name).expect("a tensor").clone();
    let columns = |(_, shape, values): &Tensor| -> Vec<Vec<f32>> {
        (0..shape[1]).map(|column| values.iter().skip(column).step_by(shape[1]).copied().collect()).collect()
    };
    let mut others: Vec<Tensor> = vec![];
    for layer in 0..2 {
        // One matrix [in + units, 4 * units], of columns i, f, g, o, each four numbers wide, turned over twice.
        let [ih, hh] = ["ih", "hh"].map(|kind| columns(&of(&format!("rnn.weight_{kind}_l{layer}"))));
        let kernel: Vec<Vec<f32>> = ih.into_iter().chain(hh).collect();
        let (rows, values) = (kernel.len(), kernel.concat());
        others.push((format!("cell {layer}/kernel:0"), vec![rows, 32], values));
        let [a, b] = ["ih", "hh"].map(|kind| of(&format!("rnn.bias_{kind}_l{layer}")).2);
        // A program that adds 1 to the forget gate's bias itself.
        let sum = a.iter().zip(&b).enumerate();
        let bias = sum.map(|(at, (a, b))| a + b - if (8..16).contains(&at) { 1.0 } else { 0.0 }).collect();
        others.push((format!("cell {layer}/bias"), vec![2, 16], bias));
    }
    let (_, shape, values) = of("encoder.weight");
    let half = shape[0] / 2 * shape[1];
    others.push(("top".into(), vec![shape[0] / 2, shape[1]], values[..half].to_vec()));
    others.push(("rest".into(), vec![shape[0] - shape[0] / 2, shape[1]], values[half..].to_vec()));
    let (_, shape, values) = of("decoder.weight");
    others.push(("minus".into(), shape, values.iter().map(|value| -value).collect()));
    others.push(("0.5".into(), vec![11], of("decoder.bias").2));
    others.push(("old".into(), vec![1], vec![0.0]));
    others.push(("old.too".into(), vec![1], vec![0.0]));
    write(&folder, "other.safetensors", &others, &[]);

    let mut map = "# A comment.\n\nembedding_1.E = rows(top, rest)\ndense_1.W = transpose(-minus)\n\
                   dense_1.b = \"0.5\"  # in quotes, as it could be a number\nignore old*\n"
        .to_owned();
    for (layer, width) in [(0, 6), (1, 8)] {
        let number = layer + 1;
        for (gate, place) in [("i", 1), ("f", 2), ("g", 3), ("o", 4)] {
            let kernel = format!("\"cell {layer}/kernel:0\"");
            map += &format!("lstm_{number}.W_{gate} = {kernel}[:{width}, {place} of 4]\n");
            map += &format!(
                "lstm_{number}.R_{gate} = {kernel}[{width}:][:, {}:{}]\n",
                8 * (place - 1),
                8 * place
            );
            let bias = format!("reshape(\"cell {layer}/bias\", 32)[{place} of 4]");
            let more = if gate == "f" { " + 1" } else { "" };
            map += &format!("lstm_{number}.b_{gate} = {bias}{more}\n");
        }
    }
    folder.write("other.map", map);
    let out = import(&folder, "other.safetensors", &["--map", "other.map"]);
    assert!(out.contains("names       those of the mapping file"), "{out}");
    agrees(&folder, "run", "lstm");
}

#[test]
fn errors_of_a_mapping_file_name_its_lines() {
    let folder = folder("tokens -> embedding(6) -> lstm(8) -> lstm(8) -> dense(vocab)");
    let args = ["import", "net.lstm", "lstm.pt", "--vocabulary", "words.txt", "--map", "a.map"];
    let map = folder.ok(&["import", "net.lstm", "lstm.pt", "--vocabulary", "words.txt", "--print-map"]);
    for (line, message) in [
        ("lstm_1.W_i = transpose(x", "a.map:2: the line ends where `)` should stand"),
        ("lstm_1.W_i = ?", "a.map:2: in place of `?` stands what the parameter is made of"),
        ("lstm_1.W_i = turn(a)", "a.map:2: there is no turn; there are transpose, rows, columns and reshape"),
        ("lstm_1.W_i = \"a", "a.map:2: the text in quotes does not end on its line"),
        ("lstm_1.W_i = a b", "a.map:2: the end of the line should stand where `b` is"),
        ("lstm_1.W_i = a[5]", "a.map:2: the line ends where `:` or `of`, as in [0:8] and [1 of 4]"),
        ("dense_1.b = 0", "has a line already, "),
    ] {
        let said = {
            let (first, rest) = map.split_once('\n').expect("lines");
            let line = line.replace("a[5]", "a[5");
            folder.write("a.map", format!("{first}\n{line}\n{rest}"));
            folder.refused(&args)
        };
        assert!(said.contains(message), "{line}: {said}");
    }
    // What the file has is said of all lines at once.
    let changed = map
        .replace("transpose(rnn.weight_ih_l0[1 of 4])", "rnn.weight_ih_l0[1 of 4]")
        .replace("rnn.weight_ih_l0[2 of 4]", "rnn.weight_ih_l0[1 of 5]")
        .replace("= decoder.bias", "= decoder.bais")
        .replace("lstm_2.b_f", "lstm_3.b_f");
    folder.write("a.map", changed);
    let said = folder.refused(&args);
    for message in [
        "lstm.pt does not fit the model:\n",
        "a.map:3: lstm_1.W_i is [6, 8] in the model, and this is [8, 6]\n",
        "a.map:4: rnn.weight_ih_l0[1 of 5]: 1 of 5: 32 cannot be cut so\n",
        "the file has no tensor decoder.bais\n",
        "the model has no parameter lstm_3.b_f\n",
        "lstm_2.b_f [8]  nothing\n",
        "nothing         decoder.bias [11]\n",
        "a line `ignore NAME` in the mapping file leaves a tensor out",
    ] {
        assert!(said.contains(message), "{message}: {said}");
    }
    assert!(!folder.path("runs").exists());
}

/// The document's GRU that resets before the product: its equations, and the lines that take it from Keras's arrays.
#[test]
fn the_documents_mapping_file_fits_its_cell() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/shipping.md"))
        .expect("the document");
    let blocks: Vec<&str> = text.split("```").collect();
    let block = |info: &str, has: &str| {
        let fits = |block: &&&str| block.starts_with(info) && block.contains(has);
        let found = blocks.iter().rfind(fits).expect("a block");
        found.strip_prefix(info).expect("its text").to_owned()
    };
    let (layer, map) = (block("lstm\n", "layer gru_before"), block("text\n", "gru_before_1.W_z"));
    let folder = folder("tokens -> embedding(6) -> gru_before(8) -> dense(vocab)");
    let text = fs::read_to_string(folder.path("net.lstm")).expect("a model");
    folder.write("net.lstm", format!("{layer}{text}"));
    folder.write("keras.map", map);
    let arrays = [
        ("embeddings", vec![11, 6]),
        ("kernel", vec![6, 24]),
        ("recurrent_kernel", vec![8, 24]),
        ("gru.bias", vec![24]),
        ("dense.kernel", vec![8, 11]),
        ("dense.bias", vec![11]),
    ];
    let array = |(name, shape): (&str, Vec<usize>)| -> Tensor {
        let values = (0..shape.iter().product::<usize>()).map(|at| at as f32).collect();
        (name.to_owned(), shape, values)
    };
    write(&folder, "keras.safetensors", &arrays.map(array), &[]);
    import(&folder, "keras.safetensors", &["--map", "keras.map"]);
    let made = folder.trained("run").tensors();
    let of = |name: &str| -> Vec<f32> {
        made[name].as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    assert_eq!(of("gru_before_1.b_r"), [8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0]);
    let z: Vec<f32> = (0..6).flat_map(|row| (0..8).map(move |column| (24 * row + column) as f32)).collect();
    assert_eq!(of("gru_before_1.W_z"), z);
}
