//! A definition as text: for `kcompose plan`, and for tests that people review.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use prost::Message;

use super::encode;
use super::proto::pb;
use super::proto::pb::file_action::Action;

/// One paragraph an operation, numbered; inputs are named by number and output.
pub(super) fn text(definition: &pb::Definition) -> String {
    let mut writer = Writer {
        definition,
        numbers: BTreeMap::new(),
        text: String::new(),
    };
    for (at, bytes) in definition.def.iter().enumerate() {
        let digest = encode::digest(bytes);
        match pb::Op::decode(bytes.as_slice()) {
            Ok(op) => writer.operation(at + 1, &digest, &op),
            Err(error) => writer.line(format_args!("#{} unreadable: {error}", at + 1)),
        }
        writer.numbers.insert(digest, at + 1);
    }
    writer.text
}

struct Writer<'a> {
    definition: &'a pb::Definition,
    numbers: BTreeMap<String, usize>,
    text: String,
}

impl Writer<'_> {
    fn line(&mut self, line: impl Display) {
        writeln!(self.text, "{line}").expect("a string takes any text");
    }

    fn operation(&mut self, number: usize, digest: &str, op: &pb::Op) {
        let inputs: Vec<String> = op.inputs.iter().map(|input| self.input(input)).collect();
        let Some(kind) = &op.op else {
            return self.line(format_args!("result {}", inputs.join(" ")));
        };
        let name = self
            .name(digest)
            .map(|name| format!("  \"{name}\""))
            .unwrap_or_default();
        let place = self
            .place(digest)
            .map(|place| format!("  {place}"))
            .unwrap_or_default();
        self.line(format_args!("#{number} {}{name}{place}", word(kind)));
        match kind {
            pb::op::Op::Source(source) => self.source(source),
            pb::op::Op::Exec(exec) => self.exec(exec, &inputs),
            pb::op::Op::File(file) => self.file(file, &inputs),
            pb::op::Op::Merge(merge) => {
                let list: Vec<_> = merge
                    .inputs
                    .iter()
                    .map(|input| at(&inputs, input.input))
                    .collect();
                self.line(format_args!("   of {}", list.join(" ")));
            }
            pb::op::Op::Diff(diff) => {
                let lower = at(&inputs, diff.lower.map_or(-1, |lower| lower.input));
                let upper = at(&inputs, diff.upper.map_or(-1, |upper| upper.input));
                self.line(format_args!("   from {lower} to {upper}"));
            }
            pb::op::Op::Build(_) => self.line(format_args!("   of {}", inputs.join(" "))),
        }
    }

    fn source(&mut self, source: &pb::SourceOp) {
        self.line(format_args!("   {}", source.identifier));
        for (key, value) in &source.attrs {
            self.line(format_args!("   {key} = {value}"));
        }
    }

    fn exec(&mut self, exec: &pb::ExecOp, inputs: &[String]) {
        let meta = exec.meta.clone().unwrap_or_default();
        self.line(format_args!("   run {}", words(&meta.args)));
        for variable in &meta.env {
            self.line(format_args!("   env {variable}"));
        }
        let user = Some(meta.user.as_str())
            .filter(|user| !user.is_empty())
            .unwrap_or("root");
        self.line(format_args!(
            "   in {} as {user}, network {}",
            meta.cwd,
            exec.network().as_str_name()
        ));
        for mount in &exec.mounts {
            self.line(format_args!("   mount {}", mount_text(mount, inputs)));
        }
    }

    fn file(&mut self, file: &pb::FileOp, inputs: &[String]) {
        let base = file.actions.first().map_or(-1, |action| action.input);
        self.line(format_args!("   on {}", at(inputs, base)));
        for action in &file.actions {
            let from = at(inputs, action.secondary_input);
            let text = action.action.as_ref().map(|action| action_text(action, from));
            self.line(format_args!("   {}", text.as_deref().unwrap_or("nothing")));
        }
    }

    fn input(&self, input: &pb::Input) -> String {
        match self.numbers.get(&input.digest) {
            Some(number) if input.index == 0 => format!("#{number}"),
            Some(number) => format!("#{number}.{}", input.index),
            None => input.digest.clone(),
        }
    }

    fn name(&self, digest: &str) -> Option<&str> {
        self.definition
            .metadata
            .get(digest)?
            .description
            .get("llb.customname")
            .map(String::as_str)
    }

    fn place(&self, digest: &str) -> Option<String> {
        let source = self.definition.source.as_ref()?;
        let location = source.locations.get(digest)?.locations.first()?;
        let file = source.infos.get(usize::try_from(location.source_index).ok()?)?;
        let start = location.ranges.first()?.start?;
        Some(format!(
            "{}:{}:{}",
            file.filename,
            start.line,
            start.character + 1
        ))
    }
}

fn word(kind: &pb::op::Op) -> &'static str {
    match kind {
        pb::op::Op::Source(_) => "source",
        pb::op::Op::Exec(_) => "exec",
        pb::op::Op::File(_) => "file",
        pb::op::Op::Build(_) => "build",
        pb::op::Op::Merge(_) => "merge",
        pb::op::Op::Diff(_) => "diff",
    }
}

/// An input by the number that a message uses for it.
fn at(inputs: &[String], number: i64) -> &str {
    usize::try_from(number)
        .ok()
        .and_then(|number| inputs.get(number))
        .map_or("scratch", String::as_str)
}

fn mount_text(mount: &pb::Mount, inputs: &[String]) -> String {
    let from = at(inputs, mount.input);
    let output = if mount.output >= 0 {
        format!(" -> .{}", mount.output)
    } else {
        String::new()
    };
    let what = match mount.mount_type() {
        pb::MountType::Bind if mount.readonly => format!("{from}{} read-only", selector(mount)),
        pb::MountType::Bind => format!("{from}{}", selector(mount)),
        pb::MountType::Tmpfs => "tmpfs".to_owned(),
        pb::MountType::Cache => {
            format!(
                "cache {}",
                mount.cache_opt.as_ref().map_or("", |cache| cache.id.as_str())
            )
        }
        pb::MountType::Secret => {
            format!(
                "secret {}",
                mount.secret_opt.as_ref().map_or("", |secret| secret.id.as_str())
            )
        }
        pb::MountType::Ssh => "ssh".to_owned(),
    };
    format!("{} = {what}{output}", mount.dest)
}

fn selector(mount: &pb::Mount) -> String {
    if mount.selector.is_empty() {
        String::new()
    } else {
        format!(":{}", mount.selector)
    }
}

fn action_text(action: &Action, from: &str) -> String {
    match action {
        Action::Copy(copy) => {
            let contents = if copy.dir_copy_contents { " contents" } else { "" };
            let mode = if copy.mode < 0 {
                String::new()
            } else {
                format!(" mode {:04o}", copy.mode)
            };
            let tail = [mode, owner(copy.owner.as_ref()), time(copy.timestamp)].concat();
            format!("copy{contents} {from}:{} to {}{tail}", copy.src, copy.dest)
        }
        Action::Mkfile(file) => {
            let tail = [owner(file.owner.as_ref()), time(file.timestamp)].concat();
            let size = file.data.len();
            let digest = encode::digest(&file.data);
            format!(
                "mkfile {} mode {:04o}{tail}, {size} bytes, {}",
                file.path,
                file.mode,
                &digest[..19]
            )
        }
        Action::Mkdir(directory) => {
            let tail = [owner(directory.owner.as_ref()), time(directory.timestamp)].concat();
            format!("mkdir {} mode {:04o}{tail}", directory.path, directory.mode)
        }
        Action::Rm(remove) => format!("rm {}", remove.path),
        Action::Symlink(link) => {
            let tail = [owner(link.owner.as_ref()), time(link.timestamp)].concat();
            format!("symlink {} to {}{tail}", link.newpath, link.oldpath)
        }
    }
}

fn owner(owner: Option<&pb::ChownOpt>) -> String {
    let id = |user: &Option<pb::UserOpt>| match user.as_ref().and_then(|user| user.user.as_ref()) {
        Some(pb::user_opt::User::ById(id)) => id.to_string(),
        Some(pb::user_opt::User::ByName(name)) => name.name.clone(),
        None => String::new(),
    };
    owner
        .map(|owner| format!(" owner {}:{}", id(&owner.user), id(&owner.group)))
        .unwrap_or_default()
}

fn time(nanoseconds: i64) -> String {
    if nanoseconds < 0 {
        String::new()
    } else {
        format!(" time {}", nanoseconds / 1_000_000_000)
    }
}

/// Arguments as a shell would take them: those with other than plain characters are quoted.
fn words(args: &[String]) -> String {
    let plain = |arg: &str| {
        !arg.is_empty()
            && arg
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c))
    };
    let quoted = args.iter().map(|arg| {
        if plain(arg) {
            arg.clone()
        } else {
            format!("{arg:?}")
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}
