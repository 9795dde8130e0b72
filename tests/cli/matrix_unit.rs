//! What a processor with a matrix unit computes, on the software model of one: on any machine, by the whole command.

use crate::support::{Done, Folder, Model, Run, TINY, done, number};

/// [`TINY`] with enough rows for products in fewer bits.
const WIDE: Model = Model { batches: "stream(rows: 6, steps: 5)", length: "epochs: 20", ..TINY };

/// Runs the command with this matrix unit.
fn run(folder: &Folder, unit: &str, args: &[&str]) -> Done {
    done(folder.command(args).env("LSTMC_MATRIX_UNIT", unit).output().expect("the command starts"))
}

#[track_caller]
fn ok(folder: &Folder, unit: &str, args: &[&str]) -> String {
    let done = run(folder, unit, args);
    assert_eq!(done.code, Some(0), "{args:?}: {}\n{}", done.err, done.out);
    done.out
}

fn train(folder: &Folder, unit: &str, threads: &str, precision: &'static str) -> Run {
    folder.write("tiny.lstm", Model { more: precision, ..WIDE }.text());
    let out = format!("{} on {threads}", precision.replace(": ", "-"));
    ok(folder, unit, &["train", "tiny.lstm", "--threads", threads, "--out", &out]);
    folder.trained(&out)
}

fn losses(run: &Run) -> Vec<f64> {
    run.metrics().iter().map(|line| number(line, "valid_loss")).collect()
}

/// In every precision the losses are as near to those in f32 as its products are, and the bits the same on any number of threads.
#[test]
fn every_precision_learns_on_tiles() {
    let folder = Folder::new();
    let wide = train(&folder, "model", "1", "precision: f32");
    let (wide, tensors) = (losses(&wide), wide.tensors());
    // What a product is off by, times a hundred: weights are off as much as gradients are, and their losses by a few times that.
    for (precision, apart) in [
        ("precision: bf16", 100.0 * f64::powi(2.0, -8)),
        ("precision: bf16x3", 100.0 * f64::powi(2.0, -16)),
        ("precision: bf16x6", 100.0 * f64::powi(2.0, -23)),
    ] {
        let run = train(&folder, "model", "1", precision);
        let first = losses(&run)[0];
        assert!((first / wide[0] - 1.0).abs() < apart, "{precision}: {first} {}", wide[0]);
        assert!(run.tensors() != tensors, "{precision} is f32");
        let one = (run.tensors(), run.timeless());
        let run = train(&folder, "model", "3", precision);
        assert!((run.tensors(), run.timeless()) == one, "{precision}: 3 threads");
    }
}

/// Without tiles there are no parts.
#[test]
fn without_a_unit_parts_are_f32() {
    let folder = Folder::new();
    let wide = train(&folder, "none", "1", "precision: f32").tensors();
    for precision in ["precision: bf16x3", "precision: bf16x6"] {
        assert!(train(&folder, "none", "1", precision).tensors() == wide, "{precision}");
    }
}

/// Rounded weights by all parts of the other side are the products of `f32` by them.
#[test]
fn rounded_weights_score_on_tiles_as_without() {
    let folder = Folder::new();
    train(&folder, "none", "1", "precision: f32");
    let losses = |unit: &str| {
        let out = ok(&folder, unit, &["eval", "precision-f32 on 1", "--weights", "bf16,int8"]);
        let rows = out.lines().filter(|line| line.starts_with("bf16") || line.starts_with("int8"));
        let loss = |row: &str| row.split_whitespace().nth(1).and_then(|loss| loss.parse::<f64>().ok());
        rows.map(|row| loss(row).expect("a loss")).collect::<Vec<_>>()
    };
    let (tiles, plain) = (losses("model"), losses("none"));
    assert_eq!((tiles.len(), plain.len()), (2, 2));
    for (tiles, plain) in tiles.into_iter().zip(plain) {
        // Both round sums of f32, in another order, and four digits are shown.
        assert!((tiles - plain).abs() < 1.5e-4, "{tiles} {plain}");
    }
}

#[test]
fn the_unit_is_named() {
    let folder = Folder::new();
    folder.write("tiny.lstm", Model { more: "precision: bf16x6", ..WIDE }.text());
    let args = ["profile", "tiny.lstm", "--steps", "3"];
    let (tiles, none) = (ok(&folder, "model", &args), ok(&folder, "none", &args));
    assert!(tiles.contains("a model of AMX") && !tiles.contains("is f32 here"), "{tiles}");
    // Six of the model's products are slower than one of f32.
    assert!(tiles.contains("precision: bf16x6 gains nothing here"), "{tiles}");
    assert!(!none.contains("model of AMX") && none.contains("bf16x6 is f32 here"), "{none}");
    let wrong = run(&folder, "amx", &args);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("LSTMC_MATRIX_UNIT is `model` or `none`"), "{}", wrong.err);
}
