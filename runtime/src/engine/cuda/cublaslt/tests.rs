//! Products by a library over the host's memory (`tests/cublaslt`) against sums of our own. A process looks for libraries where it
//! was told to when it began, so each test has one of its own.

use std::process::Command;
use std::{env, fs};

use super::*;

/// Says to a test that its process finds the library.
const INSIDE: &str = "LSTMC_TEST_CUBLASLT";

/// Runs a test of this file in a process that finds a library of this version. Says whether this is that process.
fn is_inside(test: &str, version: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let here = env::current_exe().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::copy(here.with_file_name("libcublaslt_stub.so"), folder.path().join("libcublasLt.so")).unwrap();
    let (_, module) = module_path!().split_once("::").unwrap();
    let done = Command::new(here)
        .args(["--exact", &format!("{module}::{test}"), "--nocapture"])
        .env(INSIDE, "1")
        .env("STUB_VERSION", version)
        .env("LD_LIBRARY_PATH", folder.path())
        .output()
        .unwrap();
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// A product whose matrices have rows that are longer than what is multiplied, and lie one behind the other.
fn product(form: Form, precision: Precision, [m, n, k]: [usize; 3], accumulate: bool) -> Product {
    let shapes = [
        if form == Form::TN { [k, m] } else { [m, k] },
        if form == Form::NT { [n, k] } else { [k, n] },
        [m, n],
    ];
    let mut offset = 0;
    let [a, b, c] = [(shapes[0], 3), (shapes[1], 1), (shapes[2], 2)].map(|([rows, columns], beyond)| {
        let place = Placed { offset, rows, columns, stride: columns + beyond };
        offset += 4 * rows * place.stride + 4;
        place
    });
    Product { form, precision, m, n, k, a, b, c, accumulate }
}

fn launch(product: Option<Product>) -> Launch {
    Launch { entry: "k".into(), ctas: 1, threads: 256, shared_bytes: 0, time_loop: None, product }
}

/// Small integers, of which all sums are exact.
fn arena(product: &Product) -> Vec<f32> {
    let words = product.c.offset / 4 + product.m * product.c.stride;
    (0..words).map(|word| ((word * 7 + word / 5) % 11) as f32 - 5.0).collect()
}

/// What the product leaves in the arena.
fn expected(product: &Product, mut arena: Vec<f32>) -> Vec<f32> {
    let at = |place: &Placed, row: usize, column: usize| place.offset / 4 + row * place.stride + column;
    for row in 0..product.m {
        for column in 0..product.n {
            let one = |depth: usize| {
                let left = if product.form == Form::TN { [depth, row] } else { [row, depth] };
                let right = if product.form == Form::NT { [column, depth] } else { [depth, column] };
                arena[at(&product.a, left[0], left[1])] * arena[at(&product.b, right[0], right[1])]
            };
            let sum: f32 = (0..product.k).map(one).sum();
            let to = at(&product.c, row, column);
            arena[to] = if product.accumulate { arena[to] + sum } else { sum };
        }
    }
    arena
}

/// How many objects of the library have been made and not destroyed.
fn living() -> isize {
    // SAFETY: the library is that of `tests/cublaslt`, whose function this is.
    unsafe { sys::culib().get::<extern "C" fn() -> isize>(b"stub_living").unwrap()() }
}

#[test]
fn it_multiplies_what_lies_row_after_row() {
    if !is_inside("it_multiplies_what_lies_row_after_row", "120000") {
        return;
    }
    for (number, form) in [Form::NN, Form::NT, Form::TN].into_iter().enumerate() {
        for accumulate in [false, true] {
            let precision = if number == 1 { Precision::Bf16 } else { Precision::Tf32 };
            let product = product(form, precision, [5, 6, 7], accumulate);
            let mut found = arena(&product);
            let expected = expected(&product, found.clone());
            if !accumulate {
                // What is not added to is not read.
                found[product.c.offset / 4] = f32::NAN;
            }
            let address = found.as_mut_ptr().expose_provenance() as u64;
            let products = Products::of(&[launch(None), launch(Some(product))], address);
            assert_eq!(products.count(), 1);
            // SAFETY: the arena is memory of the host, on which this library works.
            let started = [0, 1, 2].map(|index| unsafe { products.start(index, ptr::null_mut()) });
            assert_eq!(started, [false, true, false]);
            assert_eq!(found, expected, "{form:?}, {accumulate}");
            assert!(living() > 0);
            drop(products);
            assert_eq!(living(), 0);
        }
    }
}

#[test]
fn what_it_refuses_is_left_to_kernels() {
    if !is_inside("what_it_refuses_is_left_to_kernels", "120000") {
        return;
    }
    let launches = [
        launch(Some(product(Form::NN, Precision::Tf32, [5, 6, cublaslt_stub::UNKNOWN as usize], false))),
        launch(Some(product(Form::NN, Precision::F32, [5, 6, 7], false))),
        launch(Some(product(Form::NN, Precision::Tf32, [5, 6, 7], false))),
    ];
    let products = Products::of(&launches, 0);
    let taken: Vec<bool> = products.each.iter().map(Option::is_some).collect();
    assert_eq!(taken, [false, false, true]);
    drop(products);
    assert_eq!(living(), 0);
}

#[test]
fn an_old_one_is_not_used() {
    if !is_inside("an_old_one_is_not_used", "111103") {
        return;
    }
    // SAFETY: it opens and closes a library.
    assert!(unsafe { sys::is_culib_present() });
    assert!(
        Products::of(&[launch(Some(product(Form::NN, Precision::Tf32, [5, 6, 7], false)))], 0)
            .library
            .is_none()
    );
}

#[test]
fn alignments_are_those_of_addresses() {
    assert_eq!([0, 1, 4, 48, 256, 512].map(alignment), [256, 1, 4, 16, 256, 256]);
}
