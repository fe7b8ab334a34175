//! What file lists can prove wrong.

use miette::Diagnostic;
use thiserror::Error;

use crate::source::Span;

#[derive(Debug, Error, Diagnostic)]
#[error("files of package `{package}` are hidden at run time: `{path}` is below `{top}`")]
#[diagnostic(
    code("kcompose::layout::hidden-package-file"),
    severity(Warning),
    help(
        "`{top}` is a partition of its own, mounted over what the image has there; a package for images ships to /usr or /opt; if that is meant: layout {{ allow-hidden \"{path}\"; }}"
    )
)]
pub(super) struct HiddenPackageFile {
    pub(super) package: String,
    pub(super) path: String,
    pub(super) top: String,
    #[label("asked for here")]
    pub(super) span: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` cannot be {class}: it is a {kind} of {owner}")]
#[diagnostic(
    code("kcompose::layout::not-a-directory"),
    help("only directories can; name the directory that it is in")
)]
pub(super) struct NotADirectory {
    pub(super) path: String,
    pub(super) class: &'static str,
    pub(super) kind: &'static str,
    /// "package `app`" or "the build context".
    pub(super) owner: String,
    #[label("said here")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the image has no directory `{path}` to mount over")]
#[diagnostic(
    code("kcompose::layout::missing-directory"),
    help(
        "the root of the image is read-only, so the directory must be in it; add: files {{ directory \"{path}\" mode=\"0755\"; }}"
    )
)]
pub(super) struct MissingDirectory {
    pub(super) path: String,
    pub(super) class: &'static str,
    #[label("{class} here")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` will be a directory, and looks like a file")]
#[diagnostic(
    code("kcompose::layout::looks-like-a-file"),
    severity(Warning),
    help("only directories can be kept: keep the directory that it is in")
)]
pub(super) struct LooksLikeAFile {
    pub(super) path: String,
    #[label("kept here")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` has files of package `{package}`, and what is edited there survives a rollback")]
#[diagnostic(
    code("kcompose::layout::kept-package-files"),
    severity(Warning),
    help(
        "files that nobody edits follow each image; keep a directory of your own below it if that is enough"
    )
)]
pub(super) struct KeptPackageFiles {
    pub(super) path: String,
    pub(super) package: String,
    #[label("kept here")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("no package and no file of the flavor has the unit `{unit}`")]
#[diagnostic(code("kcompose::services::unknown"), help("{help}"))]
pub(super) struct UnknownUnit {
    pub(super) unit: String,
    pub(super) help: String,
    #[label("unknown")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("nothing has the unit `{unit}`, so there is nothing to {verb}")]
#[diagnostic(code("kcompose::services::nothing-to-do"), severity(Warning), help("{help}"))]
pub(super) struct NothingToDo {
    pub(super) unit: String,
    pub(super) verb: &'static str,
    pub(super) help: String,
    #[label("said here")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the state of `{owner}` is lost at each reboot: `{path}` is ephemeral")]
#[diagnostic(
    code("kcompose::layout::lost-state"),
    severity(Warning),
    help("if it matters: layout {{ keep \"{path}\"; }}")
)]
pub(super) struct LostState {
    /// A unit or a package.
    pub(super) owner: String,
    pub(super) path: String,
    #[label("asked for here")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the image has no group `{group}`")]
#[diagnostic(code("kcompose::users::unknown-group"), help("{help}"))]
pub(super) struct UnknownGroup {
    pub(super) group: String,
    pub(super) help: String,
    #[label("unknown")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("there is no {what} `{name}` in the packages of the image")]
#[diagnostic(code("kcompose::system::unknown"), help("{help}"))]
pub(super) struct UnknownSetting {
    pub(super) what: &'static str,
    pub(super) name: String,
    pub(super) help: String,
    #[label("unknown")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the image has no {word} `{name}`")]
#[diagnostic(code("kcompose::files::unknown-owner"), help("{help}"))]
pub(super) struct UnknownOwner {
    pub(super) word: &'static str,
    pub(super) name: String,
    pub(super) help: String,
    #[label("unknown")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("no package of the image makes the {word} `{name}`")]
#[diagnostic(
    code("kcompose::users::unmade"),
    severity(Warning),
    help("add the package that makes it, or make it in the flavor: {word}s {{ {word} \"{name}\"; }}")
)]
pub(super) struct UnmadeAccount {
    pub(super) word: &'static str,
    pub(super) name: String,
    #[label("named here")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{user}` cannot log in: the image has no `{shell}`")]
#[diagnostic(code("kcompose::users::unknown-shell"), help("{help}"))]
pub(super) struct UnknownShell {
    pub(super) user: String,
    pub(super) shell: String,
    pub(super) help: String,
    #[label("no package ships it")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{user}` gets no home: `{home}` is on the read-only root, and the image has no such directory")]
#[diagnostic(
    code("kcompose::users::no-home"),
    help(
        "make a place that stays: layout {{ keep \"{top}\"; }} and files {{ directory \"{top}\"; }}; or leave `home=` out, which gives /home/{user}"
    )
)]
pub(super) struct HomelessUser {
    pub(super) user: String,
    pub(super) home: String,
    pub(super) top: String,
    #[label("the boot cannot make it")]
    pub(super) span: Span,
}
