//! Kernel text. [`super::parse`] reads it back; printing what was parsed gives the same text.
//!
//! ```text
//! module train {
//!   buffer %0: f[20, 800] temp "z"
//!   buffer %1: f[200, 800] input "lstm.R" param parts "lstm.R_i" 0 200
//!   prologue {
//!     pack nn 200x800 bf16: %7 = %1 stride 800
//!   }
//!   loop t0 in 20 reverse {
//!     gemm nn 20x800x200: %0 stride 800 += %2 + 4000*t0 stride 200 @ packed %3 stride 800
//!     pack nn 200x800: %3 = %1 stride 800
//!     scatter %4 [10000, 200]: %5 + 20*t0 count 20 from %2 stride 200
//!     kernel "gates" axes 20 200 {
//!       for a0 parallel {
//!         for a1 vector fold v4 = sum v3 {
//!           v0 = load_id %5 + 1*a0
//!           v1 = load %0 + 200 + 800*a0 + 1*a1
//!           v2 = random 3 + 7 + 200*a0 + 1*a1
//!           v3 = mul v1 v2
//!           store %6 + 200*v0 + 1*a1 = v3
//!         }
//!       }
//!     }
//!   }
//! }
//! ```
//!
//! A product of the first rows only says where their number lies: `@ %3 stride 800 prefix %9`; one that also sums its
//! right side's columns, where these go: `@ %3 stride 800 sums %8`; one that sums the squares of its result's columns,
//! `squares %8`. Of the ids `%1`, of which there are 60 below 10000, `distinct %7 %8 %9: %1 count 60 rows 10000` gives
//! places, distinct ids and their number; with `inverse %10 %11` also each row's place and whether it has one.
//!
//! The extents of a product are `m x n x k`, those of a packing `k x n`. A packed operand of a format other than `f32`
//! names it: `@ packed bf16 %7`. So does a product of another precision, behind its extents: `20x800x200 bf16`. One whose rows
//! have the bits of a product of few rows ends with `as few`. There is no prologue where it would be empty.

use std::fmt::{self, Display, Formatter};

use super::{
    Address, Axis, Buffer, BufferId, BufferKind, CpuGemm, Distinct, Elem, Exchange, Expr, For, Form, Format,
    Gather, Gemm, Index, InputRole, Item, Kernel, Matrix, Module, OutputRole, Pack, Phase, Precision, Reduce,
    Rounds, Scatter, ShardSum, Stmt, Time, Var,
};

impl Display for BufferId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

impl Display for Axis {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "a{}", self.0)
    }
}

impl Display for Var {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl Display for Index {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Index::Axis(axis) => axis.fmt(f),
            Index::Time(time) => time.fmt(f),
            Index::Id(var) => var.fmt(f),
        }
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.buffer)?;
        write_terms(f, self.offset, &self.terms)
    }
}

/// ` + offset + stride*index ..`; an offset of 0 is left out.
fn write_terms(f: &mut Formatter<'_>, offset: usize, terms: &[(Index, usize)]) -> fmt::Result {
    if offset != 0 {
        write!(f, " + {offset}")?;
    }
    terms.iter().try_for_each(|(index, stride)| write!(f, " + {stride}*{index}"))
}

impl Display for Matrix {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} stride {}", self.at, self.stride)
    }
}

impl Display for Module {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "module {} {{", self.name)?;
        for (i, buffer) in self.buffers.iter().enumerate() {
            writeln!(f, "  buffer {}: {buffer}", BufferId(i as u32))?;
        }
        if !self.prologue.is_empty() {
            writeln!(f, "  prologue {{")?;
            self.prologue.iter().try_for_each(|item| item.write(f, 2))?;
            writeln!(f, "  }}")?;
        }
        self.items.iter().try_for_each(|item| item.write(f, 1))?;
        writeln!(f, "}}")
    }
}

impl Display for Buffer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let elem = match self.elem {
            Elem::Real => "f",
            Elem::Id => "id",
        };
        let sizes: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        write!(f, "{elem}[{}] ", sizes.join(", "))?;
        match &self.kind {
            BufferKind::Input(role) => {
                write!(f, "input {:?} ", self.name)?;
                write_input(f, role)
            }
            BufferKind::Output(role) => {
                write!(f, "output {:?} ", self.name)?;
                write_output(f, role)
            }
            BufferKind::Temp => write!(f, "temp {:?}", self.name),
            BufferKind::Packed => write!(f, "packed {:?}", self.name),
        }
    }
}

fn write_input(f: &mut Formatter<'_>, role: &InputRole) -> fmt::Result {
    match role {
        InputRole::Param { parts } => {
            write!(f, "param parts")?;
            parts.iter().try_for_each(|part| write!(f, " {:?} {} {}", part.name, part.start, part.len))
        }
        InputRole::OptimizerState { param, start } => {
            write!(f, "optimizer_state of {param:?} start {start:?}")
        }
        InputRole::Carried { start } => write!(f, "carried start {start:?}"),
        InputRole::Tokens => write!(f, "tokens"),
        InputRole::Targets => write!(f, "targets"),
        InputRole::Rate => write!(f, "rate"),
        InputRole::Step => write!(f, "step"),
        InputRole::Last => write!(f, "last"),
        InputRole::MeanWeight => write!(f, "mean_weight"),
    }
}

fn write_output(f: &mut Formatter<'_>, role: &OutputRole) -> fmt::Result {
    match role {
        OutputRole::Update(name) => write!(f, "update {name:?}"),
        OutputRole::Gradient(name) => write!(f, "gradient {name:?}"),
        OutputRole::Loss => write!(f, "loss"),
        OutputRole::Hits => write!(f, "hits"),
        OutputRole::GradientNorm => write!(f, "gradient_norm"),
        OutputRole::Probabilities => write!(f, "probabilities"),
        OutputRole::Objective => write!(f, "objective"),
    }
}

impl Item {
    fn write(&self, f: &mut Formatter<'_>, depth: usize) -> fmt::Result {
        let indent = "  ".repeat(depth);
        match self {
            Item::Kernel(kernel) => kernel.write(f, depth),
            Item::Gemm(gemm) => writeln!(f, "{indent}{gemm}"),
            Item::Pack(pack) => writeln!(f, "{indent}{pack}"),
            Item::Scatter(scatter) => writeln!(f, "{indent}{scatter}"),
            Item::Distinct(distinct) => writeln!(f, "{indent}{distinct}"),
            Item::Exchange(exchange) => writeln!(f, "{indent}{exchange}"),
            Item::Loop(inner) => {
                let reverse = if inner.reverse { " reverse" } else { "" };
                writeln!(f, "{indent}loop {} in {}{reverse} {{", inner.time, inner.rounds)?;
                inner.items.iter().try_for_each(|item| item.write(f, depth + 1))?;
                writeln!(f, "{indent}}}")
            }
        }
    }
}

impl Display for Item {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

/// As in kernel text.
pub(super) fn form_name(form: Form) -> &'static str {
    match form {
        Form::NN => "nn",
        Form::NT => "nt",
        Form::TN => "tn",
    }
}

/// The name of a format, where it is not the usual one.
fn suffix(format: Format) -> String {
    if format == Format::F32 { String::new() } else { format!(" {format}") }
}

impl Display for Gemm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Gemm { form, precision, m, n, k, a, b, c, accumulate, parts, prefix, rounds, cpu } = self;
        let CpuGemm { packed, right_sums, squares, alternating, as_few } = cpu;
        let assign = if *accumulate { "+=" } else { "=" };
        let packed = packed.map_or(String::new(), |format| format!("packed{} ", suffix(format)));
        let form = form_name(*form);
        let precision = match precision {
            Precision::F32 => String::new(),
            other => format!(" {}", other.name()),
        };
        let parts = if *parts == 1 { String::new() } else { format!(" parts {parts}") };
        write!(f, "gemm {form} {m}x{n}x{k}{precision}{parts}: {c} {assign} {a} @ {packed}{b}")?;
        let named = [("prefix", prefix), ("sums", right_sums), ("squares", squares)];
        let mut named = named.into_iter().filter_map(|(name, at)| Some((name, at.as_ref()?)));
        named.try_for_each(|(name, at)| write!(f, " {name} {at}"))?;
        match rounds {
            Rounds::All => {}
            Rounds::AfterFirst => write!(f, " after first")?,
            Rounds::BeforeLast => write!(f, " before last")?,
        }
        f.write_str(if *alternating { " alternating" } else { "" })?;
        f.write_str(if *as_few { " as few" } else { "" })
    }
}

impl Display for Pack {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Pack { form, k, n, b, to, format } = self;
        write!(f, "pack {} {k}x{n}{}: {to} = {b}", form_name(*form), suffix(*format))
    }
}

impl Display for Scatter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Scatter { gather, ids, count, g, table, rows, n } = self;
        let name = match gather {
            Gather::Table => "scatter",
            Gather::Add => "add_rows",
            Gather::Combine => "combine",
        };
        write!(f, "{name} {table} [{rows}, {n}]: {ids} count {count} from {g}")
    }
}

impl Display for Distinct {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Distinct { ids, len, rows, places, distinct, count, inverse } = self;
        write!(f, "distinct {places} {distinct} {count}: {ids} count {len} rows {rows}")?;
        inverse.map_or(Ok(()), |[ranks, present]| write!(f, " inverse {ranks} {present}"))
    }
}

impl Display for Exchange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Start => "start",
            Phase::Finish => "finish",
        };
        write!(f, "{phase} exchange {}:", self.number)?;
        for (index, ShardSum { from, to, rows, n }) in self.sums.iter().enumerate() {
            let between = if index > 0 { "," } else { "" };
            write!(f, "{between} {to} [{rows}, {n}] from {from}")?;
        }
        Ok(())
    }
}

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl Kernel {
    /// The kernel's text at a depth of indentation.
    pub(crate) fn write(&self, f: &mut Formatter<'_>, depth: usize) -> fmt::Result {
        let indent = "  ".repeat(depth);
        write!(f, "{indent}kernel {:?} axes", self.name)?;
        self.axes.iter().try_for_each(|extent| write!(f, " {extent}"))?;
        writeln!(f, " {{")?;
        write_block(f, &self.body, depth + 1)?;
        writeln!(f, "{indent}}}")
    }
}

fn write_block(f: &mut Formatter<'_>, stmts: &[Stmt], depth: usize) -> fmt::Result {
    let indent = "  ".repeat(depth);
    for stmt in stmts {
        match stmt {
            Stmt::Let { var, expr } => writeln!(f, "{indent}{var} = {expr}")?,
            Stmt::Store { to, value } => writeln!(f, "{indent}store {to} = {value}")?,
            Stmt::For(inner) => {
                writeln!(f, "{indent}{} {{", Head(inner))?;
                write_block(f, &inner.body, depth + 1)?;
                writeln!(f, "{indent}}}")?;
            }
        }
    }
    Ok(())
}

/// The line that opens a loop.
struct Head<'a>(&'a For);

impl Display for Head<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let For { axis, parallel, vector, folds, .. } = self.0;
        write!(f, "for {axis}")?;
        if *parallel {
            write!(f, " parallel")?;
        }
        if *vector {
            write!(f, " vector")?;
        }
        for (i, fold) in folds.iter().enumerate() {
            let kind = match fold.kind {
                Reduce::Sum => "sum",
                Reduce::Max => "max",
            };
            let lead = if i == 0 { " fold" } else { "," };
            write!(f, "{lead} {} = {kind} {}", fold.var, fold.value)?;
        }
        Ok(())
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Const(value) => write!(f, "const {value:?}"),
            Expr::Load(from) => write!(f, "load {from}"),
            Expr::LoadId(from) => write!(f, "load_id {from}"),
            Expr::Map(op, args) => {
                write!(f, "{op}")?;
                args.iter().try_for_each(|arg| write!(f, " {arg}"))
            }
            Expr::Position(axis) => write!(f, "position {axis}"),
            Expr::Number(var) => write!(f, "number {var}"),
            Expr::Random { stream, offset, terms, shard } => {
                write!(f, "random {stream}")?;
                if *shard > 0 {
                    write!(f, " shard {shard}")?;
                }
                write_terms(f, *offset, terms)
            }
        }
    }
}
