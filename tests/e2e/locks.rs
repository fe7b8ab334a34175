//! Same flavor, same lock, same bytes; and what each mode of the lock refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use kcompose_testing::needs;

use crate::archive::{self, field};
use crate::image::shared;
use crate::run::{kcompose, kcompose_without_network, replace, scratch};

#[test]
fn two_builds_from_empty_caches_are_the_same_bytes() {
    needs!(Root, BuildKit, Mirror);
    let built = shared();
    let folder = scratch();
    let flavor = built.copy_flavor(folder.path(), "elsewhere");
    // What a checkout has by chance must not count: times, and what the umask took.
    let plain = flavor.join("overlay/plain");
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(flavor.join("overlay"), fs::Permissions::from_mode(0o700)).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(&plain).unwrap().set_modified(old).unwrap();

    kcompose(
        folder.path(),
        "build elsewhere --locked --no-cache -o type=oci,dest=again.tar --metadata-file again.json",
    )
    .ok();
    assert_eq!(
        field(&folder.path().join("again.json"), "containerimage.digest"),
        field(&built.metadata(), "containerimage.digest")
    );
    assert!(
        fs::read(folder.path().join("again.tar")).unwrap() == fs::read(built.archive()).unwrap(),
        "other archive bytes"
    );
}

#[test]
fn an_unchanged_flavor_builds_without_any_network() {
    needs!(Root, BuildKit, Mirror, Program("unshare"));
    let built = shared();
    let folder = scratch();
    let flavor = built.copy_flavor(folder.path(), "flavor");
    let lock = fs::read(flavor.join("flavor.lock")).unwrap();
    // A daemon behind TCP would be cut off as well.
    let line = "build flavor --frozen -o type=oci,dest=offline.tar --metadata-file offline.json";
    kcompose_without_network(folder.path(), line).ok();
    assert_eq!(
        field(&folder.path().join("offline.json"), "containerimage.digest"),
        field(&built.metadata(), "containerimage.digest")
    );
    assert_eq!(fs::read(flavor.join("flavor.lock")).unwrap(), lock);
}

#[test]
fn a_lock_that_does_not_fit_is_refused_and_left_alone() {
    needs!(Root, BuildKit, Mirror);
    let folder = scratch();
    let flavor = shared().copy_flavor(folder.path(), "flavor");
    let lock = fs::read(flavor.join("flavor.lock")).unwrap();
    replace(&flavor.join("flavor.kdl"), "    jq\n", "    jq\n    tree\n");
    for line in [
        "build flavor --locked -o type=oci,dest=no.tar",
        "build flavor --frozen -o type=oci,dest=no.tar",
        "lock flavor --check",
    ] {
        kcompose(folder.path(), line)
            .ends(1)
            .says("kcompose::")
            .says("tree")
            .says("kcompose lock");
    }
    assert!(!folder.path().join("no.tar").exists());
    assert_eq!(fs::read(flavor.join("flavor.lock")).unwrap(), lock);
}

#[test]
fn a_flavor_without_a_lock_is_refused_where_none_may_be_written() {
    needs!(BuildKit);
    let folder = scratch();
    kcompose(folder.path(), "new gateway").ok();
    kcompose(folder.path(), "build gateway --locked")
        .ends(1)
        .says("kcompose::")
        .says("kcompose lock");
    assert!(!folder.path().join("gateway/flavor.lock").exists());
}

#[test]
fn one_more_package_moves_only_its_own_layer() {
    needs!(Root, BuildKit, Mirror);
    let built = shared();
    let folder = scratch();
    let flavor = built.copy_flavor(folder.path(), "flavor");
    replace(&flavor.join("flavor.kdl"), "    jq\n", "    jq\n    tree\n");
    kcompose(folder.path(), "build flavor -o type=oci,dest=more.tar").ok();
    let (before, after) = (
        archive::read(&built.archive()),
        archive::read(&folder.path().join("more.tar")),
    );
    let new: Vec<_> = after
        .layers
        .iter()
        .filter(|layer| !before.layers.contains(layer))
        .collect();
    let bytes = |layers: &[&(String, u64)]| layers.iter().map(|(_, size)| size).sum::<u64>();
    let all: Vec<_> = after.layers.iter().collect();
    assert!(after.layers.len() <= 100, "{} layers", after.layers.len());
    assert!(new.len() <= 4, "{} new layers of {}", new.len(), all.len());
    assert!(
        bytes(&new) < bytes(&all) / 20,
        "{} new bytes of {}",
        bytes(&new),
        bytes(&all)
    );
}

#[test]
fn update_of_a_fresh_lock_changes_nothing() {
    needs!(Root, BuildKit, Mirror);
    let folder = scratch();
    let flavor = shared().copy_flavor(folder.path(), "flavor");
    let lock = fs::read(flavor.join("flavor.lock")).unwrap();
    kcompose(folder.path(), "update flavor --dry-run").ok();
    assert_eq!(fs::read(flavor.join("flavor.lock")).unwrap(), lock);
}
