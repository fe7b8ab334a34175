//! The end of a step's cgroups.

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// Between two attempts; it doubles until it is the longest.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(256);

/// Removes groups whose processes have ended. What stays behind, the next step takes away.
pub fn remove_groups(groups: &[PathBuf]) {
    for group in groups {
        let mut pause = PAUSE;
        // A process that has ended is a member a little longer: until it is no longer on its processor.
        while let Err(error) = std::fs::remove_dir(group)
            && error.kind() == io::ErrorKind::ResourceBusy
            && pause <= LONGEST_PAUSE
        {
            thread::sleep(pause);
            pause *= 2;
        }
    }
}
