//! Loop nests in C.

use std::collections::HashSet;
use std::fmt::Write;

use super::{Helper, Unit, scalars};
use crate::backend::standalone::Place;
use crate::kernel::{Address, Expr, For, Index, Kernel, Reduce, Stmt, Time, Var, each_stmt};

impl Unit<'_> {
    /// The statement that calls a kernel, whose function is added.
    pub(super) fn kernel(&mut self, kernel: &Kernel, times: &[Time]) -> String {
        let number = self.next_kernel;
        self.next_kernel += 1;
        let prefix = self.prefix;
        let own: Vec<&Time> = times.iter().filter(|time| reads_time(kernel, **time)).collect();
        let parameters: String = own.iter().map(|time| format!(", size_t t{}", time.0)).collect();
        let arguments: String = own.iter().map(|time| format!(", t{}", time.0)).collect();
        let mut nest = Nest { unit: self, kernel, text: String::new(), depth: 1, read: read(kernel) };
        for stmt in &kernel.body {
            nest.statement(stmt);
        }
        let body = nest.text;
        // A name of the kernel holds names of the model.
        let name = kernel.name.replace("*/", "");
        let _ = write!(
            self.kernels,
            "/* {name} */\nstatic void {prefix}_k{number}({prefix} *m{parameters})\n{{\n{body}}}\n\n"
        );
        format!("{prefix}_k{number}(m{arguments});")
    }

    /// The array that a buffer lies in, and an element's place in it.
    pub(super) fn place(&self, at: &Address) -> (String, String) {
        let (array, from) = match self.layout.place(at.buffer) {
            Place::State(from) => ("m->state".into(), from),
            Place::Recent => ("m->recent".into(), 0),
            Place::Scratch(from) => ("m->scratch".into(), from),
            Place::Constant(_) => (format!("{}_w{}", self.prefix, at.buffer.0), 0),
            Place::Nowhere => panic!("internal error: a step reads what is only there before it"),
        };
        let mut terms = vec![];
        if from + at.offset > 0 || at.terms.is_empty() {
            terms.push((from + at.offset).to_string());
        }
        for &(index, stride) in &at.terms {
            let index = match index {
                Index::Axis(axis) => format!("a{}", axis.0),
                Index::Time(time) => format!("t{}", time.0),
                Index::Id(var) => format!("v{}", var.0),
            };
            terms.push(if stride == 1 { index } else { format!("{stride} * {index}") });
        }
        (array, terms.join(" + "))
    }
}

struct Nest<'n, 'p> {
    unit: &'n mut Unit<'p>,
    kernel: &'n Kernel,
    text: String,
    depth: usize,
    /// The variables that are read.
    read: HashSet<Var>,
}

impl Nest<'_, '_> {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{:1$}{line}", "", 4 * self.depth);
    }

    fn statement(&mut self, stmt: &Stmt) {
        match stmt {
            // Nothing has an effect but a store.
            Stmt::Let { var, .. } if !self.read.contains(var) => {}
            Stmt::Let { var, expr } => {
                let ty = if matches!(expr, Expr::LoadId(_)) { "size_t" } else { "float" };
                let value = self.expression(expr);
                self.line(&format!("const {ty} v{} = {value};", var.0));
            }
            Stmt::Store { to, value } => {
                let to = self.element(to);
                self.line(&format!("{to} = v{};", value.0));
            }
            Stmt::For(inner) => self.for_loop(inner),
        }
    }

    fn for_loop(&mut self, inner: &For) {
        let folds: Vec<_> = inner.folds.iter().filter(|fold| self.read.contains(&fold.var)).collect();
        for fold in &folds {
            let start = match fold.kind {
                Reduce::Sum => "0.0f".to_owned(),
                Reduce::Max => self.real(f32::NEG_INFINITY),
            };
            self.line(&format!("float v{} = {start};", fold.var.0));
        }
        let (axis, extent) = (inner.axis.0, self.kernel.axes[inner.axis.0 as usize]);
        self.line(&format!("for (size_t a{axis} = 0; a{axis} < {extent}; a{axis}++) {{"));
        self.depth += 1;
        for stmt in &inner.body {
            self.statement(stmt);
        }
        for fold in &folds {
            let (total, value) = (fold.var.0, fold.value.0);
            let text = match fold.kind {
                Reduce::Sum => format!("v{total} += v{value};"),
                Reduce::Max => format!("v{total} = v{value} > v{total} ? v{value} : v{total};"),
            };
            self.line(&text);
        }
        self.depth -= 1;
        self.line("}");
    }

    fn expression(&mut self, expr: &Expr) -> String {
        match expr {
            Expr::Const(value) => self.real(*value as f32),
            Expr::Load(from) | Expr::LoadId(from) => match self.row_scale(from) {
                Some(scale) => format!("(float){} * {scale}", self.element(from)),
                None => self.element(from),
            },
            Expr::Map(op, args) => {
                let args: Vec<String> = args.iter().map(|var| format!("v{}", var.0)).collect();
                let (text, helper) = scalars::expression(self.unit.prefix, *op, &args);
                self.unit.used.extend(helper);
                text
            }
            Expr::Position(axis) => format!("(float)a{}", axis.0),
            Expr::Number(var) => format!("(float)v{}", var.0),
            Expr::Random { .. } => panic!("internal error: random numbers where `check` found none"),
        }
    }

    fn real(&mut self, value: f32) -> String {
        scalars::literal(value).unwrap_or_else(|| {
            self.unit.used.insert(Helper::Bits);
            format!("{}_real({}u)", self.unit.prefix, value.to_bits())
        })
    }

    /// What a rounded table's element is to be multiplied by.
    fn row_scale(&self, at: &Address) -> Option<String> {
        self.unit.rounded.get(&at.buffer)?;
        let row = at.terms.iter().find_map(|(index, _)| match index {
            Index::Id(row) => Some(row.0),
            Index::Axis(_) | Index::Time(_) => None,
        })?;
        Some(format!("{}_s{}[v{row}]", self.unit.prefix, at.buffer.0))
    }

    fn element(&self, at: &Address) -> String {
        let (array, place) = self.unit.place(at);
        format!("{array}[{place}]")
    }
}

/// The variables that something reads.
fn read(kernel: &Kernel) -> HashSet<Var> {
    let mut found = HashSet::new();
    let of = |at: &[(Index, usize)], found: &mut HashSet<Var>| {
        found.extend(at.iter().filter_map(|(index, _)| match index {
            Index::Id(var) => Some(*var),
            Index::Axis(_) | Index::Time(_) => None,
        }));
    };
    each_stmt(&kernel.body, &mut |stmt| match stmt {
        Stmt::Let { expr, .. } => match expr {
            Expr::Load(at) | Expr::LoadId(at) => of(&at.terms, &mut found),
            Expr::Random { terms, .. } => of(terms, &mut found),
            Expr::Map(_, args) => found.extend(args),
            Expr::Number(var) => drop(found.insert(*var)),
            Expr::Const(_) | Expr::Position(_) => {}
        },
        Stmt::Store { to, value } => {
            of(&to.terms, &mut found);
            found.insert(*value);
        }
        Stmt::For(inner) => found.extend(inner.folds.iter().map(|fold| fold.value)),
    });
    found
}

fn reads_time(kernel: &Kernel, time: Time) -> bool {
    let mut found = false;
    let mut look = |at: &Address| found |= at.terms.iter().any(|(index, _)| *index == Index::Time(time));
    each_stmt(&kernel.body, &mut |stmt| match stmt {
        Stmt::Let { expr: Expr::Load(at) | Expr::LoadId(at), .. } | Stmt::Store { to: at, .. } => look(at),
        Stmt::Let { .. } | Stmt::For(_) => {}
    });
    found
}
