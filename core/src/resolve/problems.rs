//! What can be wrong with the packages that a flavor asks for.

use miette::Diagnostic;
use thiserror::Error;

use crate::source::Span;

/// `a`, `b` or `c`, in backticks.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>, word: &str) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} {word} {last}", head.join(", ")),
    }
}

#[derive(Debug, Error, Diagnostic)]
#[error("no package is called `{name}` in {searched}")]
#[diagnostic(code("kcompose::resolve::package-unknown"), help("{advice}"))]
pub(crate) struct PackageUnknown {
    pub(crate) name: String,
    pub(crate) searched: String,
    pub(crate) advice: String,
    #[label("asked for here")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{name}` is no package of its own; {providers} provide it")]
#[diagnostic(
    code("kcompose::resolve::package-virtual"),
    help("ask for one of them instead")
)]
pub(crate) struct PackageVirtual {
    pub(crate) name: String,
    pub(crate) providers: String,
    #[label("asked for here")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("no version of `{name}` is `{wanted}`; there is {available}")]
#[diagnostic(code("kcompose::resolve::version-unavailable"), help("{advice}"))]
pub(crate) struct VersionUnavailable {
    pub(crate) name: String,
    pub(crate) wanted: String,
    pub(crate) available: String,
    pub(crate) advice: String,
    #[label("asked for here")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{name}` is asked for in versions that exclude each other: {wanted}")]
#[diagnostic(
    code("kcompose::resolve::version-contradiction"),
    help("take all but one of them out")
)]
pub(crate) struct VersionContradiction {
    pub(crate) name: String,
    pub(crate) wanted: String,
    #[label(collection, "asked for here")]
    pub(crate) spans: Vec<miette::SourceSpan>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{name}` is asked for, and `without` keeps it out")]
#[diagnostic(
    code("kcompose::resolve::wanted-and-unwanted"),
    help("take one of the two out")
)]
pub(crate) struct WantedAndUnwanted {
    pub(crate) name: String,
    #[label(primary, "kept out here")]
    pub(crate) without: Span,
    #[label("asked for here")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{provider}` does not provide `{wanted}`")]
#[diagnostic(code("kcompose::resolve::prefer-useless"), help("{advice}"))]
pub(crate) struct PreferUseless {
    pub(crate) wanted: String,
    pub(crate) provider: String,
    pub(crate) advice: String,
    #[label("preferred here")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("no package is called `{name}`, so there is nothing to keep out")]
#[diagnostic(
    severity(Warning),
    code("kcompose::resolve::without-unknown"),
    help("{advice}")
)]
pub(crate) struct WithoutUnknown {
    pub(crate) name: String,
    pub(crate) advice: String,
    #[label("kept out here")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{name}` cannot be kept out: every image of {release} has it")]
#[diagnostic(
    code("kcompose::resolve::essential-unwanted"),
    help("take it out of `without`")
)]
pub(crate) struct EssentialUnwanted {
    pub(crate) name: String,
    pub(crate) release: String,
    #[label("kept out here")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the distro's default package `{name}` is left out: {reason}")]
#[diagnostic(
    severity(Advice),
    code("kcompose::resolve::default-left-out"),
    help("write `without \"{name}\"` in `packages` to say so yourself; take {others} out to have it")
)]
pub(crate) struct DefaultLeftOut {
    pub(crate) name: String,
    pub(crate) reason: String,
    pub(crate) others: String,
    #[label("because of this")]
    pub(crate) span: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("no suite of {whose} has a component `{name}`")]
#[diagnostic(code("kcompose::resolve::component-unknown"), help("{advice}"))]
pub(crate) struct ComponentUnknown {
    pub(crate) whose: String,
    pub(crate) name: String,
    pub(crate) advice: String,
    #[label("named here")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the suite `{suite}` of repository `{repository}` calls itself {found}")]
#[diagnostic(
    severity(Warning),
    code("kcompose::resolve::other-suite-name"),
    help(
        "write suite=\"{first}\" if the repository has it; a mirror can answer with any suite that the same key signed, and \
         this one cannot be told from it"
    )
)]
pub(crate) struct OtherSuiteName {
    pub(crate) repository: String,
    pub(crate) suite: String,
    pub(crate) found: String,
    pub(crate) first: String,
    #[label("named here")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("component `{component}` of repository `{repository}` has no packages for {architecture}")]
#[diagnostic(
    severity(Warning),
    code("kcompose::resolve::architecture-missing"),
    help("take the repository out, or ask its owner for packages of this architecture")
)]
pub(crate) struct ArchitectureMissing {
    pub(crate) repository: String,
    pub(crate) component: String,
    pub(crate) architecture: &'static str,
    #[label("named here")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the repository `{repository}` has no `{name}`; there is {available}")]
#[diagnostic(
    code("kcompose::resolve::not-in-repository"),
    help("take `repository` out, or name the one that has it")
)]
pub(crate) struct NotInRepository {
    pub(crate) name: String,
    pub(crate) repository: String,
    pub(crate) available: String,
    #[label("asked for here")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{name}` {version} of the repository `{repository}` is not taken: the distro has {taken}")]
#[diagnostic(
    severity(Warning),
    code("kcompose::resolve::not-replaced"),
    help(
        "write `{name} repository=\"{repository}\"` to take it, or override=\"{name}\" in the repository; a third-party \
         repository replaces no package of the distro by itself"
    )
)]
pub(crate) struct Withheld {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) taken: String,
    pub(crate) repository: String,
    #[label("asked for here")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{first}` cannot be installed with `{second}`: {reason}")]
#[diagnostic(code("kcompose::resolve::conflict"), help("{advice}"))]
pub(crate) struct Conflict {
    pub(crate) first: String,
    pub(crate) second: String,
    pub(crate) reason: String,
    pub(crate) advice: String,
    #[label(primary, "{first_label}")]
    pub(crate) first_span: Span,
    pub(crate) first_label: String,
    #[label("{second_label}")]
    pub(crate) second_span: Option<Span>,
    pub(crate) second_label: String,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{name}` cannot be installed: {reason}")]
#[diagnostic(code("kcompose::resolve::unsatisfiable"), help("{advice}"))]
pub(crate) struct Unsatisfiable {
    pub(crate) name: String,
    pub(crate) reason: String,
    pub(crate) advice: String,
    #[label(primary, "asked for here")]
    pub(crate) span: Span,
    #[label("kept out here")]
    pub(crate) without: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error(
    "`{name}` brings no kernel: no package `linux-image-…` with a version in its name is among what it needs"
)]
#[diagnostic(code("kcompose::resolve::kernel-missing"), help("{advice}"))]
pub(crate) struct KernelMissing {
    pub(crate) name: String,
    pub(crate) advice: String,
    #[label("the kernel")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the kernel `{name}` has no modules: no package has files below `/usr/lib/modules`")]
#[diagnostic(
    code("kcompose::resolve::kernel-without-modules"),
    help("take a kernel package that brings its modules")
)]
pub(crate) struct KernelWithoutModules {
    pub(crate) name: String,
    #[label("the kernel")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("there are modules for more than one kernel: {versions}")]
#[diagnostic(
    code("kcompose::resolve::modules-not-one"),
    help("take out what brings the others; an image has exactly one kernel")
)]
pub(crate) struct ModulesNotOne {
    pub(crate) versions: String,
    #[label("the kernel")]
    pub(crate) span: Span,
    #[label(primary, "this brings modules of another")]
    pub(crate) other: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{name}` is for the kernel `{other}`, and the image has `{version}`")]
#[diagnostic(code("kcompose::resolve::other-kernel"), help("{help}"))]
pub(crate) struct OtherKernel {
    pub(crate) name: String,
    pub(crate) other: String,
    pub(crate) version: String,
    pub(crate) help: String,
    #[label("for another kernel")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{name}` builds modules, and no package has the headers of the kernel `{version}`")]
#[diagnostic(code("kcompose::resolve::kernel-headers"), help("{help}"))]
pub(crate) struct NoHeaders {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) help: String,
    #[label("cannot build its modules")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("no package has the kernel module `{module}`")]
#[diagnostic(code("kcompose::resolve::unknown-module"), severity(Warning), help("{help}"))]
pub(crate) struct UnknownModule {
    pub(crate) module: String,
    pub(crate) help: String,
    #[label("loaded here")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("no package has the kernel module `{module}`, which the initrd is to hold")]
#[diagnostic(code("kcompose::resolve::initrd-module"), help("{help}"))]
pub(crate) struct UnknownInInitrd {
    pub(crate) module: String,
    pub(crate) help: String,
    #[label("unknown")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("no package has the kernel module `{module}`, so there is nothing to deny")]
#[diagnostic(code("kcompose::resolve::nothing-to-deny"), severity(Warning), help("{help}"))]
pub(crate) struct NothingToDeny {
    pub(crate) module: String,
    pub(crate) help: String,
    #[label("denied here")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("there is more than one kernel: {kernels}")]
#[diagnostic(
    code("kcompose::resolve::kernel-not-one"),
    help("take out what asks for the others; an image has exactly one kernel")
)]
pub(crate) struct KernelNotOne {
    pub(crate) kernels: String,
    #[label("the kernel")]
    pub(crate) span: Span,
    #[label(primary, "this brings another")]
    pub(crate) other: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{chosen}` was taken for `{wanted}`, which {needing} needs, only because its name comes first")]
#[diagnostic(
    severity(Warning),
    code("kcompose::resolve::provider-by-name"),
    help("{advice}")
)]
pub(crate) struct ProviderByName {
    pub(crate) wanted: String,
    pub(crate) chosen: String,
    pub(crate) needing: String,
    pub(crate) advice: String,
    #[label("needed because of this")]
    pub(crate) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the solution breaks what the packages declare: {0}")]
#[diagnostic(
    code("kcompose::resolve::unsound"),
    help("this is an error of kcompose; please report it together with the flavor and the lock")
)]
pub(crate) struct Unsound(pub(crate) String);
