//! What the texts of values must be like.

use kcompose_core::model::{InvalidValue, PackageName, Url, redacted};

use super::words;

pub(super) fn check_line(text: &str) -> Result<(), InvalidValue> {
    if text.contains(['\n', '\r', '\0']) {
        return refuse("this text has more than one line", "write it on one line");
    }
    Ok(())
}

pub(super) fn check_user_id(text: &str) -> Result<(), InvalidValue> {
    match text.parse::<u32>() {
        Ok(1..=59999) => Ok(()),
        _ => refuse(
            format!("`{text}` is not a user id"),
            "choose a number from 1000 to 59999",
        ),
    }
}

pub(super) fn check_group_id(text: &str) -> Result<(), InvalidValue> {
    match text.parse::<u32>() {
        Ok(1..=59999) => Ok(()),
        _ => refuse(
            format!("`{text}` is not a group id"),
            "choose a number from 200 to 59999",
        ),
    }
}

pub(super) fn check_package_id(text: &str) -> Result<(), InvalidValue> {
    match text.parse::<u32>() {
        Ok(1..=65533) => Ok(()),
        _ => refuse(
            format!("`{text}` is not a number that a package's user or group can have"),
            "choose a number from 200 to 899",
        ),
    }
}

pub(super) fn check_system_id(text: &str) -> Result<(), InvalidValue> {
    if text.parse::<u16>().is_ok() {
        return Ok(());
    }
    refuse(
        format!("`{text}` is not a number of a user or group"),
        "choose a number from 1 to 65535",
    )
}

pub(super) fn check_parts(text: &str) -> Result<(), InvalidValue> {
    match text.parse::<u32>() {
        Ok(1..=16) => Ok(()),
        _ => refuse(
            format!("`{text}` is not a number of parts of a path"),
            "write a number from 1 to 16",
        ),
    }
}

fn is_word(text: &str, also: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

pub(super) fn check_word(text: &str) -> Result<(), InvalidValue> {
    if is_word(text, "-_.+") {
        return Ok(());
    }
    refuse(
        format!("`{text}` is not a word"),
        "use letters, digits, `-`, `_`, `.` and `+`, beginning with a letter or digit",
    )
}

/// The distro of `base`, which people write as an image's name with its tag.
pub(super) fn check_distro(text: &str) -> Result<(), InvalidValue> {
    if let Some((distro, tag)) = text.split_once(':')
        && is_word(distro, "-_.+/")
    {
        let distro = distro.rsplit('/').next().unwrap_or(distro);
        let release = if is_word(tag, "-_.+") { tag } else { "trixie" };
        return refuse(
            format!("`{text}` is the name of an image, not of a distro"),
            format!("write the release as a property: base \"{distro}\" release=\"{release}\""),
        );
    }
    check_word(text)
}

pub(super) fn check_flavor_name(text: &str) -> Result<(), InvalidValue> {
    if is_word(text, "-_.") && text.len() <= 64 && !text.contains(|c: char| c.is_ascii_uppercase()) {
        return Ok(());
    }
    refuse(
        format!("`{text}` cannot name a flavor"),
        "use lower case letters, digits, `-`, `_` and `.`, beginning with a letter or digit, at most 64 characters",
    )
}

pub(super) fn check_version(text: &str) -> Result<(), InvalidValue> {
    if semver::Version::parse(text).is_ok() {
        return Ok(());
    }
    let bare = text.strip_prefix('v').unwrap_or(text);
    let end = bare.find(['-', '+']).unwrap_or(bare.len());
    let numbers: Vec<&str> = bare[..end].split('.').collect();
    let without_zeros = |number: &&str| match number.trim_start_matches('0') {
        "" if !number.is_empty() => "0".to_owned(),
        rest => rest.to_owned(),
    };
    let mut parts: Vec<String> = numbers.iter().map(without_zeros).collect();
    parts.resize(parts.len().max(3), "0".to_owned());
    let fixed = format!("{}{}", parts.join("."), &bare[end..]);
    let fixed = if semver::Version::parse(&fixed).is_ok() {
        fixed
    } else {
        "1.0.0".to_owned()
    };
    let zeros = numbers
        .iter()
        .any(|number| number.len() > 1 && number.starts_with('0'));
    let help = match numbers.len() {
        3 if zeros => format!("write the numbers without zeros in front: \"{fixed}\""),
        4.. => "write three numbers, and what follows behind `+`, as in \"1.2.3+4\"".to_owned(),
        _ => format!("write three numbers, as in \"{fixed}\""),
    };
    refuse(format!("`{text}` is not a semantic version"), help)
}

pub(super) fn check_link_target(text: &str) -> Result<(), InvalidValue> {
    if text.is_empty() || text.contains(|c: char| c.is_control()) {
        return refuse(
            "this is not a link's target",
            "write an absolute or relative path",
        );
    }
    Ok(())
}

pub(super) fn check_archive_url(text: &str) -> Result<(), InvalidValue> {
    if text.parse::<Url>()?.has_query() {
        return refuse(
            "this URL has a query or a fragment, and paths are appended to it",
            "write the URL of the folder: end it before the `?` or `#`",
        );
    }
    Ok(())
}

pub(super) fn check_components(text: &str) -> Result<(), InvalidValue> {
    let is_component = |name: &str| is_word(name, "-_.+/") && !name.split('/').any(|part| part == "..");
    match words(text).find(|name| !is_component(name)) {
        Some(wrong) => refuse(
            format!("`{}` is not a component", redacted(wrong)),
            "write names separated by spaces, as in \"main contrib non-free-firmware\"",
        ),
        None if words(text).next().is_none() => refuse("no component is named", "write \"main\" at least"),
        None => Ok(()),
    }
}

pub(super) fn check_priority(text: &str) -> Result<(), InvalidValue> {
    match text.parse::<u16>() {
        Ok(1..=1000) => Ok(()),
        _ => refuse(
            format!("`{text}` is not a priority"),
            "choose a number from 1 to 1000; to read nothing of a repository, take it out",
        ),
    }
}

pub(super) fn check_packages(text: &str) -> Result<(), InvalidValue> {
    if words(text).next().is_none() {
        return refuse("no package is named", "write names of packages, or #true for all");
    }
    words(text).try_for_each(|name| name.parse::<PackageName>().map(drop))
}

pub(super) fn check_suites(text: &str) -> Result<(), InvalidValue> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.+~/:".contains(c);
    let is_suite = |suite: &str| {
        suite.chars().all(legal) && !suite.split('/').any(|part| part == "..") && !suite.contains("//")
    };
    if let Some(wrong) = words(text).find(|suite| !is_suite(suite)) {
        return refuse(
            format!("`{}` is not a suite", redacted(wrong)),
            "write the name below `dists/`, as in \"trixie\", or the path of a flat repository, as in \"./\"",
        );
    }
    if words(text).next().is_none() {
        return refuse(
            "no suite is named",
            "write the name below `dists/`, as in \"trixie\"",
        );
    }
    Ok(())
}

pub(super) fn check_account(text: &str) -> Result<(), InvalidValue> {
    let first = text.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
    let all = text
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c));
    if first && all && text.len() <= 31 {
        return Ok(());
    }
    refuse(
        format!("`{text}` cannot name an account"),
        "use lower case letters, digits, `-` and `_`, beginning with a letter or `_`, at most 31 characters",
    )
}

pub(super) fn check_system_account(text: &str) -> Result<(), InvalidValue> {
    check_account(&text.to_ascii_lowercase())
}

pub(super) fn check_owner(text: &str) -> Result<(), InvalidValue> {
    if text.parse::<u32>().is_ok() {
        return Ok(());
    }
    check_system_account(text)
}

pub(super) fn check_groups(text: &str) -> Result<(), InvalidValue> {
    words(text).try_for_each(check_account)
}

pub(super) fn check_password_hash(text: &str) -> Result<(), InvalidValue> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "./$=,_-".contains(c);
    if text.starts_with('$') && text.matches('$').count() >= 3 && text.chars().all(legal) {
        return Ok(());
    }
    refuse(
        "this is not the hash of a password",
        "make one with `mkpasswd -m yescrypt` and write what it prints; it begins with `$`",
    )
}

pub(super) fn check_ssh_key(text: &str) -> Result<(), InvalidValue> {
    let types = [
        "ssh-ed25519 ",
        "ssh-rsa ",
        "ecdsa-sha2-",
        "sk-ssh-ed25519@openssh.com ",
        "sk-ecdsa-sha2-",
    ];
    if check_line(text).is_ok()
        && types
            .iter()
            .any(|kind| text.starts_with(kind) || text.contains(&format!(" {kind}")))
    {
        return Ok(());
    }
    refuse(
        "this is not a public ssh key",
        "write the line of a `.pub` file, as in \"ssh-ed25519 AAAA… name\"",
    )
}

pub(super) fn check_kernel_argument(text: &str) -> Result<(), InvalidValue> {
    if text.is_empty()
        || text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\'' || c == '`')
    {
        return refuse(
            format!("`{text}` is not one kernel argument"),
            "write each argument in quotes of its own: cmdline \"a=1\" \"b=2\"",
        );
    }
    Ok(())
}

pub(super) fn check_module(text: &str) -> Result<(), InvalidValue> {
    if !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    {
        return Ok(());
    }
    refuse(
        format!("`{text}` is not the name of a kernel module"),
        "write it as `modinfo` does, without path and `.ko`",
    )
}

pub(super) fn check_firmware(text: &str) -> Result<(), InvalidValue> {
    const FOLDER: &str = "lib/firmware/";
    if let Some(at) = text.find(FOLDER) {
        let below = &text[at + FOLDER.len()..];
        return refuse(
            format!("`{text}` is not a path below `/usr/lib/firmware`"),
            format!("write the rest of it: \"{below}\""),
        );
    }
    let is_name = |name: &str| !name.is_empty() && name != "." && name != "..";
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.,+*?/".contains(c);
    if text.split('/').all(is_name) && text.chars().all(legal) {
        return Ok(());
    }
    refuse(
        format!("`{text}` is not a path below `/usr/lib/firmware`"),
        "write it as the driver asks for it, as in \"brcm/*\"",
    )
}

pub(super) fn check_fs_label(text: &str) -> Result<(), InvalidValue> {
    if !text.is_empty()
        && text.len() <= 16
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    {
        return Ok(());
    }
    refuse(
        format!("`{text}` is not a file system label"),
        "use letters, digits, `-`, `_` and `.`, at most 16 characters",
    )
}

pub(super) fn check_sysctl_key(text: &str) -> Result<(), InvalidValue> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_./*:@".contains(c);
    if text.contains(['.', '/']) && text.chars().all(legal) && !text.contains("..") {
        return Ok(());
    }
    refuse(
        format!("`{text}` is not a kernel parameter"),
        "write it as `sysctl -a` does, as in `net.ipv4.ip_forward`",
    )
}

pub(super) fn check_date(text: &str) -> Result<(), InvalidValue> {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |at: usize, length: usize| {
        parts
            .get(at)
            .filter(|part| part.len() == length)
            .and_then(|part| part.parse::<u32>().ok())
    };
    match (parts.len(), number(0, 4), number(1, 2), number(2, 2)) {
        (3, Some(_), Some(1..=12), Some(1..=31)) => Ok(()),
        _ => refuse(format!("`{text}` is not a date"), "write it as \"2026-12-01\""),
    }
}

pub(super) fn check_use_target(text: &str) -> Result<(), InvalidValue> {
    if text.starts_with("./") || text.starts_with("../") || is_word(text, "-_") {
        return Ok(());
    }
    if text.contains('/') || text.ends_with(".kdl") {
        return refuse(
            format!("`{text}` is neither a block nor a document"),
            format!(
                "write a document's path as \"./{}\"",
                text.trim_start_matches('/')
            ),
        );
    }
    refuse(
        format!("`{text}` is neither a block nor a document"),
        "write a block's name, or a path that begins with `./`",
    )
}

fn refuse(fact: impl Into<String>, help: impl Into<String>) -> Result<(), InvalidValue> {
    Err(InvalidValue {
        fact: fact.into(),
        help: help.into(),
    })
}
