//! The short run: the same inputs each time, some of every kind.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::Command;

#[test]
fn every_reader_survives_hostile_inputs() {
    let run = Command::new(env!("CARGO_BIN_EXE_kcompose-fuzz"))
        .arg("short")
        .output()
        .unwrap();
    let table = String::from_utf8_lossy(&run.stdout);
    println!("{table}");
    assert!(
        run.status.success(),
        "{table}{}",
        String::from_utf8_lossy(&run.stderr)
    );
}
