//! The kernel command line that an image asks for: `/etc/cos/bootargs.cfg`, read as GRUB would.
//!
//! The file is a script of GRUB ("Shell-like scripting" in its manual). Understood is what images use: `set`, plain
//! assignments, `source`, functions, `if` with `test`, and variables. Every other command is nothing to a command line.

use std::collections::BTreeMap;

use kcompose_core::limits::{self, Exceeded};

/// What the stock file evaluates to; taken when an image has none.
const DEFAULT: &str = "console=ttyS0 console=tty1 net.ifnames=1 rd.cos.oemlabel=COS_OEM rd.cos.oemtimeout=10 panic=5 \
rd.emergency=reboot rd.shell=0 systemd.crash_reboot=yes root=LABEL=$label cos-img/filename=$img selinux=0";

/// The arguments that GRUB starts an image with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootArguments {
    /// The path of the kernel in the image.
    pub kernel: String,
    /// The path of the initrd in the image.
    pub initrd: String,
    /// The kernel's command line.
    pub command_line: String,
}

/// Evaluates an image's file for a label and an image file, within [`limits::BOOT_STEPS`] and [`limits::BOOT_TEXT`];
/// `read` gives the files of the image.
///
/// # Errors
///
/// A file that takes more than a limit is one.
pub fn evaluate(
    label: &str,
    img: &str,
    read: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<BootArguments, Exceeded> {
    let mut shell = Shell {
        read,
        variables: BTreeMap::new(),
        functions: BTreeMap::new(),
        depth: 0,
        steps: 0,
        text: 0,
        exceeded: None,
    };
    for (name, value) in [
        ("label", label),
        ("img", img),
        ("kernel", "/boot/vmlinuz"),
        ("initramfs", "/boot/initrd"),
        ("root", "loop0"),
    ] {
        shell.variables.insert(name.to_owned(), value.to_owned());
    }
    shell.source("(loop0)/etc/cos/bootargs.cfg");
    let command_line = match shell.variables.get("kernelcmd") {
        Some(line) => line.clone(),
        None => shell.expand(DEFAULT),
    };
    if let Some(exceeded) = shell.exceeded {
        return Err(exceeded);
    }
    let words: Vec<&str> = command_line.split_whitespace().collect();
    let variable = |name: &str| shell.variables.get(name).cloned().unwrap_or_default();
    Ok(BootArguments {
        kernel: variable("kernel"),
        initrd: variable("initramfs"),
        command_line: words.join(" "),
    })
}

/// A token: a word with its quotes still in it, or the end of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    End,
}

struct Shell<'a> {
    read: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    variables: BTreeMap<String, String>,
    functions: BTreeMap<String, Vec<Token>>,
    depth: u32,
    /// Words that were run.
    steps: usize,
    /// Bytes that were read and expanded.
    text: usize,
    /// The limit at which the evaluation ended.
    exceeded: Option<Exceeded>,
}

/// The steps that looking for a file of the image counts as: it starts a program.
const STEPS_OF_FILE: usize = 1000;

impl Shell<'_> {
    fn source(&mut self, path: &str) -> bool {
        let Some(content) = self.file(path) else {
            return false;
        };
        if !self.spend_text(content.len()) {
            return false;
        }
        self.run(&tokens(&String::from_utf8_lossy(&content)))
    }

    /// The content of a file of the image.
    fn file(&mut self, path: &str) -> Option<Vec<u8>> {
        if !self.spend_steps(STEPS_OF_FILE) {
            return None;
        }
        (self.read)(inside(path))
    }

    /// Counts words against the limit of the script.
    fn spend_steps(&mut self, steps: usize) -> bool {
        self.steps = self.steps.saturating_add(steps);
        if limits::BOOT_STEPS.is_exceeded_by(self.steps) {
            let exceeded = limits::BOOT_STEPS.exceeded("the number of words that it runs");
            self.exceeded.get_or_insert(exceeded);
        }
        self.exceeded.is_none()
    }

    /// Counts text against the limit of the script.
    fn spend_text(&mut self, bytes: usize) -> bool {
        self.text = self.text.saturating_add(bytes);
        if limits::BOOT_TEXT.is_exceeded_by(self.text) {
            let exceeded = limits::BOOT_TEXT.exceeded("its text with all variables put in");
            self.exceeded.get_or_insert(exceeded);
        }
        self.exceeded.is_none()
    }

    /// Runs commands; whether the last one succeeded.
    fn run(&mut self, script: &[Token]) -> bool {
        // A file that sources itself, a function that calls itself.
        if self.depth > 16 || !self.spend_steps(script.len()) {
            return false;
        }
        self.depth += 1;
        let mut status = true;
        let mut at = 0;
        while let Some(command) = next_command(script, &mut at).filter(|_| self.exceeded.is_none()) {
            status = match command[0].as_str() {
                "if" => self.run_if(script, &mut at),
                "function" => self.define(&command, script, &mut at),
                _ => self.run_command(&command),
            };
        }
        self.depth -= 1;
        status
    }

    fn run_command(&mut self, command: &[String]) -> bool {
        let words: Vec<String> = command.iter().map(|word| self.expand(word)).collect();
        let arguments = &words[1..];
        match words[0].as_str() {
            "set" => arguments.first().is_none_or(|assignment| self.assign(assignment)),
            "source" | "." | "configfile" => arguments.first().is_some_and(|path| self.source(path)),
            "test" => self.test(arguments),
            "[" => self.test(arguments.strip_suffix(&["]".to_owned()]).unwrap_or(arguments)),
            "true" => true,
            "false" => false,
            name => match self.functions.get(name).cloned() {
                Some(body) => self.run(&body),
                None if is_assignment(&command[0]) => self.assign(name),
                None => true,
            },
        }
    }

    fn assign(&mut self, assignment: &str) -> bool {
        let Some((name, value)) = assignment.split_once('=') else {
            return false;
        };
        self.variables.insert(name.to_owned(), value.to_owned());
        true
    }

    /// Runs `if` up to its `fi`; the condition follows the word.
    fn run_if(&mut self, script: &[Token], at: &mut usize) -> bool {
        let block = block(script, at, "if", "fi");
        let mut status = true;
        for (condition, body) in branches(&block) {
            if self.run(&condition) {
                status = self.run(&body);
                break;
            }
        }
        status
    }

    fn define(&mut self, command: &[String], script: &[Token], at: &mut usize) -> bool {
        let name = command.get(1).cloned().unwrap_or_default();
        let body = block(script, at, "{", "}");
        self.functions.insert(name, body);
        true
    }

    /// `test` with `-o`, `-a` and `!`, from left to right. As in GRUB, terms that only follow each other are all asked for,
    /// and a lone word is true if it is not empty: the stock file writes `test A == B -o test A == C`.
    fn test(&mut self, arguments: &[String]) -> bool {
        arguments
            .split(|word| word == "-o")
            .any(|part| self.all_hold(part))
    }

    fn all_hold(&mut self, words: &[String]) -> bool {
        let mut rest: Vec<&str> = words.iter().map(String::as_str).collect();
        rest.reverse();
        let mut wanted = true;
        while let Some(word) = rest.pop() {
            let holds = match (word, rest.as_slice()) {
                ("-a", _) => continue,
                ("!", _) => {
                    wanted = !wanted;
                    continue;
                }
                (left, [.., right, "=" | "=="]) => left == *right,
                (left, [.., right, "!="]) => left != *right,
                ("-n", [.., text]) => !text.is_empty(),
                ("-z", [.., text]) => text.is_empty(),
                ("-e" | "-f" | "-s", [.., path]) => self.file(path).is_some(),
                (word, _) => !word.is_empty(),
            };
            let used = match (word, rest.last()) {
                (_, Some(&"=" | &"==" | &"!=")) => 2,
                ("-n" | "-z" | "-e" | "-f" | "-s", Some(_)) => 1,
                _ => 0,
            };
            rest.truncate(rest.len().saturating_sub(used));
            if holds != wanted {
                return false;
            }
            wanted = true;
        }
        true
    }

    /// Takes quotes off and puts variables in. Single quotes keep everything.
    fn expand(&mut self, word: &str) -> String {
        let mut text = String::new();
        if !self.spend_text(word.len()) {
            return text;
        }
        let mut rest = word.chars().peekable();
        let mut quoted = false;
        while let Some(char) = rest.next() {
            match char {
                '"' => quoted = !quoted,
                '\'' if !quoted => text.extend(rest.by_ref().take_while(|char| *char != '\'')),
                '\\' => text.extend(rest.next()),
                '$' => {
                    let value = self.variable(&mut rest);
                    if !self.spend_text(value.len()) {
                        break;
                    }
                    text.push_str(&value);
                }
                char => text.push(char),
            }
        }
        text
    }

    fn variable(&self, rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
        let mut name = String::new();
        if rest.next_if_eq(&'{').is_some() {
            name.extend(rest.take_while(|char| *char != '}'));
        } else {
            while let Some(char) = rest.next_if(|char| char.is_ascii_alphanumeric() || *char == '_') {
                name.push(char);
            }
        }
        self.variables.get(&name).cloned().unwrap_or_default()
    }
}

/// A path without the device before it: `(loop0)` is the image.
fn inside(path: &str) -> &str {
    path.rsplit_once(')').map_or(path, |(_, path)| path)
}

/// Splits a script into words and ends of commands; comments go.
fn tokens(text: &str) -> Vec<Token> {
    let mut all = Vec::new();
    let mut word = String::new();
    let mut rest = text.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            '\\' if rest.peek() == Some(&'\n') => _ = rest.next(),
            '\\' => word.extend(['\\'].into_iter().chain(rest.next())),
            '"' | '\'' => quoted(char, &mut rest, &mut word),
            '#' if word.is_empty() => while rest.next_if(|char| *char != '\n').is_some() {},
            ';' | '\n' | ' ' | '\t' | '\r' => {
                end_word(&mut word, &mut all);
                if matches!(char, ';' | '\n') {
                    all.push(Token::End);
                }
            }
            char => word.push(char),
        }
    }
    end_word(&mut word, &mut all);
    all.push(Token::End);
    all
}

/// Takes a quoted part into a word, quotes and all.
fn quoted(quote: char, rest: &mut std::iter::Peekable<std::str::Chars<'_>>, word: &mut String) {
    word.push(quote);
    while let Some(char) = rest.next() {
        word.push(char);
        if char == '\\' && quote == '"' {
            word.extend(rest.next());
        } else if char == quote {
            break;
        }
    }
}

fn end_word(word: &mut String, all: &mut Vec<Token>) {
    if !word.is_empty() {
        all.push(Token::Word(std::mem::take(word)));
    }
}

/// The next command; for `if` and `function` only their head, so that the caller takes the block.
fn next_command(script: &[Token], at: &mut usize) -> Option<Vec<String>> {
    let mut command = Vec::new();
    while let Some(token) = script.get(*at) {
        *at += 1;
        match token {
            Token::End if command.is_empty() => {}
            Token::End => return Some(command),
            Token::Word(word) if command.is_empty() && word == "if" => return Some(vec![word.clone()]),
            Token::Word(word) if word == "{" => return Some(command).filter(|words| !words.is_empty()),
            Token::Word(word) => command.push(word.clone()),
        }
    }
    Some(command).filter(|words| !words.is_empty())
}

/// The tokens up to the word that closes a block; `at` ends behind it. The opening word is read already.
fn block(script: &[Token], at: &mut usize, open: &str, close: &str) -> Vec<Token> {
    let begin = *at;
    let mut depth = 1;
    while let Some(token) = script.get(*at) {
        *at += 1;
        match token {
            Token::Word(word) if word == open => depth += 1,
            Token::Word(word) if word == close => depth -= 1,
            Token::Word(_) | Token::End => {}
        }
        if depth == 0 {
            return script[begin..*at - 1].to_vec();
        }
    }
    script[begin..].to_vec()
}

/// The branches of the inside of an `if`: condition and body, `else` with a condition that holds.
fn branches(block: &[Token]) -> Vec<(Vec<Token>, Vec<Token>)> {
    let mut all = vec![(Vec::new(), Vec::new())];
    let mut in_body = false;
    let mut depth = 0;
    for token in block {
        let word = match token {
            Token::Word(word) => word.as_str(),
            Token::End => "",
        };
        depth += i32::from(word == "if") - i32::from(word == "fi");
        match word {
            "then" if depth == 0 => in_body = true,
            "elif" if depth == 0 => {
                in_body = false;
                all.push((Vec::new(), Vec::new()));
            }
            "else" if depth == 0 => all.push((vec![Token::Word("true".to_owned()), Token::End], Vec::new())),
            _ => {
                let (condition, body) = all.last_mut().expect("there is a branch from the start");
                if in_body {
                    body.push(token.clone());
                } else {
                    condition.push(token.clone());
                }
            }
        }
    }
    all
}

fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map_or("", |(name, _)| name);
    !name.is_empty()
        && name
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || char == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(script: &str, expected: &str) {
        let read = |path: &str| match path {
            "/etc/cos/bootargs.cfg" => Some(script.as_bytes().to_vec()),
            "/etc/kairos-release" => Some(b"KAIROS_MODEL=\"rpi4\"\nKAIROS_NUMBER=13\n".to_vec()),
            _ => None,
        };
        let evaluated = evaluate("COS_ACTIVE", "/cOS/active.img", &read).unwrap();
        assert_eq!(evaluated.command_line, expected);
    }

    #[test]
    fn variables_are_put_in() {
        check(
            "set kernelcmd=\"root=LABEL=$label cos-img/filename=${img} x\"\n",
            "root=LABEL=COS_ACTIVE cos-img/filename=/cOS/active.img x",
        );
    }

    #[test]
    fn functions_sources_and_conditions_work_as_in_the_stock_file() {
        check(
            "function extra {\n  source (loop0)/etc/kairos-release\n  set more=\"\"\n  # a comment's quote\n  \
             if test $KAIROS_MODEL == \"rpi3\" -o test $KAIROS_MODEL == \"rpi4\"; then\n    echo \"found\"\n    set more=\"a=b\"\n  fi\n}\n\
             if [ -n \"$recoverylabel\" ]; then\n set way=live\nelif [ -f (loop0)/etc/none ]; then\n set way=no\nelse\n set way=normal\nfi\n\
             extra\nset kernelcmd=\"$way $more n=$KAIROS_NUMBER\"\n",
            "normal a=b n=13",
        );
    }

    #[test]
    fn single_quotes_keep_dollars_and_loops_end() {
        check("function f {\n f\n}\nf\nset kernelcmd='a $label'", "a $label");
    }

    #[track_caller]
    fn check_refused(script: &str, limit: &str) {
        let read = |_: &str| Some(script.as_bytes().to_vec());
        let exceeded = evaluate("COS_ACTIVE", "/cOS/active.img", &read).unwrap_err();
        assert_eq!(exceeded.limit.name, limit, "{exceeded}");
    }

    #[test]
    fn a_script_that_grows_without_bounds_is_refused() {
        let doubled = format!("set a=xxxxxxxx\n{}", "set a=$a$a\n".repeat(36));
        check_refused(&doubled, "boot-text");
        check_refused(&format!("set a={}\n", "x".repeat(2 << 20)), "boot-text");
        // Functions that call the next one forty times, twelve deep.
        let mut calls = "function f0 {\n true\n}\n".to_owned();
        for depth in 1..12 {
            let body = format!(" f{}\n", depth - 1).repeat(40);
            calls.push_str(&format!("function f{depth} {{\n{body}}}\n"));
        }
        check_refused(&format!("{calls}f11\n"), "boot-text");
        check_refused(&"test -f /x\n".repeat(2000), "boot-steps");
        check_refused(&"source (loop0)/etc/cos/bootargs.cfg\n".repeat(40), "boot-text");
    }

    #[test]
    fn an_image_without_the_file_gets_the_stock_line() {
        let arguments = evaluate("COS_PASSIVE", "/cOS/passive.img", &|_| None).unwrap();
        assert!(
            arguments
                .command_line
                .contains("root=LABEL=COS_PASSIVE cos-img/filename=/cOS/passive.img")
        );
        assert_eq!(arguments.kernel, "/boot/vmlinuz");
    }
}
