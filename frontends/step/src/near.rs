//! Names that were probably meant.

/// The name that is nearest to a misspelt one, if it is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The ending of a unit's name says nothing.
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let limit = (stem.len() / 3).clamp(1, 3);
    let near = known
        .map(|other| (distance(name, other), other))
        .filter(|(distance, _)| *distance <= limit);
    near.min().map(|(_, other)| other)
}

/// How many letters are to be inserted, deleted or replaced (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, another) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *another);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["ssh.service", "cron.service", "sudo"];
        assert_eq!(nearest("sshd.service", known.into_iter()), Some("ssh.service"));
        assert_eq!(nearest("sudu", known.into_iter()), Some("sudo"));
        assert_eq!(nearest("nginx.service", known.into_iter()), None);
    }
}
