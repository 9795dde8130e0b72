//! Words and names of strangers do nothing.

use crate::folder::{Folder, WORDS};

/// Words and names that a browser or a reader might take for something else.
pub const STRANGE: [&str; 8] = [
    "<script>alert(1)</script>",
    "</style>",
    "&amp;",
    "\"onload=alert(1)",
    "'",
    "a\u{202e}b",
    "c\u{1b}[2Jd",
    "<!--",
];

pub fn strange() -> Folder {
    let folder = Folder::new();
    let sentence = format!("{}\n", STRANGE.join(" "));
    folder.write("<img src=x>&.txt", &sentence.repeat(20));
    folder.write(
        "strange.lstm",
        &WORDS.replace("\"text.txt\"", "\"<img src=x>&.txt\"").replace("\"held.txt\"", "last(30%)"),
    );
    folder.train("strange.lstm", "<b>run&\u{202e}", &["--epochs", "4"]);
    folder
}

#[test]
fn nothing_of_a_stranger_is_markup() {
    let folder = strange();
    let (text, page) = folder.report(&["<b>run&\u{202e}"]);
    // It is one script, and that is ours.
    let scripts: Vec<&str> = page
        .elements
        .iter()
        .filter(|element| element.name == "script")
        .map(|element| element.text.as_str())
        .collect();
    assert!(
        scripts.len() == 1
            && !scripts[0].contains("alert")
            && !text.contains("<img")
            && !text.contains("<b>run")
    );
    assert!(!text.contains(|c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c)));
    let reading = &page.section("reading-0").text;
    for word in STRANGE {
        let shown = word.replace('\u{202e}', "\\u{202e}").replace('\u{1b}', "\\u{1b}");
        assert!(reading.contains(&shown), "no {shown} in {reading}");
    }
    assert!(page.section("settings-0").text.contains("<img src=x>&.txt"));
    let title = page.elements.iter().find(|element| element.name == "title").expect("a title");
    assert!(title.text.contains("<b>run&\\u{202e}"), "{}", title.text);
    let policy =
        page.with("http-equiv", "Content-Security-Policy").next().and_then(|element| element.get("content"));
    assert!(policy.is_some_and(|policy| policy.starts_with("default-src 'none'; ")), "{policy:?}");
}
