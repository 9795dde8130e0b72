//! Which ids a module can be given: what it addresses by them must lie inside its tables.
//!
//! Ids come from inputs, which the host fills and so checks against [`id_limits`], and from [`Distinct`], whose results are
//! bounded by what it is. Nothing else writes ids.

use std::collections::HashMap;

use super::{Address, BufferId, BufferKind, Distinct, Expr, Index, Item, Kernel, Module, Stmt, Time, Var};

/// Of each buffer the number below which every id in it must be, so that nothing is addressed outside its buffer. `None`
/// where nothing is addressed by its elements.
pub fn id_limits(module: &Module) -> Vec<Option<usize>> {
    let mut limits = Limits { module, rounds: HashMap::new(), found: vec![None; module.buffers.len()] };
    limits.items(&module.prologue);
    limits.items(&module.items);
    limits.found
}

/// Whether what the module itself writes as ids is within [`id_limits`], and every input of ids can hold some.
pub(super) fn check(module: &Module) -> Result<(), String> {
    let limits = id_limits(module);
    for (buffer, limit) in module.buffers.iter().zip(&limits) {
        if matches!(buffer.kind, BufferKind::Input(_)) && *limit == Some(0) {
            return Err(format!("no id in {:?} can be inside what it is to index", buffer.name));
        }
    }
    check_distinct(module, &limits, &module.prologue)?;
    check_distinct(module, &limits, &module.items)
}

fn check_distinct(module: &Module, limits: &[Option<usize>], items: &[Item]) -> Result<(), String> {
    for item in items {
        match item {
            Item::Loop(inner) => check_distinct(module, limits, &inner.items)?,
            Item::Distinct(distinct) => {
                for (buffer, bound) in bounds(distinct) {
                    if limits[buffer.0 as usize].is_some_and(|limit| bound > limit) {
                        let name = &module.buffer(buffer).name;
                        return Err(format!("ids below {bound} in {name:?} reach beyond what they index"));
                    }
                }
            }
            Item::Kernel(_) | Item::Gemm(_) | Item::Pack(_) | Item::Scatter(_) | Item::Exchange(_) => {}
        }
    }
    Ok(())
}

/// The number below which each result's ids are.
fn bounds(distinct: &Distinct) -> Vec<(BufferId, usize)> {
    let inverse = distinct.inverse.map(|[place, _]| (place, distinct.most()));
    let ids = [
        (distinct.places, distinct.most()),
        (distinct.distinct, distinct.rows),
        (distinct.count, distinct.most() + 1),
    ];
    ids.into_iter().chain(inverse).collect()
}

struct Limits<'m> {
    module: &'m Module,
    /// Of the time loops around.
    rounds: HashMap<Time, usize>,
    found: Vec<Option<usize>>,
}

impl Limits<'_> {
    fn items(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Kernel(kernel) => {
                    let mut loaded = HashMap::new();
                    self.block(kernel, &kernel.body, &mut loaded);
                }
                Item::Scatter(scatter) => self.limit(scatter.ids.buffer, scatter.rows),
                Item::Distinct(distinct) => self.limit(distinct.ids.buffer, distinct.rows),
                // A prefix that is too large counts as all rows.
                Item::Gemm(_) | Item::Pack(_) | Item::Exchange(_) => {}
                Item::Loop(inner) => {
                    self.rounds.insert(inner.time, inner.rounds);
                    self.items(&inner.items);
                }
            }
        }
    }

    /// `loaded`: the buffer that each variable of an id was loaded from.
    fn block(&mut self, kernel: &Kernel, stmts: &[Stmt], loaded: &mut HashMap<Var, BufferId>) {
        for stmt in stmts {
            match stmt {
                Stmt::Let { var, expr: Expr::LoadId(from) } => {
                    self.address(kernel, from, loaded);
                    loaded.insert(*var, from.buffer);
                }
                Stmt::Let { expr: Expr::Load(from), .. } => self.address(kernel, from, loaded),
                Stmt::Let { .. } => {}
                Stmt::Store { to, .. } => self.address(kernel, to, loaded),
                Stmt::For(inner) => self.block(kernel, &inner.body, loaded),
            }
        }
    }

    /// The limit of an id is where the address, at the end of every other index, leaves its buffer. No address has two ids.
    fn address(&mut self, kernel: &Kernel, at: &Address, loaded: &HashMap<Var, BufferId>) {
        let mut last = at.offset;
        for &(index, stride) in &at.terms {
            let extent = match index {
                Index::Axis(axis) => kernel.axes.get(axis.0 as usize).copied().unwrap_or(1),
                Index::Time(time) => self.rounds.get(&time).copied().unwrap_or(1),
                Index::Id(_) => 1,
            };
            last = last.saturating_add(extent.saturating_sub(1).saturating_mul(stride));
        }
        let len = self.module.buffers.get(at.buffer.0 as usize).map_or(0, super::Buffer::len);
        for &(index, stride) in &at.terms {
            let Index::Id(var) = index else { continue };
            if let (Some(&ids), true) = (loaded.get(&var), stride > 0) {
                self.limit(ids, len.saturating_sub(last).div_ceil(stride));
            }
        }
    }

    fn limit(&mut self, ids: BufferId, limit: usize) {
        if let Some(known) = self.found.get_mut(ids.0 as usize) {
            *known = Some(known.map_or(limit, |known| known.min(limit)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Elem, parse, verify};

    /// A table of `rows` rows is read by tokens, and by the places of distinct ones.
    fn text(rows: usize, places: usize) -> String {
        format!(
            r#"module m {{
  buffer %0: f[{rows}, 4] input "table" param parts "table" 0 4
  buffer %1: id[3] input "tokens" tokens
  buffer %2: id[3] temp "places"
  buffer %3: id[3] temp "distinct"
  buffer %4: id[] temp "count"
  buffer %5: f[3, 4] output "p" probabilities
  buffer %6: f[{places}, 4] input "h" carried start 0.0
  distinct %2 %3 %4: %1 count 3 rows 7
  kernel "rows" axes 3 4 {{
    for a0 parallel {{
      v0 = load_id %1 + 1*a0
      v1 = load_id %2 + 1*a0
      for a1 vector {{
        v2 = load %0 + 4*v0 + 1*a1
        v3 = load %6 + 4*v1 + 1*a1
        v4 = add v2 v3
        store %5 + 4*a0 + 1*a1 = v4
      }}
    }}
  }}
}}
"#
        )
    }

    #[test]
    fn an_id_stays_inside_the_smallest_table() {
        let limits = |rows| {
            let module = parse(&text(rows, 3)).unwrap_or_else(|error| panic!("{error}"));
            verify(&module).unwrap();
            (0..module.buffers.len())
                .filter(|&id| module.buffers[id].elem == Elem::Id)
                .map(|id| id_limits(&module)[id])
                .collect::<Vec<_>>()
        };
        assert_eq!(limits(5), [Some(5), Some(3), None, None]);
        assert_eq!(limits(9), [Some(7), Some(3), None, None]);
    }

    #[test]
    fn what_a_module_counts_itself_must_fit() {
        let module = parse(&text(5, 2)).unwrap_or_else(|error| panic!("{error}"));
        let error = verify(&module).unwrap_err();
        assert!(error.contains("ids below 3 in \"places\" reach beyond"), "{error}");
    }
}
