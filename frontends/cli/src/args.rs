//! What a person types.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Composes immutable, Kairos-compatible operating system images from a declaration.
#[derive(Debug, Parser)]
#[command(name = "kcompose", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Where kcompose keeps what it fetched and made [default: $XDG_CACHE_HOME/kcompose]
    #[arg(long, global = true, value_name = "DIR", env = "KCOMPOSE_CACHE_DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// The Debian mirror, when the flavor names none
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "KCOMPOSE_MIRROR",
        hide = true,
        hide_env_values = true
    )]
    pub(crate) mirror: Option<String>,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, env = "KCOMPOSE_COLOR")]
    pub(crate) color: Color,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// When the output is a terminal and NO_COLOR is not set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a flavor that builds as it is
    New(New),
    /// Say everything that can be proved without building
    Check(Check),
    /// Pin every input in flavor.lock, and fetch what it pins
    Lock(Lock),
    /// Move the lock to the newest versions
    Update(Update),
    /// Show the composed flavor, each line with its origin
    Config(Config),
    /// Build the image
    Build(Box<Build>),
    /// Show the graph without building it
    Plan(Plan),
    /// Check an image against the Kairos contract and its layout
    Verify(Verify),
    /// Boot an image in a virtual machine
    Boot(Boot),
    /// Look at the local store
    Cache(Cache),
    /// Make the image that `docker build` runs to read flavors
    Frontend(Frontend),
    /// Say what was found on this machine, and what is missing
    Doctor(Doctor),
}

/// A flavor.
#[derive(Clone, Debug, Args)]
pub(crate) struct Source {
    /// A folder with flavor.kdl, or a file
    #[arg(default_value = ".", value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// The platform to build for
    #[arg(long, value_name = "OS/ARCH", env = "KCOMPOSE_PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Set a parameter of the flavor
    #[arg(long = "build-arg", value_name = "KEY=VALUE")]
    pub(crate) build_args: Vec<String>,
    /// A folder in the place of the build context, a block, the distro or a folder that is copied, as NAME=PATH
    #[arg(long = "build-context", value_name = "NAME=PATH")]
    pub(crate) build_contexts: Vec<String>,
}

/// How the lock may be used.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct LockMode {
    /// The lock must fit the flavor, and is not written
    #[arg(long, env = "KCOMPOSE_LOCKED", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) locked: bool,
    /// Neither kcompose nor the engine uses the network
    #[arg(long, env = "KCOMPOSE_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) offline: bool,
    /// Both --locked and --offline
    #[arg(long, env = "KCOMPOSE_FROZEN", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) frozen: bool,
}

impl LockMode {
    pub(crate) fn locked(self) -> bool {
        self.locked || self.frozen
    }

    pub(crate) fn offline(self) -> bool {
        self.offline || self.frozen
    }
}

/// `kcompose new`.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The folder to make
    #[arg(value_name = "DIR", required_unless_present = "list")]
    pub(crate) dir: Option<PathBuf>,
    /// What to begin with
    #[arg(long, default_value = "minimal")]
    pub(crate) template: String,
    /// List the templates
    #[arg(long)]
    pub(crate) list: bool,
}

/// The form of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people.
    Human,
    /// One JSON document.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// GitHub's workflow commands.
    Github,
}

/// `kcompose check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) source: Source,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = ReportFormat::Human)]
    pub(crate) format: ReportFormat,
}

/// `kcompose lock`.
#[derive(Debug, Args)]
pub(crate) struct Lock {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Only say whether the lock fits the flavor, and whether signed indexes have its packages
    #[arg(long)]
    pub(crate) check: bool,
    /// Say what would change, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not fetch the packages into the store
    #[arg(long)]
    pub(crate) no_fetch: bool,
    /// Use what is cached only
    #[arg(long, env = "KCOMPOSE_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) offline: bool,
}

/// `kcompose update`.
#[derive(Debug, Args)]
pub(crate) struct Update {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Only these packages, and what they need
    #[arg(value_name = "PACKAGE")]
    pub(crate) packages: Vec<String>,
    /// Say what would change, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The form of `kcompose config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConfigFormat {
    /// A flavor again.
    Kdl,
    /// JSON.
    Json,
}

/// `kcompose config`.
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(flatten)]
    pub(crate) source: Source,
    /// The form
    #[arg(long, value_enum, default_value_t = ConfigFormat::Kdl)]
    pub(crate) format: ConfigFormat,
}

/// What a build may do beyond its sandbox, in BuildKit's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Entitlement {
    /// Steps that ask for the network use this machine's.
    #[value(name = "network.host")]
    NetworkHost,
}

/// Which engine builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineChoice {
    /// BuildKit where one is reachable, else the embedded engine.
    Auto,
    /// The embedded engine.
    Embedded,
    /// BuildKit only.
    Buildkit,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// `tty` on a terminal, else `plain`.
    Auto,
    /// A line an event.
    Plain,
    /// Lines that move.
    Tty,
    /// A JSON document an event.
    Rawjson,
    /// Nothing.
    Quiet,
}

/// `kcompose build`.
#[derive(Debug, Args)]
pub(crate) struct Build {
    #[command(flatten)]
    pub(crate) source: Source,
    #[command(flatten)]
    pub(crate) lock: LockMode,
    /// What to make, such as type=oci,dest=image.tar (may be given several times)
    #[arg(short, long = "output", value_name = "type=TYPE,dest=PATH")]
    pub(crate) outputs: Vec<String>,
    /// The image's name (may be given several times)
    #[arg(short, long = "tag", value_name = "NAME")]
    pub(crate) tags: Vec<String>,
    /// Push the image to its registry
    #[arg(long)]
    pub(crate) push: bool,
    /// Load the image into Docker
    #[arg(long)]
    pub(crate) load: bool,
    /// Which engine builds
    #[arg(long, value_enum, default_value_t = EngineChoice::Auto, env = "KCOMPOSE_ENGINE")]
    pub(crate) engine: EngineChoice,
    /// The address of a BuildKit, such as unix:///run/buildkit/buildkitd.sock, tcp://127.0.0.1:1234 or, by TLS,
    /// tcp://HOST:1234?cacert=ca.pem&cert=cert.pem&key=key.pem
    #[arg(long, value_name = "ADDR", env = "KCOMPOSE_BUILDER")]
    pub(crate) builder: Option<String>,
    /// What the embedded engine may use up, as NAME=VALUE (may be given several times): for each step time=2h, output=256M,
    /// processes=8192, memory and disk, and store=20G for what is kept between builds
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    pub(crate) limits: Vec<String>,
    /// What steps may do beyond their sandbox (may be given several times): `network.host` lets a `run` with `network #true` use
    /// this machine's network on the embedded engine
    #[arg(
        long = "allow",
        value_name = "ENTITLEMENT",
        value_enum,
        env = "KCOMPOSE_ALLOW",
        value_delimiter = ','
    )]
    pub(crate) allow: Vec<Entitlement>,
    /// Build up to a stage only
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// A secret for steps, as id=ID,src=FILE or id=ID,env=VARIABLE
    #[arg(long = "secret", value_name = "id=ID,src=FILE")]
    pub(crate) secrets: Vec<String>,
    /// Run every step again
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Build a second time, every step again, and say which paths differ
    #[arg(long)]
    pub(crate) check_reproducible: bool,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = Progress::Auto, env = "KCOMPOSE_PROGRESS")]
    pub(crate) progress: Progress,
    /// Write the image's digests to a JSON file
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Write the digest of the image's config to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
}

/// The form of `kcompose plan`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    /// A line a step.
    Text,
    /// A graph for Graphviz.
    Dot,
    /// Steps with their programs.
    Json,
    /// The encoded definition, for `buildctl debug dump-llb`.
    Llb,
}

/// `kcompose plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) source: Source,
    #[command(flatten)]
    pub(crate) lock: LockMode,
    /// The form
    #[arg(long, value_enum, default_value_t = PlanFormat::Text)]
    pub(crate) format: PlanFormat,
}

/// The form of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DataFormat {
    /// For people.
    Human,
    /// JSON.
    Json,
}

/// `kcompose verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// An OCI archive, an OCI layout folder, a docker archive, or a root tree (folder or tar)
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// The form
    #[arg(long, value_enum, default_value_t = DataFormat::Human)]
    pub(crate) format: DataFormat,
    #[command(flatten)]
    pub(crate) size: ImageSize,
}

/// The bound on an image that others made.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct ImageSize {
    /// The largest unpacked size of the image, such as 64G, in place of the limits on size and ratio
    #[arg(long, value_name = "SIZE", value_parser = crate::values::size)]
    pub(crate) max_image_size: Option<u64>,
}

/// Which image of the disk boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BootMode {
    /// The current image.
    Active,
    /// The one before.
    Passive,
    /// The recovery image.
    Recovery,
}

/// `kcompose boot`.
#[derive(Debug, Args)]
pub(crate) struct Boot {
    /// An OCI archive, an OCI layout folder, a docker archive, or a root tree (folder or tar); without it the disk boots as it is
    #[arg(value_name = "IMAGE", required_unless_present = "disk")]
    pub(crate) image: Option<String>,
    /// Which image of the disk boots
    #[arg(long, value_enum, default_value_t = BootMode::Active)]
    pub(crate) mode: BootMode,
    /// The disk, kept between calls; made when it is not there
    #[arg(long, value_name = "FILE")]
    pub(crate) disk: Option<PathBuf>,
    /// A script to run as root when the system is up; its output and exit code are ours
    #[arg(long, value_name = "FILE")]
    pub(crate) script: Option<PathBuf>,
    /// Check the layout in the running system
    #[arg(long)]
    pub(crate) check: bool,
    /// The form of the report of --check
    #[arg(long, value_enum, default_value_t = DataFormat::Human, requires = "check", conflicts_with = "script")]
    pub(crate) format: DataFormat,
    /// How long the boot may take, in seconds or as 5m
    #[arg(long, default_value = "10m", value_parser = crate::values::duration)]
    pub(crate) timeout: std::time::Duration,
    /// The machine's memory, in MiB or as 2GiB
    #[arg(long, default_value = "1024", value_parser = crate::values::mebibytes)]
    pub(crate) memory: u32,
    #[command(flatten)]
    pub(crate) size: ImageSize,
}

/// `kcompose cache`.
#[derive(Debug, Args)]
pub(crate) struct Cache {
    #[command(subcommand)]
    pub(crate) command: CacheCommand,
}

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List what is stored
    Ls,
    /// Delete what is not in use
    Prune {
        /// Delete everything
        #[arg(long)]
        all: bool,
    },
    /// Read everything and compare it with its checksum
    Verify,
}

/// `kcompose frontend`.
#[derive(Debug, Args)]
pub(crate) struct Frontend {
    #[command(subcommand)]
    pub(crate) command: FrontendCommand,
}

/// What to do with the frontend.
#[derive(Debug, Subcommand)]
pub(crate) enum FrontendCommand {
    /// Write or push the frontend's image
    Image(FrontendImage),
}

/// `kcompose frontend image`.
#[derive(Debug, Args)]
pub(crate) struct FrontendImage {
    /// What to make, such as type=docker,dest=frontend.tar (may be given several times)
    #[arg(short, long = "output", value_name = "type=TYPE,dest=PATH")]
    pub(crate) outputs: Vec<String>,
    /// The image's name (may be given several times)
    #[arg(short, long = "tag", value_name = "NAME")]
    pub(crate) tags: Vec<String>,
    /// Push the image to its registry
    #[arg(long)]
    pub(crate) push: bool,
    /// The static kcompose-gateway [default: the one beside kcompose]
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = Progress::Auto, env = "KCOMPOSE_PROGRESS")]
    pub(crate) progress: Progress,
}

/// `kcompose doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The form
    #[arg(long, value_enum, default_value_t = DataFormat::Human)]
    pub(crate) format: DataFormat,
    /// The address of a BuildKit
    #[arg(long, value_name = "ADDR", env = "KCOMPOSE_BUILDER")]
    pub(crate) builder: Option<String>,
}
