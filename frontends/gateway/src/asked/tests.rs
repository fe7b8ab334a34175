use super::*;

fn asked(options: &[(&str, &str)]) -> Result<Asked, Vec<String>> {
    let options = options
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Asked::new(&options).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

#[track_caller]
fn check_refused(key: &str, value: &str, expected: &str) {
    assert_eq!(asked(&[(key, value)]).unwrap_err(), [expected], "{key}");
}

#[test]
fn what_docker_sends_by_itself_changes_nothing() {
    let options = [
        ("cmdline", "localhost/kcompose:1"),
        ("source", "localhost/kcompose:1"),
        ("image-resolve-mode", "local"),
        ("attest:provenance", "mode=min,inline-only=true"),
        ("frontend.caps", "moby.buildkit.frontend.contexts+forward"),
        ("vcs:revision", "0"),
        ("target", ""),
        ("add-hosts", ""),
        ("shm-size", "0"),
    ];
    assert_eq!(asked(&options), asked(&[]));
}

#[test]
fn options_are_taken_in() {
    let options = [
        ("filename", "edge.kdl"),
        ("context:context", "local:other"),
        ("build-arg:ROLE", "edge"),
        ("label:a", "b"),
        ("no-cache", ""),
        ("platform", "linux/amd64"),
        ("cache-imports", r#"[{"Type":"registry","Attrs":{"ref":"r/c"}}]"#),
        ("requestid", "frontend.lint"),
        ("force-network-mode", "none"),
        ("new-in-2030", "1"),
    ];
    let asked = asked(&options).unwrap();
    assert_eq!(asked.file, "edge.kdl");
    assert_eq!(asked.context, Place::Local("other".to_owned()));
    assert_eq!(asked.arguments["ROLE"], "edge");
    assert_eq!(asked.labels["a"], "b");
    assert_eq!(asked.caches[0].attributes["ref"], "r/c");
    assert_eq!(asked.unknown, ["new-in-2030"]);
    assert!(asked.no_cache && asked.no_network && asked.request.is_some());
}

#[test]
fn what_makes_no_sense_is_refused() {
    check_refused("target", "rootfs", "there is no target `rootfs`");
    check_refused("ulimit", "nofile=10", "`ulimit` cannot be honoured");
    check_refused(
        "force-network-mode",
        "host",
        "steps cannot have the network `host`",
    );
    check_refused(
        "platform",
        "linux/amd64,linux/arm64",
        "a flavor is built for one platform at a time, not for `linux/amd64,linux/arm64`",
    );
    check_refused(
        "context:base",
        "oci-layout://x@sha256:0",
        "a build context cannot be at `oci-layout://x@sha256:0`",
    );
    check_refused("build-arg:KCOMPOSE_RESOLVE", "yes", "`KCOMPOSE_RESOLVE` is `yes`");
}

#[test]
fn a_context_far_away_holds_the_flavor_too() {
    let url = "https://example.org/a.git#main:os";
    let far = asked(&[("context", url)]).unwrap();
    assert_eq!(far.documents, Place::parse(url).unwrap());
    assert_eq!(far.context, far.documents);
    let with_own_flavor = asked(&[("context", url), ("dockerfilekey", "dockerfile")]).unwrap();
    assert_eq!(with_own_flavor.documents, Place::Local("dockerfile".to_owned()));
    assert_eq!(with_own_flavor.context, far.context);
}

#[test]
fn arguments_of_clients_are_no_parameters() {
    let options = [
        ("build-arg:BUILDKIT_SYNTAX", "x"),
        ("build-arg:HTTP_PROXY", "http://proxy"),
        ("build-arg:KCOMPOSE_RESOLVE", "1"),
        ("build-arg:KCOMPOSE_MIRROR", "http://mirror/debian"),
        ("build-arg:ROLE", "edge"),
        ("context:cloud-init", "input:cloud"),
        ("input-metadata:cloud", "{}"),
        ("local-sessionid:context", "s"),
    ];
    let asked = asked(&options).unwrap();
    assert_eq!(asked.arguments.keys().collect::<Vec<_>>(), ["ROLE"]);
    assert_eq!(asked.unknown, ["build-arg:HTTP_PROXY"]);
    assert_eq!(
        asked.mirror.as_ref().map(Url::to_string).as_deref(),
        Some("http://mirror/debian")
    );
    assert_eq!(asked.named["cloud-init"], Place::Input("cloud".to_owned()));
    assert_eq!(*asked.owner("context"), Whose::Session("s".to_owned()));
    assert!(asked.resolves);
}
