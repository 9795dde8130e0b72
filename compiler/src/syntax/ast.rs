//! The syntax tree: a file as written.

use crate::diag::Span;

/// A whole source text, its blocks in the order in which they stand.
#[derive(Clone, Debug)]
pub struct File {
    pub items: Vec<Item>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum Item {
    Data(Settings),
    Model(ModelBlock),
    Train(Settings),
    Layer(Definition),
    Optimizer(Definition),
}

/// A name where it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    pub text: String,
    pub span: Span,
}

/// A `data` or `train` block: `key: value, value ...`.
#[derive(Clone, Debug)]
pub struct Settings {
    pub entries: Vec<Entry>,
    /// The word that opens the block.
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Name,
    pub values: Vec<Expr>,
    pub span: Span,
}

/// The `model` block.
#[derive(Clone, Debug)]
pub struct ModelBlock {
    pub statements: Vec<ModelStatement>,
    /// The word that opens the block.
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum ModelStatement {
    /// A parameter that several layers may share.
    Param(Declaration),
    /// `let name = chain`.
    Let(Name, Chain),
    /// The chain whose result is the model's.
    Output(Chain),
}

/// `start -> stage -> stage`.
#[derive(Clone, Debug)]
pub struct Chain {
    pub start: Name,
    pub stages: Vec<Stage>,
    pub span: Span,
}

/// A use of a layer: `name` or `name(arguments)`.
#[derive(Clone, Debug)]
pub struct Stage {
    pub name: Name,
    pub args: Vec<Arg>,
    pub span: Span,
}

/// A `layer` or an `optimizer`.
#[derive(Clone, Debug)]
pub struct Definition {
    pub name: Name,
    pub formals: Vec<Formal>,
    pub ranges: Vec<Range>,
    pub body: Vec<Statement>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct Formal {
    pub name: Name,
    pub kind: FormalKind,
}

#[derive(Clone, Debug)]
pub enum FormalKind {
    /// `x: token`
    Token,
    /// `x: [in]`, `table: [rows, width]`
    Tensor(Vec<Dim>),
    /// A plain name, perhaps with a default: a number, a function or an initializer.
    Option(Option<Expr>),
}

/// What an option's number may be: `0 <= rate < 1`, or with one of the two bounds.
#[derive(Clone, Debug)]
pub struct Range {
    pub name: Name,
    pub least: Option<Bound>,
    pub most: Option<Bound>,
    pub span: Span,
}

/// One end of a range.
#[derive(Clone, Debug)]
pub struct Bound {
    pub value: Expr,
    /// Whether the option may be the bound itself.
    pub included: bool,
}

/// A size in a formal's shape.
#[derive(Clone, Debug)]
pub enum Dim {
    /// A name for any size.
    Name(Name),
    Number(f64, Span),
}

/// `param` or `state`: one or more names of one shape.
#[derive(Clone, Debug)]
pub struct Declaration {
    pub names: Vec<Name>,
    /// Absent in optimizers, whose states are shaped like the parameter.
    pub shape: Option<Vec<Expr>>,
    pub init: Option<Expr>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum Statement {
    Param(Declaration),
    State(Declaration),
    /// `name = value`
    Assign(Name, Expr),
    /// `next name = value`
    Next(Name, Expr),
    Return(Expr, Span),
}

#[derive(Clone, Debug)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum ExprKind {
    /// Finite and not negative.
    Number(f64),
    /// A text in quotes; only settings have them.
    Text(String),
    Name(String),
    /// `next c`: the value that the state was given in this step.
    Next(Name),
    Neg(Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    Call(Name, Vec<Arg>),
    /// `table[token]`
    Index(Box<Expr>, Box<Expr>),
    /// `x[start:end]`
    Slice(Box<Expr>, Box<Expr>, Box<Expr>),
    If(Box<Expr>, Box<Expr>, Box<Expr>),
}

/// An argument, perhaps named: `650`, `rate: 0.5`.
#[derive(Clone, Debug)]
pub struct Arg {
    pub name: Option<Name>,
    pub value: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    MatMul,
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
}

impl Binary {
    pub fn symbol(self) -> &'static str {
        match self {
            Binary::Add => "+",
            Binary::Sub => "-",
            Binary::Mul => "*",
            Binary::Div => "/",
            Binary::Pow => "^",
            Binary::MatMul => "@",
            Binary::Lt => "<",
            Binary::Le => "<=",
            Binary::Gt => ">",
            Binary::Ge => ">=",
            Binary::Eq => "==",
            Binary::Ne => "!=",
        }
    }

    /// How tightly it binds, from 1.
    pub(crate) fn level(self) -> u8 {
        match self {
            Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge | Binary::Eq | Binary::Ne => 1,
            Binary::Add | Binary::Sub => 2,
            Binary::Mul | Binary::Div => 3,
            Binary::MatMul => 4,
            Binary::Pow => 5,
        }
    }
}
