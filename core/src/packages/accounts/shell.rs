//! Shell scripts as simple commands (POSIX.1-2024, 2.9.1), without running them.
//!
//! Control flow is left out: every command of a script is listed, in order. What cannot be known without running the
//! script is [`Part::Unknown`].

/// A piece of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Text that stands for itself.
    Text(String),
    /// The value of a variable.
    Variable {
        /// Its name.
        name: String,
        /// Whether it stands in double quotes, so that its value is not split.
        quoted: bool,
        /// What stands for it where it has no value, and whether the variable gets that value.
        default: Option<(Vec<Part>, bool)>,
    },
    /// Text that only appears where a variable has a value: `${NAME:+TEXT}`.
    Optional,
    /// Anything else: the output of a command, a parameter of the script.
    Unknown,
}

/// A word before expansion.
pub(super) type Word = Vec<Part>;

/// A simple command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    /// Its words, without redirections.
    pub(super) words: Vec<Word>,
    /// The text of its here-documents.
    pub(super) input: String,
    /// Whether its input is the output of the command before it.
    pub(super) piped: bool,
}

/// Nested command substitutions that are looked into.
const MAX_DEPTH: usize = 8;

/// The simple commands of a script, those of command substitutions included.
pub(super) fn commands(text: &str) -> Vec<Command> {
    let mut lexer = Lexer::new(text, 0);
    lexer.run();
    lexer.commands
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    commands: Vec<Command>,
    command: Command,
    word: Option<Word>,
    /// The place of the next word is that of a redirection's target.
    target: Option<Target>,
    /// Here-documents that begin after this line: the command that reads it, its end, and whether tabs are cut.
    documents: Vec<(usize, String, bool)>,
}

/// What a redirection's target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    File,
    Document { cut_tabs: bool },
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str, depth: usize) -> Self {
        Lexer {
            text,
            at: 0,
            depth,
            commands: Vec::new(),
            command: Command::default(),
            word: None,
            target: None,
            documents: Vec::new(),
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn takes(&mut self, text: &str) -> bool {
        let there = self.rest().starts_with(text);
        if there {
            self.at += text.len();
        }
        there
    }

    fn run(&mut self) {
        while let Some(next) = self.next() {
            match next {
                '\\' if self.takes("\n") || self.takes("\r\n") => {}
                '\\' => {
                    if let Some(letter) = self.next() {
                        self.push_text(letter.encode_utf8(&mut [0; 4]));
                    }
                }
                ' ' | '\t' | '\r' => self.end_word(),
                '#' if self.word.is_none() => {
                    let end = self.rest().find('\n').unwrap_or(self.rest().len());
                    self.at += end;
                }
                '\n' => {
                    self.end_command(false);
                    self.read_documents();
                }
                '&' if self.takes(">") => {
                    self.takes(">");
                    self.end_word();
                    self.target = Some(Target::File);
                }
                ';' | '(' | ')' | '&' => self.end_command(false),
                '|' => {
                    let or = self.takes("|");
                    self.takes("&");
                    self.end_command(!or);
                }
                '<' | '>' => self.redirection(next),
                '\'' => {
                    let end = self.rest().find('\'').unwrap_or(self.rest().len());
                    let text = &self.rest()[..end];
                    self.at = (self.at + end + 1).min(self.text.len());
                    self.push_text(text);
                }
                '"' => self.double_quoted(),
                '$' | '`' => {
                    let part = self.expansion(next, false);
                    self.push(part);
                }
                _ => self.push_text(next.encode_utf8(&mut [0; 4])),
            }
        }
        self.end_command(false);
    }

    fn push(&mut self, part: Part) {
        self.word.get_or_insert_default().push(part);
    }

    fn push_text(&mut self, more: &str) {
        let word = self.word.get_or_insert_default();
        match word.last_mut() {
            Some(Part::Text(text)) => text.push_str(more),
            _ => word.push(Part::Text(more.to_owned())),
        }
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        match self.target.take() {
            None => self.command.words.push(word),
            Some(Target::File) => {}
            Some(Target::Document { cut_tabs }) => {
                if let [Part::Text(end)] = &word[..] {
                    self.documents.push((self.commands.len(), end.clone(), cut_tabs));
                }
            }
        }
    }

    fn end_command(&mut self, piped: bool) {
        self.end_word();
        self.target = None;
        let next = Command {
            piped,
            ..Command::default()
        };
        let command = std::mem::replace(&mut self.command, next);
        if !command.words.is_empty() {
            self.commands.push(command);
        }
    }

    fn redirection(&mut self, first: char) {
        // The number of a descriptor stands right before the sign.
        if let Some([Part::Text(text)]) = self.word.as_deref()
            && text.bytes().all(|byte| byte.is_ascii_digit())
        {
            self.word = None;
        }
        self.end_word();
        self.target = Some(if first == '<' && self.takes("<") {
            if self.takes("<") {
                Target::File
            } else {
                Target::Document {
                    cut_tabs: self.takes("-"),
                }
            }
        } else {
            for sign in [">", "&", "|"] {
                self.takes(sign);
            }
            Target::File
        });
    }

    /// Reads the here-documents that begin on this line.
    fn read_documents(&mut self) {
        for (index, end, cut_tabs) in std::mem::take(&mut self.documents) {
            let mut text = String::new();
            while !self.rest().is_empty() {
                let length = self.rest().find('\n').map_or(self.rest().len(), |at| at + 1);
                let line = &self.rest()[..length];
                self.at += length;
                let line = if cut_tabs {
                    line.trim_start_matches('\t')
                } else {
                    line
                };
                if line.trim_end_matches(['\n', '\r']) == end {
                    break;
                }
                text.push_str(line);
            }
            if let Some(command) = self.commands.get_mut(index) {
                command.input.push_str(&text);
            }
        }
    }

    fn double_quoted(&mut self) {
        self.push_text("");
        while let Some(next) = self.next() {
            match next {
                '"' => return,
                '\\' => match self.next() {
                    Some('\n') | None => {}
                    Some(letter @ ('$' | '`' | '"' | '\\')) => {
                        self.push_text(letter.encode_utf8(&mut [0; 4]));
                    }
                    Some(letter) => {
                        self.push_text("\\");
                        self.push_text(letter.encode_utf8(&mut [0; 4]));
                    }
                },
                '$' | '`' => {
                    let part = self.expansion(next, true);
                    self.push(part);
                }
                _ => self.push_text(next.encode_utf8(&mut [0; 4])),
            }
        }
    }

    /// What follows a `$`, or stands between backquotes.
    fn expansion(&mut self, first: char, quoted: bool) -> Part {
        if first == '`' {
            let end = self.rest().find('`').unwrap_or(self.rest().len());
            let inside = &self.rest()[..end];
            self.at = (self.at + end + 1).min(self.text.len());
            self.look_into(inside);
            return Part::Unknown;
        }
        if self.takes("(") {
            let inside = self.until_closed('(', ')');
            self.look_into(inside);
            return Part::Unknown;
        }
        if self.takes("{") {
            let inside = self.until_closed('{', '}');
            return parameter(inside, quoted);
        }
        let name = leading_name(self.rest());
        if name.is_empty() {
            // `$` itself at the end of a word, or a special parameter.
            return match self.rest().chars().next() {
                Some(letter) if letter.is_ascii_digit() || "@*#?-$!".contains(letter) => {
                    self.next();
                    Part::Unknown
                }
                _ => Part::Text("$".to_owned()),
            };
        }
        self.at += name.len();
        Part::Variable {
            name: name.to_owned(),
            quoted,
            default: None,
        }
    }

    fn look_into(&mut self, text: &str) {
        if self.depth < MAX_DEPTH {
            let mut inner = Lexer::new(text, self.depth + 1);
            inner.run();
            self.commands.extend(inner.commands);
        }
    }

    /// The text up to the bracket that closes one that is open, past that.
    fn until_closed(&mut self, open: char, close: char) -> &'a str {
        let text = self.rest();
        let mut depth = 1;
        let mut quote = None;
        let mut escaped = false;
        for (at, letter) in text.char_indices() {
            if std::mem::take(&mut escaped) {
                continue;
            }
            match (quote, letter) {
                (Some('\''), '\'') | (Some('"'), '"') => quote = None,
                (Some('\''), _) => {}
                (_, '\\') => escaped = true,
                (Some(_), _) => {}
                (None, '"' | '\'') => quote = Some(letter),
                (None, _) if letter == open => depth += 1,
                (None, _) if letter == close => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += at + letter.len_utf8();
                        return &text[..at];
                    }
                }
                (None, _) => {}
            }
        }
        self.at = self.text.len();
        text
    }
}

/// What stands between the braces of `${…}`.
fn parameter(inside: &str, quoted: bool) -> Part {
    let name = leading_name(inside);
    if name.is_empty() {
        return Part::Unknown;
    }
    let rest = &inside[name.len()..];
    let operator = rest.strip_prefix(':').unwrap_or(rest);
    let default = |text: &str, assigns| {
        let mut lexer = Lexer::new(text, MAX_DEPTH);
        lexer.run();
        let words = lexer.commands.into_iter().flat_map(|command| command.words);
        Some((words.flatten().collect::<Word>(), assigns))
    };
    let default = match operator.chars().next() {
        None => None,
        Some('-') => default(&operator[1..], false),
        Some('=') => default(&operator[1..], true),
        // An error where it has no value.
        Some('?') => None,
        Some('+') => return Part::Optional,
        Some(_) => return Part::Unknown,
    };
    Part::Variable {
        name: name.to_owned(),
        quoted,
        default,
    }
}

/// The name of a variable that a text begins with, else nothing.
pub(super) fn leading_name(text: &str) -> &str {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return "";
    }
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands of a script, a line each, with `?` for what is unknown.
    fn shown(text: &str) -> String {
        let word = |word: &Word| {
            let parts = word.iter().map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Variable { name, default, .. } => {
                    let default = default.as_ref().map_or("", |_| ":");
                    format!("${name}{default}")
                }
                Part::Optional => "+".to_owned(),
                Part::Unknown => "?".to_owned(),
            });
            parts.collect::<String>()
        };
        let line = |command: &Command| {
            let words: Vec<String> = command.words.iter().map(word).collect();
            let piped = if command.piped { "| " } else { "" };
            format!("{piped}{}", words.join("_"))
        };
        commands(text).iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(shown(text), expected, "{text}");
    }

    #[test]
    fn commands_end_at_operators() {
        check("a b; c&&d||e|f\n(g) & { h; }", "a_b\nc\nd\ne\n| f\ng\n{_h\n}");
        check("case \"$1\" in\n x|y) a ;;\nesac", "case_?_in\nx\n| y\na\nesac");
    }

    #[test]
    fn words_are_joined_and_quoted() {
        check("a \\\n  'b c'\"d $e\"f\\ g # h", "a_b cd $ef g");
        check("a \"\" 'x'", "a__x");
        check("a \"b\\\nc\\\"\\x\"", "a_bc\"\\x");
    }

    #[test]
    fn redirections_are_no_words() {
        check("a >/dev/null 2>&1 b 2> x < y >> z &> w c", "a_b_c");
        check("a b2 >c", "a_b2");
    }

    #[test]
    fn here_documents_are_input() {
        let text = "cat <<EOF >x; b <<-'END'\nadduser a\nEOF\n\tu b -\n\tEND\nc";
        check(text, "cat\nb\nc");
        let inputs: Vec<String> = commands(text).into_iter().map(|command| command.input).collect();
        assert_eq!(inputs, ["adduser a\n", "u b -\n", ""]);
        check("a <<< \"b\" c", "a_c");
    }

    #[test]
    fn substitutions_are_unknown_and_looked_into() {
        check("a \"$(b \"c)\" $(d))\" `e f`", "d\nb_c)_?\ne_f\na_?_?");
        check(
            "a ${b} ${c:-x} ${d:=y} ${e:+z} ${f%%g} $1 $# $",
            "a_$b_$c:_$d:_+_?_?_?_$",
        );
    }

    #[test]
    fn broken_scripts_end() {
        for text in [
            "'a", "\"a", "a $(b", "a ${b", "a `b", "a <<E\nb", "\\", "a >", "a <<", "${", "$",
        ] {
            let _ = commands(text);
        }
        let deep = "$(".repeat(10_000);
        let _ = commands(&deep);
    }
}
