//! `KCOMPOSE_RESOLVE=1`: the lock that a flavor lacks, resolved while it is built.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use kcompose_core::diagnostic::Warned;
use kcompose_core::model::{Architecture, Flavor, RuntimeSource, Sha256};
use kcompose_core::resolve::lock::Lock;
use kcompose_core::resolve::{
    DownloadFacts, DownloadNeed, Facts, Need, Resolution, UpstreamFacts, UpstreamNeed, resolve,
};
use kcompose_engine::fetch::{FetchError, Mirrors, Suites};

use tonic::Status;

use crate::bridge::{Bridge, Solving};
use crate::failure::Failure;
use crate::indexes::ByDaemon;
use crate::{place, reading};

/// The lock of a flavor: the one before where it fits, else with as little moved as can be.
pub(crate) async fn lock(
    bridge: &mut Bridge,
    flavor: &Flavor,
    before: Option<Lock>,
    mirrors: &Mirrors,
) -> Result<Warned<Lock>, Failure> {
    let mut facts = Facts {
        lock: before.clone(),
        ..Facts::default()
    };
    loop {
        match resolve(flavor, &facts) {
            Resolution::Done(resolved) => {
                let lock = kcompose_compile::new_lock(flavor, resolved.value, before.as_ref(), mirrors);
                return Ok(Warned {
                    value: lock,
                    warnings: resolved.warnings,
                });
            }
            Resolution::Needs(needs) => answer(bridge, &needs, mirrors, &mut facts).await?,
            Resolution::Failed(problems) => return Err(problems.into()),
        }
    }
}

async fn answer(
    bridge: &mut Bridge,
    needs: &BTreeSet<Need>,
    mirrors: &Mirrors,
    facts: &mut Facts,
) -> Result<(), Failure> {
    let suites = Suites {
        origin: &ByDaemon(bridge),
        mirrors,
        now: now(),
    };
    suites.answer(needs, facts).await.map_err(Failure::of)?;
    for need in needs {
        match need {
            Need::Suite(_) => {}
            Need::Upstream(need) => {
                let found = upstream(bridge, need).await?;
                facts.upstream.insert(need.part, found);
            }
            Need::Download(need) => {
                let found = download(bridge, need).await?;
                let key = (need.url.value.clone(), need.sha256.clone());
                facts.downloads.insert(key, found);
            }
        }
    }
    Ok(())
}

/// A program that is no package: in its image, which the daemon pulls, or from a web server.
async fn upstream(bridge: &mut Bridge, need: &UpstreamNeed) -> Result<UpstreamFacts, Failure> {
    let failed = |reason: String| {
        Failure::of(FetchError::Upstream {
            from: need.from.to_string(),
            reason,
            help: "see that the name is right and the registry answers, and log in with `docker login HOST` where it asks; what is on this machine only is locked by `kcompose lock`".to_owned(),
        })
    };
    let said = |status: Status| failed(status.message().to_owned());
    let (digest, definition, file) = match &need.from {
        RuntimeSource::Path(_) => return Err(failed("the engine does not read it".to_owned())),
        RuntimeSource::Url(url) => {
            let (definition, file) = reading::web(&url.to_string(), None);
            (None, definition, file)
        }
        RuntimeSource::Image(name) => {
            let name = place::full(name);
            let architecture = Architecture::as_str(need.architecture);
            let digest = bridge.image_digest(&name, architecture).await.map_err(said)?;
            let digest = Some(digest).filter(|digest| !digest.is_empty());
            (
                digest,
                reading::image(&name, architecture),
                need.part.path_in_image(),
            )
        }
    };
    let tree = bridge
        .solve(&definition, &[], Solving::Later)
        .await
        .map_err(said)?;
    let program = bridge.read(&tree, file, u64::MAX).await?.unwrap_or_default();
    Ok(UpstreamFacts::of(need.part, need.from.clone(), digest, &program))
}

/// A file from a web server, which the daemon fetches. It compares the checksum itself, and its answer names the other one.
async fn download(bridge: &mut Bridge, need: &DownloadNeed) -> Result<DownloadFacts, Failure> {
    let url = &need.url.value;
    let (definition, file) = reading::web(&url.to_string(), Some(need.sha256.as_str()));
    let tree = match bridge.solve(&definition, &[], Solving::Now).await {
        Ok(tree) => tree,
        Err(status) => {
            return other_checksum(status.message(), &need.sha256).ok_or_else(|| {
                Failure::of(FetchError::Unreachable {
                    url: url.clone(),
                    reason: status.message().to_owned(),
                })
            });
        }
    };
    Ok(DownloadFacts {
        sha256: need.sha256.clone(),
        size: bridge.size(&tree, file).await?.unwrap_or_default(),
    })
}

/// The checksum in an answer such as `digest mismatch sha256:…: sha256:…`, that is not the one that was asked for.
fn other_checksum(answer: &str, wanted: &Sha256) -> Option<DownloadFacts> {
    let words = answer.split("sha256:").skip(1);
    let mut found = words.filter_map(|word| word.get(..64)?.parse::<Sha256>().ok());
    let sha256 = found.find(|found| found != wanted)?;
    Some(DownloadFacts { sha256, size: 0 })
}

/// Seconds since 1970 on the engine's clock.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_names_the_checksum_that_it_found() {
        let (one, two) = ("ab".repeat(32), "cd".repeat(32));
        let wanted: Sha256 = one.parse().unwrap();
        let answer = format!("failed to load cache key: digest mismatch sha256:{two}: sha256:{one}");
        let found = other_checksum(&answer, &wanted).unwrap();
        assert_eq!(found.sha256.as_str(), two);
        assert!(other_checksum("dial tcp: connection refused", &wanted).is_none());
        assert!(other_checksum(&format!("digest sha256:{one}"), &wanted).is_none());
    }
}
