//! The list of requests.

use serde_json::json;

use super::{KNOWN, Said, VERSION};

/// Every request that is answered.
pub(super) fn describe() -> Said {
    let list = KNOWN.iter().map(|known| {
        json!({
            "name": known.name,
            "version": VERSION,
            "type": "rpc",
            "description": known.description,
            "opts": null,
            "metadata": [{ "name": "result.json" }, { "name": "result.txt" }],
        })
    });
    let lines = KNOWN
        .iter()
        .map(|known| format!("{:<32}{}\n", known.name, known.description));
    Said {
        json: list.collect(),
        text: lines.collect(),
        code: None,
    }
}
