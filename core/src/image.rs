//! The OCI config of an image, in the bytes that BuildKit writes.
//!
//! A frontend hands [`ImageConfig::request`] to the engine; an exporter adds the layers and writes [`ImageConfig::complete`].
//! BuildKit's exporter (`exporter/containerimage/writer.go`) comes to the same bytes, so an image has one config digest
//! wherever it is exported.

use std::collections::BTreeMap;

use serde::Serialize;

/// The config of an image before its layers are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// The architecture, in Go's words.
    pub architecture: String,
    /// Its variant, such as `v7`; empty for none.
    pub variant: String,
    /// Seconds since 1970: when the image and each of its layers was made.
    pub created: i64,
    /// What made each layer, from the lowest. A layer without an entry is said to be made by `kcompose`.
    pub history: Vec<String>,
    /// How a container of the image starts.
    pub runtime: Runtime,
}

/// How a container of an image starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Runtime {
    /// Arguments of the entrypoint, or the whole command.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// The program that always runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// `NAME=value` each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The signal that stops it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// The directory it starts in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
}

#[derive(Serialize)]
struct Wire<'a> {
    // Sorted by key, as Go writes a map.
    architecture: &'a str,
    config: &'a Runtime,
    created: String,
    history: Vec<History<'a>>,
    os: &'static str,
    rootfs: RootFs<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    variant: &'a str,
}

#[derive(Serialize)]
struct History<'a> {
    created: String,
    created_by: &'a str,
}

#[derive(Serialize)]
struct RootFs<'a> {
    r#type: &'static str,
    diff_ids: &'a [String],
}

impl ImageConfig {
    /// What a frontend gives to the engine: everything but the layers.
    pub fn request(&self) -> Vec<u8> {
        self.bytes(self.history.iter().map(String::as_str), &[])
    }

    /// The config of the finished image with these layers, named by the digests of their uncompressed archives.
    pub fn complete(&self, diff_ids: &[String]) -> Vec<u8> {
        let more = std::iter::repeat("kcompose");
        self.bytes(
            self.history
                .iter()
                .map(String::as_str)
                .chain(more)
                .take(diff_ids.len()),
            diff_ids,
        )
    }

    fn bytes<'a>(&'a self, history: impl Iterator<Item = &'a str>, diff_ids: &[String]) -> Vec<u8> {
        let created = rfc3339(self.created);
        go_json(&Wire {
            architecture: &self.architecture,
            config: &self.runtime,
            history: history
                .map(|created_by| History {
                    created: created.clone(),
                    created_by,
                })
                .collect(),
            created,
            os: "linux",
            rootfs: RootFs {
                r#type: "layers",
                diff_ids,
            },
            variant: &self.variant,
        })
    }
}

/// Compact JSON with the escapes of Go's encoder, which makes its output safe inside HTML.
pub fn go_json(value: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_string(value).expect("maps with string keys are always JSON");
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            // Outside of strings JSON has none of these.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => escaped.push(other),
        }
    }
    escaped.into_bytes()
}

/// Seconds since 1970 as `2006-01-02T15:04:05Z`.
pub fn rfc3339(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date of a day counted from 1970, by the years of 400-year eras that begin in March.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_789_123_456), "2026-09-11T10:44:16Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn a_config_is_compact_sorted_and_escaped() {
        let config = ImageConfig {
            architecture: "amd64".into(),
            created: 1,
            history: vec!["kernel & base".into()],
            runtime: Runtime {
                cmd: vec!["<é>".into()],
                ..Runtime::default()
            },
            ..ImageConfig::default()
        };
        let diff_ids = ["sha256:a".to_owned(), "sha256:b".to_owned()];
        assert_eq!(
            String::from_utf8(config.complete(&diff_ids)).unwrap(),
            concat!(
                r#"{"architecture":"amd64","config":{"Cmd":["\u003cé\u003e"]},"created":"1970-01-01T00:00:01Z","#,
                r#""history":[{"created":"1970-01-01T00:00:01Z","created_by":"kernel \u0026 base"},"#,
                r#"{"created":"1970-01-01T00:00:01Z","created_by":"kcompose"}],"os":"linux","#,
                r#""rootfs":{"type":"layers","diff_ids":["sha256:a","sha256:b"]}}"#
            )
        );
    }
}
