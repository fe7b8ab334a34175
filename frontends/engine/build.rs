//! Builds the step binary, which the engine embeds.
//!
//! It is static, so that it runs in any root, and its bytes are the same from any checkout with the same compiler: paths
//! are remapped, and nothing of the caller's flags reaches it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The only target that needs no further toolchain on an amd64 machine; glibc links statically, too.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const PROFILE: &str = "step";
const NAME: &str = "kcompose-step";

fn main() {
    let workspace = workspace();
    let out = PathBuf::from(variable("OUT_DIR"));
    // A directory of its own: cargo holds a lock on the outer one while this script runs.
    let target = out.join("step");
    let status = cargo(&workspace, &target)
        .status()
        .unwrap_or_else(|error| panic!("cargo does not start: {error}"));
    assert!(status.success(), "the step binary does not build: {status}");
    let built = target.join(TARGET).join(PROFILE);
    std::fs::copy(built.join(NAME), out.join(NAME)).unwrap_or_else(|error| panic!("no step binary: {error}"));
    watch(&workspace, &built.join(format!("{NAME}.d")));
}

fn workspace() -> PathBuf {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let workspace = manifest
        .ancestors()
        .nth(2)
        .expect("the engine is two levels below the workspace");
    workspace.to_owned()
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}

fn cargo(workspace: &Path, target: &Path) -> Command {
    let mut cargo = Command::new(variable("CARGO"));
    // What the outer cargo, clippy or the user set is for the outer build.
    for (name, _) in std::env::vars_os() {
        let shown = name.to_string_lossy();
        let ours = shown.starts_with("CARGO_")
            && !["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_NET_OFFLINE"].contains(&&*shown);
        let flags = [
            "RUSTFLAGS",
            "RUSTDOCFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTC_LINKER",
        ];
        if ours
            || flags.contains(&&*shown)
            || is_for_c(&shown)
            || shown.starts_with("CLIPPY_")
            || shown == "TARGET"
            || shown == "PROFILE"
        {
            cargo.env_remove(&name);
        }
    }
    cargo
        .current_dir(workspace)
        .args([
            "build",
            "--locked",
            "--package",
            NAME,
            "--bin",
            NAME,
            "--profile",
            PROFILE,
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(workspace, target).join("\u{1f}"));
    cargo
}

/// Whether a variable chooses how C is compiled, as the crate `cc` reads it; each may be for one target only.
fn is_for_c(variable: &str) -> bool {
    let rest = variable
        .strip_prefix("HOST_")
        .or_else(|| variable.strip_prefix("TARGET_"));
    let name = rest.unwrap_or(variable).split('_').next().unwrap_or_default();
    let names = [
        "CC",
        "CFLAGS",
        "CPPFLAGS",
        "AR",
        "ARFLAGS",
        "RANLIB",
        "RANLIBFLAGS",
    ];
    names.contains(&name) || variable.starts_with("CRATE_CC_")
}

fn flags(workspace: &Path, target: &Path) -> Vec<String> {
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let mut flags = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static"]
        .map(str::to_owned)
        .to_vec();
    // The script's path is one below the workspace, where rustc runs: an absolute one would be in the hash of the flags.
    let linker = [
        "--build-id=none",
        "-z,noseparate-code",
        "--no-eh-frame-hdr",
        "-T,frontends/step/link.ld",
    ];
    flags.extend(linker.map(|argument| format!("-Clink-arg=-Wl,{argument}")));
    // Later ones win, and the target directory is inside the workspace.
    flags.push(remap(&cargo_home(), "/cargo"));
    flags.push(remap(workspace, "/kcompose"));
    flags.push(remap(target, "/target"));
    flags
}

fn cargo_home() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

/// Runs this script again when a source of the step binary changes: rustc lists them next to the binary.
fn watch(workspace: &Path, dependencies: &Path) {
    println!("cargo::rerun-if-changed=build.rs");
    for file in [
        "Cargo.lock",
        "Cargo.toml",
        "core/Cargo.toml",
        "frontends/step/Cargo.toml",
        "frontends/step/link.ld",
    ] {
        println!("cargo::rerun-if-changed={}", workspace.join(file).display());
    }
    let text =
        std::fs::read_to_string(dependencies).unwrap_or_else(|error| panic!("no list of sources: {error}"));
    let (_, sources) = text
        .split_once(": ")
        .expect("the list of sources is a rule of make");
    // A space in a path is escaped.
    for source in sources.replace("\\ ", "\0").split_whitespace() {
        println!("cargo::rerun-if-changed={}", source.replace('\0', " "));
    }
}
