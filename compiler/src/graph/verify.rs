//! Checks what [`super`] promises about every graph.
//!
//! Run after every pass in tests and debug builds. Assumes nothing of the graph, so that the text of a broken one can be
//! refused as well.

use std::collections::{HashMap, HashSet};

use super::types::infer;
use super::{
    Carried, Graph, Input, InputRole, Loop, Node, Op, Output, OutputRole, Sliced, Stacked, Type, Value,
};

/// The first promise that `graph` breaks, with the node (or input, or output) as it is printed.
pub fn verify(graph: &Graph) -> Result<(), String> {
    let mut verifier = Verifier {
        graph,
        defined: vec![false; graph.types.len()],
        visible: vec![false; graph.types.len()],
        inside: None,
        named: graph.inputs.iter().rev().map(|input| (input.name.as_str(), input)).collect(),
    };
    verifier.inputs()?;
    verifier.region(&graph.body)?;
    verifier.outputs()
}

struct Verifier<'a> {
    graph: &'a Graph,
    /// Values defined anywhere so far.
    defined: Vec<bool>,
    /// Values that may be read here: those of this region and of the enclosing ones, so far.
    visible: Vec<bool>,
    /// What the loop defines that is being checked.
    inside: Option<Vec<Value>>,
    /// The graph's inputs; the first of a name.
    named: HashMap<&'a str, &'a Input>,
}

impl<'a> Verifier<'a> {
    fn ty(&self, value: Value) -> Result<&'a Type, String> {
        self.graph.types.get(value.0 as usize).ok_or_else(|| format!("{value} has no type"))
    }

    fn define(&mut self, value: Value) -> Result<(), String> {
        let ty = self.ty(value)?;
        if !fits(ty) {
            return Err(format!("{value} is too large for any machine: {ty}"));
        }
        let index = value.0 as usize;
        if self.defined[index] {
            return Err(format!("{value} is defined twice"));
        }
        self.defined[index] = true;
        self.visible[index] = true;
        if let Some(inside) = &mut self.inside {
            inside.push(value);
        }
        Ok(())
    }

    fn read(&self, value: Value) -> Result<&'a Type, String> {
        let ty = self.ty(value)?;
        if self.visible[value.0 as usize] {
            Ok(ty)
        } else {
            Err(format!("{value} is not defined before this, in this region or an enclosing one"))
        }
    }

    fn inputs(&mut self) -> Result<(), String> {
        let mut names = HashSet::new();
        for input in &self.graph.inputs {
            let fault = |reason| format!("input {} {:?}: {reason}", input.value, input.name);
            self.define(input.value).map_err(fault)?;
            if !names.insert(&input.name) {
                return Err(fault("another input has this name".into()));
            }
            self.input_role(input).map_err(fault)?;
        }
        Ok(())
    }

    fn input_role(&self, input: &Input) -> Result<(), String> {
        let ty = self.ty(input.value)?;
        let kind_agrees = match &input.role {
            InputRole::Tokens | InputRole::Targets => !ty.is_real(),
            InputRole::Rate | InputRole::Step | InputRole::Last | InputRole::MeanWeight => {
                *ty == Type::real([])
            }
            InputRole::Param { .. } | InputRole::OptimizerState { .. } | InputRole::Carried { .. } => {
                ty.is_real()
            }
        };
        if !kind_agrees {
            return Err(format!("an input of its role is not {ty}"));
        }
        match &input.role {
            InputRole::OptimizerState { param, .. } => self.same_type_as_param(ty, param),
            InputRole::Param { parts } => {
                let columns = ty.shape.last().copied().unwrap_or(1);
                let outside = |start: usize, len| start.checked_add(len).is_none_or(|end| end > columns);
                match parts.iter().find(|part| outside(part.start, part.len)) {
                    Some(part) => Err(format!("part {:?} lies outside its {columns} columns", part.name)),
                    None => Ok(()),
                }
            }
            InputRole::Carried { .. } | InputRole::Tokens | InputRole::Targets => Ok(()),
            InputRole::Rate | InputRole::Step | InputRole::Last | InputRole::MeanWeight => Ok(()),
        }
    }

    fn same_type_as_param(&self, ty: &Type, name: &str) -> Result<(), String> {
        match self.named.get(name) {
            Some(Input { value, role: InputRole::Param { .. }, .. }) => {
                let param = self.ty(*value)?;
                if param == ty { Ok(()) } else { Err(format!("is {ty}, but parameter {name:?} is {param}")) }
            }
            _ => Err(format!("no parameter is named {name:?}")),
        }
    }

    /// A number for the batch, or one for each target.
    fn shaped_like_targets(&self, ty: &Type) -> Result<(), String> {
        let targets = self.graph.inputs.iter().find(|input| input.role == InputRole::Targets);
        let of_each =
            targets.map(|input| self.ty(input.value)).transpose()?.map(|ty| Type::real(ty.shape.clone()));
        if *ty == Type::real([]) || of_each.is_some_and(|each| each == *ty) {
            return Ok(());
        }
        Err(format!("should be f[], or shaped like the targets, not {ty}"))
    }

    fn outputs(&self) -> Result<(), String> {
        let mut updated = HashSet::new();
        for output in &self.graph.outputs {
            let fault = |reason| format!("output {} {:?}: {reason}", output.value, output.role);
            self.output(output, &mut updated).map_err(fault)?;
        }
        Ok(())
    }

    fn output(&self, output: &'a Output, updated: &mut HashSet<&'a str>) -> Result<(), String> {
        let ty = self.read(output.value)?;
        match &output.role {
            OutputRole::Update(name) => {
                if !updated.insert(name) {
                    return Err("the input is updated twice".into());
                }
                let input =
                    self.named.get(name.as_str()).ok_or_else(|| format!("no input is named {name:?}"))?;
                let old = self.ty(input.value)?;
                if old == ty { Ok(()) } else { Err(format!("is {ty}, but the input is {old}")) }
            }
            OutputRole::Gradient(name) => self.same_type_as_param(ty, name),
            OutputRole::Objective | OutputRole::GradientNorm if *ty != Type::real([]) => {
                Err(format!("should be f[], not {ty}"))
            }
            OutputRole::Loss | OutputRole::Hits => self.shaped_like_targets(ty),
            OutputRole::Probabilities if !ty.is_real() => Err(format!("should be reals, not {ty}")),
            OutputRole::Objective | OutputRole::GradientNorm | OutputRole::Probabilities => Ok(()),
        }
    }

    fn region(&mut self, nodes: &'a [Node]) -> Result<(), String> {
        for node in nodes {
            if let Op::Loop(inner) = &node.op {
                if self.inside.is_some() {
                    return Err(self.at(node, "loops do not nest"));
                }
                self.check_loop(node, inner)?;
            } else {
                let checked = self.plain(node);
                checked.map_err(|reason| self.at(node, &reason))?;
            }
        }
        Ok(())
    }

    fn at(&self, node: &Node, reason: &str) -> String {
        format!("`{}`: {reason}", self.printed(node))
    }

    /// The node's first line as printed.
    fn printed(&self, node: &Node) -> String {
        if node.results.iter().any(|&result| self.ty(result).is_err()) {
            return node.op.name().into();
        }
        // The head is all that is shown of a loop, so that its body, which may be broken as well, is not printed.
        let head = match &node.op {
            Op::Loop(inner) => {
                let (carried, sliced, body, stacked) = (vec![], vec![], vec![], vec![]);
                let (rounds, reverse) = (inner.rounds, inner.reverse);
                Op::Loop(Box::new(Loop { rounds, reverse, carried, sliced, body, stacked }))
            }
            op => op.clone(),
        };
        let node = Node { op: head, args: node.args.clone(), results: node.results.clone() };
        let mut text = String::new();
        match self.graph.write_nodes(&mut text, &[node], 0) {
            Ok(()) => text.lines().next().unwrap_or_default().into(),
            Err(_) => text,
        }
    }

    fn plain(&mut self, node: &Node) -> Result<(), String> {
        if self.inside.is_some() && matches!(node.op, Op::Distinct { .. } | Op::SumShards) {
            return Err(format!("{} is for outside loops", node.op.name()));
        }
        let args: Vec<&Type> = node.args.iter().map(|&arg| self.read(arg)).collect::<Result<_, _>>()?;
        let given = infer(&node.op, &args)?;
        if given.len() != node.results.len() {
            return Err(format!("gives {} results, not {}", given.len(), node.results.len()));
        }
        for (&result, ty) in node.results.iter().zip(&given) {
            if self.ty(result)? != ty {
                return Err(format!("{result} is {ty}, not {}", self.ty(result)?));
            }
            self.define(result)?;
        }
        Ok(())
    }

    fn check_loop(&mut self, node: &Node, inner: &'a Loop) -> Result<(), String> {
        self.inside = Some(vec![]);
        let entered = self.enter_loop(node, inner);
        entered.map_err(|reason| self.at(node, &reason))?;
        self.region(&inner.body)?;
        let left = self.leave_loop(node, inner);
        left.map_err(|reason| self.at(node, &reason))
    }

    /// What is outside the body and before it.
    fn enter_loop(&mut self, node: &Node, inner: &Loop) -> Result<(), String> {
        if !node.args.is_empty() {
            return Err("a loop's operands are named in its body, not listed".into());
        }
        if node.results != inner.results() {
            return Err("its results are not those of its carried and stacked values".into());
        }
        for carried in &inner.carried {
            self.read(carried.init)?;
        }
        for sliced in &inner.sliced {
            self.sliced(inner, sliced)?;
        }
        let mut params = inner.sliced.iter().map(|s| s.param).chain(inner.carried.iter().map(|c| c.param));
        params.try_for_each(|param| self.define(param))
    }

    /// What the body hands out, read at its end; then the enclosing region again, which does not see what the body defines.
    fn leave_loop(&mut self, node: &Node, inner: &Loop) -> Result<(), String> {
        inner.carried.iter().try_for_each(|carried| self.carried(carried))?;
        inner.stacked.iter().try_for_each(|stacked| self.stacked(inner, stacked))?;
        for value in self.inside.take().unwrap_or_default() {
            self.visible[value.0 as usize] = false;
        }
        node.results.iter().try_for_each(|&result| self.define(result))
    }

    fn sliced(&self, inner: &Loop, sliced: &Sliced) -> Result<(), String> {
        let (source, param) = (self.read(sliced.source)?, self.ty(sliced.param)?);
        if *source != over_time(inner.rounds, param) {
            return Err(format!(
                "slice {} of {}: {param} is not one of {} rounds of {source}",
                sliced.param, sliced.source, inner.rounds
            ));
        }
        Ok(())
    }

    fn carried(&self, carried: &Carried) -> Result<(), String> {
        let Carried { init, param, next, last } = *carried;
        let ty = self.ty(param)?;
        if !ty.is_real() {
            return Err(format!("carry {param} is {ty}: only reals are carried"));
        }
        self.read(next).map_err(|reason| format!("next of carry {param}: {reason}"))?;
        for (name, value) in [("first", init), ("next", next), ("last", last)] {
            if self.ty(value)? != ty {
                return Err(format!(
                    "carry {param} is {ty}, but its {name}, {value}, is {}",
                    self.ty(value)?
                ));
            }
        }
        Ok(())
    }

    fn stacked(&self, inner: &Loop, stacked: &Stacked) -> Result<(), String> {
        let value = self.read(stacked.value).map_err(|reason| format!("stack: {reason}"))?;
        if !value.is_real() {
            return Err(format!("stack {} is {value}: only reals are stacked", stacked.value));
        }
        let (expected, result) = (over_time(inner.rounds, value), self.ty(stacked.result)?);
        if *result == expected {
            Ok(())
        } else {
            Err(format!("stack {} gives {expected}, but {} is {result}", stacked.value, stacked.result))
        }
    }
}

/// The type of `rounds` values of type `ty`.
fn over_time(rounds: usize, ty: &Type) -> Type {
    Type { elem: ty.elem, shape: [&[rounds], &ty.shape[..]].concat() }
}

/// Whether a buffer of this type, in eight bytes an element, can be addressed at all; later stages multiply sizes
/// without checking again. An axis of length 0 counts as 1, since its siblings are multiplied too.
fn fits(ty: &Type) -> bool {
    let len = ty.shape.iter().try_fold(8_usize, |len, &size| len.checked_mul(size.max(1)));
    len.is_some_and(|bytes| isize::try_from(bytes).is_ok())
}

#[cfg(test)]
mod tests;
