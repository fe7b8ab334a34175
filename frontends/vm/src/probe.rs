//! Whether a guest lives in QEMU on this machine, tried with the smallest one there is.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use crate::qemu::{Accelerator, BASE, Process, accelerated, folder, write};

/// A boot sector: `mov dx, 0x501; mov al, 16; out dx, al; hlt; jmp` back to the halt. What is written to that port ends the
/// machine.
const PROGRAM: [u8; 9] = [0xba, 0x01, 0x05, 0xb0, 0x10, 0xee, 0xf4, 0xeb, 0xfd];

/// QEMU's exit code when 16 is written: twice that, and one.
const SAID: i32 = 33;

/// A machine with a BIOS takes less than a second; one that dies in KVM stands for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a guest of a few instructions; how long it took, or why it did not.
pub async fn try_guest(accelerator: Accelerator) -> Result<Duration, String> {
    let said = |failure: crate::Failure| failure.problem().to_string();
    let place = folder().map_err(said)?;
    let mut sector = [0; 512];
    sector[..PROGRAM.len()].copy_from_slice(&PROGRAM);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    write(place.path(), "sector", &sector).map_err(said)?;
    let words = [
        // The newer board's BIOS does not read a disk of one sector.
        "-M",
        "pc",
        "-m",
        "64",
        "-device",
        "isa-debug-exit,iobase=0x501,iosize=2",
        "-drive",
        "file=sector,format=raw,if=ide",
    ];
    let all: Vec<OsString> = BASE
        .iter()
        .chain(accelerated(accelerator))
        .chain(&words)
        .map(OsString::from)
        .collect();
    let start = Instant::now();
    let mut process = Process::start(&all, place.path(), accelerator, Vec::new()).map_err(said)?;
    let ended = tokio::time::timeout(PATIENCE, process.ended())
        .await
        .map_err(|_| "a guest starts, and does nothing".to_owned())?;
    match ended.status.and_then(|status| status.code()) {
        Some(SAID) => Ok(start.elapsed()),
        _ => Err(match ended.stderr.trim() {
            "" => "a guest does not live in it".to_owned(),
            reason => reason.lines().next_back().unwrap_or_default().to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_guest_of_a_few_instructions_runs() {
        kcompose_testing::needs!(Program("qemu-system-x86_64"));
        assert!(try_guest(Accelerator::Tcg).await.is_ok());
    }
}
