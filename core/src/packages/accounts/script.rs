//! Calls of adduser, useradd and the like in maintainer scripts.
//!
//! Variables have the values that the script gave them last, wherever that stands: a script that asks a machine for a
//! name has no literal to assign.

use std::collections::{BTreeMap, BTreeSet};

use super::AccountKind::{Group, User};
use super::shell::{Command, Part, Word, commands, leading_name};
use super::{Found, SystemAccount, of_sysusers};

/// What a maintainer script makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptFacts {
    /// Users and groups.
    pub accounts: Vec<SystemAccount>,
    /// Links of alternatives (update-alternatives(1)), sorted.
    pub alternatives: Vec<String>,
}

/// Reads what a maintainer script makes.
pub fn of_script(text: &str) -> ScriptFacts {
    let mut script = Script::default();
    for command in commands(text) {
        script.read(&command);
    }
    ScriptFacts {
        accounts: script.found.into_accounts(),
        alternatives: script.alternatives.into_iter().collect(),
    }
}

/// Values of a loop's variable that are looked at.
const MAX_VALUES: usize = 64;

/// Words that a command may follow.
const BEFORE_COMMANDS: [&str; 12] = [
    "!", "{", "command", "do", "elif", "else", "exec", "if", "then", "time", "until", "while",
];

#[derive(Debug, Default)]
struct Script {
    /// Values of variables; several for one that a loop goes through.
    variables: BTreeMap<String, Vec<String>>,
    found: Found,
    alternatives: BTreeSet<String>,
    /// What the command before wrote, as far as that is known.
    output: String,
}

/// A word after expansion; `None` where it is not known.
type Field = Option<String>;

impl Script {
    fn read(&mut self, command: &Command) {
        let mut words = &command.words[..];
        while let [first, rest @ ..] = words {
            let is_reserved =
                matches!(&first[..], [Part::Text(text)] if BEFORE_COMMANDS.contains(&text.as_str()));
            if !is_reserved && !self.assign(first) {
                break;
            }
            words = rest;
        }
        let output = std::mem::take(&mut self.output);
        let rounds = self.rounds(words);
        for round in 0..rounds {
            let fields: Vec<Field> = words.iter().flat_map(|word| self.fields(word, round)).collect();
            let Some((Some(name), arguments)) = fields.split_first() else {
                continue;
            };
            match name.rsplit('/').next().unwrap_or_default() {
                "export" | "readonly" | "local" => {
                    for word in &words[1..] {
                        self.assign(word);
                    }
                }
                "for" => self.begin_loop(words, round),
                "echo" | "printf" => {
                    let known: Vec<&str> = arguments.iter().flatten().map(String::as_str).collect();
                    self.output = known.join(" ").replace("\\n", "\n");
                }
                "adduser" => self.adduser(arguments, false),
                "addgroup" => self.adduser(arguments, true),
                "useradd" => self.useradd(arguments),
                "groupadd" => self.groupadd(arguments),
                "update-alternatives" => self.alternative(arguments),
                "systemd-sysusers" | "deb-systemd-sysusers" => {
                    let piped = if command.piped { output.as_str() } else { "" };
                    let arguments = arguments.iter().flatten().map(String::as_str);
                    let lines = command.input.lines().chain(piped.lines()).chain(arguments);
                    self.found.extend(of_sysusers(lines));
                }
                _ => {}
            }
        }
    }

    /// Whether a word is an assignment, which is made then.
    fn assign(&mut self, word: &Word) -> bool {
        let Some(Part::Text(text)) = word.first() else {
            return false;
        };
        let name = leading_name(text);
        let Some(value) = text[name.len()..].strip_prefix('=').filter(|_| !name.is_empty()) else {
            return false;
        };
        let rest = std::iter::once(Part::Text(value.to_owned())).chain(word[1..].iter().cloned());
        let rest: Word = rest.collect();
        let rounds = self.rounds(std::slice::from_ref(&rest));
        let values: Option<Vec<String>> = (0..rounds).map(|round| self.text(&rest, round)).collect();
        match values {
            Some(values) => drop(self.variables.insert(name.to_owned(), values)),
            None => drop(self.variables.remove(name)),
        }
        true
    }

    /// `for NAME in WORD…`
    fn begin_loop(&mut self, words: &[Word], round: usize) {
        let [_, name, of, values @ ..] = words else {
            return;
        };
        let ([Part::Text(name)], [Part::Text(of)]) = (&name[..], &of[..]) else {
            return;
        };
        let fields: Vec<Field> = values.iter().flat_map(|word| self.fields(word, round)).collect();
        let values: Vec<String> = fields.into_iter().flatten().take(MAX_VALUES).collect();
        if of == "in" && !values.is_empty() {
            self.variables.insert(name.clone(), values);
        } else {
            self.variables.remove(name);
        }
    }

    /// How often words are expanded: once for each value of a loop's variable.
    fn rounds(&self, words: &[Word]) -> usize {
        let lengths = words.iter().flatten().map(|part| match part {
            Part::Variable { name, .. } => self.variables.get(name).map_or(1, Vec::len),
            Part::Text(_) | Part::Optional | Part::Unknown => 1,
        });
        lengths.max().unwrap_or(1).min(MAX_VALUES)
    }

    /// The value of a variable; its default where it has none.
    fn value(&mut self, part: &Part, round: usize) -> Option<String> {
        match part {
            Part::Text(text) => Some(text.clone()),
            Part::Optional => Some(String::new()),
            Part::Unknown => None,
            Part::Variable { name, default, .. } => {
                if let Some(values) = self.variables.get(name) {
                    return values.get(round).or(values.last()).cloned();
                }
                let (default, assigns) = default.as_ref()?;
                let text = self.text(default, round)?;
                if *assigns {
                    self.variables.insert(name.clone(), vec![text.clone()]);
                }
                Some(text)
            }
        }
    }

    /// A word as one text.
    fn text(&mut self, word: &[Part], round: usize) -> Option<String> {
        word.iter().map(|part| self.value(part, round)).collect()
    }

    /// The fields that a word becomes: values that are not quoted are split (POSIX.1-2024, 2.6.5).
    fn fields(&mut self, word: &Word, round: usize) -> Vec<Field> {
        let splits = |part: &Part| matches!(part, Part::Variable { quoted: false, .. } | Part::Optional);
        let Some(text) = self.text(word, round) else {
            return vec![None];
        };
        match &word[..] {
            [part] if splits(part) => text
                .split_whitespace()
                .map(|field| Some(field.to_owned()))
                .collect(),
            _ => vec![Some(text)],
        }
    }

    /// adduser(8) and addgroup(8).
    fn adduser(&mut self, arguments: &[Field], is_addgroup: bool) {
        const VALUES: [&str; 14] = [
            "comment",
            "conf",
            "firstgid",
            "firstuid",
            "gecos",
            "gid",
            "home",
            "ingroup",
            "lastgid",
            "lastuid",
            "logmsglevel",
            "shell",
            "stderrmsglevel",
            "stdoutmsglevel",
        ];
        let options = Options::read(arguments, "", |name| {
            // Perl's Getopt::Long takes any beginning that is unique.
            VALUES.contains(&name)
                || name == "uid"
                || name.len() > 2 && VALUES.iter().any(|value| value.starts_with(name))
        });
        let [Some(name)] = &options.operands[..] else {
            // Two operands put a user into a group.
            return;
        };
        let (is_system, has_group) = (options.has("system"), options.has("group"));
        if is_addgroup || has_group && !is_system {
            self.found.add(Group, name, options.id("gid"));
            return;
        }
        let uid = options.id("uid");
        self.found.add(User, name, uid);
        let named = options.has("ingroup") || options.has("gid");
        if has_group || !is_system && !named {
            self.found.add(Group, name, uid);
        }
    }

    /// useradd(8).
    fn useradd(&mut self, arguments: &[Field]) {
        const VALUES: [&str; 16] = [
            "base-dir",
            "comment",
            "expiredate",
            "gid",
            "groups",
            "home",
            "home-dir",
            "inactive",
            "key",
            "password",
            "prefix",
            "root",
            "selinux-range",
            "selinux-user",
            "shell",
            "skel",
        ];
        let options = Options::read(arguments, "bcdefgGkKpPRsuZ", |name| {
            VALUES.contains(&name) || name == "uid"
        });
        let [Some(name)] = &options.operands[..] else {
            return;
        };
        // Another name of an id that is taken gets none of its own.
        if options.has("non-unique") || options.has("o") || options.has("defaults") || options.has("D") {
            return;
        }
        let uid = options.id("uid").or(options.id("u"));
        self.found.add(User, name, uid);
        if !["gid", "g", "no-user-group", "N"]
            .iter()
            .any(|option| options.has(option))
        {
            self.found.add(Group, name, uid);
        }
    }

    /// groupadd(8).
    fn groupadd(&mut self, arguments: &[Field]) {
        let options = Options::read(arguments, "gKpPRU", |name| {
            ["gid", "key", "password", "prefix", "root", "users"].contains(&name)
        });
        if let [Some(name)] = &options.operands[..]
            && !options.has("non-unique")
            && !options.has("o")
        {
            self.found.add(Group, name, options.id("gid").or(options.id("g")));
        }
    }

    /// update-alternatives(1): `--install LINK NAME PATH PRIORITY`, `--slave LINK NAME PATH`.
    fn alternative(&mut self, arguments: &[Field]) {
        for pair in arguments.windows(2) {
            if let [Some(option), Some(link)] = pair
                && matches!(option.as_str(), "--install" | "--slave")
                && link.starts_with('/')
            {
                self.alternatives.insert(link.clone());
            }
        }
    }
}

/// The options and operands of a command.
#[derive(Debug, Default)]
struct Options {
    options: BTreeMap<String, Field>,
    operands: Vec<Field>,
}

impl Options {
    /// Reads arguments. Letters of `short` and long options for which `takes` holds have a value.
    fn read(arguments: &[Field], short: &str, takes: impl Fn(&str) -> bool) -> Self {
        let mut options = Options::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let Some(text) = argument else {
                options.operands.push(None);
                continue;
            };
            if text == "--" {
                options.operands.extend(arguments.cloned());
                return options;
            }
            let long = text.strip_prefix("--");
            // Perl's programs take one dash for a long option too.
            let long = long.or(text.strip_prefix('-').filter(|_| short.is_empty()));
            if let Some(long) = long {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None if takes(long) => (long, arguments.next().cloned().flatten()),
                    None => (long, None),
                };
                options.options.insert(name.to_owned(), value);
            } else if let Some(letters) = text.strip_prefix('-').filter(|letters| !letters.is_empty()) {
                options.read_letters(letters, short, &mut arguments);
            } else {
                options.operands.push(argument.clone());
            }
        }
        options
    }

    /// Letters in one argument; the rest of it, or the next argument, is the value of the first that has one.
    fn read_letters<'a>(
        &mut self,
        letters: &str,
        short: &str,
        arguments: &mut impl Iterator<Item = &'a Field>,
    ) {
        for (at, letter) in letters.char_indices() {
            if !short.contains(letter) {
                self.options.insert(letter.to_string(), None);
                continue;
            }
            let rest = &letters[at + letter.len_utf8()..];
            let value = if rest.is_empty() {
                arguments.next().cloned().flatten()
            } else {
                Some(rest.to_owned())
            };
            self.options.insert(letter.to_string(), value);
            return;
        }
    }

    fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    fn id(&self, name: &str) -> Option<u32> {
        self.options.get(name)?.as_ref()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[track_caller]
    fn made(text: &str, expected: &str) {
        check(&of_script(text).accounts, expected);
    }

    #[test]
    fn adduser_makes_a_user_and_maybe_a_group() {
        made(
            "adduser --system --group --home /a --gecos 'A b' a",
            "group a, user a",
        );
        made("adduser --system a --ingroup nogroup", "user a");
        made(
            "/usr/sbin/adduser --quiet --system --no-create-home --shell=/bin/false a",
            "user a",
        );
        made("adduser --disabled-login --gecos x a", "group a, user a");
        made(
            "adduser --system --uid 64045 --group a",
            "group a 64045, user a 64045",
        );
        made(
            "adduser --group --gid 300 a; addgroup --system b; addgroup --gid=301 c",
            "group a 300, group b, group c 301",
        );
        made("adduser -system -uid 300 a", "user a 300");
        made("adduser a video; addgroup a b; adduser --quiet", "");
    }

    #[test]
    fn useradd_makes_a_user_and_maybe_a_group() {
        made("useradd -r -s /usr/sbin/nologin -d /a a", "group a, user a");
        made("useradd -rMs /bin/false -u300 a", "group a 300, user a 300");
        made(
            "useradd --system --gid b --home-dir /x --shell /y -c 'x y' a",
            "user a",
        );
        made(
            "useradd -N a; useradd -D -s /bin/sh; useradd -o -u 0 toor",
            "user a",
        );
        made(
            "groupadd -f -r a && groupadd --system --gid 300 b; groupadd -og 0 c",
            "group a, group b 300",
        );
    }

    #[test]
    fn calls_are_found_where_scripts_have_them() {
        let text = r#"
set -e
case "$1" in
    configure|reconfigure)
        if ! getent passwd _a >/dev/null 2>&1; then
            adduser --system --group \
                --home /var/lib/a \
                _a || true
        fi
        getent group b > /dev/null || addgroup --system b
        (umask 022; groupadd c)
        out=$(groupadd d 2>&1)
        # adduser comment
        echo "adduser said" 'groupadd quoted'
        cat <<EOF
adduser here
EOF
    ;;
esac
"#;
        made(text, "group _a, group b, group c, group d, user _a");
    }

    #[test]
    fn variables_have_the_literals_that_were_assigned() {
        made(
            "CEPH=ceph\nadduser --system --uid ${ID:-64045} \"${CEPH}\"",
            "user ceph 64045",
        );
        made(
            "A=a B=\"${A}_x\"; export C='c'; useradd -r $B; addgroup $C",
            "group a_x, group c, user a_x",
        );
        made(": ${U:=nut}\nadduser --system $U", "user nut");
        made("O='--system --group'; adduser $O a", "group a, user a");
        made("adduser ${DPKG_ROOT:+--root=\"$DPKG_ROOT\"} --system a", "user a");
        made(
            "for g in a b; do getent group $g || addgroup --system $g; done",
            "group a, group b",
        );
        made(
            "L='a b'; for g in $L c; do groupadd \"$g\"; done",
            "group a, group b, group c",
        );
    }

    #[test]
    fn names_that_only_a_machine_knows_are_left_out() {
        made(
            "adduser --system $UNKNOWN; useradd \"$1\"; addgroup `id`; groupadd a$(id)",
            "",
        );
        made("U=a\nU=$RET\nadduser --system $U", "");
        made("adduser --system 'a b'; useradd 0day; groupadd ''", "");
        made("adduser --system --home $HOME a", "user a");
    }

    #[test]
    fn alternatives_are_links() {
        let text = "for l in csh tcsh; do update-alternatives --install /bin/$l $l /bin/bsd-$l 30 \\\n \
            --slave /usr/share/man/$l.1.gz m $X; done\nupdate-alternatives --remove csh /bin/y";
        let links = [
            "/bin/csh",
            "/bin/tcsh",
            "/usr/share/man/csh.1.gz",
            "/usr/share/man/tcsh.1.gz",
        ];
        assert_eq!(of_script(text).alternatives, links);
    }

    #[test]
    fn sysusers_lines_are_read_from_input_and_arguments() {
        made(
            "systemd-sysusers - <<EOF\nu a 300\nEOF",
            "group a 300, user a 300",
        );
        made("echo 'g a -' | systemd-sysusers -", "group a");
        made("systemd-sysusers --inline 'u a -:nogroup'", "user a");
        made(
            "deb-systemd-sysusers nsd.conf; systemd-sysusers ${DPKG_ROOT:+--root=\"$DPKG_ROOT\"} x.conf",
            "",
        );
    }
}
