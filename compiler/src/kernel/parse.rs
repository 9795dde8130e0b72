//! Reads kernel text as [`super::print`] writes it.

use super::quoted::{closing_quote, unquote};
use super::{
    Address, Axis, Buffer, BufferId, BufferKind, CpuGemm, Distinct, Elem, Exchange, Expr, Fold, For, Form,
    Format, Gather, Gemm, Index, InputRole, Item, Kernel, Matrix, Module, OutputRole, Pack, Part, Phase,
    Precision, Reduce, Rounds, Scatter, ShardSum, Stmt, Time, TimeLoop, Var,
};
use crate::scalar::Scalar;

/// Where kernel text stops making sense. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    pub line: usize,
    pub message: String,
}

/// Reads a module. The text must be well-formed, not meaningful: [`super::verify`] says whether it is.
pub fn parse(text: &str) -> Result<Module, ParseError> {
    let mut lines = Lines { rest: text.lines().enumerate().collect::<Vec<_>>().into_iter(), line: 0 };
    let module = lines.module().map_err(|message| ParseError { line: lines.line, message })?;
    match lines.next() {
        Ok(Some(_)) => Err(ParseError { line: lines.line, message: "text after the module".into() }),
        Ok(None) => Ok(module),
        Err(message) => Err(ParseError { line: lines.line, message }),
    }
}

/// The lines that are left; blank ones are passed over.
struct Lines<'a> {
    rest: std::vec::IntoIter<(usize, &'a str)>,
    /// The line last read.
    line: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<Option<Words<'a>>, String> {
        for (at, line) in self.rest.by_ref() {
            self.line = at + 1;
            let words = Words::split(line)?;
            if words.peek().is_some() {
                return Ok(Some(words));
            }
        }
        Ok(None)
    }

    /// The next line of a block, or `None` at its closing brace.
    fn inside(&mut self) -> Result<Option<Words<'a>>, String> {
        let mut words = self.next()?.ok_or("a block is not closed")?;
        if words.accept("}") {
            words.end()?;
            return Ok(None);
        }
        Ok(Some(words))
    }

    fn module(&mut self) -> Result<Module, String> {
        let mut words = self.next()?.ok_or("no module")?;
        words.expect("module")?;
        let name = words.word()?.to_string();
        words.expect("{")?;
        words.end()?;
        let mut buffers = Vec::new();
        let (mut prologue, mut items) = (Vec::new(), Vec::new());
        while let Some(mut words) = self.inside()? {
            if words.accept("prologue") {
                words.expect("{")?;
                words.end()?;
                while let Some(words) = self.inside()? {
                    prologue.push(self.item(words)?);
                }
            } else if words.accept("buffer") {
                let id = words.buffer_id()?;
                if id.0 as usize != buffers.len() {
                    return Err(format!("buffer {id} out of order"));
                }
                buffers.push(words.buffer()?);
            } else {
                items.push(self.item(words)?);
            }
        }
        Ok(Module { name, buffers, prologue, items })
    }

    fn item(&mut self, mut words: Words<'a>) -> Result<Item, String> {
        match words.word()? {
            "gemm" => words.gemm().map(Item::Gemm),
            "pack" => words.pack().map(Item::Pack),
            "scatter" => words.scatter(Gather::Table).map(Item::Scatter),
            "add_rows" => words.scatter(Gather::Add).map(Item::Scatter),
            "combine" => words.scatter(Gather::Combine).map(Item::Scatter),
            "distinct" => words.distinct().map(Item::Distinct),
            "start" => words.exchange(Phase::Start).map(Item::Exchange),
            "finish" => words.exchange(Phase::Finish).map(Item::Exchange),
            "kernel" => self.kernel(words).map(Item::Kernel),
            "loop" => self.time_loop(words).map(Item::Loop),
            other => Err(format!("no item is called {other:?}")),
        }
    }

    fn time_loop(&mut self, mut words: Words<'a>) -> Result<TimeLoop, String> {
        let time = Time(words.numbered('t')?);
        words.expect("in")?;
        let rounds = words.number()?;
        let reverse = words.accept("reverse");
        words.expect("{")?;
        words.end()?;
        let mut items = Vec::new();
        while let Some(words) = self.inside()? {
            items.push(self.item(words)?);
        }
        Ok(TimeLoop { time, rounds, reverse, items })
    }

    fn kernel(&mut self, mut words: Words<'a>) -> Result<Kernel, String> {
        let name = words.string()?;
        words.expect("axes")?;
        let mut axes = Vec::new();
        while !words.accept("{") {
            axes.push(words.number()?);
        }
        words.end()?;
        Ok(Kernel { name, axes, body: self.block()? })
    }

    fn block(&mut self) -> Result<Vec<Stmt>, String> {
        let mut stmts = Vec::new();
        while let Some(mut words) = self.inside()? {
            if words.accept("for") {
                let mut inner = words.head()?;
                inner.body = self.block()?;
                stmts.push(Stmt::For(inner));
                continue;
            }
            stmts.push(if words.accept("store") {
                let to = words.address()?;
                words.expect("=")?;
                Stmt::Store { to, value: Var(words.numbered('v')?) }
            } else {
                let var = Var(words.numbered('v')?);
                words.expect("=")?;
                Stmt::Let { var, expr: words.expr()? }
            });
            words.end()?;
        }
        Ok(stmts)
    }
}

/// The words of one line: names and numbers, quoted strings with their quotes, and single signs.
struct Words<'a> {
    words: Vec<&'a str>,
    at: usize,
}

impl<'a> Words<'a> {
    fn split(line: &'a str) -> Result<Self, String> {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '%');
        let mut words = Vec::new();
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '"' => 1 + closing_quote(&rest[1..]).ok_or("a string is not closed")?,
                c if plain(c) => rest.find(|c| !plain(c)).unwrap_or(rest.len()),
                c => c.len_utf8(),
            };
            let (word, tail) = rest.split_at(length);
            words.push(word);
            rest = tail.trim_start();
        }
        Ok(Self { words, at: 0 })
    }

    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn word(&mut self) -> Result<&'a str, String> {
        let word = self.peek().ok_or("the line ends too early")?;
        self.at += 1;
        Ok(word)
    }

    fn accept(&mut self, word: &str) -> bool {
        let here = self.peek() == Some(word);
        self.at += usize::from(here);
        here
    }

    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        let word = self.word()?;
        if word == wanted { Ok(()) } else { Err(format!("{wanted:?} belongs here, not {word:?}")) }
    }

    fn end(&self) -> Result<(), String> {
        self.peek().map_or(Ok(()), |word| Err(format!("{word:?} after the end of the line's meaning")))
    }

    fn number(&mut self) -> Result<usize, String> {
        let word = self.word()?;
        word.parse().map_err(|_| format!("{word:?} is not a number"))
    }

    fn real(&mut self) -> Result<f64, String> {
        let word = self.word()?;
        word.parse().map_err(|_| format!("{word:?} is not a number"))
    }

    fn string(&mut self) -> Result<String, String> {
        let word = self.word()?;
        unquote(word).ok_or_else(|| format!("{word:?} is not a quoted string"))
    }

    /// `v3` for `'v'`.
    fn numbered(&mut self, letter: char) -> Result<u32, String> {
        let word = self.word()?;
        let number = word.strip_prefix(letter).and_then(|digits| digits.parse().ok());
        number.ok_or_else(|| format!("{letter:?} and a number belong here, not {word:?}"))
    }

    fn buffer_id(&mut self) -> Result<BufferId, String> {
        self.numbered('%').map(BufferId)
    }

    /// `20x800x200`
    fn extents<const N: usize>(&mut self) -> Result<[usize; N], String> {
        let word = self.word()?;
        let numbers: Option<Vec<usize>> = word.split('x').map(|number| number.parse().ok()).collect();
        numbers.and_then(|n| n.try_into().ok()).ok_or_else(|| format!("{word:?} is not {N} extents"))
    }

    /// `[20, 800]`
    fn sizes(&mut self) -> Result<Vec<usize>, String> {
        self.expect("[")?;
        let mut sizes = Vec::new();
        while !self.accept("]") {
            if !sizes.is_empty() {
                self.expect(",")?;
            }
            sizes.push(self.number()?);
        }
        Ok(sizes)
    }

    fn form(&mut self) -> Result<Form, String> {
        match self.word()? {
            "nn" => Ok(Form::NN),
            "nt" => Ok(Form::NT),
            "tn" => Ok(Form::TN),
            other => Err(format!("no product has the form {other:?}")),
        }
    }

    /// The format that is named here, or the usual one.
    fn format(&mut self) -> Format {
        let format = self.peek().and_then(|word| word.parse().ok());
        self.at += usize::from(format.is_some());
        format.unwrap_or_default()
    }

    fn buffer(&mut self) -> Result<Buffer, String> {
        self.expect(":")?;
        let elem = match self.word()? {
            "f" => Elem::Real,
            "id" => Elem::Id,
            other => return Err(format!("no elements are called {other:?}")),
        };
        let shape = self.sizes()?;
        let kind = self.word()?;
        let name = self.string()?;
        let kind = match kind {
            "input" => BufferKind::Input(self.input()?),
            "output" => BufferKind::Output(self.output()?),
            "temp" => BufferKind::Temp,
            "packed" => BufferKind::Packed,
            other => return Err(format!("no buffer is of the kind {other:?}")),
        };
        self.end()?;
        Ok(Buffer { name, elem, shape, kind })
    }

    fn input(&mut self) -> Result<InputRole, String> {
        Ok(match self.word()? {
            "param" => {
                self.expect("parts")?;
                let mut parts = Vec::new();
                while self.peek().is_some() {
                    parts.push(Part { name: self.string()?, start: self.number()?, len: self.number()? });
                }
                InputRole::Param { parts }
            }
            "optimizer_state" => {
                self.expect("of")?;
                let param = self.string()?;
                self.expect("start")?;
                InputRole::OptimizerState { param, start: self.real()? }
            }
            "carried" => {
                self.expect("start")?;
                InputRole::Carried { start: self.real()? }
            }
            "tokens" => InputRole::Tokens,
            "targets" => InputRole::Targets,
            "rate" => InputRole::Rate,
            "step" => InputRole::Step,
            "last" => InputRole::Last,
            "mean_weight" => InputRole::MeanWeight,
            other => return Err(format!("no input has the role {other:?}")),
        })
    }

    fn output(&mut self) -> Result<OutputRole, String> {
        Ok(match self.word()? {
            "update" => OutputRole::Update(self.string()?),
            "gradient" => OutputRole::Gradient(self.string()?),
            "loss" => OutputRole::Loss,
            "hits" => OutputRole::Hits,
            "gradient_norm" => OutputRole::GradientNorm,
            "probabilities" => OutputRole::Probabilities,
            "objective" => OutputRole::Objective,
            other => return Err(format!("no output has the role {other:?}")),
        })
    }

    fn address(&mut self) -> Result<Address, String> {
        let buffer = self.buffer_id()?;
        let (offset, terms) = self.terms()?;
        Ok(Address { buffer, offset, terms })
    }

    /// ` + 200 + 800*a0 + 1*a1`; `+=` ends it.
    fn terms(&mut self) -> Result<(usize, Vec<(Index, usize)>), String> {
        let mut offset = 0;
        let mut terms = Vec::new();
        while self.peek() == Some("+") && self.words.get(self.at + 1) != Some(&"=") {
            self.at += 1;
            let number = self.number()?;
            if self.accept("*") {
                terms.push((self.index()?, number));
            } else {
                offset += number;
            }
        }
        Ok((offset, terms))
    }

    fn index(&mut self) -> Result<Index, String> {
        match self.peek().and_then(|word| word.chars().next()) {
            Some('a') => self.numbered('a').map(|number| Index::Axis(Axis(number))),
            Some('t') => self.numbered('t').map(|number| Index::Time(Time(number))),
            _ => self.numbered('v').map(|number| Index::Id(Var(number))),
        }
    }

    fn matrix(&mut self) -> Result<Matrix, String> {
        let at = self.address()?;
        self.expect("stride")?;
        Ok(Matrix { at, stride: self.number()? })
    }

    /// The address behind a word, if that is here.
    fn named(&mut self, word: &str) -> Result<Option<Address>, String> {
        if self.accept(word) { self.address().map(Some) } else { Ok(None) }
    }

    fn gemm(&mut self) -> Result<Gemm, String> {
        let form = self.form()?;
        let [m, n, k] = self.extents()?;
        let mut rounding = Precision::ALL.into_iter().filter(|precision| *precision != Precision::F32);
        let precision = rounding.find(|precision| self.accept(precision.name())).unwrap_or_default();
        let parts = if self.accept("parts") { self.number()? } else { 1 };
        self.expect(":")?;
        let c = self.matrix()?;
        let accumulate = self.accept("+");
        self.expect("=")?;
        let a = self.matrix()?;
        self.expect("@")?;
        let packed = if self.accept("packed") { Some(self.format()) } else { None };
        let b = self.matrix()?;
        let prefix = self.named("prefix")?;
        let right_sums = self.named("sums")?;
        let squares = self.named("squares")?;
        let rounds = self.rounds()?;
        let alternating = self.accept("alternating");
        let as_few = self.accept("as");
        if as_few {
            self.expect("few")?;
        }
        self.end()?;
        let plain = Gemm::plain(form, [m, n, k], a, b, c);
        let cpu = CpuGemm { packed, right_sums, squares, alternating, as_few };
        Ok(Gemm { precision, accumulate, parts, prefix, rounds, cpu, ..plain })
    }

    fn rounds(&mut self) -> Result<Rounds, String> {
        if self.accept("after") {
            return self.expect("first").map(|()| Rounds::AfterFirst);
        }
        if self.accept("before") {
            return self.expect("last").map(|()| Rounds::BeforeLast);
        }
        Ok(Rounds::All)
    }

    fn pack(&mut self) -> Result<Pack, String> {
        let form = self.form()?;
        let [k, n] = self.extents()?;
        let format = self.format();
        self.expect(":")?;
        let to = self.buffer_id()?;
        self.expect("=")?;
        let b = self.matrix()?;
        self.end()?;
        Ok(Pack { form, k, n, b, to, format })
    }

    fn scatter(&mut self, gather: Gather) -> Result<Scatter, String> {
        let table = self.buffer_id()?;
        let [rows, n] = self.sizes()?[..] else { return Err("a table has rows and columns".into()) };
        self.expect(":")?;
        let ids = self.address()?;
        self.expect("count")?;
        let count = self.number()?;
        self.expect("from")?;
        let g = self.matrix()?;
        self.end()?;
        Ok(Scatter { gather, ids, count, g, table, rows, n })
    }

    fn distinct(&mut self) -> Result<Distinct, String> {
        let [places, distinct, count] = [self.buffer_id()?, self.buffer_id()?, self.buffer_id()?];
        self.expect(":")?;
        let ids = self.address()?;
        self.expect("count")?;
        let len = self.number()?;
        self.expect("rows")?;
        let rows = self.number()?;
        let inverse = match self.accept("inverse") {
            true => Some([self.buffer_id()?, self.buffer_id()?]),
            false => None,
        };
        self.end()?;
        Ok(Distinct { ids, len, rows, places, distinct, count, inverse })
    }

    fn exchange(&mut self, phase: Phase) -> Result<Exchange, String> {
        self.expect("exchange")?;
        let number = self.number()?;
        let number = u32::try_from(number).map_err(|_| format!("exchange {number} is too large"))?;
        self.expect(":")?;
        let mut sums = vec![self.shard_sum()?];
        while self.accept(",") {
            sums.push(self.shard_sum()?);
        }
        self.end()?;
        Ok(Exchange { number, phase, sums })
    }

    fn shard_sum(&mut self) -> Result<ShardSum, String> {
        let to = self.buffer_id()?;
        self.expect("[")?;
        let rows = self.number()?;
        self.expect(",")?;
        let n = self.number()?;
        self.expect("]")?;
        self.expect("from")?;
        Ok(ShardSum { from: self.address()?, to, rows, n })
    }

    /// The line that opens a loop, without its first word.
    fn head(&mut self) -> Result<For, String> {
        let axis = Axis(self.numbered('a')?);
        let parallel = self.accept("parallel");
        let vector = self.accept("vector");
        let mut folds = Vec::new();
        if self.accept("fold") {
            folds.push(self.fold()?);
            while self.accept(",") {
                folds.push(self.fold()?);
            }
        }
        self.expect("{")?;
        self.end()?;
        Ok(For { axis, parallel, vector, folds, body: Vec::new() })
    }

    fn fold(&mut self) -> Result<Fold, String> {
        let var = Var(self.numbered('v')?);
        self.expect("=")?;
        let kind = match self.word()? {
            "sum" => Reduce::Sum,
            "max" => Reduce::Max,
            other => return Err(format!("no fold is called {other:?}")),
        };
        Ok(Fold { var, kind, value: Var(self.numbered('v')?) })
    }

    fn expr(&mut self) -> Result<Expr, String> {
        Ok(match self.word()? {
            "const" => Expr::Const(self.real()?),
            "load" => Expr::Load(self.address()?),
            "load_id" => Expr::LoadId(self.address()?),
            "position" => Expr::Position(Axis(self.numbered('a')?)),
            "number" => Expr::Number(Var(self.numbered('v')?)),
            "random" => {
                let stream = self.number()?;
                let stream = u32::try_from(stream).map_err(|_| format!("stream {stream} is too large"))?;
                let shard = if self.accept("shard") { self.number()? } else { 0 };
                let (offset, terms) = self.terms()?;
                Expr::Random { stream, offset, terms, shard }
            }
            name => {
                let op: Scalar = name.parse().map_err(|()| format!("no operation is called {name:?}"))?;
                let args = (0..op.arity()).map(|_| self.numbered('v').map(Var));
                Expr::Map(op, args.collect::<Result<_, _>>()?)
            }
        })
    }
}
