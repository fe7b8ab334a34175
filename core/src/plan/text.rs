//! The plan as text, as a drawing for Graphviz, and as JSON.

use std::fmt::Write;

use serde_json::json;

use crate::source::SourceMap;

use super::{Plan, Role, Step, StepKind};

impl Plan {
    /// One line a step: its number, what it is, what it needs, and who asked for it. Fetches are counted, not listed.
    pub fn to_text(&self, sources: &SourceMap) -> String {
        let mut text = String::new();
        for (id, step) in self.steps() {
            if matches!(step.kind, StepKind::Fetch(_)) {
                continue;
            }
            let inputs = self.inputs(id);
            let fetches = inputs
                .iter()
                .filter(|(from, _)| matches!(self.step(*from).kind, StepKind::Fetch(_)))
                .count();
            let needs: Vec<String> = inputs
                .iter()
                .filter(|(from, _)| !matches!(self.step(*from).kind, StepKind::Fetch(_)))
                .map(|(from, _)| format!("#{}", from.index()))
                .collect();
            let _ = write!(text, "#{:<4} {:<8} {}", id.index(), step.kind.word(), step.name);
            if fetches > 0 {
                let _ = write!(text, " ({fetches} packages)");
            }
            if !needs.is_empty() {
                let _ = write!(text, " <- {}", needs.join(" "));
            }
            if let Some(place) = sources.place(step.span) {
                let _ = write!(text, "   {place}");
            }
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "image: #{}; {} to fetch",
            self.image().index(),
            bytes(self.fetched_bytes())
        );
        text
    }

    /// A drawing in Graphviz' language; the fetches of a step are one node.
    pub fn to_dot(&self) -> String {
        let mut text = String::from("digraph plan {\n    rankdir=LR;\n    node [shape=box];\n");
        for (id, step) in self.steps() {
            if matches!(step.kind, StepKind::Fetch(_)) {
                continue;
            }
            let _ = writeln!(text, "    s{} [label={}];", id.index(), quoted(&step.name));
            let inputs = self.inputs(id);
            let fetches = inputs
                .iter()
                .filter(|(from, _)| matches!(self.step(*from).kind, StepKind::Fetch(_)))
                .count();
            if fetches > 0 {
                let label = quoted(&format!("{fetches} packages"));
                let _ = writeln!(
                    text,
                    "    f{0} [label={label}, shape=folder];\n    f{0} -> s{0};",
                    id.index()
                );
            }
            for (from, role) in inputs {
                if !matches!(self.step(from).kind, StepKind::Fetch(_)) {
                    let _ = writeln!(
                        text,
                        "    s{} -> s{} [label={}];",
                        from.index(),
                        id.index(),
                        quoted(&word(role))
                    );
                }
            }
        }
        text.push_str("}\n");
        text
    }

    /// Every step with its inputs and, for an exec, its program.
    pub fn to_json(&self, sources: &SourceMap) -> serde_json::Value {
        let steps: Vec<serde_json::Value> = self
            .steps()
            .map(|(id, step)| self.step_json(id, step, sources))
            .collect();
        json!({ "version": 1, "epoch": self.epoch, "image": self.image().index(), "steps": steps })
    }

    fn step_json(&self, id: super::StepId, step: &Step, sources: &SourceMap) -> serde_json::Value {
        let inputs: Vec<serde_json::Value> = self
            .inputs(id)
            .into_iter()
            .map(|(from, role)| json!({ "step": from.index(), "role": word(role) }))
            .collect();
        let detail = match &step.kind {
            StepKind::Fetch(fetch) => {
                json!({ "source": fetch.source, "path": fetch.path, "sha256": fetch.sha256, "size": fetch.size })
            }
            StepKind::Download(download) => json!({
                "url": download.url.to_string(), "sha256": download.sha256.as_str(), "size": download.size,
            }),
            StepKind::Context(path) => json!({ "path": path }),
            StepKind::Upstream(upstream) => json!({
                "from": upstream.from.to_string(), "digest": upstream.digest, "sha256": upstream.sha256,
            }),
            StepKind::Exec {
                program,
                outputs,
                network,
            } => {
                json!({ "program": program, "outputs": outputs, "network": network })
            }
            StepKind::Merge | StepKind::Copy(_) => json!({}),
        };
        json!({
            "id": id.index(),
            "name": step.name,
            "kind": step.kind.word(),
            "place": sources.place(step.span).map(|place| place.to_string()),
            "inputs": inputs,
            "detail": detail,
        })
    }
}

fn word(role: &Role) -> String {
    match role {
        Role::Root => "root".to_owned(),
        Role::Mount(mount) => mount.at.clone(),
        Role::Layer => "layer".to_owned(),
        Role::Base => "base".to_owned(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A number of bytes as people read it.
pub fn bytes(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}
