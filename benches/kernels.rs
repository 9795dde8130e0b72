//! `cargo bench --bench kernels [-- FILTER]`: the matrix products of the shipped models beside what this machine can do.
//!
//! Peak and bandwidth are measured first, in the same process. Every time is the best of many short rounds, since other
//! work on the machine only adds to it; the operands of a product stay in the caches that they fit.

use anyhow::Context;
use lstmc_compiler::backend::cpu::abi::{Cut, Flag, Form, GemmPlaces, GemmShape, PackShape, Precision};
use lstmc_compiler::kernel::Format;
use lstmc_runtime::engine::cpu::gemm::{gemm, has_matrix_unit, instructions, pack};
use lstmc_runtime::engine::cpu::machine::{self, Reading, seconds};
use lstmc_runtime::engine::cpu::pages::Pages;
use lstmc_runtime::engine::cpu::workers::{self, Barrier};

use Cut::{Columns, Rows};
use Form::{NN, NT, TN};

const ROUNDS: usize = 41;

/// (name, form, m, n, k, packed, cut)
type Row = (&'static str, Form, u32, u32, u32, Option<Format>, Cut);

const F32: Option<Format> = Some(Format::F32);
const BF16: Option<Format> = Some(Format::Bf16);
const INT8: Option<Format> = Some(Format::Int8);

const PRODUCTS: &[Row] = &[
    ("recurrent step, H = 200", NN, 20, 800, 200, F32, Columns),
    ("recurrent step, H = 650", NN, 20, 2600, 650, F32, Columns),
    ("recurrent step, H = 1500", NN, 20, 6000, 1500, F32, Columns),
    ("backward step, H = 200", NT, 20, 200, 800, F32, Columns),
    ("backward step, H = 650", NT, 20, 650, 2600, F32, Columns),
    ("backward step, H = 1500", NT, 20, 1500, 6000, F32, Columns),
    ("input projections, H = 650", NN, 700, 2600, 650, None, Rows),
    ("input projections, H = 1500", NN, 700, 6000, 1500, None, Rows),
    ("weight gradient, H = 650", TN, 650, 2600, 700, None, Columns),
    ("weight gradient, H = 1500", TN, 1500, 6000, 700, None, Columns),
    ("logits, H = 650", NN, 700, 10000, 650, None, Columns),
    ("logits' input gradient", NT, 700, 650, 10000, None, Rows),
    ("logits' input gradient (columns)", NT, 701, 650, 10000, None, Columns),
    ("logits' input gradient, H = 500", NT, 600, 500, 10000, None, Rows),
    ("logits' input gradient, H = 500", NT, 601, 500, 10000, None, Columns),
    ("logits' input gradient, H = 200", NT, 401, 200, 10000, None, Columns),
    ("logits' weight gradient", TN, 650, 10000, 700, None, Columns),
    ("logits, H = 500", NN, 600, 10000, 500, None, Columns),
    ("logits' weight gradient, H = 500", TN, 500, 10000, 600, None, Columns),
    ("logits, H = 200", NN, 400, 10000, 200, None, Columns),
    ("logits' input gradient, H = 200", NT, 400, 200, 10000, None, Rows),
    ("logits' weight gradient, H = 200", TN, 200, 10000, 400, None, Columns),
    ("batch 1, packed, H = 200", NN, 1, 800, 200, F32, Columns),
    ("batch 1, packed, H = 512", NN, 1, 2048, 512, F32, Columns),
    ("batch 1, packed, H = 1500", NN, 1, 6000, 1500, F32, Columns),
    ("batch 1, bf16, H = 1500", NN, 1, 6000, 1500, BF16, Columns),
    ("batch 1, int8, H = 1500", NN, 1, 6000, 1500, INT8, Columns),
    ("batch 1, packed logits, H = 200", NN, 1, 10000, 200, F32, Columns),
    ("batch 1, packed logits, H = 1500", NN, 1, 10000, 1500, F32, Columns),
    ("batch 1, bf16 logits, H = 1500", NN, 1, 10000, 1500, BF16, Columns),
    ("batch 1, int8 logits, H = 1500", NN, 1, 10000, 1500, INT8, Columns),
    ("batch 1, NN as it lies", NN, 1, 10000, 650, None, Columns),
    ("batch 1, NT as it lies", NT, 1, 650, 2600, None, Columns),
    ("batch 1, NT as it lies, H = 1500", NT, 1, 1500, 6000, None, Columns),
    ("20 rows, NN as it lies", NN, 20, 2600, 650, None, Columns),
    ("20 rows, NT as it lies", NT, 20, 650, 2600, None, Columns),
];

fn main() -> anyhow::Result<()> {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let most = workers::default_workers() as u32;
    println!("{:40} {:>22}  GFLOP/s (share of the peak) or GB/s, by threads", "", "shape M, N, K");
    let memory = Reading::new(machine::MEMORY)?;
    let mut peaks = Vec::new();
    for threads in 1..=most {
        let peak = 1e-9 * machine::peak(threads, ROUNDS)?;
        let bandwidth = 1e-9 * memory.bandwidth(threads, ROUNDS)?;
        println!(
            "{:40} {threads:>14} threads  {peak:.0} GFLOP/s, {bandwidth:.1} GB/s read from memory",
            "machine"
        );
        peaks.push(peak);
    }
    for row in PRODUCTS.iter().filter(|row| row.0.contains(&filter)) {
        let (name, _, m, n, k, ..) = *row;
        for (precision, label) in precisions(row) {
            let mut line = format!("{:40} {:>22}", format!("{name}{label}"), format!("{m}, {n}, {k}"));
            for (threads, peak) in (1..=most).zip(&peaks) {
                let seconds = product(row, precision, threads)?;
                let flops = 2e-9 * f64::from(m) * f64::from(n) * f64::from(k) / seconds;
                if m == 1 {
                    line += &format!("  {:10.1} GB/s  ", 1e-9 * bytes(row) / seconds);
                } else {
                    line += &format!("  {flops:7.1} ({:3.0} %)", 100.0 * flops / peak);
                }
            }
            println!("{line}");
        }
    }
    if "barrier".contains(&filter) {
        for threads in 2..=most {
            let barrier = Barrier::new(threads as usize);
            let seconds = seconds(threads, ROUNDS, &|worker| _ = barrier.wait(worker))?;
            println!("{:40} {threads:>14} threads  {:.0} ns", "barrier", seconds * 1e9);
        }
    }
    Ok(())
}

/// In which precisions a product is measured: where there are instructions for it, those of several rows in `bf16` too, and where
/// there is a matrix unit in parts.
fn precisions(&(_, _, m, ..): &Row) -> Vec<(Precision, &'static str)> {
    let mut all = vec![(Precision::F32, "")];
    if m > 1 && instructions().pairs.is_some() {
        all.push((Precision::Bf16, ", bf16"));
        if has_matrix_unit() {
            all.push((Precision::Bf16x3, ", bf16x3"));
        }
    }
    all
}

/// Of the weight.
fn bytes(&(_, _, _, n, k, packed, _): &Row) -> f64 {
    let elements = match packed {
        Some(format) => format.packed_len(k as usize, n as usize),
        None => (n * k) as usize,
    };
    4.0 * elements as f64
}

/// A buffer that workers share as compiled code does, in pages as large as those of its tensors.
struct Shared {
    at: *mut f32,
    _pages: Pages,
}

// SAFETY: workers write parts of their own.
unsafe impl Sync for Shared {}

impl Shared {
    fn new(len: usize) -> anyhow::Result<Shared> {
        let mut pages = Pages::new(len * size_of::<f32>()).context("there is no memory for the operands")?;
        let at = pages.as_mut_ptr().cast::<f32>();
        for i in 0..len {
            // SAFETY: the block has room for as many numbers, and begins with a page.
            unsafe { *at.add(i) = (i * 7 % 13) as f32 * 0.1 - 0.6 };
        }
        Ok(Shared { at, _pages: pages })
    }

    fn pointer(&self) -> *mut f32 {
        self.at
    }
}

fn product(
    &(_, form, m, n, k, packed, cut): &Row,
    precision: Precision,
    threads: u32,
) -> anyhow::Result<f64> {
    let packed = match (packed, precision) {
        (Some(_), Precision::Bf16) => Some(Format::Bf16),
        (Some(_), Precision::Bf16x3) => Some(Format::TwoParts),
        _ => packed,
    };
    let shape = GemmShape {
        form,
        precision,
        m,
        n,
        k,
        parts: 1,
        a_stride: if form == Form::TN { m } else { k },
        b_stride: if form == Form::NT { k } else { n },
        c_stride: n,
        from_end: Flag::Off,
        as_few: Flag::Off,
        accumulate: Flag::Off,
        packed: packed.into(),
        cut,
    };
    let (a, b) = (Shared::new((m * k) as usize)?, Shared::new((k * n) as usize)?);
    let c = Shared::new((m * n) as usize)?;
    let panels = packed.map(|format| -> anyhow::Result<Shared> {
        let panels = Shared::new(format.packed_len(k as usize, n as usize))?;
        let packing =
            PackShape { form, k, n, b_stride: shape.b_stride, format: format.into(), cut: Cut::Whole };
        // SAFETY: both buffers have the lengths that the shape asks for.
        unsafe { pack(&packing, b.pointer(), panels.pointer(), 0, 1) };
        Ok(panels)
    });
    let panels = panels.transpose()?;
    let right = panels.as_ref().unwrap_or(&b);
    Ok(seconds(threads, ROUNDS, &|worker| {
        let places = GemmPlaces::plain(a.pointer(), right.pointer(), c.pointer());
        // SAFETY: the operands have the lengths that the shape asks for; each worker writes its own part of C.
        unsafe { gemm(&shape, &places, worker, threads) };
    })?)
}
