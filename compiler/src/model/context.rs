//! What the checks of a model share: the definitions that it uses, and the model as far as it is built.

use std::collections::{BTreeMap, BTreeSet};

use super::definitions::Definitions;
use super::init::InitSpec;
use super::{Layer, Param, Source};
use crate::diag::{Diagnostic, Span};
use crate::syntax::ast::{Expr, ExprKind};

pub(super) struct Context<'a> {
    pub definitions: &'a Definitions<'a>,
    pub vocab: usize,
    /// The train block's `init`.
    pub default_init: Option<InitSpec>,
    pub params: Vec<Param>,
    pub layers: Vec<Layer>,
    /// How often each layer has been used so far.
    pub uses: BTreeMap<String, usize>,
    /// What each name of the model block stands for, and where it is declared.
    pub names: BTreeMap<String, (Binding, Span)>,
    /// Those of them that something reads.
    pub read: BTreeSet<String>,
    pub errors: Vec<Diagnostic>,
}

/// What a name of the model block stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Binding {
    /// Index into the model's parameters.
    Param(usize),
    Flow(Flow),
}

/// What flows along a chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Flow {
    From(Source),
    /// Its error has been reported.
    Unknown,
}

impl<'a> Context<'a> {
    pub fn new(
        definitions: &'a Definitions<'a>,
        vocab: usize,
        default_init: Option<InitSpec>,
        errors: Vec<Diagnostic>,
    ) -> Self {
        Self {
            definitions,
            vocab,
            default_init,
            params: Vec::new(),
            layers: Vec::new(),
            uses: BTreeMap::new(),
            names: BTreeMap::new(),
            read: BTreeSet::new(),
            errors,
        }
    }

    /// If the argument is a name of the model block, notes that it is read.
    pub fn mark_read(&mut self, expr: &Expr) {
        if let ExprKind::Name(name) = &expr.kind
            && self.names.contains_key(name)
        {
            self.read.insert(name.clone());
        }
    }
}
