//! What `lstmc report` writes: a page that says what the other commands say, is whole and safe whatever it is about, and that
//! Chromium shows, where it is (`.ci/run` sees to that).

mod browser;
mod chromium;
mod content;
mod folder;
mod html;
mod strangers;
