//! The layout for immucore: one cloud-config beside Kairos' own.
//!
//! Kairos' `00_rootfs.yaml` writes the stock lists in stage `rootfs`, and merges what an operator adds in `rootfs.after`.
//! Ours sorts directly behind it and has a step in `rootfs.after` too, so it runs after that merge, and changes the lists:
//! nothing that an operator says is lost, and nothing of ours is. It has no `only_os`, which does nothing in an initrd that
//! does not know its distro.

use std::collections::BTreeSet;

use crate::diagnostic::Sink;
use crate::model::{AbsPath, Flavor, HostName, PathClass};
use crate::step::FileEntry;

use super::CompiledLayout;
use super::compile::Rules;
use super::problems::{NotByImmucore, Writable};
use super::render::{directory, mount_size, text};
use super::{OEM_LABEL, PERSISTENT_LABEL};

/// The file with the flavor's layout.
pub use crate::kairos::checks::layout::IMMUCORE_OWN as FILE;

/// Kept by kairos-init of today, and no longer by later ones: it belongs to packages, so it must follow the image.
const WRONGLY_KEPT: &str = "/usr/libexec";

/// The layout as files of the image.
pub(super) fn files(flavor: &Flavor, layout: &CompiledLayout) -> Vec<FileEntry> {
    let mount_points = layout
        .partitions
        .iter()
        .map(|partition| directory(partition.path.as_str()));
    let host_name = layout
        .host_name
        .as_ref()
        .map(|name| text(HOST_NAME_FILE, host_name(name)));
    mount_points
        .chain([
            text(FILE, cloud_config(flavor, layout)),
            text("/etc/hosts", HOSTS.to_owned()),
        ])
        .chain(host_name)
        .collect()
}

/// The cloud-config with the declared host name.
///
/// Kairos' `31_hosts.yaml` names the machine at each boot, in stage `initramfs.before`. Ours sorts directly behind it and
/// has a step in that stage too, so yip runs it next. What an operator says with `hostname:` comes later, in `initramfs`.
const HOST_NAME_FILE: &str = "/system/oem/31_hosts_kcompose.yaml";

fn host_name(name: &HostName) -> String {
    format!(
        "# The host name that the flavor declares; `hostname:` in a cloud-config of an operator wins over it.\n\
         # The name of this file keeps it directly behind 31_hosts.yaml, which names the machine after its id.\n\
         name: \"Host name of the flavor\"\n\
         stages:\n  \
           initramfs.before:\n    \
             - name: \"Set the host name\"\n      \
               if: '[ ! -f /run/cos/recovery_mode ]'\n      \
               hostname: \"{name}\"\n"
    )
}

/// In recovery nothing makes this file, and yip sets no name without it (`50_recovery.yaml`; elsewhere `31_hosts.yaml` makes
/// one with the same lines). Images that a container engine builds have an empty one.
const HOSTS: &str = "127.0.0.1 localhost\n::1       localhost\n";

/// The cloud-config that changes the stock lists.
pub fn cloud_config(flavor: &Flavor, layout: &CompiledLayout) -> String {
    let joined = |paths: &[AbsPath]| paths.iter().map(AbsPath::as_str).collect::<Vec<_>>().join(" ");
    let all: BTreeSet<&str> = layout.rules.keys().map(AbsPath::as_str).collect();
    let mut forgotten: Vec<&str> = flavor
        .layout
        .forget
        .iter()
        .map(|path| path.value.as_str())
        .chain([WRONGLY_KEPT])
        .filter(|path| !all.contains(path))
        .collect();
    forgotten.sort_unstable();
    forgotten.dedup();
    TEMPLATE
        .replace("@KEPT@", &joined(&layout.kept))
        .replace("@EPHEMERAL@", &joined(&layout.ephemeral))
        .replace("@FORGOTTEN@", &forgotten.join(" "))
        .replace("@SIZE@", &mount_size(layout.overlay_size))
}

/// What it does: every list is what Kairos and the operator say, without what the flavor forgets, and with what it adds;
/// of what the operator adds himself nothing is forgotten.
const TEMPLATE: &str = r#"# The layout of the flavor, on top of Kairos' own (00_rootfs.yaml) and of what an operator adds.
# The name of this file keeps it directly behind that one: so its step comes after the one that merges an operator's paths.
name: "Layout of the flavor"
stages:
  # Kairos links its services into these folders (09_systemd_services.yaml); the image's own links are below /usr/lib.
  initramfs.before:
    - name: "Make folders for services"
      commands:
        - mkdir -p /etc/systemd/system/multi-user.target.wants /etc/systemd/system/sysinit.target.wants
    # The machine's name is made of its id (31_hosts.yaml), which 00_rootfs.yaml sets in the same stage: at the same time, as
    # yip orders only files that follow each other and both have steps in a stage.
    - name: "Set the id of the machine"
      commands:
        - |
          if [ ! -e /run/cos/recovery_mode ]; then
            mkdir -p /usr/local/etc
            [ ! -s /usr/local/etc/machine-id ] || cat /usr/local/etc/machine-id > /etc/machine-id
          fi
          systemd-machine-id-setup
  rootfs.after:
    - name: "Change the lists of paths"
      if: '[ -r /run/cos/cos-layout.env ] && [ ! -e /run/cos/recovery_mode ] && [ ! -e /run/cos/autoreset_mode ] && [ ! -e /run/cos/live_mode ] && [ ! -e /run/cos/uki_install_mode ]'
      commands:
        - |
          kept="@KEPT@"
          ephemeral="@EPHEMERAL@"
          forgotten="@FORGOTTEN@"
          overlay="tmpfs:@SIZE@"
          file=/run/cos/cos-layout.env
          CUSTOM_BIND_MOUNTS= CUSTOM_EPHEMERAL_MOUNTS=
          [ ! -r /run/cos/custom-layout.env ] || . /run/cos/custom-layout.env
          operator=" $CUSTOM_BIND_MOUNTS $CUSTOM_EPHEMERAL_MOUNTS "
          RW_PATHS= PERSISTENT_STATE_PATHS=
          . "$file"
          # list NOW ADDED OTHER: each path once, none that is forgotten or has the other class
          list() {
            out=
            for path in $1 $2; do
              case " $3 $out " in *" $path "*) continue ;; esac
              case " $forgotten " in *" $path "*) case "$operator" in *" $path "*) ;; *) continue ;; esac ;; esac
              out="${out:+$out }$path"
            done
          }
          list "$RW_PATHS" "$ephemeral" "$kept"; rw=$out
          list "$PERSISTENT_STATE_PATHS" "$kept" "$ephemeral"; state=$out
          sed -i -e '/^RW_PATHS=/d' -e '/^PERSISTENT_STATE_PATHS=/d' -e '/^OVERLAY=/d' "$file"
          printf 'RW_PATHS="%s"\nPERSISTENT_STATE_PATHS="%s"\nOVERLAY="%s"\n' "$rw" "$state" "$overlay" >> "$file"
"#;

/// What immucore cannot do.
pub(super) fn check(_flavor: &Flavor, rules: &Rules, sink: &mut Sink) {
    for (path, rule) in rules {
        let label = rule.value.label.as_deref().unwrap_or_default();
        if rule.value.class == PathClass::Persistent && ![PERSISTENT_LABEL, OEM_LABEL].contains(&label) {
            sink.push(NotByImmucore {
                path: path.to_string(),
                label: label.to_owned(),
                span: rule.span,
            });
        }
        let is_in_overlay = rules.iter().any(|(above, rule)| {
            rule.value.class == PathClass::Ephemeral && above != path && path.is_within(above)
        });
        if rule.value.class == PathClass::ReadOnly && is_in_overlay {
            sink.push(Writable {
                path: path.to_string(),
                span: rule.span,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::compile;
    use super::super::tests::flavor;
    use super::*;
    use crate::kairos::checks::layout::own_lists;
    use crate::model::{Kairos, Runtime};
    use crate::source::Spanned;

    const STOCK: &str = "ephemeral /etc\nephemeral /var\nephemeral /srv\nkeep /home\nkeep /opt\npersistent /usr/local COS_PERSISTENT\npersistent /oem COS_OEM\n";

    fn probe(paths: &[&str], forget: &[&str]) -> String {
        let own: String = paths.iter().map(|path| format!("keep {path}\n")).collect();
        let mut flavor = flavor(STOCK, &own);
        flavor.kairos = Spanned::unplaced(Kairos {
            runtime: Some(Spanned::unplaced(Runtime::Immucore)),
            ..Kairos::default()
        });
        let forgotten = |path: &AbsPath| forget.contains(&path.as_str());
        flavor.layout.rules.retain(|rule| !forgotten(&rule.value.path));
        let forget = forget.iter().map(|path| Spanned::unplaced(path.parse().unwrap()));
        flavor.layout.forget.extend(forget);
        let layout = compile(&flavor).unwrap().value;
        cloud_config(&flavor, &layout)
    }

    fn run(script: &str) {
        assert!(
            Command::new("sh")
                .args(["-euc", script])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Runs the step as a boot would, on lists as Kairos' own step leaves them.
    fn applied(text: &str, layout: &str, operator: &str) -> String {
        // A folder of this test and this call: tests run side by side.
        let name = format!("kcompose-layout-{}-{}", std::process::id(), operator.len());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let at = |name: &str| folder.join(name);
        std::fs::write(at("cos-layout.env"), layout).unwrap();
        std::fs::write(at("custom-layout.env"), operator).unwrap();
        let script = text
            .split_once("  rootfs.after:\n")
            .and_then(|(_, stage)| stage.split_once("- |\n"));
        let script = script
            .unwrap()
            .1
            .replace("/run/cos", &folder.display().to_string());
        run(&script);
        let found = std::fs::read_to_string(at("cos-layout.env")).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        found
    }

    #[test]
    fn kairos_finds_the_folders_that_it_links_services_into() {
        let text = probe(&[], &[]);
        let (_, stage) = text.split_once("  initramfs.before:\n").unwrap();
        let command = stage.lines().find_map(|line| line.trim().strip_prefix("- mkdir"));
        let folder = std::env::temp_dir().join(format!("kcompose-services-{}", std::process::id()));
        let at = folder.display().to_string();
        let command = format!("mkdir{}", command.unwrap().replace("/etc", &at));
        run(&command);
        for target in ["multi-user", "sysinit"] {
            let links = folder.join(format!("systemd/system/{target}.target.wants"));
            assert!(std::fs::read_dir(&links).is_ok(), "{}", links.display());
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_id_is_there_before_the_name_is_made_of_it() {
        let text = probe(&[], &[]);
        let folder = std::env::temp_dir().join(format!("kcompose-id-{}", std::process::id()));
        let at = folder.display().to_string();
        let step = text.split_once("- |\n").unwrap().1;
        let script = step.split_once("  rootfs.after:\n").unwrap().0;
        let set_up = format!("[ -s {at}/machine-id ] || echo new > {at}/machine-id");
        let script = script
            .replace("/usr/local/etc", &format!("{at}/usr/local/etc"))
            .replace(" /etc/machine-id", &format!(" {at}/machine-id"))
            .replace("/run/cos", &format!("{at}/run/cos"))
            .replace("systemd-machine-id-setup", &set_up);
        let id_after = |kept: &str, marker: Option<&str>| {
            let _ = std::fs::remove_dir_all(&folder);
            for below in ["run/cos", "usr/local/etc"] {
                std::fs::create_dir_all(folder.join(below)).unwrap();
            }
            std::fs::write(folder.join("usr/local/etc/machine-id"), kept).unwrap();
            if let Some(marker) = marker {
                std::fs::write(folder.join("run/cos").join(marker), "").unwrap();
            }
            run(&script);
            std::fs::read_to_string(folder.join("machine-id")).unwrap()
        };
        assert_eq!(id_after("", None), "new\n");
        assert_eq!(id_after("kept\n", None), "kept\n");
        assert_eq!(id_after("kept\n", Some("recovery_mode")), "new\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_flavor_and_the_operator_both_have_their_paths() {
        let text = probe(&["/etc/acme", "/acme"], &["/opt"]);
        let [kept, ephemeral, forgotten] = own_lists(&text);
        assert!(kept.contains(&"/acme".to_owned()) && ephemeral.contains(&"/etc".to_owned()));
        assert_eq!(forgotten, ["/opt", "/usr/libexec"]);
        let stock = "# merged\nOVERLAY=\"tmpfs:20%\"\nRW_PATHS=\"/var /etc  /srv /mnt\"\n\
                     PERSISTENT_STATE_PATHS=\"/opt /usr/libexec  /home /media\"\nVOLUMES=\"LABEL=COS_PERSISTENT:/usr/local\"\n";
        let found = applied(&text, stock, "CUSTOM_BIND_MOUNTS=\"/media\"\n");
        assert!(
            found.starts_with(
                "# merged\nVOLUMES=\"LABEL=COS_PERSISTENT:/usr/local\"\nRW_PATHS=\"/var /etc /srv /mnt\"\n"
            ),
            "{found}"
        );
        let state = found
            .lines()
            .find_map(|line| line.strip_prefix("PERSISTENT_STATE_PATHS=\""))
            .unwrap();
        let state: Vec<&str> = state.trim_end_matches('"').split(' ').collect();
        assert!(
            ["/home", "/media", "/acme", "/etc/acme"]
                .iter()
                .all(|path| state.contains(path)),
            "{found}"
        );
        assert!(
            !state.contains(&"/opt") && !state.contains(&"/usr/libexec"),
            "{found}"
        );
        assert!(found.ends_with("OVERLAY=\"tmpfs:25%\"\n"), "{found}");
        // What an operator asks for himself is his.
        let found = applied(&text, stock, "CUSTOM_BIND_MOUNTS=\"/opt /media\"\n");
        assert!(found.contains("PERSISTENT_STATE_PATHS=\"/opt /home"), "{found}");
    }

    #[test]
    fn no_step_is_for_one_distro() {
        assert!(!probe(&[], &[]).contains("only_os"));
    }
}
