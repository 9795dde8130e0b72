//! The memory that `lstmc train` says it needs, beside the most that its process really had.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lstmc_compiler::model::{Held, Length, Model};

use crate::{Case, compile};

/// How often the process is looked at; it lives much longer, and its high-water mark never falls.
const LOOK: Duration = Duration::from_millis(2);

/// Prints one run's figures.
///
/// # Errors
/// A model that does not compile or train; a temporary folder that cannot be written.
pub fn report(cases: &[&Case]) -> Result<()> {
    println!("memory: what `lstmc train` says it needs, beside the most resident memory of its process");
    println!("{:12} {:>14} {:>12} {:>6}", "", "predicted, MB", "resident, MB", "ratio");
    for case in cases {
        let model = compile::front_end(&compile::source(case.model)?, case.vocabulary)?;
        let (predicted, resident) = run(case, &model)?;
        let beside = match resident {
            Some(bytes) => format!("{:12.1} {:6.3}", 1e-6 * bytes as f64, bytes as f64 / predicted),
            None => format!("{:>12}", "(the system does not say)"),
        };
        println!("{:12} {:14.1} {beside}", case.model, 1e-6 * predicted);
    }
    Ok(())
}

/// Trains on a made-up text of as many words as the vocabulary has, long enough that evaluation runs too.
fn run(case: &Case, model: &Model) -> Result<(f64, Option<u64>)> {
    let folder = tempfile::tempdir()?;
    let length = match model.train.length {
        Length::Epochs(_) => "--epochs=1".to_owned(),
        Length::Iterations { report_every, .. } => format!("--steps={report_every}"),
    };
    write_texts(folder.path(), case, model)?;
    let log = fs::File::create(folder.path().join("log"))?;
    let mut child = Command::new(env!("CARGO_BIN_EXE_lstmc"))
        .arg("train")
        .arg(compile::folder().join(format!("{}.lstm", case.model)))
        .arg("--data")
        .arg(folder.path())
        .arg("--out")
        .arg(folder.path().join("run"))
        .args([length.as_str(), "--json"])
        .stdout(fs::File::create(folder.path().join("out"))?)
        .stderr(log)
        .spawn()
        .context("cannot start lstmc")?;
    let peak = watch(&mut child)?;
    let status = child.wait()?;
    ensure!(status.success(), "lstmc train: {}", fs::read_to_string(folder.path().join("log"))?);
    let out = fs::read_to_string(folder.path().join("out"))?;
    let start: serde_json::Value = serde_json::from_str(out.lines().next().context("lstmc says nothing")?)?;
    let predicted = start["memory_bytes"].as_f64().context("lstmc does not say what it needs")?;
    Ok((predicted, peak))
}

/// Every word of the vocabulary once for training, and two batches of them for validation.
fn write_texts(folder: &Path, case: &Case, model: &Model) -> Result<()> {
    let newline = usize::from(model.data.tokens.newline.is_some());
    let words: Vec<String> = (newline..case.vocabulary).map(|word| format!("w{word}")).collect();
    let batch = model.data.batches.rows * (model.data.batches.steps + 1);
    fs::write(folder.join(&model.data.train[0].path), words.join(" ") + "\n")?;
    if let Some(Held::Files(files)) = &model.data.valid {
        fs::write(folder.join(&files[0].path), words[..words.len().min(2 * batch)].join(" ") + "\n")?;
    }
    Ok(())
}

/// The last high-water mark of resident memory that the process showed before it ended, in bytes.
fn watch(child: &mut Child) -> Result<Option<u64>> {
    let path = format!("/proc/{}/status", child.id());
    let mut peak = None;
    while child.try_wait()?.is_none() {
        peak = peak.max(fs::read_to_string(&path).ok().and_then(|status| high_water(&status)));
        sleep(LOOK);
    }
    Ok(peak)
}

fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}
