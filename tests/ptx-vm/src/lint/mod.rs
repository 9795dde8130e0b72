//! What the text of a kernel may not say, whether or not a run would show it.
//!
//! | rule | what it asks |
//! |---|---|
//! | `FloatAtomic` | no `atom` or `red` on reals |
//! | `Approximate` | no `.approx` or `.full`, unless they are allowed |
//! | `Tf32Rounding` | each operand of a tf32 product is rounded by `cvt.rna` wherever it is written, through moves; one that is loaded from shared memory, that all stores of loaded values there are of rounded ones, and that no `cp.async` goes there. `rounded_buffers` says that what lies in memory is rounded |
//! | `Spin` | a loop that polls memory counts its turns, and traps beside it |
//! | `Ordering` | what a loop polls is acquired, or a fence follows it; in a kernel that polls, `red` and `atom` on global memory release, or follow a fence |
//! | `NonCoherent` | what is read by `.nc` is not written through the same parameter |
//!
//! Registers are followed by name, without paths. Polling is a load that is acquire, relaxed or volatile, or an `atom`, in a
//! loop with no loop in it. A kernel whose buffers all come from one parameter can use `.nc` for none that it does not write:
//! the machine looks at addresses and knows better.

mod flow;

use std::collections::HashSet;

use crate::syntax::{self, Operand, Statement};
use crate::text::ParseError;
use flow::{Flow, Rounded, Step, names, steps};

/// What is allowed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lint {
    /// Approximate instructions.
    pub approximate: bool,
    /// Operands of tf32 products straight from memory, which holds rounded numbers.
    pub rounded_buffers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    FloatAtomic,
    Approximate,
    Tf32Rounding,
    Spin,
    Ordering,
    NonCoherent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: Rule,
    pub kernel: String,
    pub line: usize,
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: line {}: {:?}: {}", self.kernel, self.line, self.rule, self.message)
    }
}

/// All that a module's text says and may not.
pub fn lint(text: &str, allowed: Lint) -> Result<Vec<Finding>, ParseError> {
    let file = syntax::parse(text)?;
    let mut findings = vec![];
    for entry in &file.entries {
        let steps = steps(entry);
        let kernel = Kernel {
            name: entry.name,
            flow: Flow::new(&steps),
            steps: &steps,
            allowed,
            findings: &mut findings,
        };
        kernel.all();
    }
    Ok(findings)
}

struct Kernel<'k, 'e, 't> {
    name: &'t str,
    steps: &'k [Step<'e, 't>],
    flow: Flow<'e, 't>,
    allowed: Lint,
    findings: &'k mut Vec<Finding>,
}

fn is_fence(statement: &Statement) -> bool {
    statement.opcode.starts_with("fence.") || statement.opcode.starts_with("membar.")
}

/// Whether an instruction can be what a loop polls by.
fn polls(statement: &Statement) -> bool {
    let strong = ["acquire", "relaxed", "volatile"];
    let parts = statement.parts();
    parts[0] == "atom" || parts[0] == "ld" && parts.iter().any(|part| strong.contains(part))
}

impl<'e, 't> Kernel<'_, 'e, 't> {
    fn all(mut self) {
        self.opcodes();
        self.rounding();
        self.loops();
        self.non_coherent();
    }

    fn statements(&self) -> Vec<&'e Statement<'t>> {
        let statement = |step: &Step<'e, 't>| match *step {
            Step::Do(statement) => Some(statement),
            Step::Label(_) => None,
        };
        self.steps.iter().filter_map(statement).collect()
    }

    fn found(&mut self, rule: Rule, line: usize, message: String) {
        self.findings.push(Finding { rule, kernel: self.name.to_owned(), line, message });
    }

    fn opcodes(&mut self) {
        let float = ["f16", "f16x2", "bf16", "bf16x2", "f32", "f64"];
        for statement in self.statements() {
            let parts = statement.parts();
            if matches!(parts[0], "atom" | "red") && float.contains(parts.last().unwrap_or(&"")) {
                let message = format!("`{}` adds in an order that is not fixed", statement.opcode);
                self.found(Rule::FloatAtomic, statement.line, message);
            }
            if !self.allowed.approximate && parts.iter().any(|part| matches!(*part, "approx" | "full")) {
                self.found(
                    Rule::Approximate,
                    statement.line,
                    format!("`{}` is not allowed", statement.opcode),
                );
            }
        }
    }

    /// Whether shared memory gets loaded values that are not rounded, and where.
    fn unrounded_store(&self) -> Option<(usize, String)> {
        let mut rounded = Rounded::new(&self.flow, false, false);
        for statement in self.statements() {
            if statement.opcode.starts_with("cp.async.c") && statement.operands.len() > 2 {
                return Some((statement.line, "cp.async brings it to shared memory as it was".into()));
            }
            if !statement.opcode.starts_with("st.") || !statement.opcode.contains(".shared") {
                continue;
            }
            for name in statement.operands[1..].iter().flat_map(names) {
                if self.flow.is_loaded(name) && !rounded.is(name) {
                    return Some((
                        statement.line,
                        format!("`{name}` is stored to shared memory as it was loaded"),
                    ));
                }
            }
        }
        None
    }

    fn rounding(&mut self) {
        let products: Vec<_> =
            self.statements().into_iter().filter(|one| one.opcode.contains(".tf32.tf32.")).collect();
        if products.is_empty() {
            return;
        }
        let global = self.allowed.rounded_buffers;
        let unrounded = self.unrounded_store().filter(|_| !global);
        let mut messages = vec![];
        let mut rounded = Rounded::new(&self.flow, true, global);
        let mut strict = Rounded::new(&self.flow, false, global);
        for product in products {
            for name in product.operands[1..3].iter().flat_map(names) {
                if !rounded.is(name) {
                    messages.push((product.line, format!("`{name}` is not rounded by cvt.rna.tf32")));
                } else if let (false, Some((line, why))) = (strict.is(name), &unrounded) {
                    messages.push((product.line, format!("`{name}` is not rounded: {why}, at line {line}")));
                }
            }
        }
        for (line, message) in messages {
            self.found(Rule::Tf32Rounding, line, message);
        }
    }

    /// The first and the last step of each loop with no loop in it.
    fn innermost(&self) -> Vec<(usize, usize)> {
        let mut loops: Vec<(usize, usize)> = vec![];
        for (end, step) in self.steps.iter().enumerate() {
            let Step::Do(statement) = step else { continue };
            let [Operand::Word { text: target, .. }] = &statement.operands[..] else { continue };
            if !statement.opcode.starts_with("bra") {
                continue;
            }
            let start = self.steps[..end]
                .iter()
                .rposition(|step| matches!(step, Step::Label(label) if label == target));
            if let Some(start) = start
                && !loops.iter().any(|&(inner, last)| inner > start && last < end)
            {
                loops.push((start, end));
            }
        }
        loops
    }

    fn loops(&mut self) {
        let mut polled = false;
        for (start, end) in self.innermost() {
            let body: Vec<_> = self.body(start, end);
            let Some(poll) = body.iter().find(|statement| polls(statement)) else { continue };
            // A loop that does something else beside is a loop of work.
            if body.iter().any(|one| one.opcode.starts_with("bar") || one.opcode.starts_with("st.global")) {
                continue;
            }
            polled = true;
            let after = self.body(end + 1, (end + 12).min(self.steps.len() - 1));
            if !Self::is_counted(&body) || !body.iter().chain(&after).any(|one| one.opcode == "trap") {
                self.found(Rule::Spin, poll.line, "polls for ever: count the turns, and trap".into());
            }
            let acquires = poll.parts().iter().any(|part| matches!(*part, "acquire" | "acq_rel"));
            if !acquires && !body.iter().chain(&after).any(|one| is_fence(one)) {
                let message = "what is polled is not acquired, and no fence follows";
                self.found(Rule::Ordering, poll.line, message.into());
            }
        }
        if polled {
            self.arrivals();
        }
    }

    fn body(&self, start: usize, end: usize) -> Vec<&'e Statement<'t>> {
        let steps = self.steps.get(start..=end).unwrap_or(&[]);
        steps.iter().filter_map(|step| if let Step::Do(one) = *step { Some(one) } else { None }).collect()
    }

    /// Whether some register goes up by a constant and is compared.
    fn is_counted(body: &[&Statement]) -> bool {
        let counters = body.iter().filter_map(|one| match &one.operands[..] {
            [Operand::Word { text: to, .. }, Operand::Word { text: from, .. }, _]
                if to == from && (one.opcode.starts_with("add.") || one.opcode.starts_with("sub.")) =>
            {
                Some(*to)
            }
            _ => None,
        });
        let counters: HashSet<&str> = counters.collect();
        let mut compared = body.iter().filter(|one| one.opcode.starts_with("setp."));
        compared.any(|one| one.operands[1..].iter().flat_map(names).any(|name| counters.contains(name)))
    }

    /// In a kernel that polls, what is counted up has to release.
    fn arrivals(&mut self) {
        let statements = self.statements();
        for (at, statement) in statements.iter().enumerate() {
            let parts = statement.parts();
            if !matches!(parts[0], "red" | "atom") || !parts.contains(&"global") {
                continue;
            }
            let releases = parts.iter().any(|part| matches!(*part, "release" | "acq_rel"));
            if !releases && !statements[at.saturating_sub(4)..at].iter().any(|one| is_fence(one)) {
                let message = format!("`{}` releases nothing, and no fence is before it", statement.opcode);
                self.found(Rule::Ordering, statement.line, message);
            }
        }
    }

    fn non_coherent(&mut self) {
        let statements = self.statements();
        let base = |one: &Statement<'t>| {
            one.operands.iter().find_map(|operand| match operand {
                Operand::Address { base, .. } => Some(*base),
                _ => None,
            })
        };
        let mut written = HashSet::new();
        for statement in &statements {
            let parts = statement.parts();
            if matches!(parts[0], "st" | "red" | "atom") && parts.contains(&"global") {
                written.extend(base(statement).into_iter().flat_map(|base| self.flow.parameters(base)));
            }
        }
        for statement in statements {
            if !statement.parts().contains(&"nc") {
                continue;
            }
            let read = base(statement).map(|base| self.flow.parameters(base)).unwrap_or_default();
            if let Some(both) = read.intersection(&written).min() {
                let message = format!("reads by .nc from `{both}`, which the kernel writes");
                self.found(Rule::NonCoherent, statement.line, message);
            }
        }
    }
}
