//! How much a task of a schedule has to do: floating-point operations and bytes.

use std::collections::{BTreeSet, HashMap};

use lstmc_compiler::kernel::{Address, Expr, Form, Gather, Gemm, Index, Kernel, Precision, Stmt, Var};
use lstmc_compiler::plan::Task;

/// Floating-point operations of a product; other tasks have none that count. Products of the first rows only are of
/// `distinct` rows.
pub fn flop(task: Task<'_>, distinct: f64) -> f64 {
    match task {
        Task::Gemm(gemm, _) => gemm.flop(distinct),
        _ => 0.0,
    }
}

/// Bytes that the task must read and write once each, from caches or memory. What it reads again is not counted again.
pub fn bytes(task: Task<'_>, distinct: f64) -> f64 {
    let elements = match task {
        Task::Kernel(kernel, _) => elements(kernel),
        Task::Gemm(gemm, _) => {
            let (m, k) = gemm.multiplied(distinct);
            let written = (gemm.parts * gemm.m + gemm.fused_sums().count()) * gemm.n;
            return 4.0 * (m * k + right(gemm, k) + written as f64);
        }
        Task::Pack(pack, _) => pack.k * pack.n + pack.format.packed_len(pack.k, pack.n),
        Task::Scatter(scatter, _) => {
            // Rows that are read, and for each one that is read and written; and clearing the table.
            let cleared = if scatter.gather == Gather::Add { 0 } else { scatter.table_rows() };
            (cleared + 3 * scatter.count) * scatter.n
        }
        Task::Distinct(distinct) => {
            distinct.len + distinct.results().iter().map(|&(_, len)| len).sum::<usize>()
        }
        // What goes over the network is not known here.
        Task::Exchange(_) | Task::Loop(..) | Task::Barrier => 0,
    };
    4.0 * elements as f64
}

/// Elements of 4 bytes of a product's right side, of which `k` rows are read.
fn right(gemm: &Gemm, k: f64) -> f64 {
    gemm.cpu.packed.map_or(k * gemm.n as f64, |format| format.packed_len(gemm.k, gemm.n) as f64)
}

/// `nn 20x2600x650 bf16`: the form, m, n and k, and what operands are rounded to; `nn 267/600x2000x500`: of 600 rows the
/// first `distinct`.
pub fn shape(gemm: &Gemm, distinct: f64) -> String {
    let form = match gemm.form {
        Form::NN => "nn",
        Form::NT => "nt",
        Form::TN => "tn",
    };
    let precision = match gemm.precision {
        Precision::F32 => String::new(),
        other => format!(" {}", other.name()),
    };
    let extent = |some: f64, all: usize| match some < all as f64 {
        true => format!("{some:.0}/{all}"),
        false => all.to_string(),
    };
    let (m, k) = gemm.multiplied(distinct);
    format!("{form} {}x{}x{}{precision}", extent(m, gemm.m), gemm.n, extent(k, gemm.k))
}

/// Different elements that a kernel reads, and that it writes.
fn elements(kernel: &Kernel) -> usize {
    let mut touched = Touched { kernel, ids: HashMap::new(), seen: Vec::new(), elements: 0 };
    touched.walk(&kernel.body);
    touched.elements
}

struct Touched<'k> {
    kernel: &'k Kernel,
    /// The axes that an id depends on.
    ids: HashMap<Var, BTreeSet<u32>>,
    /// What has been counted, reads and writes apart.
    seen: Vec<(&'k Address, bool)>,
    elements: usize,
}

impl<'k> Touched<'k> {
    fn walk(&mut self, stmts: &'k [Stmt]) {
        for stmt in stmts {
            match stmt {
                Stmt::Let { expr: Expr::Load(at), .. } => self.count(at, false),
                Stmt::Let { var, expr: Expr::LoadId(at) } => {
                    self.ids.insert(*var, self.axes(at));
                    self.count(at, false);
                }
                Stmt::Let { .. } => {}
                Stmt::Store { to, .. } => self.count(to, true),
                Stmt::For(inner) => self.walk(&inner.body),
            }
        }
    }

    fn count(&mut self, at: &'k Address, write: bool) {
        if !self.seen.contains(&(at, write)) {
            self.seen.push((at, write));
            self.elements +=
                self.axes(at).iter().map(|&axis| self.kernel.axes[axis as usize]).product::<usize>();
        }
    }

    /// The axes that an address depends on.
    fn axes(&self, at: &Address) -> BTreeSet<u32> {
        let mut axes = BTreeSet::new();
        for (index, _) in &at.terms {
            match index {
                Index::Axis(axis) => _ = axes.insert(axis.0),
                Index::Id(var) => axes.extend(self.ids.get(var).into_iter().flatten()),
                Index::Time(_) => {}
            }
        }
        axes
    }
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::kernel::parse;
    use lstmc_compiler::plan::plan;
    use lstmc_compiler::target::Target;

    use super::*;

    #[test]
    fn products_of_the_first_rows_count_those_rows() {
        let text = r#"module test {
  buffer %0: f[8, 16] input "x" carried start 0.0
  buffer %1: f[8, 4] input "y" carried start 0.0
  buffer %2: f[16, 4] input "w" carried start 0.0
  buffer %3: id[8] input "tokens" tokens
  buffer %4: id[8] temp "places"
  buffer %5: id[8] temp "distinct"
  buffer %6: id[] temp "count"
  buffer %7: f[8, 4] temp "z"
  buffer %8: f[16, 4] temp "dw"
  distinct %4 %5 %6: %3 count 8 rows 100
  gemm nn 8x4x16: %7 stride 4 = %0 stride 16 @ %2 stride 4 prefix %6
  gemm tn 16x4x8: %8 stride 4 = %0 stride 16 @ %1 stride 4 prefix %6
}
"#;
        let program = plan(parse(text).unwrap(), &Target::cpu(1));
        let tasks: Vec<Task<'_>> = program.leaves().iter().map(|leaf| leaf.task).collect();
        let both = |task| (flop(task, 2.5), bytes(task, 2.5));
        let work = 2.0 * 2.5 * 4.0 * 16.0;
        assert_eq!(both(tasks[1]), (work, 4.0 * (2.5 * 16.0 + 16.0 * 4.0 + 8.0 * 4.0)));
        assert_eq!(both(tasks[2]), (work, 4.0 * (2.5 * 16.0 + 2.5 * 4.0 + 16.0 * 4.0)));
        // There cannot be more rows than there are.
        assert_eq!(flop(tasks[1], 9.0), 2.0 * 8.0 * 4.0 * 16.0);
        let (Task::Gemm(nn, _), Task::Gemm(tn, _)) = (tasks[1], tasks[2]) else { panic!() };
        assert_eq!((shape(nn, 2.6), shape(tn, 2.6)), ("nn 3/8x4x16".into(), "tn 16x4x3/8".into()));
    }

    #[test]
    fn what_is_touched_is_counted_once() {
        let text = r#"module test {
  buffer %0: f[9, 16] input "table" carried start 0.0
  buffer %1: id[6] input "tokens" tokens
  buffer %2: f[6, 16] temp "rows"
  buffer %3: f[6] temp "sum"
  kernel "take" axes 6 16 {
    for a0 parallel {
      v0 = load_id %1 + 1*a0
      for a1 vector fold v4 = sum v2 {
        v1 = load %0 + 1*a1 + 16*v0
        v2 = load %0 + 1*a1 + 16*v0
        v3 = add v1 v2
        store %2 + 16*a0 + 1*a1 = v3
      }
      store %3 + 1*a0 = v4
    }
  }
  gemm nt 6x9x16: %2 stride 16 = %2 stride 16 @ %0 stride 16
}
"#;
        let program = plan(parse(text).unwrap(), &Target::cpu(1));
        let tasks: Vec<Task<'_>> = program.leaves().iter().map(|leaf| leaf.task).collect();
        // Six ids, six rows read and written, six sums.
        let both = |task| (flop(task, 5.0), bytes(task, 5.0));
        assert_eq!(both(tasks[0]), (0.0, 4.0 * f64::from(6 + 6 * 16 + 6 * 16 + 6)));
        assert_eq!(both(tasks[1]), (2.0 * 864.0, 4.0 * f64::from(6 * 16 + 9 * 16 + 6 * 9)));
        let Task::Gemm(gemm, _) = tasks[1] else { panic!() };
        assert_eq!(shape(gemm, 5.0), "nt 6x9x16");
    }
}
