//! Groups that users are to be in, against those that the image has.

use std::collections::BTreeSet;

use crate::diagnostic::{Sink, did_you_mean};
use crate::model::Flavor;

use super::PackageFiles;
use super::problems::UnknownGroup;

pub(super) fn prove(flavor: &Flavor, packages: &dyn PackageFiles, sink: &mut Sink) {
    // Packages from elsewhere may make groups in scripts, which nobody has listed.
    if !flavor.repositories.is_empty() {
        return;
    }
    let known = known_groups(flavor, packages);
    let users = flavor.users.iter().flat_map(|user| &user.value.groups);
    for group in users.filter(|group| !known.contains(group.value.as_str())) {
        let near: Vec<&str> = known.iter().map(String::as_str).collect();
        sink.push(UnknownGroup {
            group: group.value.clone(),
            help: did_you_mean(&group.value, &near, || {
                "administrators are in `sudo` and `adm`; a group that a package makes needs the package"
                    .to_owned()
            }),
            span: group.span,
        });
    }
}

/// The distro's own, those of packages, and that of each user.
fn known_groups(flavor: &Flavor, packages: &dyn PackageFiles) -> BTreeSet<String> {
    let distro = &flavor.distro.value;
    let mut known: BTreeSet<String> = distro.groups.iter().cloned().collect();
    known.extend(distro.ids.groups.keys().cloned());
    known.extend(flavor.users.iter().map(|user| user.value.name.value.clone()));
    packages.sysusers(&mut |line| {
        let mut words = line.split_whitespace();
        // `u` makes a group of the user's name unless it names another (sysusers.d(5)).
        if let (Some(kind), Some(name)) = (words.next(), words.next())
            && kind.starts_with(['u', 'g'])
        {
            known.insert(name.to_owned());
        }
    });
    known
}
