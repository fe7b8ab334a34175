//! Images into Docker.

use std::io;
use std::path::Path;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::address::Address;
use super::{builder, transport};
use crate::error::EngineError;

/// What Docker writes for each thing that it does.
#[derive(Deserialize)]
struct Line {
    error: Option<String>,
}

/// Where Docker's engine answers, which is tried.
pub async fn docker(variable: impl Fn(&str) -> Option<String>) -> Result<String, EngineError> {
    let host = builder::host(&variable)?;
    let place = Address::Docker(host.clone()).to_string();
    let asked = async {
        let mut wire = transport::engine(&host).await?;
        wire.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            .await?;
        wire.flush().await?;
        let mut answer = Vec::new();
        wire.read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let reason = match asked.await.map(|answer| refused(&answer)) {
        Ok(None) => return Ok(place),
        Ok(Some(reason)) => reason,
        Err(error) => error.to_string(),
    };
    Err(EngineError::Unreachable {
        tried: vec![(place, reason)],
    })
}

/// Loads a docker archive into Docker's engine, as `docker load` does it.
pub async fn load(archive: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<(), EngineError> {
    let host = builder::host(&variable)?;
    let place = Address::Docker(host.clone()).to_string();
    let mut wire = transport::engine(&host)
        .await
        .map_err(|error| EngineError::Unreachable {
            tried: vec![(place.clone(), error.to_string())],
        })?;
    let sent = send(archive, &mut wire).await;
    let answer = match sent {
        Ok(answer) => answer,
        Err(error) => return Err(EngineError::io("load into Docker", archive, error)),
    };
    match refused(&answer) {
        None => Ok(()),
        Some(reason) => Err(EngineError::Output {
            output: "docker".to_owned(),
            reason: format!("{place} does not load it: {reason}"),
            help: "see Docker's log".to_owned(),
        }),
    }
}

async fn send(archive: &Path, wire: &mut transport::Wire) -> io::Result<String> {
    let mut file = tokio::fs::File::open(archive).await?;
    let length = file.metadata().await?.len();
    let head = format!(
        "POST /images/load?quiet=1 HTTP/1.0\r\nHost: docker\r\nContent-Type: application/x-tar\r\nContent-Length: {length}\r\n\r\n"
    );
    wire.write_all(head.as_bytes()).await?;
    tokio::io::copy(&mut file, wire).await?;
    wire.flush().await?;
    let mut answer = Vec::new();
    wire.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Why Docker refused, if it did: by the status, or in the lines that follow a good one.
fn refused(answer: &str) -> Option<String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.lines().next().unwrap_or_default();
    let error = body
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
        .find_map(|line| line.error);
    if status.split(' ').nth(1) == Some("200") {
        return error;
    }
    Some(
        if body.trim().is_empty() {
            status
        } else {
            body.trim()
        }
        .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_says_why_it_refuses() {
        assert_eq!(
            refused("HTTP/1.0 200 OK\r\n\r\n{\"stream\":\"Loaded image: x\"}\n"),
            None
        );
        let late = "HTTP/1.0 200 OK\r\n\r\n{\"error\":\"no space\"}\n";
        assert_eq!(refused(late).as_deref(), Some("no space"));
        let early = "HTTP/1.0 400 Bad Request\r\n\r\n{\"message\":\"x\"}";
        assert_eq!(refused(early).as_deref(), Some("{\"message\":\"x\"}"));
    }
}
