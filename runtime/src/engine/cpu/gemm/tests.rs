//! Products on every instruction set of this CPU against sums in f64, and bit for bit against each other.

mod from_end;
mod parts;
mod rows;
mod ways;
mod work_stealing;

use lstmc_compiler::backend::cpu::abi::{Cut, Flag, Form, GemmPlaces, GemmShape, PackShape};
use lstmc_compiler::kernel::Precision::{self, Bf16, Bf16x3, Bf16x6, F32, Tf32};
use lstmc_compiler::kernel::{Format, bf16_bits, bf16_value};
use lstmc_compiler::scalar::random;
use ndarray::Array2;
use proptest::prelude::*;

use super::micro::{self, Isa};
use super::{gemm, gemm_on, pack_on, parts, range, streams};

use Cut::{Columns, Rows, Whole};
use Form::{NN, NT, TN};

/// Marks elements that no product may write.
const UNTOUCHED: f32 = 1.0e30;

/// A product with its operands; rows of all matrices are longer than the matrices are wide by `gap`.
#[derive(Debug, Clone)]
struct Case {
    form: Form,
    m: usize,
    n: usize,
    k: usize,
    gap: usize,
    accumulate: bool,
    precision: Precision,
}

fn numbers(key: u32, len: usize) -> Vec<f32> {
    (0..len).map(|i| random(key, i as u32) * 2.0 - 1.0).collect()
}

fn places(a: &[f32], b: &[f32], c: &mut [f32]) -> GemmPlaces {
    GemmPlaces::plain(a.as_ptr(), b.as_ptr(), c.as_mut_ptr())
}

impl Case {
    /// Rows and columns of A and B as they lie.
    fn lie(&self) -> ([usize; 2], [usize; 2]) {
        let &Case { form, m, n, k, .. } = self;
        (if form == TN { [k, m] } else { [m, k] }, if form == NT { [n, k] } else { [k, n] })
    }

    fn shape(&self, packed: Option<Format>, cut: Cut) -> GemmShape {
        let (a, b) = self.lie();
        GemmShape {
            form: self.form,
            precision: self.precision.into(),
            m: self.m as u32,
            n: self.n as u32,
            k: self.k as u32,
            parts: 1,
            a_stride: (a[1] + self.gap) as u32,
            b_stride: (b[1] + self.gap) as u32,
            c_stride: (self.n + self.gap) as u32,
            from_end: Flag::Off,
            as_few: Flag::Off,
            accumulate: self.accumulate.into(),
            packed: packed.into(),
            cut,
        }
    }

    fn operands(&self) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let (a, b) = self.lie();
        let mut c = numbers(3, self.m * (self.n + self.gap));
        for row in c.chunks_mut((self.n + self.gap).max(1)) {
            row[self.n..].fill(UNTOUCHED);
        }
        (numbers(1, a[0] * (a[1] + self.gap)), numbers(2, b[0] * (b[1] + self.gap)), c)
    }

    fn packed(&self, isa: &'static Isa, b: &[f32], format: Format, cut: Cut, workers: u32) -> Vec<f32> {
        let shape = PackShape {
            form: self.form,
            k: self.k as u32,
            n: self.n as u32,
            b_stride: self.shape(Some(format), Whole).b_stride,
            format: format.into(),
            cut,
        };
        let mut to = vec![f32::NAN; format.packed_len(self.k, self.n)];
        for worker in 0..workers {
            // SAFETY: both buffers have the lengths that the shape asks for.
            unsafe { pack_on(isa, &shape, b.as_ptr(), to.as_mut_ptr(), worker, workers) };
        }
        to
    }

    fn run(&self, isa: &'static Isa, packed: Option<Format>, cut: Cut, workers: u32) -> Vec<f32> {
        let mut b = self.operands().1;
        if let Some(format) = packed {
            b = self.packed(isa, &b, format, Columns, workers);
        }
        self.run_on(isa, &b, packed, cut, workers)
    }

    /// The product with this B in the place of the case's own.
    fn run_on(
        &self,
        isa: &'static Isa,
        b: &[f32],
        packed: Option<Format>,
        cut: Cut,
        workers: u32,
    ) -> Vec<f32> {
        let (a, _, mut c) = self.operands();
        let shape = self.shape(packed, cut);
        let places = places(&a, b, &mut c);
        for worker in 0..workers {
            // SAFETY: the operands have the lengths that the shape asks for.
            unsafe { gemm_on(isa, &shape, &places, worker, workers) };
        }
        c
    }

    /// C and the sums of B's columns.
    fn with_sums(&self, isa: &'static Isa, cut: Cut, workers: u32) -> (Vec<f32>, Vec<f32>) {
        let (a, b, mut c) = self.operands();
        let mut sums = [vec![f32::NAN; self.n], vec![UNTOUCHED; 40]].concat();
        let places = GemmPlaces { right_sums: sums.as_mut_ptr(), ..places(&a, &b, &mut c) };
        let shape = self.shape(None, cut);
        for worker in 0..workers {
            // SAFETY: the operands have the lengths that the shape asks for.
            unsafe { gemm_on(isa, &shape, &places, worker, workers) };
        }
        assert_eq!(sums.split_off(self.n), [UNTOUCHED; 40], "{self:?}");
        (c, sums)
    }

    /// B with each column of `op(B)` rounded to a format.
    fn rounded(&self, format: Format) -> Vec<f32> {
        let mut b = self.operands().1;
        let stride = self.lie().1[1] + self.gap;
        for column in 0..self.n {
            let at = |k: usize| if self.form == NT { column * stride + k } else { k * stride + column };
            let mut values: Vec<f32> = (0..self.k).map(|k| b[at(k)]).collect();
            format.round(&mut values);
            values.iter().enumerate().for_each(|(k, &value)| b[at(k)] = value);
        }
        b
    }

    /// The product in f64 and, for each element, the sum of the magnitudes of its terms.
    fn expected(&self) -> (Array2<f64>, Array2<f64>) {
        let (a, b, c) = self.operands();
        let view = |data: &[f32], [rows, columns]: [usize; 2]| {
            Array2::from_shape_fn((rows, columns), |(i, j)| f64::from(data[i * (columns + self.gap) + j]))
        };
        let operand = |data: &[f32], sizes| {
            let round = |x: &f32| if self.precision == Bf16 { bf16_value(bf16_bits(*x)) } else { *x };
            view(&data.iter().map(round).collect::<Vec<_>>(), sizes)
        };
        let (la, lb) = self.lie();
        let (mut a, mut b, mut c) = (operand(&a, la), operand(&b, lb), view(&c, [self.m, self.n]));
        if self.form == TN {
            a = a.reversed_axes();
        }
        if self.form == NT {
            b = b.reversed_axes();
        }
        if !self.accumulate {
            c.fill(0.0);
        }
        (a.dot(&b) + &c, a.mapv(f64::abs).dot(&b.mapv(f64::abs)) + c.mapv(f64::abs))
    }

    /// Whether two results differ by no more than two orders of sums of the same products.
    fn check_near(&self, isa: &'static Isa, found: &[f32], expected: &[f32]) {
        let size = self.expected().1;
        // The scale of a column is multiplied once for each weight, or once in all.
        let bound = 2.0 * (2 * self.k + 4) as f64 * f64::from(f32::EPSILON) / 2.0;
        for ((i, j), size) in size.indexed_iter() {
            let at = i * (self.n + self.gap) + j;
            let apart = (f64::from(found[at]) - f64::from(expected[at])).abs();
            // Rounding a weight makes it larger by less than a tenth.
            assert!(
                apart <= 1.1 * bound * size,
                "{} {self:?}: C[{i}, {j}] is {}, not {}",
                isa.name,
                found[at],
                expected[at]
            );
        }
    }

    fn check(&self, isa: &'static Isa, c: &[f32], (value, size): &(Array2<f64>, Array2<f64>)) {
        // Each of k + 1 additions and k products rounds by at most 2^-24 of a partial sum (Higham 2002, section 3.1), in
        // whatever order they are added up. Products of bf16 are exact.
        let sums = |products: usize| (2 * self.k + 1 + products) as f64 * f64::from(f32::EPSILON) / 2.0;
        let bound = match self.precision {
            // Of two parts of 8 bits each number leaves out 2^-16 of itself, and so does a product that leaves out that of the
            // second parts.
            Bf16x3 => sums(3) + 3.0 * f64::powi(2.0, -16),
            // Three parts are the number. What is left out are the products of second by third parts, and of the third ones.
            Bf16x6 => sums(6) + f64::powi(2.0, -23) + f64::powi(2.0, -32),
            F32 | Tf32 | Bf16 => sums(1),
        };
        let stride = self.n + self.gap;
        for ((i, j), &expected) in value.indexed_iter() {
            let found = f64::from(c[i * stride + j]);
            let error = (found - expected).abs();
            assert!(
                error <= bound * size[[i, j]],
                "{} {self:?}: C[{i}, {j}] is {found}, not {expected}",
                isa.name
            );
        }
        for (at, &value) in c.iter().enumerate().filter(|(at, _)| at % stride.max(1) >= self.n) {
            assert_eq!(value, UNTOUCHED, "{} {self:?}: wrote past a row, at {at}", isa.name);
        }
    }
}

fn bits(c: &[f32]) -> Vec<u32> {
    c.iter().map(|x| x.to_bits()).collect()
}

fn check_all(case: &Case) {
    let expected = case.expected();
    // A unit may be a model of one, which is slow.
    let is_short = case.m * case.n * case.k < 1 << 25;
    for isa in micro::available().into_iter().filter(|isa| isa.matrix.is_none() || is_short) {
        // The others have no products in parts, and a matrix unit none of f32: these are the instruction set's beside it.
        let computes = match case.precision {
            Bf16x3 | Bf16x6 => isa.matrix.is_some(),
            F32 => isa.matrix.is_none(),
            _ => true,
        };
        if computes {
            check_cuts(case, isa, &expected);
        }
        if case.form != TN && case.precision == F32 {
            check_formats(case, isa);
        }
    }
}

/// A product is right, and the same however it is cut, packed or not.
fn check_cuts(case: &Case, isa: &'static Isa, expected: &(Array2<f64>, Array2<f64>)) {
    let whole = case.run(isa, None, Whole, 1);
    case.check(isa, &whole, expected);
    let format = Format::from(case.precision);
    let packed = (case.form != TN).then(|| case.run(isa, Some(format), Whole, 1));
    if let Some(packed) = &packed {
        case.check(isa, packed, expected);
        if case.form != NT || !streams(case.precision, None, true, false, (case.m, case.m)) {
            assert_eq!(bits(packed), bits(&whole), "{} {case:?}: packing changed the sums", isa.name);
        }
    }
    for (cut, workers) in [(Whole, 2), (Rows, 2), (Rows, 3), (Columns, 2), (Columns, 3)] {
        let label = format!("{} {case:?}: cut {cut:?}, {workers} workers", isa.name);
        assert_eq!(bits(&case.run(isa, None, cut, workers)), bits(&whole), "{label}");
        if let Some(packed) = &packed {
            let found = case.run(isa, Some(format), cut, workers);
            assert_eq!(bits(&found), bits(packed), "{label}, packed");
        }
    }
}

/// A product by weights in a format is the product by weights rounded to it, however it is cut.
fn check_formats(case: &Case, isa: &'static Isa) {
    for format in [Format::Bf16, Format::Int8] {
        let rounded = case.packed(isa, &case.rounded(format), Format::F32, Whole, 1);
        let by_rounded = case.run_on(isa, &rounded, Some(Format::F32), Whole, 1);
        // A matrix unit has an order of sums of its own.
        let expected = match parts(isa, F32, Some(format), (case.m, false)) {
            None => bits(&by_rounded),
            Some(_) => {
                let whole = case.run(isa, Some(format), Whole, 1);
                case.check_near(isa, &whole, &by_rounded);
                bits(&whole)
            }
        };
        for (cut, workers) in [(Whole, 1), (Rows, 3), (Columns, 2)] {
            let found = bits(&case.run(isa, Some(format), cut, workers));
            let name = isa.name;
            assert_eq!(found, expected, "{name} {case:?} in {format}: cut {cut:?}, {workers} workers");
        }
    }
}

fn case() -> impl Strategy<Value = Case> {
    let precision = prop_oneof![Just(F32), Just(Bf16), Just(Bf16x3), Just(Bf16x6)];
    (
        prop::sample::select(vec![NN, NT, TN]),
        0..40usize,
        0..80usize,
        0..90usize,
        0..3usize,
        any::<bool>(),
        precision,
    )
        .prop_map(|(form, m, n, k, gap, accumulate, precision)| Case {
            form,
            m,
            n,
            k,
            gap: gap * 5,
            accumulate,
            precision,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn small_products_are_right_and_independent_of_the_split(case in case()) {
        check_all(&case);
    }
}

#[test]
fn products_longer_than_every_block_are_right_and_independent_of_the_split() {
    // Each exceeds a limit of the driver: rows, columns, contraction, packed rows of A.
    let sizes = [
        (253, 301, 700),
        (70, 1100, 530),
        (3, 2100, 777),
        (1, 530, 1030),
        (5, 40, 1500),
        (65, 33, 20_000),
        (40, 17, 20_000),
    ];
    for (m, n, k) in sizes {
        for form in [NN, NT, TN] {
            for (precision, accumulate) in
                [(F32, false), (F32, true), (Bf16, true), (Bf16x3, false), (Bf16x6, true)]
            {
                check_all(&Case { form, m, n, k, gap: 3, accumulate, precision });
            }
        }
    }
}

#[test]
fn a_weight_larger_than_the_caches_is_read_by_tiles_of_all_rows() {
    for (m, form) in [(13, NN), (20, NT), (24, NN), (24, NT), (25, NN)] {
        check_all(&Case { form, m, n: 1500, k: 1501, gap: 2, accumulate: false, precision: F32 });
        check_all(&Case { form, m, n: 1500, k: 2801, gap: 2, accumulate: false, precision: Bf16 });
    }
}

#[test]
fn more_rows_than_are_packed_at_a_time() {
    // The second's rows are a multiple of 256 elements apart: only then numbers are packed that lie in columns.
    for (precision, gap) in [(F32, 1), (F32, 152), (Bf16, 1)] {
        check_all(&Case { form: TN, m: 4200, n: 17, k: 20, gap, accumulate: true, precision });
    }
}

#[test]
fn empty_products_write_what_they_should() {
    let case = Case { form: NN, m: 3, n: 5, k: 0, gap: 2, accumulate: false, precision: F32 };
    for isa in micro::available() {
        let c = case.run(isa, None, Whole, 1);
        assert!(c.chunks(7).all(|row| row[..5] == [0.0; 5] && row[5..] == [UNTOUCHED; 2]));
        let kept = Case { accumulate: true, ..case.clone() };
        assert_eq!(kept.run(isa, None, Whole, 1), kept.operands().2);
        for (m, n) in [(0, 5), (3, 0)] {
            Case { m, n, k: 4, ..case.clone() }.run(isa, None, Columns, 2);
        }
    }
}

/// Of the first rows of A, which is what is written, whatever the other rows hold and however it is cut.
#[test]
fn products_of_the_first_rows_leave_out_the_others() {
    let (m, n, k, gap) = (37, 70, 45, 2);
    for (form, accumulate, precision) in [
        (NN, false, F32),
        (NN, true, F32),
        (NT, false, F32),
        (TN, false, F32),
        (TN, true, F32),
        (NT, false, Bf16),
    ] {
        let case = Case { form, m, n, k, gap, accumulate, precision };
        let (mut a, mut b, c) = case.operands();
        for count in [0, 1, 5, 20, 37, 1000] {
            let shorter = if form == TN {
                Case { k: k.min(count), ..case.clone() }
            } else {
                Case { m: m.min(count), ..case.clone() }
            };
            let first = shorter.run(micro::best(), None, Whole, 1);
            let mut expected = c.clone();
            if !accumulate {
                expected.chunks_mut(n + gap).for_each(|row| row[..n].fill(0.0));
            }
            expected[..first.len()].copy_from_slice(&first);
            let stride = case.lie().0[1] + gap;
            a.iter_mut().skip(count * stride).for_each(|x| *x = f32::NAN);
            if form == TN {
                b.iter_mut().skip(count * (n + gap)).for_each(|x| *x = f32::NAN);
            }
            for (cut, workers) in [(Whole, 1), (Whole, 2), (Rows, 2), (Rows, 3), (Columns, 2), (Columns, 3)] {
                let (shape, prefix, mut found) = (case.shape(None, cut), count as u32, c.clone());
                let places = GemmPlaces { prefix: &prefix, ..places(&a, &b, &mut found) };
                for worker in 0..workers {
                    // SAFETY: the operands have the lengths that the shape asks for.
                    unsafe { gemm(&shape, &places, worker, workers) };
                }
                let label = format!("{case:?}: {count} rows, cut {cut:?}, {workers} workers");
                assert_eq!(bits(&found), bits(&expected), "{label}");
            }
            (a, b) = (case.operands().0, case.operands().1);
        }
    }
}

/// What a product by a row of ones gives, to the bit, of all rows of B and however the product is cut; the product itself
/// is as it is without. In turn: few rows and columns, several blocks of rows, of columns, of the contraction, rows of A
/// that are packed in several passes, and spans of the contraction.
#[test]
fn a_product_sums_the_columns_of_its_right_side() {
    let sizes = [
        (1, 5, 3),
        (2, 40, 9),
        (7, 31, 1),
        (37, 70, 45),
        (253, 301, 50),
        (253, 40, 1430),
        (30, 1100, 730),
        (5, 40, 1500),
        (4200, 17, 1430),
        (65, 33, 20_000),
        (3, 20, 0),
    ];
    for (m, n, k) in sizes {
        for (form, accumulate) in [(NN, false), (TN, false), (TN, true)] {
            let case = Case { form, m, n, k, gap: 3, accumulate, precision: F32 };
            let ones = Case { form: NN, m: 1, accumulate: false, ..case.clone() };
            for isa in micro::available() {
                let (shape, b) = (ones.shape(None, Whole), case.operands().1);
                let mut expected = vec![0.0; n];
                // SAFETY: the operands have the lengths that the shape asks for.
                unsafe { gemm_on(isa, &shape, &places(&vec![1.0; k], &b, &mut expected), 0, 1) };
                let plain = case.run(isa, None, Whole, 1);
                for (cut, workers) in
                    [(Whole, 1), (Whole, 2), (Rows, 2), (Rows, 3), (Columns, 2), (Columns, 3)]
                {
                    let (c, sums) = case.with_sums(isa, cut, workers);
                    let label = format!("{} {case:?}: cut {cut:?}, {workers} workers", isa.name);
                    assert_eq!(bits(&sums), bits(&expected), "{label}: sums");
                    assert_eq!(bits(&c), bits(&plain), "{label}: the product");
                }
            }
        }
    }
}

/// Down each column of what the product leaves, in the same order however the columns are cut, on every path: of few rows, of
/// several blocks, of a packed right side.
#[test]
fn a_product_sums_the_squares_of_its_result() {
    let sizes =
        [(1, 5, 3), (4, 40, 9), (13, 77, 20), (200, 301, 50), (253, 40, 1430), (4200, 33, 720), (3, 20, 0)];
    for (m, n, k) in sizes {
        for (form, accumulate, precision) in
            [(NN, false, F32), (NN, false, Bf16), (NT, true, F32), (TN, false, F32), (TN, true, Bf16)]
        {
            let case = Case { form, m, n, k, gap: 3, accumulate, precision };
            for isa in micro::available() {
                let packed = (form != TN && k > 0).then_some(Some(Format::from(precision)));
                for packed in [None].into_iter().chain(packed) {
                    check_squares(&case, isa, packed);
                }
            }
        }
    }
}

fn check_squares(case: &Case, isa: &'static Isa, packed: Option<Format>) {
    let (expected, mut first) = (case.expected(), None);
    for (cut, workers) in [(Whole, 1), (Whole, 2), (Columns, 2), (Columns, 3)] {
        let (a, mut b, mut c) = case.operands();
        if let Some(format) = packed {
            b = case.packed(isa, &b, format, Whole, 1);
        }
        let mut found = [vec![f32::NAN; case.n], vec![UNTOUCHED; 40]].concat();
        let places = GemmPlaces { squares: found.as_mut_ptr(), ..places(&a, &b, &mut c) };
        let shape = case.shape(packed, cut);
        for worker in 0..workers {
            // SAFETY: the operands have the lengths that the shape asks for.
            unsafe { gemm_on(isa, &shape, &places, worker, workers) };
        }
        let label = format!("{} {case:?} {packed:?}: cut {cut:?}, {workers} workers", isa.name);
        case.check(isa, &c, &expected);
        assert_eq!(found.split_off(case.n), [UNTOUCHED; 40], "{label}");
        for (column, &sum) in found.iter().enumerate() {
            let squares = (0..case.m).map(|i| f64::from(c[i * (case.n + case.gap) + column]).powi(2));
            let wanted: f64 = squares.sum();
            // Each square and each addition rounds once.
            let bound = (case.m + 1) as f64 * f64::from(f32::EPSILON) / 2.0 * wanted;
            assert!(
                (f64::from(sum) - wanted).abs() <= bound,
                "{label}: {sum} in column {column}, not {wanted}"
            );
        }
        let first = first.get_or_insert_with(|| bits(&found));
        assert_eq!(&bits(&found), first, "{label}");
    }
}

#[test]
fn a_product_in_the_packed_layout_ignores_what_pads_it() {
    // An infinity in A times the padding's zeros is not a number; it must not reach C.
    let case = Case { form: NN, m: 5, n: 3, k: 2, gap: 0, accumulate: false, precision: F32 };
    let shape = case.shape(Some(Format::F32), Whole);
    for isa in micro::available() {
        let b = case.packed(isa, &[1.0; 6], Format::F32, Whole, 1);
        let mut c = vec![0.0; 15];
        // SAFETY: the operands have the lengths that the shape asks for.
        unsafe { gemm_on(isa, &shape, &places(&[f32::INFINITY; 10], &b, &mut c), 0, 1) };
        assert_eq!(c, [f32::INFINITY; 15], "{}", isa.name);
    }
}

#[test]
fn panels_are_laid_out_as_the_kernel_form_says() {
    let case = Case { form: NT, m: 1, n: 21, k: 11, gap: 4, accumulate: false, precision: F32 };
    let (_, b, _) = case.operands();
    for isa in micro::available() {
        let packed = case.packed(isa, &b, Format::F32, Columns, 2);
        for (at, &value) in packed.iter().enumerate() {
            let (panel, k, column) = (at / (16 * 11), at / 16 % 11, at % 16);
            let column = panel * 16 + column;
            let expected = if column < 21 { b[column * 15 + k] } else { 0.0 };
            assert_eq!(value, expected, "{}: row {k}, column {column}", isa.name);
        }
    }
}

#[test]
fn ranges_cover_an_extent_once() {
    for (cut, by) in [(Whole, Rows), (Rows, Rows), (Columns, Columns)] {
        for workers in 1..5 {
            let covered: Vec<usize> =
                (0..workers).flat_map(|worker| range(100, cut, by, worker, workers)).collect();
            assert_eq!(covered, (0..100).collect::<Vec<_>>(), "cut {cut:?}, {workers} workers");
        }
    }
}
