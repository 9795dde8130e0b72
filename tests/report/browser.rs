//! Chromium without a window, spoken to in its own protocol: JSON messages through two pipes, each with a zero byte at its end.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// What it may be called.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long it may take to end.
const CLOSING: Duration = Duration::from_secs(10);

pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    /// The page that it shows.
    session: String,
    /// What it has told without being asked.
    events: Vec<Value>,
    asked: u64,
    _profile: TempDir,
}

/// The browser, where it is. `.ci/run` names it in `LSTMC_CHROMIUM`: then it must be there.
pub fn find() -> Option<String> {
    let named = std::env::var("LSTMC_CHROMIUM").ok();
    let starts =
        |name: &str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    if let Some(name) = named {
        assert!(starts(&name), "{name}, which LSTMC_CHROMIUM names, does not start");
        return Some(name);
    }
    let found = NAMES.into_iter().find(|name| starts(name));
    if found.is_none() || cfg!(not(unix)) {
        eprintln!("skipped: there is no Chromium here; LSTMC_CHROMIUM may name one");
    }
    found.filter(|_| cfg!(unix)).map(str::to_owned)
}

impl Browser {
    pub fn start(program: &str) -> Self {
        let profile = tempfile::tempdir().expect("a temporary folder");
        // It reads from descriptor 3 and writes to 4, which a shell makes of the two that a process has here.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>&2", program]);
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--remote-debugging-pipe",
        ]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("a shell");
        let (to, out) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let (send, from) = channel();
        thread::spawn(move || {
            for message in BufReader::new(out).split(0) {
                let message = message.expect("a message of the browser");
                let sent = send.send(serde_json::from_slice(&message).expect("a message is JSON"));
                if sent.is_err() {
                    return;
                }
            }
        });
        let (session, events) = (String::new(), vec![]);
        let mut browser = Self { child, to, from, session, events, asked: 0, _profile: profile };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session =
            browser.ask("Target.attachToTarget", attach)["sessionId"].as_str().expect("a session").into();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Asks for something, and waits for the answer.
    #[track_caller]
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        let bytes = [message.to_string().as_bytes(), &[0]].concat();
        self.to.write_all(&bytes).and_then(|()| self.to.flush()).expect("the browser listens");
        loop {
            let answer = self.from.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{method}: {error}"));
            if answer["id"] == json!(self.asked) {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    /// Loads a page, and waits until it is there.
    pub fn open(&mut self, url: &str) {
        self.events.clear();
        let answer = self.ask("Page.navigate", json!({ "url": url }));
        assert!(answer["errorText"].is_null(), "{answer}");
        let begun = Instant::now();
        while self.told("Page.loadEventFired").next().is_none() {
            assert!(begun.elapsed() < PATIENCE, "{url} does not load");
            let event = self.from.recv_timeout(PATIENCE).expect("the page loads");
            self.events.push(event);
        }
    }

    /// What it has told of one kind since the page was opened.
    pub fn told<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["method"] == kind).map(|event| &event["params"])
    }

    /// The value of an expression of the page.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let answer = self.ask("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The whole page as a PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let answer =
            self.ask("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }));
        base64(answer["data"].as_str().expect("a picture"))
    }
}

impl Drop for Browser {
    /// Its processes are to be gone before the folder is that they write in.
    fn drop(&mut self) {
        // It may be gone already.
        let _ =
            self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0").and_then(|()| self.to.flush());
        let begun = Instant::now();
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && begun.elapsed() < CLOSING {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other} is no digit of base 64"),
    };
    let digits: Vec<u32> = text.trim_end_matches('=').bytes().map(|c| u32::from(digit(c))).collect();
    let three = |four: &[u32]| {
        let whole = four.iter().fold(0, |sum, digit| sum << 6 | digit) << (6 * (4 - four.len()));
        [16, 8, 0].into_iter().take(four.len() - 1).map(move |shift| (whole >> shift) as u8)
    };
    digits.chunks(4).flat_map(three).collect()
}
