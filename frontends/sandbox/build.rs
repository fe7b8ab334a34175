//! Builds the launcher, which the crate embeds.
//!
//! It is static: whoever links this crate, also a test or another program, has it within itself and needs nothing
//! installed. A directory of its own keeps it off the lock that cargo holds while this script runs.

use std::path::{Path, PathBuf};
use std::process::Command;

const PROFILE: &str = "step";
const NAME: &str = "kcompose-launcher";

fn main() {
    let workspace = workspace();
    let out = PathBuf::from(variable("OUT_DIR"));
    let target = out.join("launcher");
    let triple = variable("TARGET");
    let status = cargo(&workspace, &target, &triple)
        .status()
        .unwrap_or_else(|error| panic!("cargo does not start: {error}"));
    assert!(status.success(), "the launcher does not build: {status}");
    let built = target.join(&triple).join(PROFILE).join(NAME);
    std::fs::copy(&built, out.join(NAME)).unwrap_or_else(|error| panic!("no launcher: {error}"));
    for path in [
        "build.rs",
        "launcher/Cargo.toml",
        "launcher/src",
        "../../Cargo.lock",
        "../../Cargo.toml",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
}

fn workspace() -> PathBuf {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let workspace = manifest
        .ancestors()
        .nth(2)
        .expect("the sandbox is two levels below the workspace");
    workspace.to_owned()
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}

fn cargo(workspace: &Path, target: &Path, triple: &str) -> Command {
    let mut cargo = Command::new(variable("CARGO"));
    // What the outer cargo, clippy or the user set is for the outer build.
    for (name, _) in std::env::vars_os() {
        if is_of_outer_build(&name.to_string_lossy()) {
            cargo.env_remove(&name);
        }
    }
    cargo
        .current_dir(workspace)
        .args(["build", "--locked", "--package", NAME, "--bin", NAME])
        .args(["--profile", PROFILE, "--target", triple])
        .arg("--target-dir")
        .arg(target)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            ["-Ctarget-feature=+crt-static", "-Crelocation-model=static"].join("\u{1f}"),
        );
    cargo
}

fn is_of_outer_build(name: &str) -> bool {
    let for_both = ["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_NET_OFFLINE"];
    let flags = [
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_LINKER",
        "TARGET",
        "PROFILE",
    ];
    (name.starts_with("CARGO_") && !for_both.contains(&name))
        || name.starts_with("CLIPPY_")
        || flags.contains(&name)
}
