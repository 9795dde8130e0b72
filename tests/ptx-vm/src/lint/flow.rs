//! What a kernel's text says of its registers: where each is written, and from what. Paths are not looked at: a register is
//! whatever any of its writes makes it.

use std::collections::{HashMap, HashSet};

use crate::syntax::{Entry, Item, Operand, Statement};

/// An instruction, or a label, of a kernel in order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'e, 't> {
    Label(&'t str),
    Do(&'e Statement<'t>),
}

pub(super) fn steps<'e, 't>(entry: &'e Entry<'t>) -> Vec<Step<'e, 't>> {
    let step = |(_, item): &'e (usize, Item<'t>)| match item {
        Item::Label(label) => Some(Step::Label(label)),
        Item::Statement(statement) => Some(Step::Do(statement)),
        _ => None,
    };
    entry.items.iter().filter_map(step).collect()
}

/// The names in an operand.
pub(super) fn names<'t>(operand: &Operand<'t>) -> Vec<&'t str> {
    match operand {
        Operand::Word { text, .. } => vec![text],
        Operand::Address { base, .. } => vec![base],
        Operand::List(list) => list.iter().flat_map(names).collect(),
        Operand::Pair(a, b) => vec![a, b],
    }
}

/// Whether an opcode's first operand is written.
fn has_result(opcode: &str) -> bool {
    let name = opcode.split('.').next().unwrap_or("");
    let none = [
        "st",
        "red",
        "bra",
        "bar",
        "barrier",
        "cp",
        "ret",
        "exit",
        "trap",
        "fence",
        "membar",
        "nanosleep",
        "prefetch",
    ];
    !none.contains(&name)
}

pub(super) struct Flow<'e, 't> {
    writes: HashMap<&'t str, Vec<&'e Statement<'t>>>,
}

impl<'e, 't> Flow<'e, 't> {
    pub fn new(steps: &[Step<'e, 't>]) -> Self {
        let mut writes: HashMap<_, Vec<_>> = HashMap::new();
        for step in steps {
            let Step::Do(statement) = step else { continue };
            if let Some(to) = statement.operands.first().filter(|_| has_result(statement.opcode)) {
                for name in names(to) {
                    writes.entry(name).or_default().push(*statement);
                }
            }
        }
        Self { writes }
    }

    pub fn writes(&self, register: &str) -> &[&'e Statement<'t>] {
        self.writes.get(register).map_or(&[], Vec::as_slice)
    }

    /// Whether a value may be one that global memory gave, moved and no more.
    pub fn is_loaded(&self, register: &'t str) -> bool {
        let (mut seen, mut open) = (HashSet::new(), vec![register]);
        while let Some(register) = open.pop() {
            if !seen.insert(register) {
                continue;
            }
            for statement in self.writes(register) {
                if statement.opcode.starts_with("ld.global") {
                    return true;
                }
                if statement.opcode.starts_with("mov.") || statement.opcode.starts_with("selp.") {
                    open.extend(statement.operands[1..].iter().flat_map(names));
                }
            }
        }
        false
    }

    /// The parameters that an address comes from.
    pub fn parameters(&self, register: &'t str) -> HashSet<&'t str> {
        let (mut found, mut seen, mut open) = (HashSet::new(), HashSet::new(), vec![register]);
        while let Some(register) = open.pop() {
            if !seen.insert(register) {
                continue;
            }
            for statement in self.writes(register) {
                let from = statement.operands.iter().skip(1).flat_map(names);
                match statement.opcode {
                    opcode if opcode.starts_with("ld.param") => found.extend(from),
                    opcode if opcode.starts_with("ld") => {}
                    _ => open.extend(from),
                }
            }
        }
        found
    }
}

/// Whether a constant has nothing below tf32's fraction.
fn exact(text: &str) -> Option<bool> {
    let bits = crate::syntax::constant(text, false, false)?;
    Some(bits & 0x1fff == 0)
}

/// Which registers hold values rounded to tf32, by all of their writes.
pub(super) struct Rounded<'f, 'e, 't> {
    flow: &'f Flow<'e, 't>,
    /// What memory gives counts as rounded.
    shared: bool,
    global: bool,
    known: HashMap<&'t str, bool>,
}

impl<'f, 'e, 't> Rounded<'f, 'e, 't> {
    pub fn new(flow: &'f Flow<'e, 't>, shared: bool, global: bool) -> Self {
        Self { flow, shared, global, known: HashMap::new() }
    }

    pub fn is(&mut self, register: &'t str) -> bool {
        if let Some(&known) = self.known.get(register) {
            return known;
        }
        if let Some(exact) = exact(register) {
            return exact;
        }
        // Round a circle of moves it is what comes into it.
        self.known.insert(register, true);
        let writes = self.flow.writes(register).to_vec();
        let all = !writes.is_empty() && writes.iter().all(|statement| self.makes(statement));
        self.known.insert(register, all);
        all
    }

    fn makes(&mut self, statement: &Statement<'t>) -> bool {
        let name = statement.opcode.split('.').next().unwrap_or("");
        match name {
            "cvt" => statement.opcode.starts_with("cvt.rna.tf32"),
            "ld" if statement.opcode.contains(".shared") => self.shared,
            "ld" => self.global,
            "ldmatrix" => self.shared,
            "mov" | "shfl" | "neg" | "abs" => {
                statement.operands[1..2].iter().flat_map(names).all(|name| self.is(name))
            }
            "selp" => statement.operands[1..3].iter().flat_map(names).all(|name| self.is(name)),
            _ => false,
        }
    }
}
