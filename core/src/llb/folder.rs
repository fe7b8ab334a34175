//! Folders that a build reads from, wherever they are.

use std::collections::BTreeMap;

use super::Git;
use super::file::{Copy, FileAction};
use super::foreign::ForeignError;
use super::graph::{Graph, Meta, Output};
use super::http::Http;
use super::proto::pb;
use super::source::{Image, Local, Whose};

/// A folder, wherever it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Folder {
    /// A directory that the client offers under a name.
    Local {
        /// The name.
        name: String,
        /// Whose directory it is.
        owner: Whose,
    },
    /// A folder of a commit of a Git repository.
    Git {
        /// The commit.
        commit: Git,
        /// The folder in it; empty for its root.
        below: String,
    },
    /// An archive on a web server, unpacked.
    Archive {
        /// The archive.
        url: String,
        /// The folder in it; empty for its root.
        below: String,
    },
    /// The file system of an image.
    Image(Image),
    /// What another build makes.
    Made(Made),
}

/// What another build makes, as its definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Made(Box<pb::Definition>);

impl Made {
    /// From a definition that can be taken in.
    pub fn new(definition: pb::Definition) -> Result<Self, ForeignError> {
        Graph::new().foreign(&definition)?;
        Ok(Made(Box::new(definition)))
    }
}

/// What of a folder is wanted.
#[derive(Clone, Debug, Default)]
pub struct Selection<'a> {
    /// Only these paths, where the folder is large or far away; everything if there is none.
    pub paths: &'a [String],
    /// Nothing that matches these patterns of a `.dockerignore`.
    pub exclude: &'a [String],
    /// What tells the daemon that two transfers are of the same directory.
    pub hint: Option<String>,
}

impl Folder {
    /// A directory that the client offers under a name.
    pub fn local(name: impl Into<String>, owner: Whose) -> Self {
        Folder::Local {
            name: name.into(),
            owner,
        }
    }
}

/// The folders of a build: the build context, and those that take the place of some of its folders.
#[derive(Clone, Debug, PartialEq)]
pub struct Folders {
    /// The build context.
    pub context: Folder,
    /// Folders by the names of those at the top of the build context that they stand for.
    pub replaced: BTreeMap<String, Folder>,
}

impl Folders {
    /// A build context alone.
    pub fn of(context: Folder) -> Self {
        Folders {
            context,
            replaced: BTreeMap::new(),
        }
    }

    /// The same with directories that are nobody's in particular: for definitions that are looked at, not solved.
    pub fn nobodys(mut self) -> Self {
        for folder in std::iter::once(&mut self.context).chain(self.replaced.values_mut()) {
            if let Folder::Local { owner, .. } = folder {
                *owner = Whose::Anyone;
            }
        }
        self
    }

    /// The folder that holds a path of the build context, its name if it is not the context, and the path in it.
    pub fn holder<'a>(&'a self, path: &'a str) -> (&'a Folder, Option<&'a str>, &'a str) {
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        match self.replaced.get_key_value(first) {
            Some((name, folder)) => (folder, Some(name), rest),
            None => (&self.context, None, path),
        }
    }
}

impl Graph {
    /// A folder with at least what is wanted of it.
    pub fn folder(&mut self, folder: &Folder, wanted: &Selection<'_>, meta: Meta) -> Output {
        let (whole, below) = match folder {
            Folder::Local { name, owner } => {
                let local = Local {
                    name: name.clone(),
                    owner: owner.clone(),
                    exclude: wanted.exclude.to_vec(),
                    follow: wanted.paths.to_vec(),
                    shared_key_hint: wanted.hint.clone(),
                    ..Local::default()
                };
                // The client leaves out what is not wanted.
                return self.local(&local, meta);
            }
            Folder::Git { commit, below } => (self.git(commit, meta.clone()), below.as_str()),
            Folder::Archive { url, below } => (self.unpacked(url, &meta), below.as_str()),
            Folder::Image(image) => (self.image(image, meta.clone()), ""),
            Folder::Made(Made(definition)) => {
                let made = self.foreign(definition);
                let made = made.expect("it was taken in once, when it was made");
                (made.unwrap_or_else(|| self.nothing(&meta)), "")
            }
        };
        if below.is_empty() && wanted.exclude.is_empty() {
            return whole;
        }
        let copy = Copy {
            exclude: wanted.exclude.to_vec(),
            timestamp: None,
            ..Copy::contents(whole, format!("/{below}"), "/", 0)
        };
        self.file(None, [FileAction::Copy(copy)], meta)
    }

    fn unpacked(&mut self, url: &str, meta: &Meta) -> Output {
        let http = Http {
            url: url.to_owned(),
            filename: Some(ARCHIVE.to_owned()),
            ..Http::default()
        };
        let archive = self.http(&http, meta.clone());
        let copy = Copy {
            unpack: true,
            timestamp: None,
            ..Copy::contents(archive, format!("/{ARCHIVE}"), "/", 0)
        };
        self.file(None, [FileAction::Copy(copy)], meta.clone())
    }

    fn nothing(&mut self, meta: &Meta) -> Output {
        let folder = super::MakeDirectory::new("/", 0o755);
        self.file(None, [FileAction::MakeDirectory(folder)], meta.clone())
    }
}

/// The name of an archive between its server and its unpacking.
pub const ARCHIVE: &str = "archive";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceMap;

    fn text(folder: &Folder, wanted: &Selection<'_>) -> String {
        let mut graph = Graph::new();
        let output = graph.folder(folder, wanted, Meta::named("read"));
        graph.definition(Some(output), &SourceMap::new()).text()
    }

    #[test]
    fn only_what_is_wanted_is_read() {
        let exclude = ["*.md".to_owned()];
        let wanted = Selection {
            exclude: &exclude,
            ..Selection::default()
        };
        let commit = Git {
            url: "https://h/r.git".to_owned(),
            reference: "v1".to_owned(),
        };
        let git = text(
            &Folder::Git {
                commit,
                below: "os".to_owned(),
            },
            &wanted,
        );
        assert!(git.contains("git://h/r.git#v1"), "{git}");
        assert!(git.contains("/os"), "{git}");
        let archive = Folder::Archive {
            url: "http://h/os.tar.gz".to_owned(),
            below: String::new(),
        };
        assert!(text(&archive, &Selection::default()).contains("http://h/os.tar.gz"));
        let local = text(&Folder::local("context", Whose::Anyone), &wanted);
        assert!(
            local.contains("local://context") && local.contains("*.md"),
            "{local}"
        );
    }

    #[test]
    fn a_folder_of_the_context_may_be_another() {
        let mut folders = Folders::of(Folder::local("context", Whose::Anyone));
        let other = Folder::local("other", Whose::Anyone);
        folders.replaced.insert("overlay".to_owned(), other.clone());
        assert_eq!(
            folders.holder("overlay/etc/a"),
            (&other, Some("overlay"), "etc/a")
        );
        assert_eq!(folders.holder("overlay"), (&other, Some("overlay"), ""));
        assert_eq!(
            folders.holder("overlay2/a"),
            (&folders.context, None, "overlay2/a")
        );
    }
}
