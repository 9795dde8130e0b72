//! A row for each kernel, product and other item of a step.

use std::collections::HashMap;

use lstmc_compiler::kernel::{
    Axis, Buffer, BufferId, BufferKind, InputRole, Kernel, Matrix, Phase, Precision,
};
use lstmc_compiler::plan::{Leaf, Program, Split, Task};
use lstmc_runtime::engine::cpu::gemm::{self, Instructions, RightSide, right_side};
use lstmc_runtime::engine::cpu::probes::Spent;
use serde::Serialize;

use super::work;
use crate::show;

/// Fewer rows than this of a product are done before its right side is packed for them.
const FEW_ROWS: usize = 16;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Product,
    Kernel,
    Packing,
    Scatter,
    Distinct,
    Exchange,
}

/// An item of the schedule.
#[derive(Debug, Serialize)]
pub struct Row {
    pub kind: Kind,
    pub name: String,
    /// How often a step runs it.
    pub rounds: usize,
    /// How it is cut among the workers: whole, rows, columns, or a kernel's axis.
    pub cut: String,
    /// Of a product, what is done with its right side; of a kernel, whether it runs in vector lanes.
    pub way: &'static str,
    /// Why it is cut like that.
    pub reason: &'static str,
    /// Whether memory bounds it, and not arithmetic.
    pub memory_bound: bool,
    /// What a product rounds its operands to; else [`Precision::F32`].
    #[serde(serialize_with = "precision_name")]
    pub precision: Precision,
    /// Of a product, the instructions that it runs on.
    pub unit: &'static str,
    /// Floating-point operations of products, per step.
    pub flop: f64,
    /// Bytes read and written once each, per step.
    pub bytes: f64,
    /// Of each worker, per step.
    pub seconds: Vec<f64>,
    /// How it misses the fast path.
    pub misses: Vec<String>,
}

impl Row {
    /// Until the slowest worker is done, summed over the rounds.
    pub fn slowest(&self) -> f64 {
        self.seconds.iter().copied().fold(0.0, f64::max)
    }

    /// Of the first worker, whose times add up to the step's.
    pub fn first(&self) -> f64 {
        self.seconds.first().copied().unwrap_or(0.0)
    }
}

/// The rows in order of the schedule; a step's tokens are `distinct` different ones on average.
pub fn rows(program: &Program, spent: &Spent, distinct: f64) -> Vec<Row> {
    let names = Names::of(program);
    let leaves = program.leaves();
    leaves
        .iter()
        .zip(&spent.leaves)
        .filter_map(|(leaf, seconds)| row(program, &names, leaf, seconds, distinct))
        .collect()
}

fn row(program: &Program, names: &Names, leaf: &Leaf<'_>, seconds: &[f64], distinct: f64) -> Option<Row> {
    let workers = program.target.workers;
    let (kind, name, split, way) = match leaf.task {
        Task::Kernel(kernel, split) => {
            let extents: Vec<String> =
                kernel.axes.iter().filter(|&&extent| extent > 1).map(ToString::to_string).collect();
            let name = format!("{} {}", kernel.name, extents.join("x"));
            (Kind::Kernel, name, split, if in_lanes(kernel) { "lanes" } else { "single" })
        }
        Task::Gemm(gemm, split) => {
            let operands = format!("{} @ {}", names.matrix(&gemm.a), names.matrix(&gemm.b));
            let name = format!("{} {operands}", work::shape(gemm, distinct));
            let way = match right_side(gemm, split, workers) {
                RightSide::Streamed if gemm.cpu.alternating => "alternating",
                RightSide::Streamed => "streamed",
                RightSide::Packed => "packed",
                RightSide::Blocks => "blocks",
            };
            (Kind::Product, name, split, way)
        }
        Task::Pack(pack, split) => {
            let name = format!("pack {}x{} {}", pack.k, pack.n, names.matrix(&pack.b));
            (Kind::Packing, name, split, "")
        }
        Task::Scatter(scatter, split) => {
            let name = format!(
                "scatter {} to {}x{}",
                show::many(scatter.count as u64, "row"),
                scatter.table_rows(),
                scatter.n
            );
            (Kind::Scatter, name, split, "")
        }
        Task::Distinct(distinct) => {
            let name = format!("distinct ids of {} below {}", distinct.len, distinct.rows);
            (Kind::Distinct, name, Split::Whole, "")
        }
        Task::Exchange(exchange) => {
            let does = match exchange.phase {
                Phase::Start => "start of",
                Phase::Finish => "wait for",
            };
            let sums = show::many(exchange.sums.len() as u64, "sum");
            let name = format!("{does} exchange {} of {sums} over shards", exchange.number);
            (Kind::Exchange, name, Split::Whole, "")
        }
        Task::Loop(..) | Task::Barrier => return None,
    };
    let rounds = leaf.rounds;
    let precision = match leaf.task {
        Task::Gemm(gemm, _) => gemm.precision,
        _ => Precision::F32,
    };
    let reason = program.reason(leaf);
    Some(Row {
        kind,
        name: name.trim_end().to_owned(),
        rounds,
        cut: cut(split),
        way,
        reason,
        memory_bound: kind != Kind::Product || matches!(way, "streamed" | "alternating"),
        precision,
        unit: if kind == Kind::Product { unit(precision) } else { "" },
        flop: rounds as f64 * work::flop(leaf.task, distinct),
        bytes: rounds as f64 * work::bytes(leaf.task, distinct),
        seconds: seconds.to_vec(),
        misses: misses(leaf, workers, reason),
    })
}

fn precision_name<S: serde::Serializer>(precision: &Precision, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(precision.name())
}

/// What products run on.
fn unit(precision: Precision) -> &'static str {
    let Instructions { name, pairs, .. } = gemm::instructions();
    pairs.filter(|_| precision != Precision::F32).unwrap_or(name)
}

fn cut(split: Split) -> String {
    match split {
        Split::Whole => "whole".into(),
        Split::Rows => "rows".into(),
        Split::Columns | Split::AnyColumns => "columns".into(),
        Split::Parts => "parts".into(),
        Split::Axis(axis) => format!("axis {axis}"),
        Split::Units(units) | Split::Terms(units) => format!("{units} units"),
        Split::Any => "any".into(),
    }
}

fn in_lanes(kernel: &Kernel) -> bool {
    (0..kernel.axes.len() as u32).any(|axis| kernel.is_vector_axis(Axis(axis)))
}

/// What keeps an item from the fast path.
fn misses(leaf: &Leaf<'_>, workers: usize, reason: &str) -> Vec<String> {
    let mut found = Vec::new();
    let whole = |split: Split| workers > 1 && split == Split::Whole;
    match leaf.task {
        Task::Kernel(kernel, split) => {
            if whole(split) {
                found.push(format!("one worker computes it while the others wait: {reason}"));
            }
            if !in_lanes(kernel) {
                found.push("no vector lanes: no loop of it moves along neighbouring elements only".into());
            }
        }
        Task::Gemm(gemm, split) => {
            if whole(split) {
                found.push(format!("one worker computes it while the others wait: {reason}"));
            }
            let rows = if split == Split::Rows { gemm.m.div_ceil(workers) } else { gemm.m };
            if right_side(gemm, split, workers) == RightSide::Blocks {
                if leaf.in_loop {
                    found.push(format!(
                        "its right side is packed anew in each of {}",
                        show::many(leaf.rounds as u64, "round")
                    ));
                } else if rows < FEW_ROWS {
                    found.push(format!(
                        "its right side is packed for {} only",
                        show::many(rows as u64, "row")
                    ));
                }
            }
        }
        Task::Pack(_, split) | Task::Scatter(_, split) if whole(split) => {
            found.push("one worker does it while the others wait: too narrow".into());
        }
        _ => {}
    }
    found
}

/// Barriers that one step passes, with the one that ends the schedule and the one before it begins.
pub fn barriers(program: &Program) -> usize {
    let in_schedule =
        program.leaves().iter().filter(|leaf| is_barrier(leaf)).map(|leaf| leaf.rounds).sum::<usize>();
    in_schedule + 2
}

/// What each worker has waited at the barriers of the schedule and at its end.
pub fn waiting(program: &Program, spent: &Spent) -> Vec<f64> {
    let leaves = program.leaves();
    let barriers = leaves.iter().zip(&spent.leaves).filter(|(leaf, _)| is_barrier(leaf));
    let mut sum = spent.end.clone();
    for (_, seconds) in barriers {
        sum.iter_mut().zip(seconds).for_each(|(sum, seconds)| *sum += seconds);
    }
    sum
}

fn is_barrier(leaf: &Leaf<'_>) -> bool {
    matches!(leaf.task, Task::Barrier)
}

/// What people call the buffers.
struct Names(HashMap<BufferId, String>);

impl Names {
    fn of(program: &Program) -> Self {
        let module = &program.module;
        let mut names: HashMap<BufferId, String> =
            (0..).map(BufferId).zip(&module.buffers).map(|(id, buffer)| (id, name(buffer))).collect();
        // What was packed bears the name of what it was packed from.
        for leaf in program.leaves() {
            if let Task::Pack(pack, _) = leaf.task
                && let Some(from) = names.get(&pack.b.at.buffer).cloned()
            {
                names.insert(pack.to, from);
            }
        }
        Self(names)
    }

    fn matrix(&self, matrix: &Matrix) -> &str {
        self.0.get(&matrix.at.buffer).map_or("", String::as_str)
    }
}

/// `lstm_1.W_*` for parameters that are one buffer.
fn name(buffer: &Buffer) -> String {
    match &buffer.kind {
        BufferKind::Input(InputRole::Param { parts }) if parts.len() > 1 => {
            let names: Vec<&str> = buffer.name.split('|').collect();
            format!("{}*", common_prefix(&names))
        }
        _ => buffer.name.clone(),
    }
}

fn common_prefix<'n>(names: &[&'n str]) -> &'n str {
    let first = names.first().copied().unwrap_or("");
    let shared = |len: usize| names.iter().all(|name| name.starts_with(&first[..len]));
    let ends = (0..=first.len()).rev().filter(|&len| first.is_char_boundary(len));
    ends.into_iter().find(|&len| shared(len)).map_or("", |len| &first[..len])
}

#[cfg(test)]
mod tests {
    use lstmc_compiler::kernel::parse;
    use lstmc_compiler::plan::plan;
    use lstmc_compiler::target::Target;

    use super::*;

    const STEP: &str = r#"module step {
  buffer %0: f[32, 64] input "l.W_i|l.W_f" param parts "l.W_i" 0 32 "l.W_f" 32 32
  buffer %1: f[3, 40, 32] input "x" carried start 0.0
  buffer %2: f[2048] packed "packed_2"
  buffer %3: f[40, 64] temp "z"
  buffer %4: f[64] temp "sum"
  pack nn 32x64: %2 = %0 stride 64
  loop t0 in 3 {
    gemm nn 40x64x32: %3 stride 64 = %1 + 1280*t0 stride 32 @ packed %2 stride 0
    gemm nn 40x64x32: %3 stride 64 += %1 + 1280*t0 stride 32 @ %0 stride 64
  }
  kernel "first" axes 64 {
    for a0 fold v1 = sum v0 {
      v0 = load %3 + 64*a0
    }
    store %4 = v1
  }
}
"#;

    fn spent(program: &Program) -> Spent {
        let workers = program.target.workers;
        let leaves = (0..program.leaves().len()).map(|leaf| vec![leaf as f64; workers]).collect();
        Spent { leaves, end: vec![0.5; workers], host: vec![0.25; workers] }
    }

    #[test]
    fn each_item_is_a_row_and_barriers_are_waiting() {
        let program = plan(parse(&STEP.replace("64*a0", "1*a0")).unwrap(), &Target::cpu(2));
        let spent = spent(&program);
        let rows = rows(&program, &spent, 0.0);
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names[..3], ["pack 32x64 l.W_*", "nn 40x64x32 x @ l.W_*", "nn 40x64x32 x @ l.W_*"]);
        assert_eq!(rows.iter().map(|row| row.rounds).collect::<Vec<_>>(), [1, 3, 3, 1]);
        assert_eq!((rows[1].way, rows[2].way), ("packed", "blocks"));
        assert_eq!(rows[1].flop, 3.0 * 2.0 * 40.0 * 64.0 * 32.0);
        // All time is a row's, or waiting.
        let leaves: f64 = spent.leaves.iter().map(|seconds| seconds[0]).sum();
        let waiting = waiting(&program, &spent);
        assert_eq!(rows.iter().map(Row::first).sum::<f64>() + waiting[0], leaves + 0.5);
        assert!(barriers(&program) > 2 && waiting[0] > 0.5, "{program}");
    }

    #[test]
    fn what_misses_the_fast_path_is_said() {
        let program = plan(parse(STEP).unwrap(), &Target::cpu(2));
        let rows = rows(&program, &spent(&program), 0.0);
        assert!(rows[0].misses.is_empty() && rows[1].misses.is_empty(), "{rows:?}");
        assert_eq!(rows[2].misses, ["its right side is packed anew in each of 3 rounds"]);
        assert_eq!(rows[3].misses.len(), 2, "{rows:?}");
        assert!(rows[3].misses[0].contains("stores outside"), "{rows:?}");
        assert!(rows[3].misses[1].contains("no vector lanes"), "{rows:?}");
    }

    #[test]
    fn names_share_their_beginning() {
        assert_eq!(common_prefix(&["l.W_i", "l.W_f"]), "l.W_");
        assert_eq!(common_prefix(&["a", "b"]), "");
        assert_eq!(common_prefix(&["l.W"]), "l.W");
    }
}
