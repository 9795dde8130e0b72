//! Lines of files and of standard input, read ahead by a thread of its own: a reader of an endless input gets what there is.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, stdin};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use lstmc_runtime::Error;
use lstmc_runtime::monitor::Monitor;

/// Bytes of text that are read at once, and that [`Lines::next`] returns, unless one line has more.
const READ: usize = 64 << 10;
const TAKEN: usize = 1 << 20;

/// What is read ahead: so many times [`READ`].
const AHEAD: usize = 16;

/// How often a reader that waits looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(100);

/// Where a text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Standard,
    File(PathBuf),
}

impl Source {
    /// The files that a command names, `-` among them, or standard input.
    pub fn of(files: &[PathBuf]) -> Vec<Self> {
        if files.is_empty() {
            return vec![Self::Standard];
        }
        let source = |path: &PathBuf| match path.to_str() {
            Some("-") => Self::Standard,
            _ => Self::File(path.clone()),
        };
        files.iter().map(source).collect()
    }

    fn open(&self) -> Result<Box<dyn Read>> {
        match self {
            Self::Standard => Ok(Box::new(stdin())),
            Self::File(path) => match File::open(path) {
                Ok(file) => Ok(Box::new(file)),
                Err(cause) => Err(self.unreadable(cause)),
            },
        }
    }

    fn unreadable(&self, cause: io::Error) -> anyhow::Error {
        match self {
            Self::Standard => anyhow!("cannot read standard input: {cause}"),
            Self::File(path) if cause.kind() == ErrorKind::NotFound => {
                Error::MissingFile { what: "the text", path: path.clone() }.into()
            }
            Self::File(path) => Error::Read { path: path.clone(), cause }.into(),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Standard => f.write_str("standard input"),
            Self::File(path) => write!(f, "{path:?}"),
        }
    }
}

/// A line without its end, or a whole text.
#[derive(Clone, Debug)]
pub struct Line {
    pub source: Arc<Source>,
    /// Counted from 1.
    pub number: usize,
    pub text: String,
}

impl Line {
    /// The file, if it is of one.
    pub fn file(&self) -> Option<&Path> {
        match self.source.as_ref() {
            Source::Standard => None,
            Source::File(path) => Some(path),
        }
    }
}

/// What a text is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Lines,
    Whole,
}

/// Lines as they come.
pub struct Lines {
    receiver: Receiver<Result<Vec<Line>>>,
    failed: Option<anyhow::Error>,
}

impl Lines {
    /// The lines of texts, one after the other.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn of(sources: Vec<Source>, cut: Cut) -> Result<Self> {
        let (sender, receiver) = sync_channel(AHEAD);
        // It ends when all is read, or when nothing is wanted any more.
        let reader = thread::Builder::new().spawn(move || {
            let read = sources.into_iter().try_for_each(|source| read(&Arc::new(source), cut, &sender));
            if let Err(Some(error)) = read {
                drop(sender.send(Err(error)));
            }
        });
        reader.context("cannot start a thread that reads")?;
        Ok(Self { receiver, failed: None })
    }

    /// The lines that are there, as many as are used at once; waits for the first. `None` at the end, or when the monitor says
    /// stop.
    ///
    /// # Errors
    /// A text that cannot be read, after all that was there before it.
    pub fn next(&mut self, monitor: &Monitor) -> Result<Option<Vec<Line>>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut lines = loop {
            match self.receiver.recv_timeout(LOOK) {
                Ok(lines) => break lines?,
                Err(RecvTimeoutError::Timeout) if !monitor.stopped() => {}
                Err(_) => return Ok(None),
            }
        };
        let mut bytes: usize = lines.iter().map(|line| line.text.len()).sum();
        while bytes < TAKEN {
            match self.receiver.try_recv() {
                Ok(Ok(more)) => {
                    bytes += more.iter().map(|line| line.text.len()).sum::<usize>();
                    lines.extend(more);
                }
                Ok(Err(error)) => {
                    self.failed = Some(error);
                    break;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        Ok(Some(lines))
    }
}

/// Reads a text and sends its lines. `None` is the error of a reader that has gone.
fn read(
    source: &Arc<Source>,
    cut: Cut,
    sender: &SyncSender<Result<Vec<Line>>>,
) -> Result<(), Option<anyhow::Error>> {
    let unreadable = |cause| Some(source.unreadable(cause));
    let mut input = BufReader::with_capacity(READ, source.open().map_err(Some)?);
    let (mut lines, mut bytes, mut number, mut offset) = (Vec::new(), 0, 1, 0);
    loop {
        let mut read = Vec::new();
        let count = match cut {
            Cut::Lines => input.read_until(b'\n', &mut read),
            Cut::Whole => input.read_to_end(&mut read),
        };
        let count = count.map_err(unreadable)?;
        if count > 0 {
            let text = decoded(source, read, number, offset);
            match text.map(|text| cut_at_ends(text, cut)) {
                Ok(texts) => {
                    for text in texts {
                        lines.push(Line { source: source.clone(), number, text });
                        number += 1;
                    }
                }
                Err(error) => {
                    // What was read before it comes first.
                    sender.send(Ok(std::mem::take(&mut lines))).map_err(|_| None)?;
                    return Err(Some(error));
                }
            }
            (bytes, offset) = (bytes + count, offset + count);
        }
        // Where nothing more is there yet, what there is does not wait for it.
        let waits = input.buffer().is_empty();
        if !lines.is_empty() && (count == 0 || waits || bytes >= READ) {
            bytes = 0;
            sender.send(Ok(std::mem::take(&mut lines))).map_err(|_| None)?;
        }
        if count == 0 {
            return Ok(());
        }
    }
}

fn decoded(source: &Source, bytes: Vec<u8>, number: usize, offset: usize) -> Result<String> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = number + error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count();
        let byte = offset + valid;
        anyhow!(
            "{source} is not UTF-8 text: byte {byte} (line {line}) is not part of a character; convert it to UTF-8"
        )
    })?;
    // The mark that some editors put before a text.
    match text.strip_prefix('\u{feff}') {
        Some(rest) if offset == 0 => Ok(rest.to_owned()),
        _ => Ok(text),
    }
}

/// A line ends with LF, CR LF or CR.
fn cut_at_ends(text: String, cut: Cut) -> Vec<String> {
    if cut == Cut::Whole {
        return vec![text];
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    line.split('\r').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn all(lines: &mut Lines) -> (Vec<(usize, String)>, Option<String>) {
        let (monitor, mut found) = (Monitor::default(), Vec::new());
        loop {
            match lines.next(&monitor) {
                Ok(None) => return (found, None),
                Ok(Some(lines)) => found.extend(lines.into_iter().map(|line| (line.number, line.text))),
                Err(error) => return (found, Some(error.to_string())),
            }
        }
    }

    fn of(bytes: &[u8], cut: Cut) -> (Vec<(usize, String)>, Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        fs::write(&path, bytes).unwrap();
        all(&mut Lines::of(vec![Source::File(path)], cut).unwrap())
    }

    fn numbered(lines: &[&str]) -> Vec<(usize, String)> {
        lines.iter().enumerate().map(|(at, line)| (at + 1, (*line).to_owned())).collect()
    }

    #[test]
    fn lines_end_as_they_do_everywhere() {
        let expected = numbered(&["a b", "", "c", "d", "e"]);
        for text in
            ["\u{feff}a b\n\nc\nd\ne", "a b\r\n\r\nc\r\nd\r\ne\r\n", "a b\r\rc\rd\re\r", "a b\n\nc\rd\re"]
        {
            assert_eq!(of(text.as_bytes(), Cut::Lines), (expected.clone(), None), "{text:?}");
        }
        assert_eq!(of(b"", Cut::Lines), (vec![], None));
        assert_eq!(of(b"\n", Cut::Lines), (numbered(&[""]), None));
        assert_eq!(of(b"a\nb\n", Cut::Whole), (numbered(&["a\nb\n"]), None));
    }

    #[test]
    fn many_lines_keep_their_order_and_numbers() {
        let lines: Vec<String> = (0..100_000).map(|at| format!("line {at}")).collect();
        let (found, error) = of(lines.join("\n").as_bytes(), Cut::Lines);
        assert_eq!((found.len(), error), (lines.len(), None));
        assert!(found.iter().zip(lines).enumerate().all(|(at, (found, line))| *found == (at + 1, line)));
    }

    #[test]
    fn what_is_no_text_comes_after_the_lines_before_it() {
        let (found, error) = of(b"a\nb\nc\xff\nd\n", Cut::Lines);
        assert_eq!(found, numbered(&["a", "b"]));
        assert!(error.unwrap().contains("byte 5 (line 3)"));
        let (_, error) = of(b"a\nb\nc\xff\nd\n", Cut::Whole);
        assert!(error.unwrap().contains("byte 5 (line 3)"));
        let (_, error) = all(&mut Lines::of(vec![Source::File("nowhere.txt".into())], Cut::Lines).unwrap());
        assert_eq!(error.unwrap(), "cannot find the text \"nowhere.txt\"");
    }

    #[test]
    fn a_dash_is_standard_input() {
        assert_eq!(Source::of(&[]), [Source::Standard]);
        assert_eq!(Source::of(&["-".into(), "a".into()]), [Source::Standard, Source::File("a".into())]);
    }
}
