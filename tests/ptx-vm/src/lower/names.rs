//! What names stand for in an entry, scope by scope, and which registers an instruction touches.

use std::collections::{BTreeMap, HashMap};

use crate::module::Special;
use crate::regs::{Class, NEGATED, key};
use crate::syntax::{Operand, constant};

#[derive(Clone, Copy, Debug)]
pub(super) enum Name {
    Register(Class, u32),
    /// Registers that are called by a prefix and a number.
    Range(Class, u32, u64),
    /// An address in shared memory.
    Shared(u64),
    /// The start of dynamic shared memory.
    Dynamic,
    /// A variable of the module.
    Global(usize),
    /// An offset in the parameters.
    Parameter(i64),
}

#[derive(Debug, Default)]
struct Scope<'t> {
    parent: usize,
    names: HashMap<&'t str, Name>,
    labels: HashMap<&'t str, u32>,
}

#[derive(Debug)]
pub(super) struct Names<'t> {
    scopes: Vec<Scope<'t>>,
    now: usize,
    pub counts: [usize; 3],
    /// How many registers of each width.
    pub declared: BTreeMap<u32, usize>,
    pub constants: Vec<(Class, u32, u64)>,
    numbered: HashMap<(u32, u64), u32>,
    pub specials: HashMap<Special, u32>,
    pub addresses: Vec<(Class, u32, usize)>,
    /// Slots with the address of dynamic shared memory.
    pub dynamic: Vec<(Class, u32)>,
    reads: Vec<u32>,
    writes: Vec<u32>,
}

impl<'t> Names<'t> {
    pub fn new() -> Self {
        Self {
            scopes: vec![Scope::default()],
            now: 0,
            counts: [0; 3],
            declared: BTreeMap::new(),
            constants: vec![],
            numbered: HashMap::new(),
            specials: HashMap::new(),
            addresses: vec![],
            dynamic: vec![],
            reads: vec![],
            writes: vec![],
        }
    }

    pub fn open(&mut self) {
        self.scopes.push(Scope { parent: self.now, ..Scope::default() });
        self.now = self.scopes.len() - 1;
    }

    pub fn close(&mut self) {
        self.now = self.scopes[self.now].parent;
    }

    pub fn now(&self) -> usize {
        self.now
    }

    pub fn declare(&mut self, name: &'t str, what: Name) {
        self.scopes[self.now].names.insert(name, what);
    }

    pub fn place(&mut self, label: &'t str, at: u32) -> Result<(), String> {
        match self.scopes[self.now].labels.insert(label, at) {
            None => Ok(()),
            Some(_) => Err(format!("label `{label}` is there twice")),
        }
    }

    pub fn label(&self, label: &str, mut scope: usize) -> Option<u32> {
        loop {
            if let Some(&at) = self.scopes[scope].labels.get(label) {
                return Some(at);
            }
            if scope == 0 {
                return None;
            }
            scope = self.scopes[scope].parent;
        }
    }

    pub fn registers(&mut self, name: &'t str, count: Option<u64>, ty: &str) -> Result<(), String> {
        let class = match ty {
            "pred" => Class::Pred,
            "b16" | "u16" | "s16" | "f16" | "bf16" => Class::Half,
            "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => Class::Word,
            "b64" | "u64" | "s64" | "f64" => Class::Double,
            _ => return Err(format!("there are no registers of type `{ty}`")),
        };
        *self.declared.entry(class.bits()).or_default() += count.unwrap_or(1) as usize;
        let first = self.fresh(class, count.unwrap_or(1) as usize);
        let what = count.map_or(Name::Register(class, first), |count| Name::Range(class, first, count));
        match self.scopes[self.now].names.insert(name, what) {
            None => Ok(()),
            Some(_) => Err(format!("`{name}` is declared twice")),
        }
    }

    fn fresh(&mut self, class: Class, count: usize) -> u32 {
        let file = &mut self.counts[class.file() as usize];
        let first = *file as u32;
        *file += count;
        first
    }

    pub fn find(&self, name: &str) -> Option<Name> {
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let prefix = &name[..name.len() - digits];
        let number = name[prefix.len()..].parse::<u64>().ok();
        let mut scope = self.now;
        loop {
            let names = &self.scopes[scope].names;
            match names.get(name) {
                Some(Name::Range(..)) | None => {}
                Some(&found) => return Some(found),
            }
            if let (Some(&Name::Range(class, first, count)), Some(number)) = (names.get(prefix), number)
                && number < count
            {
                return Some(Name::Register(class, first + number as u32));
            }
            if scope == 0 {
                return None;
            }
            scope = self.scopes[scope].parent;
        }
    }

    /// An instruction begins.
    pub fn start(&mut self) {
        self.reads.clear();
        self.writes.clear();
    }

    /// What it has read and written.
    pub fn touched(&mut self) -> (Box<[u32]>, Box<[u32]>) {
        self.reads.sort_unstable();
        self.reads.dedup();
        (self.reads.as_slice().into(), self.writes.as_slice().into())
    }

    fn register(&self, name: &str) -> Result<(Class, u32), String> {
        match self.find(name) {
            Some(Name::Register(class, slot)) => Ok((class, slot)),
            Some(_) => Err(format!("`{name}` is no register")),
            None => Err(format!("there is no register `{name}`")),
        }
    }

    pub fn class_of(&self, operand: &Operand) -> Option<Class> {
        match operand {
            Operand::Word { text, .. } => match self.find(text) {
                Some(Name::Register(class, _)) => Some(class),
                None if special(text).is_some() => Some(Class::Word),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn predicate(&mut self, name: &str, not: bool) -> Result<u32, String> {
        let (class, slot) = self.register(name)?;
        if class != Class::Pred {
            return Err(format!("`{name}` is no predicate"));
        }
        self.reads.push(key(class, slot));
        Ok(if not { slot | NEGATED } else { slot })
    }

    /// The slot of an operand that is read.
    pub fn read(&mut self, operand: &Operand, class: Class) -> Result<u32, String> {
        let &Operand::Word { text, not, minus } = operand else {
            return Err(format!("a register or a constant of {} bits expected", class.bits()));
        };
        match self.find(text) {
            Some(Name::Register(Class::Pred, _)) if class == Class::Pred => self.predicate(text, not),
            _ if not => Err(format!("`!{text}` is no predicate")),
            Some(Name::Register(found, slot)) if !minus => {
                if found != class {
                    return Err(format!(
                        "`{text}` has {} bits where {} are read",
                        found.bits(),
                        class.bits()
                    ));
                }
                self.reads.push(key(class, slot));
                Ok(slot)
            }
            Some(Name::Shared(at)) if !minus => self.constant(class, at),
            Some(Name::Dynamic) if !minus => {
                let slot = self.fresh(class, 1);
                self.dynamic.push((class, slot));
                Ok(slot)
            }
            Some(Name::Global(index)) if !minus && class == Class::Double => {
                let slot = self.fresh(class, 1);
                self.addresses.push((class, slot, index));
                Ok(slot)
            }
            Some(_) => Err(format!("`{text}` cannot be read here")),
            None => self.unnamed(text, minus, class),
        }
    }

    /// A special register or a constant.
    fn unnamed(&mut self, text: &str, minus: bool, class: Class) -> Result<u32, String> {
        if let Some(special) = special(text) {
            if class != Class::Word || minus {
                return Err(format!("`{text}` has 32 bits where {} are read", class.bits()));
            }
            if let Some(&slot) = self.specials.get(&special) {
                return Ok(slot);
            }
            let slot = self.fresh(class, 1);
            self.specials.insert(special, slot);
            return Ok(slot);
        }
        if text.starts_with('%') {
            return Err(format!("there is no register `{text}`"));
        }
        match constant(text, minus, class == Class::Double) {
            Some(value) => self.constant(class, value),
            None => Err(format!("`{text}` is neither a name nor a constant")),
        }
    }

    pub fn constant(&mut self, class: Class, value: u64) -> Result<u32, String> {
        let value = match class {
            Class::Pred => return Err("a predicate expected".into()),
            Class::Half => value & 0xffff,
            Class::Word => value & 0xffff_ffff,
            Class::Double => value,
        };
        if let Some(&slot) = self.numbered.get(&(class.file(), value)) {
            return Ok(slot);
        }
        let slot = self.fresh(class, 1);
        self.numbered.insert((class.file(), value), slot);
        self.constants.push((class, slot, value));
        Ok(slot)
    }

    /// The slot of a register that is written.
    pub fn write(&mut self, operand: &Operand, class: Class) -> Result<u32, String> {
        let (found, slot) = self.write_any(operand, class)?;
        if found != class {
            return Err(format!("a register of {} bits where {} are written", found.bits(), class.bits()));
        }
        Ok(slot)
    }

    /// A register that is written, of whatever class; `_` has the class that is asked for.
    pub fn write_any(&mut self, operand: &Operand, sink: Class) -> Result<(Class, u32), String> {
        let &Operand::Word { text, not: false, minus: false } = operand else {
            return Err("a register expected".into());
        };
        if text == "_" {
            return Ok((sink, self.fresh(sink, 1)));
        }
        let (class, slot) = self.register(text)?;
        self.writes.push(key(class, slot));
        Ok((class, slot))
    }

    /// A register that is read, of at least so many bits, or a constant.
    pub fn read_any(&mut self, operand: &Operand, least: Class) -> Result<(Class, u32), String> {
        let class = self.class_of(operand).unwrap_or(least);
        if class.bits() < least.bits() {
            return Err(format!("a register of {} bits where {} are read", class.bits(), least.bits()));
        }
        Ok((class, self.read(operand, class)?))
    }
}

fn special(name: &str) -> Option<Special> {
    let name = name.strip_prefix('%')?;
    let (base, axis) = match name.split_once('.') {
        Some((base, "x")) => (base, Some(0)),
        Some((base, "y")) => (base, Some(1)),
        Some((base, "z")) => (base, Some(2)),
        Some(_) => return None,
        None => (name, None),
    };
    Some(match (base, axis) {
        ("tid", Some(axis)) => Special::Tid(axis),
        ("ntid", Some(axis)) => Special::Ntid(axis),
        ("ctaid", Some(axis)) => Special::Ctaid(axis),
        ("nctaid", Some(axis)) => Special::Nctaid(axis),
        ("clusterid", Some(axis)) => Special::Clusterid(axis),
        ("nclusterid", Some(axis)) => Special::Nclusterid(axis),
        ("cluster_ctaid", Some(axis)) => Special::ClusterCtaid(axis),
        ("cluster_nctaid", Some(axis)) => Special::ClusterNctaid(axis),
        ("cluster_ctarank", None) => Special::ClusterCtarank,
        ("cluster_nctarank", None) => Special::ClusterNctarank,
        ("laneid", None) => Special::Laneid,
        ("warpid", None) => Special::Warpid,
        ("nwarpid", None) => Special::Nwarpid,
        ("lanemask_eq", None) => Special::LanemaskEq,
        ("lanemask_lt", None) => Special::LanemaskLt,
        ("lanemask_le", None) => Special::LanemaskLe,
        ("lanemask_gt", None) => Special::LanemaskGt,
        ("lanemask_ge", None) => Special::LanemaskGe,
        _ => return None,
    })
}
