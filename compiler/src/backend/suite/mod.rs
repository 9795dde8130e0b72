//! What every back end has to compute: programs as text, run by a back end and by the kernel interpreter.
//!
//! A back end's tests say how it runs a program, in one or more ways, all of which have to give the same bits:
//! `suite::tests!(WAYS)`.

pub mod axes;
pub mod generated;
pub mod loops;
pub mod products;
pub mod programs;
pub mod scalars;

use std::fmt::Debug;
use std::ops::Range;

use crate::kernel::{Machine, Module, parse, run, verify};

/// One way in which a back end runs programs, such as on some number of workers.
pub trait Executor: Debug + Sync {
    /// Compiles a verified module and runs these steps on the machine's buffers of reals and ids.
    fn run(&self, module: &Module, machine: &mut Machine<f32>, seed: u64, steps: Range<u64>);

    /// Whether programs may lay weights out for their products (`pack` items and `packed` operands).
    fn packs(&self) -> bool {
        false
    }
}

/// The ways that take packed weights.
fn packing<'w>(ways: &[&'w dyn Executor]) -> Vec<&'w dyn Executor> {
    ways.iter().copied().filter(|way| way.packs()).collect()
}

/// A test for each program of the suite, with these ways to run it: `&[&dyn Executor]`.
macro_rules! tests {
    ($ways:expr) => {
        crate::backend::suite::tests! { $ways;
            programs: softmax_rows_of_any_width;
            programs: loops_with_calls_fold_what_they_load_and_compute;
            programs: columns_are_summed_in_lanes;
            programs: a_maximum_passes_over_nan_wherever_it_stands;
            programs: random_numbers_are_those_of_the_interpreter;
            programs: random_numbers_change_from_step_to_step;
            programs: rows_are_gathered_and_elements_picked_by_id;
            programs: the_prologue_runs_once;
            programs: no_steps_do_nothing;
            scalars: every_operation_means_what_eval_says;
            scalars: approximations_stay_within_three_units_in_the_last_place;
            axes: elements_do_not_depend_on_the_length_of_an_axis;
            axes: loops_with_many_values_and_folds_agree;
            generated: random_kernels_agree_with_the_interpreter;
            loops: units_have_columns_of_every_form;
            loops: units_leave_out_a_round;
            loops: units_are_of_any_number;
            loops: partial_sums_of_units_travel;
            loops: weights_are_of_any_length;
            products: every_form_sets_and_adds_all_rows_or_the_first;
            products: contractions_in_parts_of_every_form;
            products: time_runs_forwards_and_backwards;
            products: products_leave_out_a_round;
            products: products_in_bf16_round_their_operands;
            products: rows_are_multiplied_once_for_each_distinct_id;
        }
    };
    ($ways:expr; $($file:ident: $name:ident;)*) => {
        $(
            #[test]
            fn $name() {
                crate::backend::suite::$file::$name($ways);
            }
        )*
    };
}
pub(crate) use tests;

/// Rounding of sums of up to a few hundred numbers below 1, and of the approximated functions.
pub const TOLERANCE: f64 = 1e-5;

/// A verified module from its text.
pub fn module(text: &str) -> Module {
    let module = parse(text).unwrap();
    verify(&module).unwrap();
    module
}

/// Numbers that differ, of both signs, below 1 in size.
fn some_reals(count: usize) -> impl Iterator<Item = f32> {
    (0..count).map(|i| ((i * 37 + 11) % 101) as f32 / 50.5 - 1.0)
}

/// Fills the buffers of reals of these names with different numbers.
pub fn fill(machine: &mut Machine<f32>, names: &[&str]) {
    for name in names {
        let values = machine.get_mut(name).unwrap();
        let numbers: Vec<f32> = some_reals(values.len()).collect();
        values.copy_from_slice(&numbers);
    }
}

/// The same buffers in double precision.
fn widen(module: &Module, machine: &Machine<f32>) -> Machine<f64> {
    let mut wide = Machine::<f64>::new(module);
    for buffer in &module.buffers {
        if let (Some(to), Some(from)) = (wide.get_mut(&buffer.name), machine.get(&buffer.name)) {
            to.iter_mut().zip(from).for_each(|(to, &from)| *to = f64::from(from));
        }
        if let (Some(to), Some(from)) = (wide.ids_mut(&buffer.name), machine.ids(&buffer.name)) {
            to.copy_from_slice(from);
        }
    }
    wide
}

/// Runs the module in each way and by the interpreter. All ways' results must be the same bits, and lie within `tolerance`
/// times the larger of 1 and the interpreter's result in double precision.
#[track_caller]
pub fn agree(
    ways: &[&dyn Executor],
    module: &Module,
    machine: &Machine<f32>,
    names: &[&str],
    tolerance: f64,
) {
    let (seed, step) = (7, 3);
    let mut expected = widen(module, machine);
    run(module, &mut expected, seed, step).unwrap();
    let mut first: Option<Machine<f32>> = None;
    for way in ways {
        let mut actual = machine.clone();
        way.run(module, &mut actual, seed, step..step + 1);
        for name in names {
            let values = actual.get(name).unwrap();
            for (i, (&a, &e)) in values.iter().zip(expected.get(name).unwrap()).enumerate() {
                let close = (f64::from(a) - e).abs() <= tolerance * e.abs().max(1.0);
                assert!(close, "{name}[{i}] is {a}, not {e}, {way:?}");
            }
            if let Some(first) = &first {
                assert_eq!(bits(values), bits(first.get(name).unwrap()), "{name}, {way:?}");
            }
        }
        first.get_or_insert(actual);
    }
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
