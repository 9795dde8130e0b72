//! From statements to instructions: names become slots, labels become places, opcodes become operations.
//!
//! An operand's register has to have the width that its instruction wants; loads, stores and conversions take wider
//! ones, as PTX does.

mod access;
mod decode;
mod names;

use std::collections::{BTreeMap, HashMap};

use crate::module::{ALWAYS, Instruction, Kernel, Op, SHARED, Variable};
use crate::syntax::{Entry, File, Item, Statement};
use crate::text::ParseError;
use names::{Name, Names};

pub(crate) fn file(file: &File) -> Result<(Vec<Kernel>, Vec<Variable>), ParseError> {
    let mut variables = vec![];
    let mut globals = HashMap::new();
    for variable in file.variables.iter().filter(|variable| variable.space != "shared") {
        let bytes = variable.bytes.unwrap_or(0) as usize;
        globals.insert(variable.name, variables.len());
        variables.push(Variable {
            bytes,
            values: variable.values.clone(),
            constant: variable.space == "const",
        });
    }
    let kernels = file.entries.iter().map(|one| entry(one, file, &globals)).collect::<Result<_, _>>()?;
    Ok((kernels, variables))
}

fn entry(entry: &Entry, file: &File, globals: &HashMap<&str, usize>) -> Result<Kernel, ParseError> {
    let mut lower = Lower::new(file, globals);
    let mut parameters = vec![];
    let mut at = 0u64;
    for parameter in &entry.parameters {
        at = at.next_multiple_of(parameter.align);
        lower.names.declare(parameter.name, Name::Parameter(at as i64));
        parameters.push((parameter.name.to_owned(), at as usize, parameter.bytes as usize));
        at += parameter.bytes;
    }
    for (line, item) in &entry.items {
        lower.item(item).map_err(|message| ParseError { line: *line, message })?;
    }
    let opcode = lower.opcode("ret");
    lower.code.push(Instruction {
        op: Op::Exit,
        guard: ALWAYS,
        line: entry.items.last().map_or(0, |(line, _)| *line as u32),
        opcode,
        reads: [].into(),
        writes: [].into(),
    });
    for (index, label, scope) in std::mem::take(&mut lower.branches) {
        let line = lower.code[index].line as usize;
        let to = lower.names.label(label, scope);
        let to = to.ok_or_else(|| ParseError { line, message: format!("there is no label `{label}`") })?;
        lower.code[index].op = Op::Branch(to);
    }
    let names = lower.names;
    let base = (SHARED + lower.shared).next_multiple_of(16.max(lower.dynamic_align));
    let mut constants = names.constants;
    constants.extend(names.dynamic.iter().map(|&(class, slot)| (class, slot, base)));
    Ok(Kernel {
        name: entry.name.to_owned(),
        code: lower.code,
        opcodes: lower.opcodes,
        registers: names.counts,
        constants,
        specials: names.specials.into_iter().collect(),
        addresses: names.addresses,
        parameters,
        limits: entry.limits.iter().map(|(name, numbers)| ((*name).to_owned(), numbers.clone())).collect(),
        declared: names.declared,
        static_shared: if names.dynamic.is_empty() { lower.shared } else { base - SHARED } as usize,
        dynamic_shared: !names.dynamic.is_empty(),
    })
}

/// An entry while it is read.
pub(crate) struct Lower<'t> {
    names: Names<'t>,
    code: Vec<Instruction>,
    opcodes: Vec<String>,
    opcode_numbers: BTreeMap<String, u32>,
    /// Branches whose labels may come later, with the scope they stand in.
    branches: Vec<(usize, &'t str, usize)>,
    shared: u64,
    dynamic_align: u64,
}

impl<'t> Lower<'t> {
    fn new(file: &File<'t>, globals: &HashMap<&'t str, usize>) -> Self {
        let mut lower = Self {
            names: Names::new(),
            code: vec![],
            opcodes: vec![],
            opcode_numbers: BTreeMap::new(),
            branches: vec![],
            shared: 0,
            dynamic_align: 1,
        };
        for (&name, &index) in globals {
            lower.names.declare(name, Name::Global(index));
        }
        for variable in file.variables.iter().filter(|variable| variable.space == "shared") {
            lower.variable(variable.name, variable.align, variable.bytes);
        }
        lower
    }

    fn variable(&mut self, name: &'t str, align: u64, bytes: Option<u64>) {
        match bytes {
            Some(bytes) => {
                let at = (SHARED + self.shared).next_multiple_of(align);
                self.names.declare(name, Name::Shared(at));
                self.shared = at + bytes - SHARED;
            }
            None => {
                self.dynamic_align = self.dynamic_align.max(align);
                self.names.declare(name, Name::Dynamic);
            }
        }
    }

    fn opcode(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.opcode_numbers.get(name) {
            return number;
        }
        let number = self.opcodes.len() as u32;
        self.opcodes.push(name.to_owned());
        self.opcode_numbers.insert(name.to_owned(), number);
        number
    }

    fn item(&mut self, item: &Item<'t>) -> Result<(), String> {
        match item {
            Item::Open => self.names.open(),
            Item::Close => self.names.close(),
            Item::Registers { ty, names } => {
                for (name, count) in names {
                    self.names.registers(name, *count, ty)?;
                }
            }
            Item::Variable(variable) => self.variable(variable.name, variable.align, variable.bytes),
            Item::Label(label) => self.names.place(label, self.code.len() as u32)?,
            Item::Statement(statement) => self.statement(statement)?,
        }
        Ok(())
    }

    fn statement(&mut self, statement: &Statement<'t>) -> Result<(), String> {
        self.names.start();
        let mut guard = ALWAYS;
        if let Some((name, not)) = statement.guard {
            guard = self.names.predicate(name, not)?;
            // Read by lanes that the guard keeps out, too: checked apart.
            self.names.start();
        }
        let op = decode::decode(self, statement)?;
        let opcode = self.opcode(statement.opcode);
        let (reads, writes) = self.names.touched();
        self.code.push(Instruction { op, guard, line: statement.line as u32, opcode, reads, writes });
        Ok(())
    }
}
