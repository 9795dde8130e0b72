//! As much of an ONNX file as the test looks at.

use std::collections::HashSet;

/// A graph, its nodes and names.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub name: String,
    pub nodes: Vec<Node>,
    /// With their sizes, or the names of those.
    pub inputs: Vec<(String, Vec<String>)>,
    pub outputs: Vec<(String, Vec<String>)>,
    pub initializers: Vec<(String, Vec<String>)>,
}

#[derive(Clone, Debug, Default)]
pub struct Node {
    pub op: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub body: Option<Graph>,
}

impl Graph {
    /// The names that its nodes read, those of bodies included.
    pub fn read(&self) -> HashSet<&str> {
        let bodies = self.nodes.iter().filter_map(|node| node.body.as_ref()).flat_map(Graph::read);
        self.nodes.iter().flat_map(|node| &node.inputs).map(String::as_str).chain(bodies).collect()
    }
}

#[derive(Debug)]
pub struct Model {
    pub graph: Graph,
    pub opset: u64,
    pub metadata: Vec<(String, String)>,
    /// Each initializer of the model: its name, its sizes, and of how many elements there are bytes.
    pub tensors: Vec<(String, Vec<usize>, usize)>,
}

/// What a field holds.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message with their numbers.
fn fields(bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut rest = bytes;
    let mut found = vec![];
    while !rest.is_empty() {
        let key = varint(&mut rest);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut rest)),
            2 => {
                let len = varint(&mut rest) as usize;
                let (bytes, after) = rest.split_at(len);
                rest = after;
                Field::Bytes(bytes)
            }
            other => panic!("a field of kind {other}"),
        };
        found.push((key >> 3, field));
    }
    found
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first().expect("a number has an end");
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a number of more than 64 bits")
}

/// The messages or texts of this number.
fn all(bytes: &[u8], number: u64) -> Vec<&[u8]> {
    let of = |(found, field)| match field {
        Field::Bytes(bytes) if found == number => Some(bytes),
        _ => None,
    };
    fields(bytes).into_iter().filter_map(of).collect()
}

fn numbers(bytes: &[u8], number: u64) -> Vec<u64> {
    let of = |(found, field)| match field {
        Field::Number(value) if found == number => Some(value),
        _ => None,
    };
    fields(bytes).into_iter().filter_map(of).collect()
}

fn texts(bytes: &[u8], number: u64) -> Vec<String> {
    all(bytes, number).into_iter().map(|text| String::from_utf8(text.to_vec()).expect("UTF-8")).collect()
}

fn text(bytes: &[u8], number: u64) -> String {
    texts(bytes, number).pop().expect("a text")
}

pub fn model(bytes: &[u8]) -> Model {
    let inner = all(bytes, 7)[0];
    let tensor = |bytes: &&[u8]| {
        let sizes = numbers(bytes, 1).into_iter().map(|size| size as usize).collect();
        let width = if numbers(bytes, 2) == [1] { 4 } else { 8 };
        (text(bytes, 8), sizes, all(bytes, 9)[0].len() / width)
    };
    Model {
        graph: graph(inner),
        opset: numbers(all(bytes, 8)[0], 2)[0],
        metadata: all(bytes, 14).iter().map(|entry| (text(entry, 1), text(entry, 2))).collect(),
        tensors: all(inner, 5).iter().map(tensor).collect(),
    }
}

fn graph(bytes: &[u8]) -> Graph {
    let node = |bytes: &&[u8]| Node {
        op: text(bytes, 4),
        inputs: texts(bytes, 1),
        outputs: texts(bytes, 2),
        body: all(bytes, 5).iter().flat_map(|attribute| all(attribute, 6)).map(graph).next(),
    };
    let values = |number| all(bytes, number).into_iter().map(value).collect();
    Graph {
        name: text(bytes, 2),
        nodes: all(bytes, 1).iter().map(node).collect(),
        inputs: values(11),
        outputs: values(12),
        initializers: all(bytes, 5).iter().map(|tensor| (text(tensor, 8), vec![])).collect(),
    }
}

fn value(bytes: &[u8]) -> (String, Vec<String>) {
    let shape = all(all(all(bytes, 2)[0], 1)[0], 2)[0];
    let size = |dim: &&[u8]| match texts(dim, 2).pop() {
        Some(name) => name,
        None => numbers(dim, 1)[0].to_string(),
    };
    (text(bytes, 1), all(shape, 1).iter().map(size).collect())
}
