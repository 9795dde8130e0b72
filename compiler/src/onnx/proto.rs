//! An ONNX model as ONNX's `onnx.proto` has it, as far as it is needed, and its bytes.

use std::collections::HashSet;

use crate::protobuf::Message;

/// The version of the operators, and of the file format that came with it.
pub const OPSET: u64 = 17;
const IR_VERSION: u64 = 8;

#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The program that wrote it, and its version.
    pub producer: [String; 2],
    pub graph: Graph,
    pub metadata: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub name: String,
    pub nodes: Vec<Node>,
    pub initializers: Vec<Tensor>,
    pub inputs: Vec<Value>,
    pub outputs: Vec<Value>,
}

impl Graph {
    /// The names that its nodes read, those of bodies included.
    pub fn read(&self) -> HashSet<&str> {
        let mut read: HashSet<&str> = HashSet::new();
        for node in &self.nodes {
            read.extend(node.inputs.iter().map(String::as_str));
            for (_, attribute) in &node.attributes {
                if let Attribute::Graph(body) = attribute {
                    read.extend(body.read());
                }
            }
        }
        read
    }
}

#[derive(Clone, Debug)]
pub struct Node {
    pub op: &'static str,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: Vec<(&'static str, Attribute)>,
}

#[derive(Clone, Debug)]
pub enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Graph(Graph),
}

/// A constant.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub dims: Vec<usize>,
    pub data: Data,
}

#[derive(Clone, Debug)]
pub enum Data {
    Real(Vec<f32>),
    Int(Vec<i64>),
}

/// An input or output with its type.
#[derive(Clone, Debug)]
pub struct Value {
    pub name: String,
    pub elem: Elem,
    pub dims: Vec<Dim>,
}

/// A size, or the name of one that is known when the model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    Fixed(usize),
    Named(&'static str),
}

/// The numbers that ONNX has for types of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elem {
    Real = 1,
    Int = 7,
    Bool = 9,
}

impl Model {
    pub fn encode(&self) -> Vec<u8> {
        let mut model = Message::default();
        model.number(1, IR_VERSION);
        model.text(2, &self.producer[0]);
        model.text(3, &self.producer[1]);
        model.message(7, &graph(&self.graph));
        let mut operators = Message::default();
        operators.text(1, "");
        operators.number(2, OPSET);
        model.message(8, &operators);
        for (key, value) in &self.metadata {
            let mut entry = Message::default();
            entry.text(1, key);
            entry.text(2, value);
            model.message(14, &entry);
        }
        model.into_bytes()
    }
}

fn graph(graph: &Graph) -> Message {
    let mut message = Message::default();
    graph.nodes.iter().for_each(|one| message.message(1, &node(one)));
    message.text(2, &graph.name);
    graph.initializers.iter().for_each(|one| message.message(5, &tensor(one)));
    graph.inputs.iter().for_each(|one| message.message(11, &value(one)));
    graph.outputs.iter().for_each(|one| message.message(12, &value(one)));
    message
}

fn node(node: &Node) -> Message {
    let mut message = Message::default();
    node.inputs.iter().for_each(|name| message.text(1, name));
    node.outputs.iter().for_each(|name| message.text(2, name));
    // What messages of other programs call it.
    message.text(3, node.outputs.first().map_or("", String::as_str));
    message.text(4, node.op);
    for (name, attribute) in &node.attributes {
        let mut one = Message::default();
        one.text(1, name);
        let kind = match attribute {
            Attribute::Int(number) => {
                one.number(3, *number as u64);
                2
            }
            Attribute::Graph(body) => {
                one.message(6, &graph(body));
                5
            }
            Attribute::Ints(numbers) => {
                numbers.iter().for_each(|&number| one.number(8, number as u64));
                7
            }
        };
        one.number(20, kind);
        message.message(5, &one);
    }
    message
}

fn tensor(tensor: &Tensor) -> Message {
    let mut message = Message::default();
    tensor.dims.iter().for_each(|&size| message.number(1, size as u64));
    let (elem, bytes): (Elem, Vec<u8>) = match &tensor.data {
        Data::Real(values) => (Elem::Real, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        Data::Int(values) => (Elem::Int, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
    };
    message.number(2, elem as u64);
    message.text(8, &tensor.name);
    message.bytes(9, &bytes);
    message
}

fn value(value: &Value) -> Message {
    let mut shape = Message::default();
    for dim in &value.dims {
        let mut one = Message::default();
        match dim {
            Dim::Fixed(size) => one.number(1, *size as u64),
            Dim::Named(name) => one.text(2, name),
        }
        shape.message(1, &one);
    }
    let mut tensor = Message::default();
    tensor.number(1, value.elem as u64);
    tensor.message(2, &shape);
    let mut kind = Message::default();
    kind.message(1, &tensor);
    let mut message = Message::default();
    message.text(1, &value.name);
    message.message(2, &kind);
    message
}
