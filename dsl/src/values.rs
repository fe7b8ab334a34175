//! The types of values that the tables name, and reading checked values.

use kcompose_core::model::{
    AbsPath, Architecture, CheckedBy, FileMode, InvalidValue, PackageName, PathPattern, RuntimeSource, Size,
    UnitName, VersionRequest,
};
use kcompose_core::source::Spanned;

use crate::syntax::{Argument, Node, Value};

/// A type of values: what it is called, what KDL value it takes, and which texts.
#[derive(Clone, Copy)]
pub struct ValueType {
    /// The name in the reference, such as `path`.
    pub name: &'static str,
    /// What messages call a value, with its article: "an absolute path".
    pub what: &'static str,
    /// What the reference says about it.
    pub doc: &'static str,
    /// The KDL values that it takes.
    pub kind: Kind,
    /// The only texts, when they are few.
    pub choices: &'static [&'static str],
    /// Checks the text of a value (a number's digits).
    pub check: fn(&str) -> Result<(), InvalidValue>,
}

impl std::fmt::Debug for ValueType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValueType")
            .field("name", &self.name)
            .field("choices", &self.choices)
            .finish_non_exhaustive()
    }
}

/// The KDL values that a type takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// `#true` or `#false`.
    Boolean,
    /// A whole number.
    Integer,
    /// A whole number or text.
    IntegerOrText,
}

/// What is wrong with a value.
pub(crate) enum Refusal {
    /// It is another kind of KDL value.
    Kind,
    /// It is none of the choices.
    Choice,
    /// Its text is refused.
    Text(InvalidValue),
}

impl ValueType {
    /// Any text.
    pub const fn text(name: &'static str, what: &'static str, doc: &'static str) -> Self {
        ValueType {
            name,
            what,
            doc,
            kind: Kind::Text,
            choices: &[],
            check: fine,
        }
    }

    /// Text that a check accepts.
    pub const fn checked(
        name: &'static str,
        what: &'static str,
        doc: &'static str,
        check: fn(&str) -> Result<(), InvalidValue>,
    ) -> Self {
        ValueType {
            name,
            what,
            doc,
            kind: Kind::Text,
            choices: &[],
            check,
        }
    }

    /// One of a few words.
    pub const fn choice(
        name: &'static str,
        what: &'static str,
        doc: &'static str,
        choices: &'static [&'static str],
    ) -> Self {
        ValueType {
            name,
            what,
            doc,
            kind: Kind::Text,
            choices,
            check: fine,
        }
    }

    /// Whether a value is of this type.
    pub(crate) fn accept(&self, value: &Value) -> Result<(), Refusal> {
        let text = match (self.kind, value) {
            (Kind::Text | Kind::IntegerOrText, Value::Text(text)) => text.clone(),
            (Kind::Integer | Kind::IntegerOrText, Value::Integer(number)) => number.to_string(),
            (Kind::Boolean, Value::Boolean(_)) => return Ok(()),
            _ => return Err(Refusal::Kind),
        };
        if !self.choices.is_empty() && !self.choices.contains(&text.as_str()) {
            return Err(Refusal::Choice);
        }
        (self.check)(&text).map_err(Refusal::Text)
    }
}

fn fine(_: &str) -> Result<(), InvalidValue> {
    Ok(())
}

fn parses<T: CheckedBy>(text: &str) -> Result<(), InvalidValue> {
    text.parse::<T>().map(drop)
}

fn refuse(fact: impl Into<String>, help: impl Into<String>) -> Result<(), InvalidValue> {
    Err(InvalidValue {
        fact: fact.into(),
        help: help.into(),
    })
}

/// Any text.
pub static TEXT: ValueType = ValueType::text("text", "text", "Any text.");
/// Text of one line.
pub static LINE: ValueType = ValueType::checked(
    "line",
    "one line of text",
    "Text without a line break.",
    check_line,
);
/// `#true` or `#false`.
pub static BOOLEAN: ValueType = ValueType {
    kind: Kind::Boolean,
    ..ValueType::text("boolean", "`#true` or `#false`", "`#true` or `#false`.")
};
/// A user's number.
pub static USER_ID: ValueType = ValueType {
    kind: Kind::Integer,
    ..ValueType::checked("uid", "a user id", "A number from 1 to 59999.", check_user_id)
};
/// The number of a system user or group.
pub static SYSTEM_ID: ValueType = ValueType {
    kind: Kind::Integer,
    ..ValueType::checked("id", "a number below 65536", "A number.", check_system_id)
};
/// A number or text.
pub static PARAMETER_VALUE: ValueType = ValueType {
    kind: Kind::IntegerOrText,
    ..ValueType::checked(
        "value",
        "a number or one line of text",
        "A number, or text without a line break.",
        check_line,
    )
};
/// A flavor's name.
pub static FLAVOR_NAME: ValueType = ValueType::checked(
    "name",
    "a flavor's name",
    "Lower case letters, digits, `-`, `_` and `.`; begins with a letter or digit.",
    check_flavor_name,
);
/// A word: a name without spaces.
pub static WORD: ValueType = ValueType::checked(
    "word",
    "a word",
    "Letters, digits, `-`, `_`, `.` and `+`; begins with a letter or digit.",
    check_word,
);
/// A semantic version.
pub static VERSION: ValueType = ValueType::checked(
    "version",
    "a semantic version",
    "A semantic version such as `1.4.0`, without `v`.",
    check_version,
);
/// A package's name.
pub static PACKAGE: ValueType = ValueType::checked(
    "package",
    PackageName::WHAT,
    "The name of a package, as its distro spells it. One that begins with a digit stands in quotes: `\"7zip\"`.",
    parses::<PackageName>,
);
/// A wish for versions.
pub static VERSION_REQUEST: ValueType = ValueType::checked(
    "versions",
    VersionRequest::WHAT,
    "`\">=8.10\"`, `\"<2\"`, `\"=1.2-3\"`, `\"6.12.*\"`; a plain version means \"equal\". Compared by the rules of the distro.",
    parses::<VersionRequest>,
);
/// An absolute path.
pub static PATH: ValueType = ValueType::checked(
    "path",
    AbsPath::WHAT,
    "An absolute path without `.`, `..`, doubled `/`.",
    parses::<AbsPath>,
);
/// A path below the flavor's folder.
pub static CONTEXT_PATH: ValueType = ValueType::checked(
    "context path",
    PathPattern::WHAT,
    "A path relative to the folder of the flavor, without `..`.",
    parses::<PathPattern>,
);
/// Where kairos-init comes from.
pub static RUNTIME_SOURCE: ValueType = ValueType::checked(
    "runtime source",
    RuntimeSource::WHAT,
    "An image with its registry, such as `quay.io/kairos/kairos-init:v0.17.3`, or a path that begins with `/`, `./` or `../`: \
     the program `kairos-init` itself, a folder that has it, or an OCI layout. Relative paths begin at the folder of the flavor.",
    parses::<RuntimeSource>,
);
/// A link's target.
pub static LINK_TARGET: ValueType = ValueType::checked(
    "target",
    "a link's target",
    "An absolute or relative path.",
    check_link_target,
);
/// A unit.
pub static UNIT: ValueType = ValueType::checked(
    "unit",
    UnitName::WHAT,
    "The name of a systemd unit; without a suffix it is a `.service`.",
    parses::<UnitName>,
);
/// Permission bits.
pub static MODE: ValueType = ValueType::checked(
    "mode",
    FileMode::WHAT,
    "Permission bits in octal, in quotes: `\"0644\"`, `\"1777\"`.",
    parses::<FileMode>,
);
/// A size.
pub static SIZE: ValueType = ValueType::checked(
    "size",
    Size::WHAT,
    "`\"25%\"` of the memory, `\"512MiB\"`, `\"2GiB\"`.",
    parses::<Size>,
);
/// An architecture.
pub static ARCHITECTURE: ValueType = ValueType::choice(
    "architecture",
    Architecture::WHAT,
    "`amd64` or `arm64`.",
    &["amd64", "arm64"],
);
/// An http or https URL.
pub static URL: ValueType = ValueType::checked("url", "a URL", "An `http://` or `https://` URL.", check_url);
/// A user's or group's name.
pub static ACCOUNT: ValueType = ValueType::checked(
    "account",
    "an account's name",
    "Lower case letters, digits, `-` and `_`, at most 31; begins with a letter or `_`.",
    check_account,
);
/// The name of a system user or group: packages also make such as `Debian-snmp`.
pub static SYSTEM_ACCOUNT: ValueType = ValueType::checked(
    "account",
    "an account's name",
    "The name of a user or group.",
    check_system_account,
);
/// An owner.
pub static OWNER: ValueType = ValueType {
    kind: Kind::IntegerOrText,
    ..ValueType::checked(
        "owner",
        "an owner",
        "The name or the number of a user or group.",
        check_owner,
    )
};
/// Several groups.
pub static GROUPS: ValueType = ValueType::checked(
    "groups",
    "names of groups",
    "Names of groups, separated by spaces or commas.",
    check_groups,
);
/// A hash for `/etc/shadow`.
pub static PASSWORD_HASH: ValueType = ValueType::checked(
    "password hash",
    "a password's hash",
    "The hash of a password in crypt(5) form, as `mkpasswd` prints it; never the password itself.",
    check_password_hash,
);
/// A public key for ssh.
pub static SSH_KEY: ValueType = ValueType::checked(
    "ssh key",
    "a public ssh key",
    "A line of `authorized_keys`.",
    check_ssh_key,
);
/// A kernel argument.
pub static KERNEL_ARGUMENT: ValueType = ValueType::checked(
    "kernel argument",
    "a kernel argument",
    "One kernel argument, such as `console=ttyS0`.",
    check_kernel_argument,
);
/// A kernel module.
pub static MODULE: ValueType = ValueType::checked(
    "module",
    "a kernel module",
    "The name of a kernel module, without `.ko`.",
    check_module,
);
/// The label of a file system.
pub static FS_LABEL: ValueType = ValueType::checked(
    "label",
    "a file system label",
    "The label of a file system, at most 16 characters.",
    check_fs_label,
);
/// A kernel parameter.
pub static SYSCTL_KEY: ValueType = ValueType::checked(
    "kernel parameter",
    "a kernel parameter",
    "The name of a kernel parameter, such as `net.ipv4.ip_forward`.",
    check_sysctl_key,
);
/// A day.
pub static DATE: ValueType = ValueType::checked("date", "a date", "A day as `YYYY-MM-DD`.", check_date);
/// What a document uses.
pub static USE_TARGET: ValueType = ValueType::checked(
    "document",
    "a block or a document",
    "The name of a block of the library, or the path of a document, beginning with `./` or `../`, relative to this one.",
    check_use_target,
);

fn check_line(text: &str) -> Result<(), InvalidValue> {
    if text.contains(['\n', '\r', '\0']) {
        return refuse("this text has more than one line", "write it on one line");
    }
    Ok(())
}

fn check_user_id(text: &str) -> Result<(), InvalidValue> {
    match text.parse::<u32>() {
        Ok(1..=59999) => Ok(()),
        _ => refuse(
            format!("`{text}` is not a user id"),
            "choose a number from 1000 to 59999",
        ),
    }
}

fn check_system_id(text: &str) -> Result<(), InvalidValue> {
    if text.parse::<u16>().is_ok() {
        return Ok(());
    }
    refuse(
        format!("`{text}` is not a number of a user or group"),
        "choose a number from 1 to 65535",
    )
}

fn is_word(text: &str, also: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

fn check_word(text: &str) -> Result<(), InvalidValue> {
    if is_word(text, "-_.+") {
        return Ok(());
    }
    refuse(
        format!("`{text}` is not a word"),
        "use letters, digits, `-`, `_`, `.` and `+`, beginning with a letter or digit",
    )
}

fn check_flavor_name(text: &str) -> Result<(), InvalidValue> {
    if is_word(text, "-_.") && text.len() <= 64 && !text.contains(|c: char| c.is_ascii_uppercase()) {
        return Ok(());
    }
    refuse(
        format!("`{text}` cannot name a flavor"),
        "use lower case letters, digits, `-`, `_` and `.`, beginning with a letter or digit, at most 64 characters",
    )
}

fn check_version(text: &str) -> Result<(), InvalidValue> {
    if semver::Version::parse(text).is_ok() {
        return Ok(());
    }
    let bare = text.strip_prefix('v').unwrap_or(text);
    let dots = bare.matches('.').count();
    let padded = format!("{bare}{}", ".0".repeat(2usize.saturating_sub(dots)));
    let example = if semver::Version::parse(&padded).is_ok() {
        padded
    } else {
        "1.0.0".to_owned()
    };
    refuse(
        format!("`{text}` is not a semantic version"),
        format!("write three numbers, as in \"{example}\""),
    )
}

fn check_link_target(text: &str) -> Result<(), InvalidValue> {
    if text.is_empty() || text.contains(|c: char| c.is_control()) {
        return refuse(
            "this is not a link's target",
            "write an absolute or relative path",
        );
    }
    Ok(())
}

fn check_url(text: &str) -> Result<(), InvalidValue> {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
        .unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    if !host.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Ok(());
    }
    refuse(
        format!("`{text}` is not a URL"),
        "write it as \"https://deb.example.org/path\"",
    )
}

fn check_account(text: &str) -> Result<(), InvalidValue> {
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

fn check_system_account(text: &str) -> Result<(), InvalidValue> {
    check_account(&text.to_ascii_lowercase())
}

fn check_owner(text: &str) -> Result<(), InvalidValue> {
    if text.parse::<u32>().is_ok() {
        return Ok(());
    }
    check_system_account(text)
}

fn check_groups(text: &str) -> Result<(), InvalidValue> {
    words(text).try_for_each(check_account)
}

fn check_password_hash(text: &str) -> Result<(), InvalidValue> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "./$=,_-".contains(c);
    if text.starts_with('$') && text.matches('$').count() >= 3 && text.chars().all(legal) {
        return Ok(());
    }
    refuse(
        "this is not the hash of a password",
        "make one with `mkpasswd -m yescrypt` and write what it prints; it begins with `$`",
    )
}

fn check_ssh_key(text: &str) -> Result<(), InvalidValue> {
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

fn check_kernel_argument(text: &str) -> Result<(), InvalidValue> {
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

fn check_module(text: &str) -> Result<(), InvalidValue> {
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

fn check_fs_label(text: &str) -> Result<(), InvalidValue> {
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

fn check_sysctl_key(text: &str) -> Result<(), InvalidValue> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_./*:@".contains(c);
    if text.contains(['.', '/']) && text.chars().all(legal) && !text.contains("..") {
        return Ok(());
    }
    refuse(
        format!("`{text}` is not a kernel parameter"),
        "write it as `sysctl -a` does, as in `net.ipv4.ip_forward`",
    )
}

fn check_date(text: &str) -> Result<(), InvalidValue> {
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

fn check_use_target(text: &str) -> Result<(), InvalidValue> {
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

/// The words of a text, separated by spaces or commas.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', ',', '\t']).filter(|word| !word.is_empty())
}

/// A Rust type that checked values become.
pub(crate) trait Readable: Sized {
    /// The value, or nothing when it is of another type: the check has said so already.
    fn read(value: &Value) -> Option<Self>;
}

impl Readable for String {
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Float(_) | Value::Boolean(_) | Value::Null => None,
        }
    }
}

impl Readable for bool {
    fn read(value: &Value) -> Option<Self> {
        if let Value::Boolean(truth) = value {
            Some(*truth)
        } else {
            None
        }
    }
}

impl Readable for u32 {
    fn read(value: &Value) -> Option<Self> {
        if let Value::Integer(number) = value {
            u32::try_from(*number).ok()
        } else {
            None
        }
    }
}

macro_rules! readable_text {
    ($($type:ty),* $(,)?) => {$(
        impl Readable for $type {
            fn read(value: &Value) -> Option<Self> {
                if let Value::Text(text) = value { text.parse().ok() } else { None }
            }
        }
    )*};
}

readable_text!(
    PackageName,
    VersionRequest,
    AbsPath,
    PathPattern,
    UnitName,
    FileMode,
    Size,
    Architecture,
    RuntimeSource,
    semver::Version
);

impl Argument {
    /// The value as a Rust type, at its place.
    pub(crate) fn read<T: Readable>(&self) -> Option<Spanned<T>> {
        T::read(&self.value).map(|value| Spanned::new(value, self.span))
    }
}

impl Node {
    /// An argument by its position.
    pub(crate) fn argument<T: Readable>(&self, position: usize) -> Option<Spanned<T>> {
        self.arguments.get(position)?.read()
    }

    /// All arguments.
    pub(crate) fn all_arguments<T: Readable>(&self) -> Vec<Spanned<T>> {
        self.arguments.iter().filter_map(Argument::read).collect()
    }

    /// A property's value.
    pub(crate) fn value<T: Readable>(&self, name: &str) -> Option<Spanned<T>> {
        self.property(name)?.read()
    }

    /// The first argument of the child with a name.
    pub(crate) fn child_value<T: Readable>(&self, name: &str) -> Option<Spanned<T>> {
        self.children_named(name).next()?.argument(0)
    }

    /// All arguments of all children with a name.
    pub(crate) fn child_values<T: Readable>(&self, name: &str) -> Vec<Spanned<T>> {
        self.children_named(name)
            .flat_map(|child| child.all_arguments())
            .collect()
    }
}
