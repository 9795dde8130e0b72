//! A trained model as one file of portable C99 and its header.
//!
//! Weights are stored as products read them, in panels of [`PANEL`](crate::target::PANEL) columns, so that compilers make vectors of
//! the inner loops, and small processors keep a panel's sums in registers. A kernel becomes a function of plain loops, a step one that calls
//! them in order. Functions of scalars are those of [`crate::backend::elementary`], written out: of libm there are only `sqrtf`, `logf` and
//! `powf`, and these only where the model's equations have them.
//!
//! Promises: the text has no warning under `-std=c99 -Wall -Wextra -pedantic`, allocates nothing, has no state but in the block that a caller
//! passes, and names nothing outside that does not begin with the prefix. It wants 32-bit IEEE floats without `-ffast-math`.

mod data;
mod helpers;
mod kernel;
mod lookups;
mod product;
mod scalars;
mod step;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use crate::backend::standalone::{self, About, Extras, Layout, Tables};
use crate::kernel::{BufferId, Format};
use crate::plan::Verified;

/// A model in C.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub header: String,
    pub source: String,
}

/// A program for one text, with the bytes of its [constants](crate::plan::Program::constants), its weights' format, and the name of
/// the header's file. With [`Format::Int8`] tables that are looked up row by row are rounded too, each row as a column of a product is.
///
/// # Errors
/// What C cannot have: see [`standalone::check`] and [`Tables::of`]; constants that are not finite, for which C has no numbers.
///
/// # Panics
/// If the program is not planned for [`crate::target::Target::standalone`].
pub fn files(
    program: &Verified,
    constants: &[u8],
    weights: Format,
    about: &About,
    include: &str,
) -> Result<Files, String> {
    standalone::check(program)?;
    let layout = Layout::of(program);
    let tables = Tables::of(about, &layout)?;
    let mut unit = Unit {
        program,
        layout: &layout,
        prefix: &about.prefix,
        constants,
        rounded: if weights == Format::Int8 { lookups::tables(&program.module) } else { HashMap::new() },
        used: BTreeSet::new(),
        kernels: String::new(),
        next_kernel: 0,
    };
    let step = unit.step();
    let data = unit.data()?;
    let flash = data.bytes + tables.bytes();
    let header = standalone::header(about, &layout, flash, Extras::default());
    let mut source = String::new();
    let prefix = &about.prefix;
    let _ = writeln!(source, "{}\n#include \"{include}\"\n", standalone::comment(&about.notes));
    if unit.used.iter().any(|helper| matches!(helper, Helper::Sqrt | Helper::Log | Helper::Pow)) {
        source += "#include <math.h>\n";
    }
    source += "#include <float.h>\n\n";
    source += "#if FLT_EVAL_METHOD != 0 || defined(__FAST_MATH__)\n#error \"the functions here are of floats as IEEE 754 has them\"\n#endif\n\n";
    source += &standalone::macros(about, &layout);
    source += &data.text;
    source += &data::tables(prefix, &tables)?;
    source += &unit.helpers();
    source += &unit.kernels;
    source += &step;
    source += &data::accessors(prefix, &layout);
    source += &standalone::source(about);
    Ok(Files { header, source })
}

/// A function that the source has, or asks of libm, where it calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Helper {
    /// An `f32` as its bits, and the other way.
    Bits,
    Exp,
    Tanh,
    Sigmoid,
    Sqrt,
    Log,
    Pow,
    /// A product by packed weights, in `f32` or `int8`, and one by a matrix as it lies.
    Packed,
    PackedInt8,
    Plain,
}

/// The source while it is written.
struct Unit<'p> {
    program: &'p Verified,
    layout: &'p Layout,
    prefix: &'p str,
    constants: &'p [u8],
    /// Tables whose rows are rounded, and the rows' length.
    rounded: HashMap<BufferId, usize>,
    /// What the kernels call.
    used: BTreeSet<Helper>,
    kernels: String,
    next_kernel: usize,
}
