//! Logins of package sources: who gets them, and where they never appear.

use std::path::Path;

use kcompose_core::model::Url;
use kcompose_engine::fetch::{FetchError, Logins, Network};
use kcompose_testing::archive::{Server, basic};
use kcompose_testing::needs;

use crate::world::World;

const PASSWORD: &str = "marked-password";

fn logins(text: &str) -> Logins {
    Logins::parse(text)
}

/// A source that asks for a login.
fn closed() -> World {
    let world = World::new();
    world.server.ask_for_login("builder", PASSWORD);
    world
}

/// No file below a folder has the password, plain or as HTTP sends it.
fn assert_no_password(folder: &Path) {
    let encoded = basic("builder", PASSWORD).replace("Basic ", "");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_no_password(&path);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let has = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(!has(PASSWORD) && !has(&encoded), "{}", path.display());
        assert!(!path.display().to_string().contains(PASSWORD));
    }
}

#[tokio::test]
async fn a_login_opens_a_source_and_is_kept_nowhere() {
    needs!(Program("gpg"));
    let mut world = closed();
    let entry = format!(
        "machine http://{} login builder password {PASSWORD}",
        world.server.host()
    );
    world.logins = logins(&entry);
    let resolved = world.resolve().await.unwrap();
    let fetcher = world.fetcher(Network::Online);
    fetcher.archives(&world.flavor, &resolved).await.unwrap();
    let lock = kcompose_core::resolve::lock::Lock::new(&world.flavor, resolved);
    let said = format!("{}{fetcher:?}", kcompose_core::resolve::lock::render(&lock));
    assert!(!said.contains(PASSWORD));
    assert_no_password(world.store().root());
}

#[tokio::test]
async fn a_login_of_a_mirror_url_is_used() {
    needs!(Program("gpg"));
    let mut world = closed();
    let url = format!("http://builder:{PASSWORD}@{}/debian", world.server.host());
    let (url, login) = Url::split_login(&url).unwrap();
    world.logins.add(&url, login.unwrap());
    world.resolve().await.unwrap();
}

#[tokio::test]
async fn a_closed_source_is_said_with_the_way_out() {
    needs!(Program("gpg"));
    let host = |world: &World| world.server.host().to_owned();
    let entries: [(&str, &str); 3] = [
        ("", "write the login to /etc/apt/auth.conf"),
        (
            "machine http://HOST login builder password wrong-marked-password",
            "correct the login",
        ),
        (
            "machine HOST login builder password marked-password",
            "over https only",
        ),
    ];
    for (entry, help) in entries {
        let mut world = closed();
        world.logins = logins(&entry.replace("HOST", &host(&world)));
        let error = world.resolve().await.unwrap_err();
        let said = format!(
            "{error} {error:?} {}",
            miette::Diagnostic::help(&error)
                .map(|help| help.to_string())
                .unwrap_or_default()
        );
        assert!(matches!(error.cause(), FetchError::Login { .. }), "{said}");
        assert!(said.contains(help) && !said.contains(PASSWORD), "{said}");
    }
}

#[tokio::test]
async fn a_redirect_to_another_server_gets_no_login() {
    needs!(Program("gpg"));
    let mut world = closed();
    let other = Server::start();
    for path in ["InRelease", "main/binary-amd64/Packages"] {
        let path = format!("/debian/dists/probe/{path}");
        other.put(&path, world.server.file(&path).unwrap());
    }
    world
        .server
        .redirect("/debian/dists", &other.url("/debian/dists"));
    // The other server would get one of its own, if it were asked directly.
    let machine = |server: &Server| {
        format!(
            "machine http://{} login builder password {PASSWORD}\n",
            server.host()
        )
    };
    world.logins = logins(&(machine(&world.server) + &machine(&other)));
    world.resolve().await.unwrap();
    let own = world.server.requests();
    assert!(
        own.iter().all(|request| request.authorization.is_some()),
        "{own:?}"
    );
    let others = other.requests();
    assert!(
        !others.is_empty() && others.iter().all(|request| request.authorization.is_none()),
        "{others:?}"
    );
}

#[tokio::test]
async fn a_redirect_on_the_same_server_keeps_the_login_and_one_that_never_ends_is_said() {
    needs!(Program("gpg"));
    let mut world = closed();
    let index = "/debian/dists/probe/main/binary-amd64/Packages";
    world
        .server
        .put("/elsewhere/Packages", world.server.file(index).unwrap());
    world.server.redirect(index, "/elsewhere/Packages");
    let machine = format!(
        "machine http://{} login builder password {PASSWORD}",
        world.server.host()
    );
    world.logins = logins(&machine);
    world.resolve().await.unwrap();
    let world = World::new();
    world.server.redirect("/debian/dists", "/debian/dists");
    let error = world.resolve().await.unwrap_err();
    assert!(
        error.to_string().contains("redirects more than 10 times"),
        "{error}"
    );
}
