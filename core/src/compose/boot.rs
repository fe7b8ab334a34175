//! What acts when the image boots, and what its config says: kernel parameters, runtime, cloud-configs, labels.

use miette::Diagnostic;
use thiserror::Error;

use super::Parts;
use super::conflict::{Said, choose, choose_each, said};
use super::stages;
use crate::diagnostic::Sink;
use crate::model::{CloudConfig, FileBody, FileNode, ImageSettings, Kairos, Label, Runtime, Sysctl, Variant};
use crate::source::{Span, Spanned};

#[derive(Debug, Error, Diagnostic)]
#[error("runtime `systemd` takes no `from`")]
#[diagnostic(
    code("kcompose::kairos::from"),
    help("take `from=` out: everything comes from the distro's packages")
)]
struct FromWithoutImmucore {
    #[label("not used by this runtime")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("nothing in the image reads the cloud-config `{name}`")]
#[diagnostic(
    code("kcompose::cloud-config::no-reader"),
    help("add the line: use \"cloud-init\"")
)]
struct NoReader {
    name: String,
    #[label("runtime `systemd` leaves it to the distro's cloud-init")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the cloud-config `{name}` needs either a text or `from=`")]
#[diagnostic(
    code("kcompose::cloud-config::text"),
    help("write its text here, or name its file: from=\"files/{name}.yaml\"")
)]
struct TextOrFrom {
    name: String,
    #[label("{count}")]
    span: Span,
    count: &'static str,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`stages` in the cloud-config `{name}` is for runtime `immucore`")]
#[diagnostic(
    code("kcompose::cloud-config::stages"),
    help("cloud-init knows no stages: use `bootcmd`, `write_files`, `users` or `runcmd`")
)]
struct Stages {
    name: String,
    #[label("nothing reads its stages")]
    span: Span,
}

/// One value for each kernel parameter.
pub(super) fn sysctls(parts: &Parts, sink: &mut Sink) -> Vec<Spanned<Sysctl>> {
    let all = said(parts, |fragment| &fragment.sysctls);
    let setting = |sysctl: &Sysctl| format!("`{}`", sysctl.key.value);
    // sysctl takes `.` and `/` for the same separator.
    let key = |sysctl: &Sysctl| sysctl.key.value.replace('/', ".");
    let chosen = choose_each(all, key, setting, |sysctl| Some(sysctl.value.value.clone()), sink);
    chosen.iter().map(Said::spanned).collect()
}

/// Runtime, model and variant, each said once or left to its default.
pub(super) fn kairos(parts: &Parts, sink: &mut Sink) -> Spanned<Kairos> {
    let all = said(parts, |fragment| &fragment.kairos);
    let runtimes: Vec<_> = all
        .iter()
        .filter_map(|kairos| kairos.part(|kairos| kairos.runtime.as_ref()))
        .collect();
    let sources: Vec<_> = all
        .iter()
        .filter_map(|kairos| kairos.part(|kairos| kairos.from.as_ref()))
        .collect();
    let models: Vec<_> = all
        .iter()
        .filter_map(|kairos| kairos.part(|kairos| kairos.model.as_ref()))
        .collect();
    let variants: Vec<_> = all
        .iter()
        .filter_map(|kairos| kairos.part(|kairos| kairos.variant.as_ref()))
        .collect();
    let clusters: Vec<_> = all
        .iter()
        .filter_map(|kairos| kairos.part(|kairos| kairos.kubernetes.as_ref()))
        .collect();
    let cluster_versions: Vec<_> = all
        .iter()
        .filter_map(|kairos| kairos.part(|kairos| kairos.kubernetes_version.as_ref()))
        .collect();
    let cluster_sources: Vec<_> = all
        .iter()
        .filter_map(|kairos| kairos.part(|kairos| kairos.kubernetes_from.as_ref()))
        .collect();
    let runtime = choose(
        "the runtime",
        &runtimes,
        |runtime| Some(runtime_name(*runtime)),
        sink,
    );
    let from = choose(
        "the source of the runtime",
        &sources,
        |from| Some(from.to_string()),
        sink,
    );
    let model = choose("the model", &models, |model| Some(model.clone()), sink);
    let variant = choose(
        "the variant",
        &variants,
        |variant| Some(variant_name(*variant)),
        sink,
    );
    let kubernetes = choose(
        "the Kubernetes",
        &clusters,
        |which| Some(which.name().to_owned()),
        sink,
    );
    let kubernetes_version = choose(
        "the version of Kubernetes",
        &cluster_versions,
        |version| Some(version.clone()),
        sink,
    );
    let kubernetes_from = choose(
        "the source of Kubernetes",
        &cluster_sources,
        |from| Some(from.to_string()),
        sink,
    );
    let immucore = runtime.is_some_and(|runtime| *runtime.value == Runtime::Immucore);
    if let Some(from) = from.filter(|_| !immucore) {
        sink.push(FromWithoutImmucore { span: from.span });
    }
    let trusted_boot = flag(&all, "trusted boot", |kairos| kairos.trusted_boot.as_ref(), sink);
    let fips = flag(&all, "FIPS", |kairos| kairos.fips.as_ref(), sink);
    let kairos = Kairos {
        runtime: runtime.map(|runtime| runtime.spanned()),
        from: from.map(|from| from.spanned()),
        model: model.map(|model| model.spanned()),
        variant: variant.map(|variant| variant.spanned()),
        kubernetes: kubernetes.map(|which| which.spanned()),
        kubernetes_version: kubernetes_version.map(|version| version.spanned()),
        kubernetes_from: kubernetes_from.map(|from| from.spanned()),
        trusted_boot,
        fips,
    };
    Spanned::new(kairos, all.first().map_or(Span::NONE, |first| first.span))
}

fn flag(
    all: &[Said<'_, Kairos>],
    name: &str,
    part: impl Fn(&Kairos) -> Option<&Spanned<bool>>,
    sink: &mut Sink,
) -> Option<Spanned<bool>> {
    let flags: Vec<_> = all.iter().filter_map(|kairos| kairos.part(&part)).collect();
    choose(name, &flags, |flag| Some(flag.to_string()), sink).map(|flag| flag.spanned())
}

fn runtime_name(runtime: Runtime) -> String {
    match runtime {
        Runtime::Systemd => "systemd".to_owned(),
        Runtime::Immucore => "immucore".to_owned(),
    }
}

fn variant_name(variant: Variant) -> String {
    match variant {
        Variant::Core => "core".to_owned(),
        Variant::Standard => "standard".to_owned(),
    }
}

/// The cloud-configs, one for each name, and whether something reads them.
pub(super) fn cloud_configs(parts: &Parts, sink: &mut Sink) -> Vec<Spanned<CloudConfig>> {
    let all = said(parts, |fragment| &fragment.cloud_configs);
    let setting = |config: &CloudConfig| format!("the cloud-config `{}`", config.name.value);
    let chosen = choose_each(all, |config| config.name.value.clone(), setting, |_| None, sink);
    let immucore = said(parts, |fragment| &fragment.kairos).iter().any(|kairos| {
        kairos
            .value
            .runtime
            .as_ref()
            .is_some_and(|runtime| runtime.value == Runtime::Immucore)
    });
    let read = immucore || parts.blocks().iter().any(|block| block == "cloud-init");
    for config in &chosen {
        check_text(config, sink);
        let yaml = stages::parsed(config.value, sink);
        if immucore {
            stages::check(config.value, yaml.as_ref(), sink);
        }
        if !read && parts.complete {
            sink.push(NoReader {
                name: config.value.name.value.clone(),
                span: config.value.name.span,
            });
        } else if !immucore && yaml.as_ref().is_some_and(stages::has_stages) {
            sink.push(Stages {
                name: config.value.name.value.clone(),
                span: config.value.name.span,
            });
        }
    }
    chosen.iter().map(Said::spanned).collect()
}

/// Where a cloud-config of the image is read: by the distro's cloud-init, or by immucore and Kairos' agent.
pub(super) fn cloud_config_file(
    config: &Spanned<CloudConfig>,
    runtime: Runtime,
) -> Option<Spanned<FileNode>> {
    let CloudConfig { name, text, .. } = &config.value;
    let path = match runtime {
        Runtime::Systemd => format!("/etc/cloud/cloud.cfg.d/{}.cfg", name.value),
        Runtime::Immucore => format!("/system/oem/{}.yaml", name.value),
    };
    let path = path.parse().ok()?;
    let body = FileBody::Text(text.as_ref()?.value.clone());
    let node = FileNode {
        path: Spanned::new(path, name.span),
        mode: None,
        user: None,
        group: None,
        body,
    };
    Some(Spanned::new(node, config.span))
}

/// A file that was read has both: its path and its text at the same place.
fn check_text(config: &Said<'_, CloudConfig>, sink: &mut Sink) {
    let CloudConfig { name, text, from, .. } = config.value;
    let count = match (text, from) {
        (None, None) => "neither",
        (Some(text), Some(from)) if text.span != from.span => "both",
        _ => return,
    };
    sink.push(TextOrFrom {
        name: name.value.clone(),
        span: config.span,
        count,
    });
}

/// Repository and labels.
pub(super) fn image(parts: &Parts, sink: &mut Sink) -> ImageSettings {
    let all = said(parts, |fragment| &fragment.images);
    let repositories: Vec<_> = all
        .iter()
        .filter_map(|image| image.part(|image| image.repository.as_ref()))
        .collect();
    let repository = choose(
        "the image's repository",
        &repositories,
        |name| Some(name.clone()),
        sink,
    );
    let labels: Vec<Said<'_, Label>> = all
        .iter()
        .flat_map(|image| {
            let overriding = image.overriding;
            image.value.labels.iter().map(move |label| Said {
                value: label,
                span: label.key.span,
                overriding,
            })
        })
        .collect();
    let setting = |label: &Label| format!("the label `{}`", label.key.value);
    let labels = choose_each(
        labels,
        |label| label.key.value.clone(),
        setting,
        |label| Some(label.value.value.clone()),
        sink,
    );
    ImageSettings {
        repository: repository.map(|repository| repository.spanned()),
        labels: labels.iter().map(|label| label.value.clone()).collect(),
    }
}
