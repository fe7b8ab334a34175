//! The stages of a cloud-config for immucore, checked as far as yip would silently do nothing.
//!
//! yip (`pkg/schema/schema.go`) ignores stages and keys that it does not know. What is read here is the block form in which
//! all of Kairos' documents are written, line by line; another form is left alone.

use miette::Diagnostic;
use thiserror::Error;

use crate::diagnostic::{Sink, did_you_mean};
use crate::model::CloudConfig;
use crate::source::Span;

#[derive(Debug, Error, Diagnostic)]
#[error("nothing runs the stage `{stage}`{line}")]
#[diagnostic(code("kcompose::cloud-config::unknown-stage"), help("{help}"))]
struct UnknownStage {
    stage: String,
    line: String,
    help: String,
    #[label("unknown")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("a step has no key `{key}`{line}")]
#[diagnostic(code("kcompose::cloud-config::unknown-key"), help("{help}"))]
struct UnknownKey {
    key: String,
    line: String,
    help: String,
    #[label("it would be ignored")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("this step replaces lists of paths that others write too{line}")]
#[diagnostic(
    code("kcompose::cloud-config::layout"),
    help(
        "say the paths in `layout` of the flavor: of two files that set one list the later wins, and an operator's `install.bind_mounts` wins over both"
    )
)]
struct OwnLists {
    line: String,
    #[label("written here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the cloud-config `{name}` {fact}")]
#[diagnostic(
    code("kcompose::cloud-config::order"),
    help("begin its name with `90_`, as in \"90_{name}\"")
)]
struct Order {
    name: String,
    fact: &'static str,
    #[label("this name")]
    span: Span,
}

/// Stages that something runs; each has a `.before` and an `.after` too.
const STAGES: &[&str] = &[
    "rootfs",
    "initramfs",
    "fs",
    "boot",
    "network",
    "reconcile",
    "before-install",
    "after-install",
    "after-install-chroot",
    "before-upgrade",
    "after-upgrade",
    "after-upgrade-chroot",
    "before-reset",
    "after-reset",
    "after-reset-chroot",
    "kairos-install.pre",
    "kairos-install.after",
    "kairos-uki-install.pre",
    "kairos-uki-install.after",
    "kairos-uki-upgrade.pre",
    "kairos-uki-upgrade.after",
    "kairos-uki-reset.pre",
    "kairos-uki-reset.after",
    "kairos-agent.bootstrap",
];

/// Stages of providers have the names of roles in them.
const PROVIDERS: &str = "provider-";

const KEYS: &[&str] = &[
    "after",
    "authorized_keys",
    "commands",
    "datasource",
    "delete_entities",
    "directories",
    "dns",
    "downloads",
    "ensure_entities",
    "environment",
    "environment_file",
    "files",
    "git",
    "hostname",
    "if",
    "if_files",
    "layout",
    "modules",
    "name",
    "node",
    "only_arch",
    "only_os",
    "only_os_version",
    "only_service_manager",
    "package_pins",
    "packages",
    "sysctl",
    "systemctl",
    "systemd_firstboot",
    "timesyncd",
    "unpack_images",
    "users",
];

/// Files with lists of paths that immucore reads.
const LISTS: &[&str] = &["/run/cos/cos-layout.env", "/run/cos/custom-layout.env"];

/// Files that kairos-init writes in the same folder (`pkg/bundled/cloudconfigs`).
const STOCK: &[&str] = &[
    "00_datasource",
    "00_home_dir_owner_fix",
    "00_rootfs",
    "01_extra_binds",
    "02_agent",
    "02_notify",
    "03-setupcon",
    "05_network",
    "08_efi_assessment",
    "08_grub",
    "08_ssh",
    "09_openrc_services",
    "09_systemd_services",
    "10_accounting",
    "11_RPI",
    "12_nvidia",
    "13_nvidia_qspi",
    "21_kcrypt",
    "23_c3os",
    "25_autologin",
    "26_selinux",
    "26_vm",
    "29_blacklist",
    "30-prepare-l4t-rootfs",
    "30_ulimit",
    "31_hosts",
    "32_profile",
    "50_recovery",
    "51_reset",
    "52_installer",
    "99_sysext",
];

/// Reports what of a cloud-config would not do what it says.
pub(super) fn check(config: &CloudConfig, sink: &mut Sink) {
    check_name(config, sink);
    let Some(text) = &config.text else { return };
    for (number, found) in found(&text.value) {
        let own = config.lines.get(number).copied();
        let span = own.unwrap_or(text.span);
        // The place of a text in a file of its own is that of the file's name.
        let line = if own.is_some() || text.value.lines().count() < 2 {
            String::new()
        } else {
            format!(", in its line {}", number + 1)
        };
        match found {
            Found::Stage(stage) => push_stage(stage, line, span, sink),
            Found::Key(key) => push_key(key, line, span, sink),
            Found::OwnLists => sink.push(OwnLists { line, span }),
        }
    }
}

/// Files are read in the order of their names, and those of one folder have one name each.
fn check_name(config: &CloudConfig, sink: &mut Sink) {
    let name = config.name.value.as_str();
    let file = format!("{name}.yaml");
    let fact = if STOCK.contains(&name) {
        "would replace one of Kairos' own of that name"
    } else if file.as_str() > "00_rootfs.yaml" && file.as_str() <= "00_rootfs_kcompose.yaml" {
        "would come between the two that make the layout"
    } else if file.as_str() > "31_hosts.yaml" && file.as_str() <= "31_hosts_kcompose.yaml" {
        "would come between the two that set the host name"
    } else {
        return;
    };
    sink.push(Order {
        name: name.to_owned(),
        fact,
        span: config.name.span,
    });
}

fn push_stage(stage: &str, line: String, span: Span, sink: &mut Sink) {
    let help = did_you_mean(stage, STAGES, || {
        "stages are `boot`, `initramfs`, `network` and others, each with `.before` and `.after`".to_owned()
    });
    sink.push(UnknownStage {
        stage: stage.to_owned(),
        line,
        help,
        span,
    });
}

fn push_key(key: &str, line: String, span: Span, sink: &mut Sink) {
    let help = did_you_mean(key, KEYS, || format!("keys are {}", KEYS.join(", ")));
    sink.push(UnknownKey {
        key: key.to_owned(),
        line,
        help,
        span,
    });
}

enum Found<'a> {
    Stage(&'a str),
    Key(&'a str),
    OwnLists,
}

/// What is wrong, by line, from zero.
fn found(text: &str) -> Vec<(usize, Found<'_>)> {
    let mut found = Vec::new();
    let mut inside = false;
    let mut stage_indent = None;
    let mut key_indent = None;
    for (number, line) in text.lines().enumerate() {
        let content = line.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let indent = line.len() - content.len();
        if indent == 0 && !content.starts_with('-') {
            inside = content.trim_end() == "stages:";
            (stage_indent, key_indent) = (None, None);
            continue;
        }
        if !inside {
            continue;
        }
        let at_stage = *stage_indent.get_or_insert(indent);
        if indent == at_stage && !content.starts_with("- ") {
            key_indent = None;
            if let Some(stage) = key(content).filter(|stage| !is_stage(stage)) {
                found.push((number, Found::Stage(stage)));
            }
            continue;
        }
        let (place, content) = match content.strip_prefix("- ") {
            // An item deeper than the keys belongs to a key's own list.
            Some(rest) if key_indent.is_none_or(|keys| indent < keys) => {
                let place = line.len() - rest.trim_start().len();
                key_indent = Some(place);
                (place, rest.trim_start())
            }
            _ => (indent, content),
        };
        if key_indent != Some(place) {
            continue;
        }
        let Some(name) = key(content) else { continue };
        if !KEYS.contains(&name) {
            found.push((number, Found::Key(name)));
        }
        let value = content[name.len()..].trim_start_matches(['"', '\'', ':']).trim();
        let value = value.trim_matches(['"', '\'']);
        if name == "environment_file" && LISTS.contains(&value) {
            found.push((number, Found::OwnLists));
        }
    }
    found
}

/// The key of a line, if it is one.
fn key(content: &str) -> Option<&str> {
    let (key, rest) = content.split_once(':')?;
    let is_key = (rest.is_empty() || rest.starts_with(' ')) && !key.contains([' ', '{', '[', '&', '*']);
    is_key.then(|| key.trim_matches(['"', '\'']))
}

fn is_stage(stage: &str) -> bool {
    let plain = stage
        .strip_suffix(".before")
        .or_else(|| stage.strip_suffix(".after"))
        .unwrap_or(stage);
    STAGES.contains(&stage) || STAGES.contains(&plain) || stage.starts_with(PROVIDERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(usize, &str)]) {
        let found = found(text).into_iter().map(|(line, what)| match what {
            Found::Stage(name) | Found::Key(name) => (line, name),
            Found::OwnLists => (line, "lists"),
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn stages_and_keys_are_known() {
        check(
            "#cloud-config\nname: x\nstages:\n  boot:\n    - name: a\n      comands:\n        - x: y\n  rootfs.after:\n  - if: '[ -e x ]'\n    commands:\n    - |\n      a: b\n    files:\n      - path: /x\n  initramf:\n    - name: x\n",
            &[(5, "comands"), (14, "initramf")],
        );
        check("install:\n  device: auto\nusers:\n- name: x\n", &[]);
        check(
            "stages:\n  provider-kairos.bootstrap.after.master:\n    - name: x\n",
            &[],
        );
        check("stages: {boot: [{name: x}]}\n", &[]);
    }

    #[test]
    fn lists_of_paths_belong_to_the_layout() {
        check(
            "stages:\n  rootfs:\n    - environment_file: \"/run/cos/custom-layout.env\"\n      environment:\n        CUSTOM_BIND_MOUNTS: \"/a\"\n",
            &[(2, "lists")],
        );
        check(
            "stages:\n  boot:\n    - environment_file: /etc/environment\n",
            &[],
        );
    }
}
