//! Random small models: a proptest strategy over `.lstm` source.
//!
//! Layers of the prelude and cells made up on the spot, any of the batches, targets, losses and optimizers. Measures
//! keep executors of different precision comparable: nothing grows beyond a few units, what is compared is not equal by
//! construction, and the optimizers' `epsilon` is large, since `g / (sqrt(g * g) + epsilon)` would magnify the rounding of a vanishing gradient.

use std::fmt::{self, Write};

use proptest::collection::vec;
use proptest::prelude::*;

/// A model file, and the size of the vocabulary it is checked with.
#[derive(Clone)]
pub struct RandomModel {
    pub text: String,
    pub vocab: usize,
}

impl fmt::Debug for RandomModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vocabulary of {}:\n{}", self.vocab, self.text)
    }
}

/// One choice: what, and up to three operands.
type Code = [u16; 4];

/// Models so small that most of them are not worth cutting.
pub fn models() -> impl Strategy<Value = RandomModel> {
    models_of(1)
}

/// Models with layers of up to 112 units, whose rows and columns can be cut in many ways.
pub fn wide_models() -> impl Strategy<Value = RandomModel> {
    models_of(16)
}

fn models_of(grain: usize) -> impl Strategy<Value = RandomModel> {
    let layer = (any::<Code>(), vec(any::<Code>(), 1..6));
    (any::<[u16; 8]>(), vec(layer, 1..4))
        .prop_map(move |(head, layers)| Writer::new(head, grain).model(&layers))
}

fn pick<'a>(list: &[&'a str], code: u16) -> &'a str {
    list[usize::from(code) % list.len()]
}

struct Writer {
    head: [u16; 8],
    /// Layers are a multiple of this wide, or 33.
    grain: usize,
    definitions: String,
    chain: String,
    /// Of what flows.
    width: usize,
}

impl Writer {
    fn new(head: [u16; 8], grain: usize) -> Self {
        Self { head, grain, definitions: String::new(), chain: String::new(), width: 0 }
    }

    fn model(mut self, layers: &[(Code, Vec<Code>)]) -> RandomModel {
        let vocab = 5 + usize::from(self.head[0]) % 16;
        let last = self.head[1] % 3 == 2;
        let tied = self.head[2] % 4 == 3;
        let mut leading = String::new();
        self.width = 1 + usize::from(self.head[3]) % 7;
        match (tied, self.head[2] % 4) {
            (true, _) => {
                let _ = writeln!(leading, "    param E: [vocab, {}]", self.width);
                self.definitions += LOOKUP;
                self.stage("lookup(E)");
            }
            (_, 0) => {
                self.stage("scalar");
                self.width = 1;
            }
            _ => self.stage(&format!("embedding({})", self.width)),
        }
        let table_width = self.width;
        for (index, (code, body)) in layers.iter().enumerate() {
            self.layer(index, *code, body);
        }
        if last {
            self.stage("last");
        }
        if self.head[4] % 4 == 1 {
            self.stage(&format!("dense({}, activation: relu)", 1 + self.head[4] / 4 % 6));
        }
        if tied {
            self.stage(&format!("dense({table_width})"));
            self.stage("readout(E)");
        } else {
            self.stage("dense(vocab)");
        }
        self.stage("softmax");
        let (data, train) = (self.data(last), self.train());
        let Self { definitions, chain, .. } = self;
        let text = format!("{definitions}{data}model {{\n{leading}    tokens{chain}\n}}\n{train}");
        RandomModel { text, vocab }
    }

    fn stage(&mut self, stage: &str) {
        let _ = write!(self.chain, " -> {stage}");
    }

    fn data(&self, last: bool) -> String {
        let (steps, rows) = (1 + self.head[5] % 4, 1 + self.head[5] / 4 % 6);
        let batches = match (last, self.head[1] % 3) {
            (true, _) => format!("windows(length: {steps}, stride: 1, rows: {rows}, targets: last)"),
            (_, 1) => format!("windows(length: {steps}, stride: {steps}, rows: {rows})"),
            _ => format!("stream(rows: {rows}, steps: {steps})"),
        };
        format!("data {{\n    train: \"t\"\n    tokens: words\n    batches: {batches}\n}}\n")
    }

    fn train(&mut self) -> String {
        let optimizers = [
            "sgd(rate: 0.5)",
            "momentum(rate: 0.1)",
            "adagrad(rate: 0.1, epsilon: 0.1)",
            "rmsprop(rate: 0.1, epsilon: 0.1)",
            "adam(rate: 0.1, epsilon: 0.1)",
            "own(rate: 0.2)",
        ];
        let optimizer = pick(&optimizers, self.head[6]);
        if optimizer.starts_with("own") {
            self.definitions += OWN_OPTIMIZER;
        }
        let loss = pick(&["cross_entropy", "cross_entropy(steps: sum)"], self.head[6] / 8);
        let clip = pick(&["", "    clip: norm(0.1)\n", "    clip: norm(5)\n"], self.head[7]);
        let schedule = pick(&["", "    schedule: decay(0.5, after: 1)\n"], self.head[7] / 4);
        let accumulate = pick(&["", "", "    accumulate: 2\n"], self.head[7] / 8);
        let average = pick(&["", "", "    weights: average(after: 1)\n"], self.head[7] / 32);
        format!(
            "train {{\n    loss: {loss}\n    optimizer: {optimizer}\n{clip}{schedule}{accumulate}{average}    epochs: 1\n}}\n"
        )
    }

    fn layer(&mut self, index: usize, code: Code, body: &[Code]) {
        let units = match code[1] % 8 {
            // Wide enough for whole vectors and for columns to be cut.
            7 => 33,
            width => self.grain * (usize::from(width) + 1),
        };
        match code[0] % 12 {
            0 | 1 => self.wide(format!("lstm({units})"), units),
            2 => self.wide(format!("gru({units})"), units),
            3 => {
                let activation = pick(&["tanh", "sigmoid", "relu"], code[2]);
                self.wide(format!("rnn({units}, activation: {activation})"), units);
            }
            4 => {
                let activation = pick(&["linear", "tanh", "relu"], code[2]);
                self.wide(format!("dense({units}, activation: {activation})"), units);
            }
            5 => self.stage("layer_norm(0.1)"),
            _ => {
                let cell = Cell::new(units, code).define(index, body);
                self.definitions += &cell;
                self.wide(format!("cell_{index}({units})"), units);
            }
        }
        if code[3].is_multiple_of(4) {
            self.stage(pick(&["dropout(0.5)", "dropout(0.25)"], code[3] / 4));
        }
    }

    fn wide(&mut self, stage: String, units: usize) {
        self.stage(&stage);
        self.width = units;
    }
}

const LOOKUP: &str = "layer lookup(t: token, table: [rows, width]) {
    return table[t]
}
layer readout(x: [in], table: [rows, in]) {
    param b: [rows]
    return x @ transpose(table) + b
}
";

const OWN_OPTIMIZER: &str = "optimizer own(p, g, rate = 0.1) {
    state a, b = ones
    next a = 0.5 * a + abs(g)
    next b = max(b, next a)
    return p - rate * (g + 0.01 * p) / (1 + next b) / step
}
";

/// A layer made up of random equations.
struct Cell {
    units: usize,
    states: usize,
    params: Vec<String>,
    /// Vectors of `units` that may be read.
    names: Vec<String>,
    equations: String,
}

impl Cell {
    fn new(units: usize, code: Code) -> Self {
        let states = usize::from(code[2]) % 3;
        let names = (0..states).map(|state| format!("s{state}")).collect();
        Self { units, states, params: vec![], names, equations: String::new() }
    }

    fn define(mut self, index: usize, body: &[Code]) -> String {
        if self.states == 0 {
            let input = self.input();
            let _ = writeln!(self.equations, "    v = tanh({input})");
            self.names.push("v".into());
        }
        for code in body {
            self.equation(*code);
        }
        for state in 0..self.states {
            let code = body[state % body.len()];
            let value = self.name(code[1].rotate_left(3));
            let gate = self.name(code[2].rotate_left(5));
            let next = match code[3] % 3 {
                0 => value,
                1 => format!("tanh({value} + s{state})"),
                _ => format!("sigmoid({gate}) * s{state} + (1 - sigmoid({gate})) * tanh({value})"),
            };
            let _ = writeln!(self.equations, "    next s{state} = {next}");
            self.names.push(format!("(next s{state})"));
        }
        let result = self.everything(body[0][3].rotate_left(1));
        let mut text = format!("layer cell_{index}(x: [in], units) {{\n");
        for param in &self.params {
            let _ = writeln!(text, "    param {param}");
        }
        for (state, start) in ["zeros", "0.5"].into_iter().enumerate().take(self.states) {
            let _ = writeln!(text, "    state s{state}: [units] = {start}");
        }
        let _ = write!(text, "{}    return {result}\n}}\n", self.equations);
        text
    }

    /// The sum of all equations' vectors, so that every parameter is used, and one of the vectors besides.
    fn everything(&self, code: u16) -> String {
        let result = self.name(code);
        let sum: Vec<&str> =
            self.names.iter().filter(|name| name.starts_with('v')).map(|name| &name[..]).collect();
        format!("tanh({} + {result})", sum.join(" + "))
    }

    /// One of the vectors so far, the latest first.
    fn name(&self, code: u16) -> String {
        let count = self.names.len();
        self.names[count - 1 - usize::from(code) % count].clone()
    }

    fn param(&mut self, stem: &str, shape: &str) -> String {
        let name = format!("{stem}{}", self.params.len());
        self.params.push(format!("{name}: {shape}"));
        name
    }

    fn input(&mut self) -> String {
        format!("x @ {}", self.param("W", "[in, units]"))
    }

    /// The product of a vector with a matrix of its own.
    fn product(&mut self, vector: &str) -> String {
        format!("{vector} @ {}", self.param("R", "[units, units]"))
    }

    fn equation(&mut self, code: Code) {
        let (a, b, c) = (self.name(code[1]), self.name(code[2]), self.name(code[3]));
        let half = self.units / 2;
        let value = match code[0] % 16 {
            0 => {
                let (input, product) = (self.input(), self.product(&a));
                format!("sigmoid({input} + {product} + {})", self.param("b", "[units]"))
            }
            1 => format!("tanh({} + {})", self.input(), self.product(&a)),
            2 => format!("tanh({} + {b})", self.product(&format!("({a} * {b})"))),
            3 => format!("tanh({} - {a} * {})", self.input(), self.param("p", "[units]")),
            4 => format!("tanh({a} * {b})"),
            5 => format!("0.5 * {a} + 0.5 * tanh({b} - {c})"),
            6 => format!("sigmoid({a}) * tanh({b}) + (1 - sigmoid({a})) * tanh({c})"),
            7 => format!("tanh({a} - mean({b}))"),
            8 => format!("tanh(max({a}, {b} + 0.001))"),
            9 => format!("tanh(abs({a} + 0.001) + relu({b} - 0.001))"),
            10 if half > 0 => format!("tanh(concat({a}[{half}:units], {b}[0:{half}]))"),
            11 => format!("tanh({a} / (1 + {b} * {b}))"),
            12 => format!("sqrt(1 + {a} * {a}) - stop(sigmoid({b}))"),
            13 => format!("tanh(sum({a} * {b}) / units) * tanh({c})"),
            14 => format!("exp(-{a} ^ 2) * tanh(log(1.5 + abs({b})))"),
            15 => format!("if {a} > {b} - {c} + 0.001 then tanh({b}) else tanh({c})"),
            _ => format!("tanh({a})"),
        };
        let name = format!("v{}", self.names.len());
        let _ = writeln!(self.equations, "    {name} = {value}");
        self.names.push(name);
    }
}
