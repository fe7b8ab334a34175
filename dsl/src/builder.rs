//! Flavors from Rust: the same nodes, the same checks, the same [`Fragment`].
//!
//! ```
//! use kcompose_dsl::builder::Document;
//!
//! let fragment = Document::new()
//!     .flavor("gateway", "1.4.0")
//!     .base("debian", "trixie")
//!     .kernel("linux-image-cloud-amd64")
//!     .packages(["openssh-server", "jq"])
//!     .keep(["/var/lib/gateway"])
//!     .file("/etc/motd", 0o644, "Branch gateway\n")
//!     .enable(["ssh"])
//!     .fragment();
//! assert!(fragment.is_ok());
//! ```
//!
//! What has no method of its own is a [`Node`] made by [`node`] and added by [`Document::node`].

use kcompose_core::diagnostic::{Diagnostics, Sink};
use kcompose_core::model::Fragment;
use kcompose_core::source::{Span, Spanned};

use crate::nodes;
use crate::syntax::{self, Argument, Node, Property, Value};

/// A document that is being written.
#[derive(Clone, Debug, Default)]
pub struct Document(Vec<Node>);

/// A node without values: the beginning of one.
pub fn node(name: impl Into<String>) -> Node {
    Node {
        name: Spanned::unplaced(name.into()),
        annotation: None,
        arguments: Vec::new(),
        properties: Vec::new(),
        children: None,
        span: Span::NONE,
    }
}

impl Node {
    /// The node with one more argument.
    #[must_use]
    pub fn with_argument(mut self, value: impl Into<Value>) -> Self {
        self.arguments.push(argument(value.into()));
        self
    }

    /// The node with one more argument for each value.
    #[must_use]
    pub fn with_arguments<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Self {
        values.into_iter().fold(self, Node::with_argument)
    }

    /// The node with one more property.
    #[must_use]
    pub fn with_property(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let name = Spanned::unplaced(name.into());
        self.properties.push(Property {
            name,
            value: argument(value.into()),
            span: Span::NONE,
        });
        self
    }

    /// The node with one more child.
    #[must_use]
    pub fn with_child(mut self, child: Node) -> Self {
        self.children.get_or_insert_default().push(child);
        self
    }
}

fn argument(value: Value) -> Argument {
    Argument {
        bare: None,
        value,
        annotation: None,
        span: Span::NONE,
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Value::Boolean(truth)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Integer(number.into())
    }
}

impl Document {
    /// An empty document.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds any node.
    #[must_use]
    pub fn node(mut self, node: Node) -> Self {
        self.0.push(node);
        self
    }

    /// `flavor`: who the image is.
    #[must_use]
    pub fn flavor(self, name: &str, version: &str) -> Self {
        self.node(
            node("flavor")
                .with_argument(name)
                .with_property("version", version),
        )
    }

    /// `base`: what the image builds on.
    #[must_use]
    pub fn base(self, distro: &str, release: &str) -> Self {
        self.node(
            node("base")
                .with_argument(distro)
                .with_property("release", release),
        )
    }

    /// `kernel`: the kernel's package.
    #[must_use]
    pub fn kernel(self, package: &str) -> Self {
        self.node(node("kernel").with_argument(package))
    }

    /// `kernel`: arguments for the kernel.
    #[must_use]
    pub fn cmdline<'a>(self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.node(node("kernel").with_child(node("cmdline").with_arguments(arguments)))
    }

    /// `use`: a block of the library, or a document.
    #[must_use]
    pub fn uses(self, target: &str) -> Self {
        self.node(node("use").with_argument(target))
    }

    /// `packages`: packages to install, in any version.
    #[must_use]
    pub fn packages<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.node(
            names
                .into_iter()
                .fold(node("packages"), |packages, name| packages.with_child(node(name))),
        )
    }

    /// `packages`: a package in a version.
    #[must_use]
    pub fn package(self, name: &str, version: &str) -> Self {
        self.node(node("packages").with_child(node(name).with_property("version", version)))
    }

    /// `layout`: paths that keep what is written to them.
    #[must_use]
    pub fn keep<'a>(self, paths: impl IntoIterator<Item = &'a str>) -> Self {
        self.node(node("layout").with_child(node("keep").with_arguments(paths)))
    }

    /// `layout`: paths whose changes are lost at reboot.
    #[must_use]
    pub fn ephemeral<'a>(self, paths: impl IntoIterator<Item = &'a str>) -> Self {
        self.node(node("layout").with_child(node("ephemeral").with_arguments(paths)))
    }

    /// `files`: a file with a text.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, text: &str) -> Self {
        let file = node("file")
            .with_argument(path)
            .with_argument(text)
            .with_property("mode", format!("{mode:04o}"));
        self.node(node("files").with_child(file))
    }

    /// `files`: a directory.
    #[must_use]
    pub fn directory(self, path: &str, mode: u32) -> Self {
        let directory = node("directory")
            .with_argument(path)
            .with_property("mode", format!("{mode:04o}"));
        self.node(node("files").with_child(directory))
    }

    /// `download`: a file from a web server, by its checksum.
    #[must_use]
    pub fn download(self, url: &str, sha256: &str, to: &str, mode: u32) -> Self {
        let download = node("download").with_argument(url);
        self.node(
            download
                .with_property("sha256", sha256)
                .with_property("to", to)
                .with_property("mode", format!("{mode:04o}")),
        )
    }

    /// `users`: a user who logs in with these ssh keys.
    #[must_use]
    pub fn user<'a>(self, name: &str, ssh_keys: impl IntoIterator<Item = &'a str>) -> Self {
        let keys = ssh_keys.into_iter().map(|key| node("ssh-key").with_argument(key));
        self.node(node("users").with_child(keys.fold(node("user").with_argument(name), Node::with_child)))
    }

    /// `groups`: a group, with its number if that matters.
    #[must_use]
    pub fn group(self, name: &str, gid: Option<u32>) -> Self {
        let group = node("group").with_argument(name);
        let group = match gid {
            Some(gid) => group.with_property("gid", gid),
            None => group,
        };
        self.node(node("groups").with_child(group))
    }

    /// `ids`: the number of a user that a package makes.
    #[must_use]
    pub fn user_id(self, name: &str, id: u32) -> Self {
        self.node(node("ids").with_child(node("user").with_argument(name).with_argument(id)))
    }

    /// `ids`: the number of a group that a package makes.
    #[must_use]
    pub fn group_id(self, name: &str, id: u32) -> Self {
        self.node(node("ids").with_child(node("group").with_argument(name).with_argument(id)))
    }

    /// `services`: units that start at boot.
    #[must_use]
    pub fn enable<'a>(self, units: impl IntoIterator<Item = &'a str>) -> Self {
        self.node(node("services").with_child(node("enable").with_arguments(units)))
    }

    /// `services`: units that cannot be started.
    #[must_use]
    pub fn mask<'a>(self, units: impl IntoIterator<Item = &'a str>) -> Self {
        self.node(node("services").with_child(node("mask").with_arguments(units)))
    }

    /// `sysctl`: a kernel parameter.
    #[must_use]
    pub fn sysctl(self, key: &str, value: impl Into<Value>) -> Self {
        self.node(node("sysctl").with_child(node(key).with_argument(value)))
    }

    /// `hostname`: the static host name of every machine.
    #[must_use]
    pub fn hostname(self, name: &str) -> Self {
        self.node(node("hostname").with_argument(name))
    }

    /// `timezone`: the time zone of the system.
    #[must_use]
    pub fn timezone(self, zone: &str) -> Self {
        self.node(node("timezone").with_argument(zone))
    }

    /// `locale`: the locales that the image has, the default one first.
    #[must_use]
    pub fn locale<'a>(self, locales: impl IntoIterator<Item = &'a str>) -> Self {
        self.node(node("locale").with_arguments(locales))
    }

    /// `keyboard`: the layout of the console's keyboard.
    #[must_use]
    pub fn keyboard(self, layout: &str) -> Self {
        self.node(node("keyboard").with_argument(layout))
    }

    /// `certificates`: files with certificates of authorities that the system trusts.
    #[must_use]
    pub fn certificates<'a>(self, files: impl IntoIterator<Item = &'a str>) -> Self {
        self.node(node("certificates").with_arguments(files))
    }

    /// What the document says, or all that is wrong with it.
    pub fn fragment(self) -> Result<Fragment, Diagnostics> {
        let mut sink = Sink::new();
        let document = syntax::Document {
            nodes: self.0,
            span: Span::NONE,
        };
        let lowered = nodes::lower(&document, &mut sink);
        sink.finish(lowered.fragment).map(|fragment| fragment.value)
    }

    /// The document as KDL, for [`load`](crate::load()) and for people.
    pub fn kdl(&self) -> String {
        crate::render::document(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcompose_core::source::SourceMap;

    fn document() -> Document {
        Document::new()
            .flavor("probe", "1.0.0")
            .base("debian", "trixie")
            .kernel("linux-image-cloud-amd64")
            .cmdline(["quiet"])
            .uses("cloud-init")
            .packages(["jq", "7zip"])
            .package("curl", ">=8")
            .keep(["/var/lib/probe"])
            .ephemeral(["/scratch"])
            .file("/etc/motd", 0o644, "a \"motd\"\n")
            .directory("/scratch", 0o1777)
            .download(
                "https://example.org/tool",
                &"ab".repeat(32),
                "/usr/bin/tool",
                0o755,
            )
            .user("ops", ["ssh-ed25519 AAAA"])
            .group("gateway", Some(950))
            .group("readers", None)
            .user_id("_greetd", 951)
            .group_id("sambashare", 952)
            .enable(["ssh"])
            .mask(["apt-daily.timer"])
            .sysctl("net.ipv4.ip_forward", 1)
            .hostname("probe-1")
            .timezone("Europe/Berlin")
            .locale(["de_DE.UTF-8", "C.UTF-8"])
            .keyboard("de")
            .certificates(["certs/corp.crt"])
            .node(
                node("run")
                    .with_argument("warm")
                    .with_child(node("script").with_argument("true"))
                    .with_child(node("network").with_argument(false)),
            )
    }

    #[test]
    fn rust_and_kdl_say_the_same() {
        let built = document().fragment().unwrap();
        let file = SourceMap::new().add("built.kdl", document().kdl()).clone();
        let mut sink = Sink::new();
        let mut read = nodes::lower(&syntax::parse(&file).unwrap(), &mut sink).fragment;
        assert!(!sink.has_errors());
        read.span = Span::NONE;
        // Places differ, values do not: `Spanned` compares values.
        assert_eq!(read.identities, built.identities);
        assert_eq!(read.bases, built.bases);
        assert_eq!(read.kernels, built.kernels);
        assert_eq!(read.packages, built.packages);
        assert_eq!(read.layout, built.layout);
        assert_eq!(read.files, built.files);
        assert_eq!(read.users, built.users);
        assert_eq!(read.groups, built.groups);
        assert_eq!(read.ids, built.ids);
        assert_eq!(read.services, built.services);
        assert_eq!(read.sysctls, built.sysctls);
        assert_eq!(read.system, built.system);
        assert_eq!(read.certificates, built.certificates);
        assert_eq!(read.runs, built.runs);
        assert_eq!(read.uses, built.uses);
    }

    #[test]
    fn what_is_wrong_is_said_here_too() {
        let problems = Document::new()
            .flavor("Probe!", "one")
            .packages(["A"])
            .fragment()
            .unwrap_err();
        assert_eq!(problems.len(), 3);
    }
}
