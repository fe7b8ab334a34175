//! Unit files as far as enabling needs them: names, and the section `[Install]` (systemd.unit(5)).

/// The endings of unit names.
const SUFFIXES: [&str; 11] = [
    ".service",
    ".socket",
    ".device",
    ".mount",
    ".automount",
    ".swap",
    ".target",
    ".path",
    ".timer",
    ".slice",
    ".scope",
];

/// The full name: `ssh` is `ssh.service`.
pub(crate) fn full_name(name: &str) -> String {
    if SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
        name.to_owned()
    } else {
        format!("{name}.service")
    }
}

/// A name taken apart: `getty@tty1.service` is the instance `tty1` of the template `getty@.service`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    /// What comes before `@`, or before the ending.
    pub(crate) prefix: &'a str,
    /// What comes after `@`, if there is one; empty for a template.
    pub(crate) instance: Option<&'a str>,
    /// The ending with its dot.
    pub(crate) suffix: &'a str,
}

/// Takes a full name apart.
pub(crate) fn parse_name(name: &str) -> Name<'_> {
    let (stem, suffix) = name.rfind('.').map_or((name, ""), |at| name.split_at(at));
    match stem.split_once('@') {
        Some((prefix, instance)) => Name {
            prefix,
            instance: Some(instance),
            suffix,
        },
        None => Name {
            prefix: stem,
            instance: None,
            suffix,
        },
    }
}

/// The file of an instance: its template. `None` for a name that is no instance.
pub(crate) fn template(name: &str) -> Option<String> {
    let name = parse_name(name);
    let instance = name.instance.filter(|instance| !instance.is_empty());
    instance.map(|_| format!("{}@{}", name.prefix, name.suffix))
}

/// What `[Install]` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Install {
    /// `WantedBy=`.
    pub(crate) wanted_by: Vec<String>,
    /// `RequiredBy=`.
    pub(crate) required_by: Vec<String>,
    /// `UpheldBy=`.
    pub(crate) upheld_by: Vec<String>,
    /// `Alias=`.
    pub(crate) alias: Vec<String>,
    /// `Also=`.
    pub(crate) also: Vec<String>,
    /// `DefaultInstance=`.
    pub(crate) default_instance: Option<String>,
}

impl Install {
    /// Reads a unit file, and then its drop-ins, in order; an empty value takes back what was said before.
    pub(crate) fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut install = Install::default();
        for text in texts {
            let mut inside = false;
            for line in joined_lines(text) {
                let line = line.trim();
                if line.starts_with('[') {
                    inside = line == "[Install]";
                } else if let Some((key, value)) = line
                    .split_once('=')
                    .filter(|_| inside && !line.starts_with(['#', ';']))
                {
                    install.set(key.trim(), value.trim());
                }
            }
        }
        install
    }

    fn set(&mut self, key: &str, value: &str) {
        let list = match key {
            "WantedBy" => &mut self.wanted_by,
            "RequiredBy" => &mut self.required_by,
            "UpheldBy" => &mut self.upheld_by,
            "Alias" => &mut self.alias,
            "Also" => &mut self.also,
            "DefaultInstance" => {
                self.default_instance = (!value.is_empty()).then(|| value.to_owned());
                return;
            }
            _ => return,
        };
        if value.is_empty() {
            list.clear();
        }
        list.extend(value.split_whitespace().map(str::to_owned));
    }

    /// Whether enabling the unit does nothing.
    pub(crate) fn is_empty(&self) -> bool {
        [
            &self.wanted_by,
            &self.required_by,
            &self.upheld_by,
            &self.alias,
            &self.also,
        ]
        .iter()
        .all(|list| list.is_empty())
    }
}

/// Lines, where a backslash at the end joins the next one.
fn joined_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let (line, goes_on) = line.strip_suffix('\\').map_or((line, false), |line| (line, true));
        match lines.last_mut().filter(|_| open) {
            Some(last) => {
                last.push(' ');
                last.push_str(line);
            }
            None => lines.push(line.to_owned()),
        }
        open = goes_on;
    }
    lines
}

/// Replaces the specifiers that `[Install]` may have.
pub(crate) fn expand(text: &str, unit: &str) -> String {
    let name = parse_name(unit);
    let instance = name.instance.unwrap_or_default();
    let whole = unit.strip_suffix(name.suffix).unwrap_or(unit);
    let last = name.prefix.rsplit_once('-').map_or(name.prefix, |(_, last)| last);
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('i' | 'I') => out.push_str(instance),
            Some('p' | 'P') => out.push_str(name.prefix),
            Some('n') => out.push_str(unit),
            Some('N') => out.push_str(whole),
            Some('j' | 'J') => out.push_str(last),
            Some('%') | None => out.push('%'),
            Some(other) => out.extend(['%', other]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_and_taken_apart() {
        assert_eq!(
            (full_name("ssh"), full_name("a.timer")),
            ("ssh.service".to_owned(), "a.timer".to_owned())
        );
        assert_eq!(template("getty@tty1.service").as_deref(), Some("getty@.service"));
        assert_eq!(
            (template("getty@.service"), template("ssh.service")),
            (None, None)
        );
        assert_eq!(expand("%p-%i.%N", "getty@tty1.service"), "getty-tty1.getty@tty1");
    }

    #[test]
    fn only_the_section_install_counts() {
        let unit =
            "[Unit]\nAlias=no\n[Install]\nWantedBy=a.target \\\n  b.target\n# Alias=no\nAlso=c.socket\n";
        let install = Install::parse([unit, "[Install]\nAlso=\nAlso=d.socket\n"]);
        assert_eq!(install.wanted_by, ["a.target", "b.target"]);
        assert_eq!(
            (install.also, install.alias.len()),
            (vec!["d.socket".to_owned()], 0)
        );
        assert!(Install::parse(["[Service]\nType=oneshot\n"]).is_empty());
    }
}
