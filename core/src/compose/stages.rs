//! Cloud-configs: YAML, and for immucore stages and keys that yip would ignore without a word.
//!
//! yip (`pkg/schema/schema.go`) ignores stages and keys that it does not know.

use miette::Diagnostic;
use thiserror::Error;

use super::yaml::{self, At, NotYaml, Value, Yaml};
use crate::diagnostic::{Sink, did_you_mean};
use crate::model::CloudConfig;
use crate::source::Span;

#[derive(Debug, Error, Diagnostic)]
#[error("the cloud-config `{name}` is not YAML{line}: {reason}")]
#[diagnostic(code("kcompose::cloud-config::yaml"), help("{help}"))]
struct Broken {
    name: String,
    line: String,
    reason: String,
    help: &'static str,
    #[label(primary, "here")]
    span: Span,
    #[label("named here")]
    from: Option<Span>,
}

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

/// The YAML of a cloud-config; what is wrong with it is reported.
pub(super) fn parsed(config: &CloudConfig, sink: &mut Sink) -> Option<Yaml> {
    let text = config.text.as_ref()?;
    let (error, help) = match yaml::parse(&text.value) {
        // yip and cloud-init fill templates before they read YAML.
        Err(_) if text.value.contains("{{") || text.value.contains("{%") => return None,
        Err(error) => (
            error,
            "see how deep the line is indented, and put text that has `: `, `#` or quotes in quotes",
        ),
        Ok(Some(yaml)) if !matches!(yaml.value, Value::Map(_)) => (
            NotYaml {
                at: yaml.at,
                reason: "it is no list of keys".to_owned(),
            },
            "begin with keys, as in `users:` or `stages:`",
        ),
        Ok(yaml) => return yaml,
    };
    let (span, line) = place(config, error.at);
    sink.push(Broken {
        name: config.name.value.clone(),
        line,
        reason: error.reason,
        help,
        span,
        from: config.from.as_ref().map(|from| from.span),
    });
    None
}

/// The span of a place in a cloud-config, and words for the line where the span does not show it.
fn place(config: &CloudConfig, at: At) -> (Span, String) {
    if let Some(span) = yaml::span(config, at) {
        return (span, String::new());
    }
    let text = config.text.as_ref();
    let line = if text.is_some_and(|text| text.value.lines().count() < 2) {
        String::new()
    } else {
        format!(" in its line {}", at.line + 1)
    };
    (text.map_or(Span::NONE, |text| text.span), line)
}

/// Reports what immucore would not do of a cloud-config.
pub(super) fn check(config: &CloudConfig, yaml: Option<&Yaml>, sink: &mut Sink) {
    check_name(config, sink);
    for (at, found) in yaml.map(found).unwrap_or_default() {
        let (span, line) = place(config, at);
        match found {
            Found::Stage(stage) => push_stage(stage, line, span, sink),
            Found::Key(key) => push_key(key, line, span, sink),
            Found::OwnLists => sink.push(OwnLists { line, span }),
        }
    }
}

/// Whether a cloud-config has stages.
pub(super) fn has_stages(yaml: &Yaml) -> bool {
    let mut keys = yaml.entries().iter().map(|(key, _)| key.text());
    keys.any(|key| key == Some("stages"))
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

/// The mistakes in a document, with their places.
fn found(yaml: &Yaml) -> Vec<(At, Found<'_>)> {
    let mut found = Vec::new();
    let stages = yaml
        .entries()
        .iter()
        .filter(|(key, _)| key.text() == Some("stages"));
    for (name, steps) in stages.flat_map(|(_, stages)| stages.entries()) {
        if let Some(stage) = name.text().filter(|stage| !is_stage(stage)) {
            found.push((name.at, Found::Stage(stage)));
        }
        for (key, value) in steps.items().iter().flat_map(Yaml::entries) {
            let Some(name) = key.text() else { continue };
            if !KEYS.contains(&name) && name != "<<" {
                found.push((key.at, Found::Key(name)));
            }
            if name == "environment_file" && value.text().is_some_and(|file| LISTS.contains(&file)) {
                found.push((key.at, Found::OwnLists));
            }
        }
    }
    found.sort_by_key(|(at, _)| *at);
    found
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
        let yaml = yaml::parse(text).unwrap().unwrap();
        let found = found(&yaml).into_iter().map(|(at, what)| match what {
            Found::Stage(name) | Found::Key(name) => (at.line, name),
            Found::OwnLists => (at.line, "lists"),
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
        check(
            "stages: {boot: [{name: x, comands: []}], bot: []}\n",
            &[(0, "comands"), (0, "bot")],
        );
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
