//! A library over the PTX machine's memory, which computes products in place of their kernels.

use std::sync::{Arc, Mutex};

use lstmc_compiler::backend::ptx::{Placed, Product};
use lstmc_compiler::kernel::{Form, Precision};
use ptx_vm::Machine;

/// It keeps what it has multiplied, for as long as one looks.
#[derive(Clone, Debug, Default)]
pub struct Library(Arc<Mutex<Vec<Product>>>);

impl Library {
    pub fn multiplied(&self) -> Vec<Product> {
        self.0.lock().unwrap().clone()
    }

    /// Multiplies matrices of an arena. It sums in double precision.
    pub fn multiply(&self, machine: &mut Machine, arena: u64, product: &Product) {
        let [a, b] = [&product.a, &product.b].map(|place| rows(machine, arena, place, product.precision));
        let at_a =
            |row: usize, depth: usize| if product.form == Form::TN { a[depth][row] } else { a[row][depth] };
        let at_b = |depth: usize, column: usize| {
            if product.form == Form::NT { b[column][depth] } else { b[depth][column] }
        };
        for row in 0..product.m {
            let at = address(arena, &product.c, row);
            let sums = (0..product.n).map(|column| {
                (0..product.k).map(|depth| at_a(row, depth) * at_b(depth, column)).sum::<f64>() as f32
            });
            let sums: Vec<f32> = if product.accumulate {
                sums.zip(machine.read_f32(at, product.n)).map(|(sum, before)| sum + before).collect()
            } else {
                sums.collect()
            };
            machine.write_f32(at, &sums);
        }
        self.0.lock().unwrap().push(*product);
    }
}

/// Where a row of a matrix begins.
fn address(arena: u64, place: &Placed, row: usize) -> u64 {
    arena + (place.offset + 4 * row * place.stride) as u64
}

/// A matrix as it is multiplied.
fn rows(machine: &Machine, arena: u64, place: &Placed, precision: Precision) -> Vec<Vec<f64>> {
    let rounded = |x: f32| {
        let bits = match precision {
            Precision::Tf32 => (x.to_bits() + 0x1000) & !0x1fff,
            Precision::Bf16 => (x.to_bits() + 0x7fff + (x.to_bits() >> 16 & 1)) & !0xffff,
            Precision::F32 | Precision::Bf16x3 | Precision::Bf16x6 => {
                panic!("a product in f32 is a kernel's")
            }
        };
        f64::from(f32::from_bits(bits))
    };
    let row =
        |row| machine.read_f32(address(arena, place, row), place.columns).into_iter().map(rounded).collect();
    (0..place.rows).map(row).collect()
}
