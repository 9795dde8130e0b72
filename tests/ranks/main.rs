//! Trainings in several processes, as people start them: `cargo test --features mpi --test ranks`. Skipped aloud where there is no
//! `mpirun`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What a rank that hangs is given.
const LONG: Duration = Duration::from_secs(240);

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// A folder with a model and its text; none where there is no `mpirun`.
    fn new() -> Option<Self> {
        if let Err(error) = Command::new("mpirun").arg("--version").output() {
            eprintln!(
                "\n*** SKIPPED: several processes are not tested, since mpirun cannot be started: {error}\n"
            );
            return None;
        }
        let place = Self { dir: tempfile::tempdir().unwrap() };
        let words = ["a", "fox", "saw", "the", "crow", "and", "cheese", "in", "tree", "high"];
        let mut state = 7u32;
        let mut text = String::new();
        for _ in 0..4000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text += words[(state >> 24) as usize % words.len()];
            text += if state.is_multiple_of(9) { "\n" } else { " " };
        }
        fs::write(place.path("train.txt"), &text).unwrap();
        fs::write(place.path("valid.txt"), &text[..2000]).unwrap();
        place.model("fox.lstm", "rate: 1", 4);
        Some(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn model(&self, name: &str, rate: &str, shards: usize) {
        let text = format!(
            "data {{
    train: \"train.txt\"
    valid: \"valid.txt\"
    tokens: words(newline: \"<eos>\")
    batches: stream(rows: 8, steps: 10)
}}

model {{
    tokens -> embedding(16) -> dropout(0.3) -> lstm(24) -> dense(vocab) -> softmax
}}

train {{
    loss: cross_entropy
    optimizer: sgd({rate})
    clip: norm(5)
    shards: {shards}
    epochs: 4
}}
"
        );
        fs::write(self.path(name), text).unwrap();
    }

    /// `lstmc` with these words, in so many ranks, or without `mpirun`.
    fn command(&self, ranks: Option<usize>, words: &[&str]) -> Command {
        let own = env!("CARGO_BIN_EXE_lstmc");
        let mut command = match ranks {
            None => Command::new(own),
            Some(ranks) => {
                let mut command = Command::new("mpirun");
                command.args(["-n", &ranks.to_string(), own]);
                command
            }
        };
        command.args(words).args(["--threads", "1"]).current_dir(self.dir.path());
        allow(&mut command);
        command
    }

    fn run(&self, ranks: Option<usize>, words: &[&str]) -> Output {
        self.command(ranks, words).output().unwrap()
    }

    fn trains(&self, ranks: Option<usize>, words: &[&str]) -> String {
        let output = self.run(ranks, words);
        let (out, error) = texts(&output);
        assert!(output.status.success(), "{out}{error}");
        out
    }

    /// The tensors of a run's newest checkpoint, by their bytes.
    fn tensors(&self, run: &str) -> Vec<(String, Vec<u8>)> {
        let latest = fs::read_to_string(self.path(run).join("latest")).unwrap();
        let file = self.path(run).join("checkpoints").join(format!("{}.safetensors", latest.trim()));
        let bytes = fs::read(file).unwrap();
        let all = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut all: Vec<_> =
            all.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect();
        all.sort();
        all
    }
}

/// More ranks than cores, and tests in a container: Open MPI wants to be told that this is meant.
fn allow(command: &mut Command) {
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.env("OMPI_MCA_rmaps_base_oversubscribe", "1");
}

fn texts(output: &Output) -> (String, String) {
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// The lines that `lstmc` itself has for people.
fn errors(output: &Output) -> Vec<String> {
    let (_, error) = texts(output);
    error.lines().filter(|line| line.starts_with("error")).map(str::to_owned).collect()
}

#[test]
fn any_number_of_ranks_leaves_the_same_bits_and_one_of_them_speaks() {
    let Some(place) = Place::new() else { return };
    place.trains(None, &["train", "fox.lstm", "--out", "alone"]);
    let alone = place.tensors("alone");
    for ranks in [1, 2, 4] {
        let run = format!("ranks-{ranks}");
        let out = place.trains(Some(ranks), &["train", "fox.lstm", "--out", &run]);
        assert!(place.tensors(&run) == alone, "{ranks} ranks");
        assert_eq!(out.lines().filter(|line| line.starts_with("epoch 1/")).count(), 1, "{out}");
    }
    let words = |line: &str| line.split(',').next().map(str::to_owned);
    let metrics = |run: &str| fs::read_to_string(place.path(run).join("metrics.jsonl")).unwrap();
    assert_eq!(metrics("alone").lines().count(), metrics("ranks-4").lines().count());
    assert_eq!(
        metrics("alone").lines().next().and_then(words),
        metrics("ranks-4").lines().next().and_then(words)
    );
}

#[test]
fn a_run_goes_on_in_another_number_of_ranks() {
    let Some(place) = Place::new() else { return };
    place.trains(None, &["train", "fox.lstm", "--out", "alone"]);
    place.trains(Some(4), &["train", "fox.lstm", "--out", "run", "--steps", "21"]);
    place.trains(Some(2), &["train", "--resume", "run", "--steps", "70"]);
    place.trains(None, &["train", "--resume", "run", "--steps", "75"]);
    place.trains(Some(4), &["train", "--resume", "run"]);
    assert!(place.tensors("run") == place.tensors("alone"));
}

#[test]
fn rounded_gradients_do_not_depend_on_the_number_of_ranks() {
    let Some(place) = Place::new() else { return };
    let of = |ranks: Option<usize>, run: &str, gradients: &str| {
        let words = ["train", "fox.lstm", "--out", run, "--gradients", gradients, "--steps", "30"];
        place.trains(ranks, &words);
        place.tensors(run)
    };
    let alone = of(None, "alone", "bf16");
    assert!(of(Some(2), "two", "bf16") == alone);
    assert!(of(Some(4), "four", "bf16") == alone);
    assert!(of(None, "whole", "f32") != alone, "they are rounded");
}

/// One error, and its text.
#[track_caller]
fn one_error(output: &Output) -> String {
    assert!(!output.status.success());
    let errors = errors(output);
    assert_eq!(errors.len(), 1, "{:?}", texts(output));
    errors[0].clone()
}

#[test]
fn ranks_that_differ_are_named_before_anything_is_made() {
    let Some(place) = Place::new() else { return };
    place.model("other.lstm", "rate: 0.5", 4);
    let own = env!("CARGO_BIN_EXE_lstmc");
    let two = |first: &[&str], second: &[&str]| {
        let mut command = Command::new("mpirun");
        command.args(["-n", "1", own]).args(first).args([":", "-n", "1", own]).args(second);
        allow(&mut command);
        command.current_dir(place.dir.path()).output().unwrap()
    };
    let train = ["train", "fox.lstm", "--out", "run"];
    let error = one_error(&two(&train, &["train", "other.lstm", "--out", "run"]));
    assert!(
        error.starts_with("error: rank 1 has the model ") && error.contains(", and rank 0 has "),
        "{error}"
    );
    let error = one_error(&two(&train, &["train", "fox.lstm", "--out", "run", "--seed", "3"]));
    assert_eq!(error, "error: rank 1 has seed 3, and rank 0 has 0");
    let error = one_error(&two(&train, &["train", "gone.lstm"]));
    assert!(error.starts_with("error: rank 1: cannot find the model file"), "{error}");
    assert!(!place.path("run").exists(), "nothing was made");
}

#[test]
fn what_is_wrong_with_all_of_them_is_said_once() {
    let Some(place) = Place::new() else { return };
    let error = one_error(&place.run(Some(3), &["train", "fox.lstm"]));
    assert_eq!(error, "error: 3 ranks cannot have equally many of a batch's 4 shards: start 1, 2 or 4");
    fs::write(place.path("broken.lstm"), "data {").unwrap();
    let output = place.run(Some(2), &["train", "broken.lstm"]);
    assert_eq!(texts(&output).1.matches("error[E").count(), 1, "{:?}", texts(&output));
    place.model("wild.lstm", "rate: 1e30", 4);
    let wild = fs::read_to_string(place.path("wild.lstm")).unwrap().replace("    clip: norm(5)\n", "");
    fs::write(place.path("wild.lstm"), wild).unwrap();
    let error = one_error(&place.run(Some(4), &["train", "wild.lstm"]));
    assert!(error.starts_with("error: training has diverged"), "{error}");
}

/// A training that goes on until it is ended.
struct Long {
    child: Child,
    ranks: Vec<Pid>,
}

impl Long {
    fn begin(place: &Place, ranks: usize, words: &[&str]) -> Self {
        let words = [&["train", "fox.lstm", "--out", "run", "--epochs", "1000000"], words].concat();
        let mut command = place.command(Some(ranks), &words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let start = Instant::now();
        // Until it has learned something that is saved.
        while !place.path("run/checkpoints/epoch-01.safetensors").exists()
            && !place.path("run/checkpoints/epoch-02.safetensors").exists()
        {
            if start.elapsed() > LONG || child.try_wait().unwrap().is_some() {
                let _ = child.kill();
                panic!("it does not begin: {:?}", texts(&child.wait_with_output().unwrap()));
            }
            sleep(Duration::from_millis(20));
        }
        let own = ranks_of(child.id());
        assert_eq!(own.len(), ranks);
        Self { child, ranks: own }
    }

    fn ends(self) -> (Output, Duration) {
        let begin = Instant::now();
        (self.child.wait_with_output().unwrap(), begin.elapsed())
    }
}

/// The processes that an `mpirun` has started, in the order of their numbers.
fn ranks_of(parent: u32) -> Vec<Pid> {
    let is_child = |entry: &Path| {
        let stat = fs::read_to_string(entry.join("stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        let ppid: u32 = rest.split_whitespace().nth(1)?.parse().ok()?;
        (ppid == parent).then(|| entry.file_name()?.to_str()?.parse().ok()).flatten()
    };
    let mut found: Vec<i32> =
        fs::read_dir("/proc").unwrap().filter_map(|entry| is_child(&entry.ok()?.path())).collect();
    found.sort_unstable();
    found.into_iter().map(Pid::from_raw).collect()
}

#[test]
fn a_rank_that_dies_ends_all_and_the_run_goes_on_with_fewer() {
    let Some(place) = Place::new() else { return };
    let long = Long::begin(&place, 4, &[]);
    kill(long.ranks[2], Signal::SIGKILL).unwrap();
    let (output, _) = long.ends();
    assert!(!output.status.success());
    let out = place.trains(Some(2), &["train", "--resume", "run", "--epochs", "3"]);
    assert!(out.contains("finished") || out.contains("at its end"), "{out}");
}

#[test]
fn a_rank_that_hangs_ends_all_at_the_deadline() {
    let Some(place) = Place::new() else { return };
    let long = Long::begin(&place, 2, &["--deadline", "2"]);
    kill(long.ranks[1], Signal::SIGSTOP).unwrap();
    let (output, _) = long.ends();
    let error = one_error(&output);
    assert!(error.starts_with("error: rank 1 did not answer for 2 s"), "{error}");
    place.trains(None, &["train", "--resume", "run", "--epochs", "3"]);
}

#[test]
fn ctrl_c_saves_once() {
    let Some(place) = Place::new() else { return };
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let _ = fs::remove_dir_all(place.path("run"));
        let long = Long::begin(&place, 4, &[]);
        kill(Pid::from_raw(long.child.id() as i32), signal).unwrap();
        let (output, _) = long.ends();
        let (out, _) = texts(&output);
        assert_eq!(out.matches("stopped").count(), 1, "{:?}", texts(&output));
        assert!(errors(&output).is_empty(), "{:?}", texts(&output));
        let log = fs::read_to_string(place.path("run/log.txt")).unwrap();
        assert!(log.contains("stopped; go on with --resume"), "{log}");
        place.trains(Some(2), &["train", "--resume", "run", "--epochs", "1"]);
    }
}
