//! The page in a browser.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::browser::{self, Browser};
use crate::folder::{Folder, trained};
use crate::strangers::strange;

/// A picture's size, and how many different colours it has.
fn looked_at(png: &[u8]) -> (u32, u32, usize) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a picture of some size")];
    let info = reader.next_frame(&mut pixels).expect("a picture");
    let bytes = info.color_type.samples();
    let colours: std::collections::HashSet<&[u8]> =
        pixels[..info.buffer_size()].chunks_exact(bytes).collect();
    (info.width, info.height, colours.len())
}

/// A page as a browser shows it: as wide as the window, in light and dark, without network, errors or scripts.
fn seen(browser: &mut Browser, folder: &Folder, name: &str) {
    let url = format!("file://{}", folder.path("report.html").display());
    browser.ask(
        "Network.emulateNetworkConditions",
        json!({ "offline": true, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0 }),
    );
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")] {
        let what = format!("{name}-{width}-{scheme}");
        let metrics = json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600 });
        browser.ask("Emulation.setDeviceMetricsOverride", metrics);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        browser.ask("Emulation.setEmulatedMedia", media);
        let mut pictures = vec![];
        for scripts in [false, true] {
            browser.ask("Emulation.setScriptExecutionDisabled", json!({ "value": !scripts }));
            browser.open(&url);
            pictures.push(browser.screenshot());
        }
        assert!(pictures[0] == pictures[1], "{what}: without scripts it looks the same");
        if let Ok(folder) = std::env::var("LSTMC_SCREENSHOTS") {
            fs::write(PathBuf::from(folder).join(format!("{what}.png")), &pictures[1]).expect("a screenshot");
        }
        let (wide, high, colours) = looked_at(&pictures[1]);
        assert!(
            high > 2000 && (width - 20..=width).contains(&wide) && colours > 50,
            "{what}: {wide} x {high}, {colours} colours"
        );
        let size = browser.value("[document.documentElement.scrollWidth, innerWidth]");
        assert!(size[0].as_u64() <= size[1].as_u64(), "{what} is wider than the window: {size}");
        let ground = browser.value("getComputedStyle(document.body).backgroundColor");
        assert_eq!(
            ground,
            if scheme == "light" { "rgb(255, 255, 255)" } else { "rgb(20, 24, 28)" },
            "{what}"
        );
        hover(browser, &what);
        for kind in ["Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"] {
            let told: Vec<&Value> = browser.told(kind).collect();
            assert!(told.is_empty(), "{what}: {told:?}");
        }
        let asked: Vec<&Value> =
            browser.told("Network.requestWillBeSent").map(|event| &event["request"]["url"]).collect();
        assert!(
            asked.iter().all(|asked| asked.as_str().is_some_and(|asked| asked.starts_with("file://"))),
            "{what}: {asked:?}"
        );
        assert_eq!(asked.len(), 1, "{what}: {asked:?}");
    }
}

/// The pointer over a chart shows its numbers.
fn hover(browser: &mut Browser, what: &str) {
    let first = "document.querySelector('figure svg')";
    browser.value(&format!("{first}.scrollIntoView({{ block: 'center' }})"));
    let at = browser.value(&format!(
        "(box => [box.left + 0.9 * box.width, box.top + box.height / 2])({first}.getBoundingClientRect())"
    ));
    browser.ask("Input.dispatchMouseEvent", json!({ "type": "mouseMoved", "x": at[0], "y": at[1] }));
    let shown =
        browser.value("(tip => tip.hidden ? '' : tip.textContent)(document.querySelector('figure output'))");
    let shown = shown.as_str().expect("a text");
    assert!(
        shown.contains("epoch ") && shown.contains("training ") && shown.contains("validation "),
        "{what}: {shown:?}"
    );
}

#[test]
fn chromium_shows_it() {
    let Some(program) = browser::find() else { return };
    let mut browser = Browser::start(&program);
    let folder = trained();
    folder.report(&["run"]);
    seen(&mut browser, &folder, "words");
    let folder = strange();
    folder.train("words.lstm", "run", &["--epochs", "3"]);
    folder.report(&["<b>run&\u{202e}", "run"]);
    seen(&mut browser, &folder, "strange");
}
