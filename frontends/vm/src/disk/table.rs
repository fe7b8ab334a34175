//! The partition table: GPT, written and read by `sfdisk`.

use std::path::Path;

use serde::Deserialize;

use super::{MIB, not_a_disk};
use crate::host;
use crate::problem::Failure;

const SECTOR: u64 = 512;

/// Where a partition is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) start: u64,
    pub(crate) size: u64,
}

/// The partitions that the boot looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partitions {
    pub(crate) oem: Partition,
    pub(crate) recovery: Partition,
    pub(crate) state: Partition,
    pub(crate) persistent: Partition,
}

/// Sizes in MiB. The file is sparse: what is not written costs nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    oem: u64,
    recovery: u64,
    state: u64,
    persistent: u64,
}

impl Sizes {
    /// Sizes for an image of so many bytes, with room for three of it and for what an upgrade by Kairos' agent reserves.
    pub(crate) fn for_image(bytes: u64) -> Self {
        let image = bytes.div_ceil(MIB);
        Sizes {
            oem: 64,
            recovery: 2 * image + 200,
            state: 4 * image + 3584,
            persistent: 2048,
        }
    }

    fn total(self) -> u64 {
        // One MiB before the first partition, two behind the last one for the second table.
        1 + self.oem + self.recovery + self.state + self.persistent + 2
    }
}

/// Makes a disk with a table and nothing else.
pub(crate) async fn write(path: &Path, sizes: Sizes) -> Result<Partitions, Failure> {
    let file = super::create(path)?;
    file.set_len(sizes.total() * MIB)
        .map_err(Failure::io("write", path))?;
    drop(file);
    let script = format!(
        "label: gpt\nstart=1MiB, size={}MiB, name=oem\nsize={}MiB, name=recovery\nsize={}MiB, name=state\nsize={}MiB, name=persistent\n",
        sizes.oem, sizes.recovery, sizes.state, sizes.persistent
    );
    let (folder, name) = split(path);
    host::run_with_input(
        "sfdisk",
        ["--quiet", "--no-reread", "--no-tell-kernel", name],
        folder,
        &script,
    )
    .await?;
    read(path).await
}

/// Reads the table of a disk.
pub(crate) async fn read(path: &Path) -> Result<Partitions, Failure> {
    let (folder, name) = split(path);
    let printed = host::run("sfdisk", ["--json", name], folder)
        .await
        .map_err(|_| not_a_disk(path, "it has no partition table"))?;
    parse(&printed.stdout).map_err(|reason| not_a_disk(path, reason))
}

/// The folder and the name of a disk; tools run in its folder, so that no path has to be quoted.
pub(crate) fn split(path: &Path) -> (&Path, &str) {
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    (
        folder,
        path.file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default(),
    )
}

#[derive(Deserialize)]
struct Dump {
    partitiontable: Table,
}

#[derive(Deserialize)]
struct Table {
    #[serde(default)]
    partitions: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    start: u64,
    size: u64,
    #[serde(default)]
    name: String,
}

fn parse(json: &str) -> Result<Partitions, String> {
    let dump: Dump = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let partition = |wanted: &str| {
        let rows = &dump.partitiontable.partitions;
        let row = rows
            .iter()
            .find(|row| row.name == wanted)
            .ok_or(format!("it has no partition `{wanted}`"))?;
        Ok::<_, String>(Partition {
            start: row.start * SECTOR,
            size: row.size * SECTOR,
        })
    };
    Ok(Partitions {
        oem: partition("oem")?,
        recovery: partition("recovery")?,
        state: partition("state")?,
        persistent: partition("persistent")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_names_all_four_partitions() {
        let row =
            |name: &str, start: u64| format!(r#"{{"node":"d","start":{start},"size":8,"name":"{name}"}}"#);
        let rows = [
            row("oem", 2048),
            row("recovery", 4096),
            row("state", 8192),
            row("persistent", 9000),
        ];
        let json = format!(
            r#"{{"partitiontable":{{"label":"gpt","partitions":[{}]}}}}"#,
            rows.join(",")
        );
        assert_eq!(
            parse(&json).unwrap().oem,
            Partition {
                start: 1 << 20,
                size: 4096
            }
        );
        let json = json.replace("persistent", "other");
        assert_eq!(parse(&json).unwrap_err(), "it has no partition `persistent`");
    }
}
