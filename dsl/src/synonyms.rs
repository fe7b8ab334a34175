//! Words of other tools, and the word of this language for each.

use crate::schema::{NodeSpec, Properties};

/// Names that people give to nodes, with the node that is meant.
const NODES: &[(&str, &str)] = &[
    ("add", "copy"),
    ("apt", "packages"),
    ("arg", "parameter"),
    ("authorized-keys", "ssh-key"),
    ("bind", "keep"),
    ("blacklist", "deny"),
    ("bootargs", "cmdline"),
    ("cloud-init", "cloud-config"),
    ("dir", "directory"),
    ("dirs", "directory"),
    ("distro", "base"),
    ("exclude", "without"),
    ("exec", "run"),
    ("folder", "directory"),
    ("from", "base"),
    ("hook", "run"),
    ("immutable", "read-only"),
    ("import", "use"),
    ("include", "use"),
    ("install", "packages"),
    ("kargs", "cmdline"),
    ("mkdir", "directory"),
    ("mount", "persistent"),
    ("overlay", "ephemeral"),
    ("package", "packages"),
    ("param", "parameter"),
    ("partition", "persistent"),
    ("persist", "keep"),
    ("persistence", "keep"),
    ("pin", "hold"),
    ("pkgs", "packages"),
    ("preserve", "keep"),
    ("readonly", "read-only"),
    ("remove", "without"),
    ("repo", "repository"),
    ("repositories", "repository"),
    ("ro", "read-only"),
    ("rw", "ephemeral"),
    ("service", "services"),
    ("sshkey", "ssh-key"),
    ("start", "enable"),
    ("symlink", "link"),
    ("sysctls", "sysctl"),
    ("tmpfs", "ephemeral"),
    ("variable", "parameter"),
    ("volatile", "ephemeral"),
    ("writable", "ephemeral"),
    ("yum", "packages"),
];

/// Names that people give to nodes, with the answer where no single node is meant.
const ANSWERS: &[(&str, &str)] = &[
    (
        "entrypoint",
        "an operating system starts units: services { enable \"ssh\"; }",
    ),
    (
        "env",
        "write a file that programs read: files { file \"/etc/environment\" \"NAME=value\\n\"; }",
    ),
    (
        "ssh",
        "install the server and enable it: packages { openssh-server; } and services { enable \"ssh\"; }",
    ),
];

/// Properties that people give to a node, with the answer.
const PROPERTIES: &[(&str, &[&str], &str)] = &[
    (
        "copy",
        &["src", "source", "dest", "destination", "target", "dst"],
        "write the source first and the place behind `to`: copy \"overlay/etc\" to=\"/etc\"",
    ),
    (
        "file",
        &["content", "contents", "value"],
        "write the text behind the path: file \"/etc/motd\" \"text\\n\"",
    ),
    (
        "file",
        &["src", "source", "from"],
        "copy a file from the folder of the flavor: copy \"overlay/motd\" to=\"/etc/motd\"",
    ),
    (
        "link",
        &["target", "source", "src", "dest"],
        "write the target behind `to`: link \"/etc/localtime\" to=\"/usr/share/zoneinfo/UTC\"",
    ),
    (
        "base",
        &["version", "tag", "suite", "codename"],
        "write the code name of the release: base \"debian\" release=\"trixie\"",
    ),
];

/// A word in lower case, without the colon that YAML puts behind it.
fn plain(word: &str) -> String {
    word.trim_end_matches(':').to_lowercase()
}

/// The node that a word means.
pub(crate) fn node(word: &str) -> Option<&'static str> {
    let word = plain(word);
    NODES
        .iter()
        .find(|(other, _)| *other == word)
        .map(|(_, name)| *name)
}

/// The name without a colon, if the word is a name with one.
pub(crate) fn without_colon(word: &str) -> Option<&str> {
    word.strip_suffix(':')
}

/// The answer to a word that no single node stands for.
pub(crate) fn answer(word: &str) -> Option<&'static str> {
    let word = plain(word);
    ANSWERS
        .iter()
        .find(|(other, _)| *other == word)
        .map(|(_, answer)| *answer)
}

/// The answer to a property that a node does not have.
pub(crate) fn property(node: &NodeSpec, word: &str) -> Option<String> {
    let word = plain(word);
    let answer = PROPERTIES
        .iter()
        .find(|(name, words, _)| *name == node.name && words.contains(&word.as_str()));
    if let Some((_, _, answer)) = answer {
        return Some((*answer).to_owned());
    }
    is_argument(node, &word).then(|| {
        format!(
            "write its value without a name: {}",
            crate::check::one_line(node.example)
        )
    })
}

/// Whether a word is the name of an argument and of no property.
pub(crate) fn is_argument(node: &NodeSpec, word: &str) -> bool {
    let is_property = match node.properties {
        Properties::Known(known) => known.iter().any(|property| property.name == word),
        Properties::Any(_) => true,
    };
    let mut names = node.arguments.iter().map(|argument| argument.name.to_lowercase());
    !is_property && names.any(|name| name == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::ALL;

    fn names(spec: &NodeSpec, found: &mut Vec<&'static str>) {
        found.push(spec.name);
        for child in spec.children.known() {
            names(child, found);
        }
    }

    #[test]
    fn synonyms_name_nodes_and_are_none() {
        let mut known = Vec::new();
        for section in ALL {
            names(&section.spec, &mut known);
        }
        for (word, name) in NODES {
            assert!(known.contains(name), "{name}");
            assert!(!known.contains(word), "{word} is a node");
        }
        for (word, _) in ANSWERS {
            assert!(!known.contains(word), "{word} is a node");
        }
        for (node, _, _) in PROPERTIES {
            assert!(known.contains(node), "{node}");
        }
    }
}
