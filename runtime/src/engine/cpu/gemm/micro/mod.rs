//! Register tiles: a few rows of A times one or more panels of B, all sums in registers. `isa` says what an instruction set
//! offers, the other files have what each one offers.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
#[cfg(target_arch = "x86_64")]
mod avx512_direct;
#[cfg(target_arch = "x86_64")]
mod avx512_parts;
#[cfg(target_arch = "x86_64")]
mod avx512_stream;
pub mod isa;
pub mod matrix;
mod portable;
#[cfg(target_arch = "x86_64")]
mod thirds;

use std::sync::OnceLock;

pub use isa::{AHEAD, CHAINS, InterleaveFn, Isa, Operands, PairFn, Tile, Tiles};

/// The first of the widest instruction sets that there are kernels for on processors of this kind.
#[cfg(target_arch = "x86_64")]
pub static WIDEST: &Isa = &avx512::ISA;
#[cfg(not(target_arch = "x86_64"))]
pub static WIDEST: &Isa = &portable::ISA;

/// Every instruction set that this CPU has, the best one first.
pub fn available() -> Vec<&'static Isa> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            found.extend(matrix::amx::isa());
            if matrix::amx::has_vectors() {
                found.push(&avx512_bf16::ISA);
            }
            found.push(&avx512::ISA);
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            found.push(&avx2::ISA);
        }
    }
    found.push(&portable::ISA);
    #[cfg(test)]
    found.push(&portable::WITH_MODEL);
    found
}

/// The variable of the environment that puts something in the place of the machine's matrix unit.
pub const VARIABLE: &str = "LSTMC_MATRIX_UNIT";

/// With this value products run on the software model: what a processor with the unit computes, slowly.
const MODEL: &str = "model";
/// With this one the unit of a processor that has one is left alone.
const NONE: &str = "none";

fn value() -> Option<String> {
    std::env::var_os(VARIABLE).map(|value| value.to_string_lossy().into_owned())
}

/// The variable's value, if it means nothing.
pub fn unknown_unit() -> Option<String> {
    value().filter(|value| value != MODEL && value != NONE)
}

/// The best instruction set of this CPU, with the matrix unit that is asked for.
pub fn best() -> &'static Isa {
    static BEST: OnceLock<&'static Isa> = OnceLock::new();
    BEST.get_or_init(|| match value().as_deref() {
        Some(MODEL) => with_model(),
        Some(NONE) => {
            available().into_iter().find(|isa| isa.matrix.is_none()).expect("plain loops have no matrix unit")
        }
        _ => available()[0],
    })
}

/// The best instruction set that the model can stand beside.
fn with_model() -> &'static Isa {
    #[cfg(target_arch = "x86_64")]
    if matrix::amx::has_vectors() {
        return &matrix::amx::WITH_MODEL;
    }
    &portable::WITH_MODEL
}
