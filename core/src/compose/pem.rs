//! Certificates as text: PEM (RFC 7468), and as much of X.509 as tells a certificate from something else.

use base64::Engine as _;

/// One block between `-----BEGIN LABEL-----` and `-----END LABEL-----`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The label, such as `CERTIFICATE`.
    pub(super) label: String,
    /// The line that it begins in, from one.
    pub(super) line: usize,
    /// Its data, or what is wrong with it.
    pub(super) data: Result<Vec<u8>, &'static str>,
}

/// The blocks of a text; what is between them is ignored, as every reader does.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open: Option<(Block, String)> = None;
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim();
        if let Some(label) = boundary(content, "BEGIN") {
            found.extend(open.take().map(|(block, _)| unfinished(block)));
            let block = Block {
                label: label.to_owned(),
                line,
                data: Ok(Vec::new()),
            };
            open = Some((block, String::new()));
        } else if let Some(label) = boundary(content, "END") {
            if let Some((block, body)) = open.take() {
                found.push(finished(block, label, &body));
            }
        } else if let Some((_, body)) = &mut open {
            body.push_str(content);
        }
    }
    found.extend(open.map(|(block, _)| unfinished(block)));
    found
}

fn boundary<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let inner = line.strip_prefix("-----")?.strip_suffix("-----")?;
    inner.strip_prefix(word)?.strip_prefix(' ')
}

fn unfinished(block: Block) -> Block {
    Block {
        data: Err("its `END` line is missing"),
        ..block
    }
}

fn finished(block: Block, label: &str, body: &str) -> Block {
    let data = if label == block.label {
        base64::engine::general_purpose::STANDARD
            .decode(body)
            .map_err(|_| "its text is not base64")
    } else {
        Err("its `END` line has another label")
    };
    Block { data, ..block }
}

/// The one form of a certificate in PEM.
pub(super) fn certificate(data: &[u8]) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(data);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, behind) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = behind;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// What a certificate says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It may issue others, or does not say that it may not.
    Authority,
    /// Others issued it for a server or a person.
    Leaf,
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
/// `[0]`, the version, and `[3]`, the extensions (RFC 5280, section 4.1).
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// The identifier of the extension "basic constraints", 2.5.29.19.
const BASIC_CONSTRAINTS: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x13];

/// Looks at a certificate in DER; `None` if it is none.
pub(super) fn look(data: &[u8]) -> Option<Use> {
    let (outer, rest) = element(data, SEQUENCE)?;
    let (body, signature) = element(outer, SEQUENCE)?;
    let (_, signature) = element(signature, SEQUENCE)?;
    let (_, end) = element(signature, BIT_STRING)?;
    if !rest.is_empty() || !end.is_empty() {
        return None;
    }
    let body = element(body, VERSION).map_or(body, |(_, behind)| behind);
    let (_, body) = element(body, INTEGER)?;
    let (_, body) = element(body, SEQUENCE)?;
    let (issuer, body) = element(body, SEQUENCE)?;
    let (_, body) = element(body, SEQUENCE)?;
    let (subject, body) = element(body, SEQUENCE)?;
    let (_, body) = element(body, SEQUENCE)?;
    Some(match extensions(body) {
        // What signed itself is trusted as what it is; version 1 has no extensions.
        _ if issuer == subject => Use::Authority,
        Some(extensions) if !may_issue(extensions) => Use::Leaf,
        _ => Use::Authority,
    })
}

/// The list of extensions, behind optional identifiers.
fn extensions(mut body: &[u8]) -> Option<&[u8]> {
    while let Some(tag) = body.first().copied() {
        let (content, behind) = element(body, tag)?;
        if tag == EXTENSIONS {
            return Some(content);
        }
        body = behind;
    }
    None
}

/// Whether basic constraints say `CA:TRUE`: the value is an OCTET STRING with a SEQUENCE that begins with the BOOLEAN.
fn may_issue(extensions: &[u8]) -> bool {
    let Some(at) = memchr::memmem::find(extensions, BASIC_CONSTRAINTS) else {
        return false;
    };
    let rest = &extensions[at + BASIC_CONSTRAINTS.len()..];
    let rest = element(rest, 0x01).map_or(rest, |(_, behind)| behind);
    let constraints = element(rest, 0x04).and_then(|(value, _)| element(value, SEQUENCE));
    constraints
        .and_then(|(constraints, _)| element(constraints, 0x01))
        .is_some_and(|(flag, _)| flag.first().is_some_and(|flag| *flag != 0))
}

/// An element of DER with this tag: its content, and what follows it (X.690, section 8.1).
fn element(data: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = data.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = rest.split_first()?;
    if *length < 0x80 {
        return rest.split_at_checked(usize::from(*length));
    }
    let (octets, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
    if octets.is_empty() || octets.len() > 4 {
        return None;
    }
    let length = octets
        .iter()
        .fold(0, |length: usize, octet| length << 8 | usize::from(*octet));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `openssl req -x509 -newkey ed25519` and signed with it: a root, and a certificate for a server.
    const ROOT: &str = include_str!("../../tests/data/certificates/root.crt");
    const SERVER: &str = include_str!("../../tests/data/certificates/server.crt");

    fn data(text: &str) -> Vec<u8> {
        blocks(text)[0].data.clone().unwrap()
    }

    #[test]
    fn certificates_are_told_from_other_things() {
        assert_eq!(look(&data(ROOT)), Some(Use::Authority));
        assert_eq!(look(&data(SERVER)), Some(Use::Leaf));
        let root = data(ROOT);
        assert_eq!(look(&root[..root.len() - 1]), None);
        assert_eq!(look(&[root.as_slice(), b"x"].concat()), None);
        assert_eq!(look(b""), None);
        // No length makes it read beyond the end.
        for at in 0..root.len() {
            let mut broken = root.clone();
            broken[at] = 0xff;
            let _ = look(&broken);
        }
    }

    #[test]
    fn blocks_are_found_among_other_lines() {
        let text = format!("subject=x\r\n{}\nmore\n{SERVER}", ROOT.replace('\n', "\r\n"));
        let found = blocks(&text);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].label.as_str(), found[0].line), ("CERTIFICATE", 2));
        assert_eq!(found[0].data.as_ref().unwrap(), &data(ROOT));
        assert_eq!(certificate(&data(ROOT)), ROOT);
    }

    #[test]
    fn broken_blocks_say_why() {
        let why = |text: &str| blocks(text)[0].data.clone().unwrap_err();
        assert_eq!(why("-----BEGIN A-----\nAAAA\n"), "its `END` line is missing");
        assert_eq!(
            why("-----BEGIN A-----\nA?\n-----END A-----\n"),
            "its text is not base64"
        );
        assert_eq!(
            why("-----BEGIN A-----\nAAAA\n-----END B-----\n"),
            "its `END` line has another label"
        );
        assert_eq!(
            why("-----BEGIN A-----\n-----BEGIN B-----\n"),
            "its `END` line is missing"
        );
        assert!(blocks("text\n-----END A-----\n").is_empty());
    }
}
