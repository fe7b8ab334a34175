//! The plan as LLB.

use std::collections::BTreeMap;

use crate::llb::proto::pb;
use crate::llb::{
    Copy, Definition, Exec, FileAction, Folder, Folders, Graph, Group, Http, Image, MakeDirectory, MakeFile,
    Meta, MountKind, Network, Output, Platform, Selection, Whose,
};
use crate::model::RuntimeSource;
use crate::resolve::LockedUpstream;
use crate::source::SourceMap;
use crate::step::{BINARY, PROGRAM, Program};

use super::{CopiedTimes, Fetch, MountSource, Plan, Role, Step, StepId, StepKind};

/// The name under which the client offers the folder of the flavor.
pub const CONTEXT: &str = "context";

const BINARY_FOLDER: &str = "/run/kcompose/bin";
const PROGRAM_FOLDER: &str = "/run/kcompose/program";

/// What the emission depends on beside the plan.
pub struct EmitOptions<'a> {
    /// The bytes of the step binary.
    pub helper: &'a [u8],
    /// The URL of an archive.
    pub url: &'a dyn Fn(&Fetch) -> String,
    /// Whether the daemon has MergeOp; without it trees are copied over each other.
    pub merge: bool,
    /// Whether every step runs again.
    pub no_cache: bool,
    /// Whether the engine pulls programs that are no packages from their registry or URL. Else the client offers a folder with
    /// each, under the program's name; its file there is named by its sha256.
    pub pulls_upstream: bool,
    /// Positions, for the source locations of operations.
    pub sources: &'a SourceMap,
    /// The architecture, in Go's words.
    pub architecture: &'a str,
    /// Where the build context is, and the folders that stand for some of its own.
    pub folders: &'a Folders,
    /// Whose the folder [`UPSTREAM`] is.
    pub owner: &'a Whose,
    /// What of the build context never enters an image, as `.dockerignore` writes it.
    pub ignored: &'a [String],
}

impl std::fmt::Debug for EmitOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmitOptions")
            .field("merge", &self.merge)
            .field("no_cache", &self.no_cache)
            .finish_non_exhaustive()
    }
}

/// The definition of a plan.
#[derive(Clone, Debug)]
pub struct Emitted {
    /// What an engine solves.
    pub definition: Definition,
    /// Results in it whose layers are the image's lower ones: see [`Plan::lower`].
    pub lower: Vec<pb::Input>,
}

/// The LLB of a plan: one vertex a step, and the trees of the step binary and of the programs.
pub fn emit(plan: &Plan, options: &EmitOptions) -> Emitted {
    let mut emitter = Emitter::new(options);
    for (id, step) in plan.steps() {
        let outputs = emitter.step(plan, id, step);
        emitter.outputs.insert(id, outputs);
    }
    let image = emitter.first(plan.image());
    let lower = plan.lower().iter().map(|step| emitter.first(*step));
    Emitted {
        lower: lower.map(|output| emitter.graph.input(output)).collect(),
        definition: emitter.graph.definition(Some(image), options.sources),
    }
}

struct Emitter<'a> {
    options: &'a EmitOptions<'a>,
    graph: Graph,
    helper: Output,
    outputs: BTreeMap<StepId, Outputs>,
}

/// The outputs of a step by name, the first one first.
struct Outputs(Vec<(String, Output)>);

impl<'a> Emitter<'a> {
    fn new(options: &'a EmitOptions<'a>) -> Self {
        let mut graph = Graph::for_platform(Platform::linux(options.architecture));
        // A root of its own: without /dev, /proc and /sys the runtime would make them, dated now.
        let folders = ["/dev", "/proc", "/sys", "/tmp", BINARY_FOLDER];
        let actions = folders
            .into_iter()
            .map(|path| FileAction::MakeDirectory(MakeDirectory::new(path, 0o755)))
            .chain([FileAction::MakeFile(MakeFile::new(BINARY, 0o755, options.helper))]);
        let helper = graph.file(None, actions, Meta::named("kcompose-step"));
        Emitter {
            options,
            graph,
            helper,
            outputs: BTreeMap::new(),
        }
    }

    fn step(&mut self, plan: &Plan, id: StepId, step: &Step) -> Outputs {
        let mut meta = Meta::at(step.name.clone(), step.span);
        meta.ignore_cache = self.options.no_cache && matches!(step.kind, StepKind::Exec { .. });
        let inputs = plan.inputs(id);
        let output = match &step.kind {
            StepKind::Fetch(fetch) => self.fetch(fetch, meta),
            StepKind::Download(download) => {
                let http = self.http(&Fetch::of_download(download));
                self.graph.http(&http, meta)
            }
            StepKind::Context(path) => self.context(path, meta),
            StepKind::Upstream(upstream) => self.upstream(upstream, meta),
            StepKind::Exec {
                program,
                outputs,
                network,
            } => {
                return self.exec(&inputs, program, outputs, *network, meta);
            }
            StepKind::Merge => self.merge(&inputs, meta),
            StepKind::Copy(times) => {
                let time = (*times == CopiedTimes::Epoch).then_some(plan.epoch);
                self.copy(&inputs, meta, time)
            }
        };
        Outputs(vec![("/".to_owned(), output)])
    }

    fn http(&self, fetch: &Fetch) -> Http {
        Http {
            url: (self.options.url)(fetch),
            checksum: Some(format!("sha256:{}", fetch.sha256)),
            filename: Some(super::programs::file_name(&fetch.path).to_owned()),
            mode: Some(0o644),
        }
    }

    fn fetch(&mut self, fetch: &Fetch, meta: Meta) -> Output {
        let http = self.http(fetch);
        let group = Group {
            id: "packages".to_owned(),
            name: "fetch packages".to_owned(),
        };
        self.graph.http(&http, meta.in_group(&group))
    }

    /// A program alone in a tree: from its image or URL where the engine pulls it, else from the client.
    fn upstream(&mut self, upstream: &LockedUpstream, meta: Meta) -> Output {
        if let RuntimeSource::Url(url) = &upstream.from
            && self.options.pulls_upstream
        {
            let http = Http {
                url: url.to_string(),
                checksum: Some(format!("sha256:{}", upstream.sha256)),
                filename: Some("it".to_owned()),
                mode: Some(PROGRAM_MODE),
            };
            return self.graph.http(&http, meta);
        }
        let image = upstream.pinned_image().filter(|_| self.options.pulls_upstream);
        let Some(reference) = image else {
            let name = upstream.part.name();
            let folder = Folder::local(name, self.options.owner.clone());
            let whole = self.read(&folder, (name, &upstream.sha256), &[], meta.clone());
            return self.runnable(whole, &format!("/{}", upstream.sha256), meta);
        };
        let image = self.graph.image(&Image { reference }, meta.clone());
        self.runnable(image, upstream.part.path_in_image(), meta)
    }

    /// A file alone in a tree, which may be run there whatever its mode was.
    fn runnable(&mut self, tree: Output, path: &str, meta: Meta) -> Output {
        let copy = Copy {
            mode: Some(PROGRAM_MODE),
            ..alone(tree, path)
        };
        self.graph.file(None, [FileAction::Copy(copy)], meta)
    }

    /// A path of the build context alone in a tree.
    fn context(&mut self, path: &str, meta: Meta) -> Output {
        let folders = self.options.folders;
        let (folder, name, path) = folders.holder(path);
        let ignored = if name.is_some() { &[] } else { self.options.ignored };
        self.path(folder, (name.unwrap_or(CONTEXT), path), ignored, meta)
    }

    /// A path of a folder alone in a tree.
    fn path(
        &mut self,
        folder: &Folder,
        (name, path): (&str, &str),
        exclude: &[String],
        meta: Meta,
    ) -> Output {
        let whole = self.read(folder, (name, path), exclude, meta.clone());
        let copy = if path.is_empty() {
            Copy::contents(whole, "/", "/it", 0)
        } else {
            alone(whole, &format!("/{path}"))
        };
        self.graph.file(None, [FileAction::Copy(copy)], meta)
    }

    /// A folder of which only a path is asked for.
    fn read(
        &mut self,
        folder: &Folder,
        (name, path): (&str, &str),
        exclude: &[String],
        meta: Meta,
    ) -> Output {
        let name = match folder {
            Folder::Local { name, .. } => name.as_str(),
            Folder::Git { .. } | Folder::Archive { .. } | Folder::Image(_) | Folder::Made(_) => name,
        };
        let paths: Vec<String> = Some(path.to_owned())
            .filter(|path| !path.is_empty())
            .into_iter()
            .collect();
        let wanted = Selection {
            paths: &paths,
            exclude,
            hint: Some(format!("{name}:{path}")),
        };
        self.graph.folder(folder, &wanted, meta)
    }

    fn exec(
        &mut self,
        inputs: &[(StepId, &Role)],
        program: &Program,
        outputs: &[String],
        network: bool,
        meta: Meta,
    ) -> Outputs {
        let root = inputs
            .iter()
            .find(|(_, role)| **role == Role::Root)
            .map(|(from, _)| self.first(*from));
        let mut exec = Exec::new(root.unwrap_or(self.helper), [BINARY, PROGRAM])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        exec.network = if network { Network::Default } else { Network::None };
        if root.is_some() {
            for path in ["/run", "/tmp", "/var/tmp"] {
                exec = exec.mount(path, MountKind::Tmpfs { size: None });
            }
            let selector = Some(BINARY_FOLDER.to_owned());
            exec = exec.mount(
                BINARY_FOLDER,
                MountKind::Input {
                    from: self.helper,
                    selector,
                },
            );
        }
        let program = self.program(program);
        exec = exec.mount(
            PROGRAM_FOLDER,
            MountKind::Input {
                from: program,
                selector: None,
            },
        );
        for (from, role) in inputs {
            if let Role::Mount(mount) = role {
                let from = match &mount.source {
                    MountSource::Output => self.first(*from),
                    MountSource::Named(name) => self.named(*from, name),
                };
                exec = exec.mount(mount.at.clone(), MountKind::Input { from, selector: None });
            }
        }
        for output in outputs.iter().filter(|output| *output != "/") {
            exec = exec.mount(output.clone(), MountKind::Writable { from: None });
        }
        let made = self.graph.exec(&exec, meta);
        // The root is always the first output of the exec; the others follow in the order of their mounts.
        let others = outputs
            .iter()
            .filter(|output| *output != "/")
            .zip(made.iter().skip(1));
        let others: BTreeMap<&String, Output> = others.map(|(name, output)| (name, *output)).collect();
        let named = |name: &String| (name.clone(), others.get(name).copied().unwrap_or(made[0]));
        Outputs(outputs.iter().map(named).collect())
    }

    fn program(&mut self, program: &Program) -> Output {
        let json = serde_json::to_string(program).expect("a program is always JSON");
        let file = FileAction::MakeFile(MakeFile::new("/program.json", 0o644, json));
        self.graph.file(None, [file], Meta::named("program"))
    }

    fn merge(&mut self, inputs: &[(StepId, &Role)], meta: Meta) -> Output {
        let trees: Vec<Output> = inputs.iter().map(|(from, _)| self.first(*from)).collect();
        if self.options.merge {
            return self.graph.merge(&trees, meta);
        }
        let copies = trees[1..].iter().map(|tree| FileAction::Copy(overlay(*tree)));
        self.graph.file(Some(trees[0]), copies, meta)
    }

    fn copy(&mut self, inputs: &[(StepId, &Role)], meta: Meta, time: Option<i64>) -> Output {
        let base = inputs
            .iter()
            .find(|(_, role)| **role == Role::Base)
            .map(|(from, _)| self.first(*from));
        let layers: Vec<Output> = inputs
            .iter()
            .filter(|(_, role)| **role == Role::Layer)
            .map(|(from, _)| self.first(*from))
            .collect();
        let copies = layers.into_iter().map(|tree| {
            FileAction::Copy(Copy {
                timestamp: time,
                ..overlay(tree)
            })
        });
        self.graph.file(base, copies, meta)
    }

    fn first(&self, id: StepId) -> Output {
        self.outputs[&id].0[0].1
    }

    fn named(&self, id: StepId, name: &str) -> Output {
        let found = self.outputs[&id].0.iter().find(|(known, _)| known == name);
        found.expect("a plan mounts only outputs that its steps have").1
    }
}

/// Of programs that steps run from where they are mounted.
const PROGRAM_MODE: u32 = 0o755;

/// One path of a tree, under a name of ours.
fn alone(tree: Output, path: &str) -> Copy {
    Copy {
        contents_only: false,
        ..Copy::contents(tree, path, "/it", 0)
    }
}

/// The whole of a tree laid over another, times kept.
fn overlay(tree: Output) -> Copy {
    Copy {
        timestamp: None,
        replace: false,
        ..Copy::contents(tree, "/", "/", 0)
    }
}
