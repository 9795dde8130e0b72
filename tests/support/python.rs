//! Python, where it is. `.ci/run` names an interpreter that has what tests want in `LSTMC_PYTHON`: then it must be there.

use std::process::Command;

/// The interpreter that has these packages.
pub fn with(packages: &str) -> Option<String> {
    let named = std::env::var("LSTMC_PYTHON").ok();
    let python = named.clone().unwrap_or_else(|| "python3".into());
    let import = Command::new(&python).args(["-c", &format!("import {packages}")]).output();
    let found = import.is_ok_and(|output| output.status.success());
    assert!(found || named.is_none(), "{python}, which LSTMC_PYTHON names, has not all of {packages}");
    if !found {
        eprintln!("skipped: {python} has not all of {packages}; LSTMC_PYTHON may name another one");
    }
    found.then_some(python)
}
