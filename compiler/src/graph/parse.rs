//! Reads graph text back; [`super::print`] documents its form.
//!
//! Line by line: an input, a node, the head of a loop, a line of a loop, an output. Value numbers are kept, so printing
//! what was parsed gives the same text. Comments run from `//` to the end of a line. Loops do not nest;
//! whether the graph keeps its other promises is for [`super::verify`] to judge.

use std::str::Chars;

use thiserror::Error;

use super::{
    Carried, Form, Graph, Input, InputRole, Loop, Node, Op, Output, OutputRole, Part, Reduce, Sharded,
    Sliced, Stacked, Type, Value,
};

/// Text that is not a graph, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    pub message: String,
}

/// The graph that `text` spells.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let mut parser = Parser { lines: text.lines(), line: 0, types: vec![] };
    parser.graph().map_err(|message| ParseError { line: parser.line, message })
}

/// Value numbers above this are refused: [`Graph::types`] has an entry for each number below the largest.
const MOST_VALUES: u32 = 1 << 20;

struct Parser<'a> {
    lines: std::str::Lines<'a>,
    /// The number of the line read last, from 1.
    line: usize,
    types: Vec<Type>,
}

impl<'a> Parser<'a> {
    /// The tokens of the next line that has any; none at the end of the text.
    fn next_line(&mut self) -> Result<Option<Line<'a>>, String> {
        for text in self.lines.by_ref() {
            self.line += 1;
            let tokens = tokens(text)?;
            if !tokens.is_empty() {
                return Ok(Some(Line { tokens, next: 0 }));
            }
        }
        Ok(None)
    }

    fn graph(&mut self) -> Result<Graph, String> {
        let mut head = self.next_line()?.ok_or("a graph was expected")?;
        head.keyword("graph")?;
        let name = head.word()?.to_string();
        head.symbol('{')?;
        head.end()?;
        let mut graph = Graph { name, types: vec![], inputs: vec![], body: vec![], outputs: vec![] };
        loop {
            let mut line = self.next_line()?.ok_or("the graph is not closed by `}`")?;
            if line.eat('}') {
                line.end()?;
                break;
            }
            match line.statement() {
                Some("in") => graph.inputs.push(self.input(&mut line)?),
                Some("out") => graph.outputs.push(self.output(&mut line)?),
                Some(other) => return Err(format!("`{other}` does not belong here")),
                None => graph.body.push(self.node(&mut line, false)?),
            }
            line.end()?;
        }
        if self.next_line()?.is_some() {
            return Err("text after the graph's end".into());
        }
        graph.types = std::mem::take(&mut self.types);
        Ok(graph)
    }

    /// Reads `%3`, and makes room for its type.
    fn value(&mut self, line: &mut Line<'a>) -> Result<Value, String> {
        let number = line.value()?;
        if number >= MOST_VALUES {
            return Err(format!("%{number} is above the largest number of a value, {}", MOST_VALUES - 1));
        }
        if self.types.len() <= number as usize {
            self.types.resize(number as usize + 1, Type::real([]));
        }
        Ok(Value(number))
    }

    /// Reads `%3: f[2, 3]`.
    fn typed_value(&mut self, line: &mut Line<'a>) -> Result<Value, String> {
        let value = self.value(line)?;
        line.symbol(':')?;
        let ty = match line.word()? {
            "f" => Type::real(line.sizes()?),
            "id" => Type::id(line.sizes()?),
            other => return Err(format!("`{other}` is not a type: a type is f[..] or id[..]")),
        };
        self.types[value.0 as usize] = ty;
        Ok(value)
    }

    fn input(&mut self, line: &mut Line<'a>) -> Result<Input, String> {
        let value = self.typed_value(line)?;
        let kind = line.word()?;
        let name = line.text()?;
        let role = match kind {
            "param" => {
                line.keyword("parts")?;
                let mut parts = vec![];
                while !line.is_done() {
                    parts.push(Part { name: line.text()?, start: line.size()?, len: line.size()? });
                }
                InputRole::Param { parts }
            }
            "optimizer_state" => {
                line.keyword("of")?;
                let param = line.text()?;
                line.keyword("start")?;
                InputRole::OptimizerState { param, start: line.real()? }
            }
            "carried" => {
                line.keyword("start")?;
                InputRole::Carried { start: line.real()? }
            }
            "tokens" => InputRole::Tokens,
            "targets" => InputRole::Targets,
            "rate" => InputRole::Rate,
            "step" => InputRole::Step,
            "last" => InputRole::Last,
            "mean_weight" => InputRole::MeanWeight,
            other => return Err(format!("`{other}` is not a role of an input")),
        };
        Ok(Input { value, name, role })
    }

    fn output(&mut self, line: &mut Line<'a>) -> Result<Output, String> {
        let value = self.value(line)?;
        let role = match line.word()? {
            "update" => OutputRole::Update(line.text()?),
            "gradient" => OutputRole::Gradient(line.text()?),
            "loss" => OutputRole::Loss,
            "hits" => OutputRole::Hits,
            "gradient_norm" => OutputRole::GradientNorm,
            "probabilities" => OutputRole::Probabilities,
            "objective" => OutputRole::Objective,
            other => return Err(format!("`{other}` is not a role of an output")),
        };
        Ok(Output { value, role })
    }

    /// Reads a node; a loop to its closing brace.
    fn node(&mut self, line: &mut Line<'a>, in_loop: bool) -> Result<Node, String> {
        let mut results = vec![];
        while !line.eat('=') {
            if !results.is_empty() {
                line.symbol(',')?;
            }
            results.push(self.typed_value(line)?);
        }
        let name = line.word()?;
        if name == "loop" {
            if in_loop {
                return Err("loops do not nest".into());
            }
            let op = Op::Loop(Box::new(self.read_loop(line, &results)?));
            return Ok(Node { op, args: vec![], results });
        }
        // A constant's number stands where others have operands.
        let mut args = vec![];
        while line.at_value() {
            args.push(self.value(line)?);
        }
        Ok(Node { op: operation(name, line)?, args, results })
    }

    fn read_loop(&mut self, head: &mut Line<'a>, results: &[Value]) -> Result<Loop, String> {
        let rounds = head.size()?;
        let reverse = head.eat_keyword("reverse");
        head.symbol('{')?;
        let opening = self.line;
        let (mut carried, mut sliced, mut body, mut stacked) = (vec![], vec![], vec![], vec![]);
        loop {
            let mut line = self.next_line()?.ok_or("the loop is not closed by `}`")?;
            if line.eat('}') {
                line.end()?;
                break;
            }
            match line.statement() {
                Some("carry") => carried.push(self.carried(&mut line)?),
                Some("slice") => {
                    let param = self.typed_value(&mut line)?;
                    line.keyword("of")?;
                    sliced.push(Sliced { source: self.value(&mut line)?, param });
                }
                Some("stack") => stacked.push(self.value(&mut line)?),
                Some(other) => return Err(format!("`{other}` does not belong in a loop")),
                None => body.push(self.node(&mut line, true)?),
            }
            line.end()?;
        }
        if results.len() != carried.len() + stacked.len() {
            let (lasts, stacks) = (carried.len(), stacked.len());
            let found = results.len();
            return Err(format!(
                "the loop of line {opening} has {found} results, but carries {lasts} and stacks {stacks}"
            ));
        }
        let (lasts, stacks) = results.split_at(carried.len());
        let carried = carried.iter().zip(lasts).map(|(c, &last)| Carried { last, ..*c }).collect();
        let stacked = stacked.iter().zip(stacks).map(|(&value, &result)| Stacked { value, result }).collect();
        Ok(Loop { rounds, reverse, carried, sliced, body, stacked })
    }

    /// `last`, which stands in the loop's head, is filled in when the loop has been read.
    fn carried(&mut self, line: &mut Line<'a>) -> Result<Carried, String> {
        let param = self.typed_value(line)?;
        line.symbol('=')?;
        let init = self.value(line)?;
        line.keyword("next")?;
        Ok(Carried { init, param, next: self.value(line)?, last: param })
    }
}

/// The operation of this name, with the attributes that follow its operands.
fn operation(name: &str, line: &mut Line<'_>) -> Result<Op, String> {
    Ok(match name {
        "const" => Op::Const(line.real()?),
        "broadcast" => Op::Broadcast { axes: line.size_list("axes")?, shape: line.size_list("shape")? },
        "reduce_sum" => Op::Reduce { kind: Reduce::Sum, axes: line.size_list("axes")? },
        "reduce_max" => Op::Reduce { kind: Reduce::Max, axes: line.size_list("axes")? },
        "matmul_nn" => Op::MatMul(Form::NN),
        "matmul_nt" => Op::MatMul(Form::NT),
        "matmul_tn" => Op::MatMul(Form::TN),
        "matmul_prefix_nn" => Op::MatMulPrefix(Form::NN),
        "matmul_prefix_nt" => Op::MatMulPrefix(Form::NT),
        "matmul_prefix_tn" => Op::MatMulPrefix(Form::TN),
        "take" => Op::Take,
        "distinct" => Op::Distinct { rows: line.size_of("rows")? },
        "combine" => Op::Combine { rows: line.size_of("rows")? },
        "add_rows" => Op::AddRows,
        "scatter" => Op::Scatter { rows: line.size_of("rows")? },
        "pick" => Op::Pick,
        "spread" => Op::Spread { len: line.size_of("len")? },
        "number" => Op::Number,
        "positions" => Op::Positions { len: line.size_of("len")? },
        "random" => {
            let stream = line.size_of("stream")?;
            let stream = u32::try_from(stream).map_err(|_| format!("{stream} is too large for a stream"))?;
            let shape = line.size_list("shape")?;
            let part = match line.eat_keyword("shards") {
                false => None,
                true => {
                    line.symbol('=')?;
                    match line.sizes()?[..] {
                        [axis, count] => Some(Sharded { axis, count }),
                        _ => return Err("shards are an axis and a number".into()),
                    }
                }
            };
            Op::Random { stream, shape, part }
        }
        "split" => Op::Split { axis: line.size_of("axis")?, sizes: line.size_list("sizes")? },
        "concat" => Op::Concat { axis: line.size_of("axis")? },
        "at" => Op::At { index: line.size_of("index")? },
        "put" => Op::Put { index: line.size_of("index")?, len: line.size_of("len")? },
        "unsqueeze" => Op::Unsqueeze,
        "squeeze" => Op::Squeeze,
        "stop" => Op::Stop,
        "sum_shards" => Op::SumShards,
        _ => Op::Map(name.parse().map_err(|()| format!("`{name}` is not an operation"))?),
    })
}

#[derive(Clone, Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    /// Digits with what may follow them in a number; read as a size or a real, whichever is expected.
    Number(&'a str),
    Value(u32),
    Text(String),
    Symbol(char),
}

/// One line's tokens, and how many were read.
struct Line<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
}

impl<'a> Line<'a> {
    fn take(&mut self) -> Option<Token<'a>> {
        let token = self.tokens.get(self.next).cloned();
        self.next += 1;
        token
    }

    fn is_done(&self) -> bool {
        self.next >= self.tokens.len()
    }

    fn end(&self) -> Result<(), String> {
        match self.tokens.get(self.next) {
            None => Ok(()),
            found => Err(expected("the line's end", found.cloned())),
        }
    }

    /// Reads the word that a line which is not a node starts with.
    fn statement(&mut self) -> Option<&'a str> {
        match self.tokens.get(self.next) {
            Some(&Token::Word(word)) => {
                self.next += 1;
                Some(word)
            }
            _ => None,
        }
    }

    fn at_value(&self) -> bool {
        matches!(self.tokens.get(self.next), Some(Token::Value(_)))
    }

    fn eat(&mut self, symbol: char) -> bool {
        let found = self.tokens.get(self.next) == Some(&Token::Symbol(symbol));
        self.next += usize::from(found);
        found
    }

    fn eat_keyword(&mut self, word: &str) -> bool {
        let found = self.tokens.get(self.next) == Some(&Token::Word(word));
        self.next += usize::from(found);
        found
    }

    fn symbol(&mut self, symbol: char) -> Result<(), String> {
        match self.take() {
            Some(Token::Symbol(found)) if found == symbol => Ok(()),
            found => Err(expected(&format!("`{symbol}`"), found)),
        }
    }

    fn word(&mut self) -> Result<&'a str, String> {
        match self.take() {
            Some(Token::Word(word)) => Ok(word),
            found => Err(expected("a word", found)),
        }
    }

    fn keyword(&mut self, word: &str) -> Result<(), String> {
        match self.take() {
            Some(Token::Word(found)) if found == word => Ok(()),
            found => Err(expected(&format!("`{word}`"), found)),
        }
    }

    fn text(&mut self) -> Result<String, String> {
        match self.take() {
            Some(Token::Text(text)) => Ok(text),
            found => Err(expected("a quoted name", found)),
        }
    }

    fn value(&mut self) -> Result<u32, String> {
        match self.take() {
            Some(Token::Value(number)) => Ok(number),
            found => Err(expected("a value such as %1", found)),
        }
    }

    fn real(&mut self) -> Result<f64, String> {
        match self.take() {
            Some(Token::Number(text) | Token::Word(text)) => {
                text.parse().map_err(|_| format!("`{text}` is not a number"))
            }
            found => Err(expected("a number", found)),
        }
    }

    /// A size, axis, index or count. Below 2^32, so that sums of a line's sizes do not overflow.
    fn size(&mut self) -> Result<usize, String> {
        match self.take() {
            Some(Token::Number(text)) => {
                text.parse::<u32>().map(|size| size as usize).map_err(|_| format!("`{text}` is not a size"))
            }
            found => Err(expected("a size", found)),
        }
    }

    /// Reads `[2, 3]`.
    fn sizes(&mut self) -> Result<Vec<usize>, String> {
        self.symbol('[')?;
        let mut sizes = vec![];
        while !self.eat(']') {
            if !sizes.is_empty() {
                self.symbol(',')?;
            }
            sizes.push(self.size()?);
        }
        Ok(sizes)
    }

    /// Reads `name=3`.
    fn size_of(&mut self, name: &str) -> Result<usize, String> {
        self.keyword(name)?;
        self.symbol('=')?;
        self.size()
    }

    /// Reads `name=[2, 3]`.
    fn size_list(&mut self, name: &str) -> Result<Vec<usize>, String> {
        self.keyword(name)?;
        self.symbol('=')?;
        self.sizes()
    }
}

fn expected(what: &str, found: Option<Token<'_>>) -> String {
    let found = match found {
        None => "the line's end".into(),
        Some(Token::Word(text) | Token::Number(text)) => format!("`{text}`"),
        Some(Token::Value(number)) => format!("`%{number}`"),
        Some(Token::Text(text)) => format!("{text:?}"),
        Some(Token::Symbol(symbol)) => format!("`{symbol}`"),
    };
    format!("{what} was expected, not {found}")
}

fn tokens(line: &str) -> Result<Vec<Token<'_>>, String> {
    let mut tokens = vec![];
    let mut rest = line;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        if rest.starts_with("//") {
            return Ok(tokens);
        }
        let (token, after) = match first {
            '%' => {
                let (digits, after) = split_while(&rest[1..], |c| c.is_ascii_digit());
                let number = digits.parse().map_err(|_| format!("`%{digits}` is not a value"))?;
                (Token::Value(number), after)
            }
            '"' => {
                let mut chars = rest[1..].chars();
                let text = unquote(&mut chars)?;
                (Token::Text(text), chars.as_str())
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let (word, after) = split_while(rest, |c| c.is_ascii_alphanumeric() || "_.-".contains(c));
                (Token::Word(word), after)
            }
            '0'..='9' | '-' => {
                let (number, after) = split_while(rest, |c| c.is_ascii_alphanumeric() || ".+-".contains(c));
                (Token::Number(number), after)
            }
            '{' | '}' | '[' | ']' | ':' | ',' | '=' => (Token::Symbol(first), &rest[1..]),
            other => return Err(format!("{other:?} does not belong in a graph")),
        };
        tokens.push(token);
        rest = after;
    }
}

fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// The text up to the closing quote, with the escapes of Rust's `{:?}` undone.
fn unquote(chars: &mut Chars<'_>) -> Result<String, String> {
    let mut text = String::new();
    loop {
        text.push(match chars.next() {
            Some('"') => return Ok(text),
            Some('\\') => escaped(chars)?,
            Some(c) => c,
            None => return Err("a quoted name is not closed".into()),
        });
    }
}

/// The character that is meant after a backslash.
fn escaped(chars: &mut Chars<'_>) -> Result<char, String> {
    match chars.next() {
        Some('n') => Ok('\n'),
        Some('r') => Ok('\r'),
        Some('t') => Ok('\t'),
        Some('0') => Ok('\0'),
        Some(c @ ('\\' | '"' | '\'')) => Ok(c),
        Some('u') => {
            let digits = chars.as_str().strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let (digits, rest) = digits.ok_or("`\\u` without {..}")?;
            *chars = rest.chars();
            let code = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
            code.ok_or_else(|| format!("`\\u{{{digits}}}` is not a character"))
        }
        _ => Err("an unknown escape in a quoted name".into()),
    }
}

#[cfg(test)]
mod tests;
