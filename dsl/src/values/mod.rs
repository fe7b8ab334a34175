//! The types of values that the tables name.

mod checks;
mod read;

use kcompose_core::model::{
    AbsPath, Architecture, CheckedBy, FileMode, HostName, InvalidValue, Locale, PackageName, PathPattern,
    RuntimeSource, Sha256, Size, Snapshot, TimeZone, UnitName, Url, VersionRequest, XkbNames,
};

use checks::*;
pub(crate) use read::{Readable, scalar, words};

use crate::syntax::Value;

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
    /// A whole number, text, `#true` or `#false`.
    Scalar,
    /// `#true`, `#false` or text.
    BooleanOrText,
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
            (Kind::Text | Kind::IntegerOrText | Kind::BooleanOrText | Kind::Scalar, Value::Text(text)) => {
                text.clone()
            }
            (Kind::Integer | Kind::IntegerOrText | Kind::Scalar, Value::Integer(number)) => {
                number.to_string()
            }
            (Kind::Boolean | Kind::BooleanOrText | Kind::Scalar, Value::Boolean(_)) => return Ok(()),
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

/// Any text.
pub static TEXT: ValueType = ValueType::text("text", "text", "Any text.");
/// A distro of the library.
pub static DISTRO: ValueType = ValueType::checked(
    "distro",
    "the name of a distro",
    "The name of a distro of the library, such as `debian`.",
    check_distro,
);
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
/// A group's number.
pub static GROUP_ID: ValueType = ValueType {
    kind: Kind::Integer,
    ..ValueType::checked("gid", "a group id", "A number from 1 to 59999.", check_group_id)
};
/// The number of a user or group that a package makes.
pub static PACKAGE_ID: ValueType = ValueType {
    kind: Kind::Integer,
    ..ValueType::checked("id", "a number", "A number from 1 to 65533.", check_package_id)
};
/// The number of a system user or group.
pub static SYSTEM_ID: ValueType = ValueType {
    kind: Kind::Integer,
    ..ValueType::checked("id", "a number below 65536", "A number.", check_system_id)
};
/// The value of a kernel parameter.
pub static SYSCTL_VALUE: ValueType = ValueType {
    kind: Kind::IntegerOrText,
    ..ValueType::checked(
        "sysctl-value",
        "a number or one line of text",
        "A number, or text without a line break.",
        check_line,
    )
};
/// The value of a parameter.
pub static PARAMETER_VALUE: ValueType = ValueType {
    kind: Kind::Scalar,
    ..ValueType::checked(
        "value",
        "a number, a boolean or one line of text",
        "A number, `#true` or `#false`, or text without a line break.",
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
/// Where a program comes from that is no package.
pub static RUNTIME_SOURCE: ValueType = ValueType::checked(
    "runtime source",
    RuntimeSource::WHAT,
    "An image with its registry, such as `quay.io/kairos/kairos-init:v0.17.3`, the program's URL, or a path that begins with `/`, \
     `./` or `../`: the program itself, a folder that has it under its own name, or an OCI layout. Relative paths begin at the \
     folder of the flavor.",
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
pub static URL: ValueType = ValueType::checked(
    "url",
    Url::WHAT,
    "An `http://` or `https://` URL, without user name and password.",
    parses::<Url>,
);
/// The URL of a folder that files are read below.
pub static ARCHIVE_URL: ValueType = ValueType::checked(
    "archive url",
    Url::WHAT,
    "An `http://` or `https://` URL, without user name, password and query. kcompose takes a login from `/etc/apt/auth.conf`, \
     `/etc/apt/auth.conf.d`, `~/.netrc` or the file that `NETRC` names, and sends it to that server alone.",
    check_archive_url,
);
/// Names of components.
pub static COMPONENTS: ValueType = ValueType::checked(
    "components",
    "names of components",
    "Names of components, separated by spaces.",
    check_components,
);
/// A time that an archive is read as of.
pub static SNAPSHOT: ValueType = ValueType::checked(
    "snapshot",
    Snapshot::WHAT,
    "A time in UTC, as snapshot services write it: `20260101T000000Z`.",
    parses::<Snapshot>,
);
/// A priority of package versions.
pub static PRIORITY: ValueType = ValueType {
    kind: Kind::Integer,
    ..ValueType::checked(
        "priority",
        "a number from 1 to 1000",
        "A number from 1 to 1000. The version of the highest priority is taken, and of equal ones the newest: 500 is usual, 100 \
         a suite like backports, 1 one like experimental, and 990 comes before the distro's own.",
        check_priority,
    )
};
/// Packages of the distro, or all of them.
pub static OVERRIDE: ValueType = ValueType {
    kind: Kind::BooleanOrText,
    ..ValueType::checked(
        "packages or all",
        "`#true` or names of packages",
        "`#true` for all, or names of packages, separated by spaces.",
        check_packages,
    )
};
/// Names of suites.
pub static SUITES: ValueType = ValueType::checked(
    "suites",
    "names of suites",
    "Names of suites, separated by spaces.",
    check_suites,
);
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
/// Files of firmware.
pub static FIRMWARE: ValueType = ValueType::checked(
    "firmware",
    "a path of firmware",
    "A path below `/usr/lib/firmware`. `*` stands for any part of a name, `?` for one character; a directory stands for all in \
     it, and a name for the compressed file, too.",
    check_firmware,
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
/// A host name.
pub static HOST_NAME: ValueType = ValueType::checked(
    "host name",
    HostName::WHAT,
    "Letters, digits and `-`, at most 63 in each part between dots and 64 in all (RFC 1123); lower case.",
    parses::<HostName>,
);
/// A time zone.
pub static TIME_ZONE: ValueType = ValueType::checked(
    "time zone",
    TimeZone::WHAT,
    "A name of the IANA database, such as `Europe/Berlin`, as `timedatectl list-timezones` lists them.",
    parses::<TimeZone>,
);
/// A locale.
pub static LOCALE: ValueType = ValueType::checked(
    "locale",
    Locale::WHAT,
    "Language, territory and character set, such as `de_DE.UTF-8`; or `C.UTF-8`.",
    parses::<Locale>,
);
/// Names of keyboard layouts, variants, models and options.
pub static XKB_NAMES: ValueType = ValueType::checked(
    "keyboard names",
    XkbNames::WHAT,
    "Names that xkeyboard-config(7) lists, joined by commas.",
    parses::<XkbNames>,
);
/// A file's checksum.
pub static SHA256: ValueType = ValueType::checked(
    "sha256",
    Sha256::WHAT,
    "The 64 hexadecimal digits that `sha256sum` prints.",
    parses::<Sha256>,
);
/// A number of parts of a path.
pub static PARTS: ValueType = ValueType {
    kind: Kind::Integer,
    ..ValueType::checked(
        "parts",
        "a number of parts of a path",
        "A number from 1 to 16.",
        check_parts,
    )
};
/// A day.
pub static DATE: ValueType = ValueType::checked("date", "a date", "A day as `YYYY-MM-DD`.", check_date);
/// What a document uses.
pub static USE_TARGET: ValueType = ValueType::checked(
    "document",
    "a block or a document",
    "The name of a block of the library, or the path of a document, beginning with `./` or `../`, relative to this one.",
    check_use_target,
);
