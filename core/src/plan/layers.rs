//! How many layers the image of a plan has.
//!
//! An exporter writes one layer for every operation that an image's root was made by, however little that operation
//! changed. So the number is known before anything is built: for the history in the image's config, and because engines
//! with graph drivers cannot stack more than about 120.

use std::collections::BTreeMap;

use super::{Plan, Role, StepId, StepKind};

impl Plan {
    /// The number of layers where trees are merged as layers (`merge`), or copied over each other.
    pub fn layers(&self, merge: bool) -> usize {
        let mut layers: BTreeMap<StepId, usize> = BTreeMap::new();
        for (id, step) in self.steps() {
            let inputs = self.inputs(id);
            let of = |wanted: &Role| {
                let found = inputs.iter().find(|(_, role)| *role == wanted);
                found.map_or(0, |(from, _)| layers[from])
            };
            let count = match &step.kind {
                StepKind::Fetch(_) | StepKind::Download(_) | StepKind::Context(_) | StepKind::Upstream(_) => {
                    1
                }
                // What is mounted beside the root begins empty.
                StepKind::Exec { outputs, .. } if outputs.first().is_some_and(|first| first != "/") => 1,
                StepKind::Exec { .. } => of(&Role::Root) + 1,
                StepKind::Merge if merge => inputs.iter().map(|(from, _)| layers[from]).sum(),
                StepKind::Merge => inputs.first().map_or(0, |(from, _)| layers[from]) + 1,
                StepKind::Copy(_) => of(&Role::Base) + 1,
            };
            layers.insert(id, count);
        }
        layers[&self.image()]
    }
}
