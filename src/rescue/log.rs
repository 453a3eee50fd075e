//! What a server's log says about damage, and about recovery.

use super::damage::Page;

/// Words of messages that are about damage, wherever they stand. Messages about the end of the WAL
/// (`invalid record length`) are none: it has to end somewhere.
const DAMAGE: [&str; 24] = [
    "invalid page",
    "page verification failed",
    "zeroing out",
    "could not read block",
    "could not read from file",
    "could not open file",
    "could not access status of transaction",
    "could not access file",
    "missing chunk number",
    "unexpected chunk",
    "compressed pglz data is corrupt",
    "compressed lz4 data is corrupt",
    "invalid memory alloc request size",
    "corrupt",
    "right sibling",
    "unexpected data beyond EOF",
    "unexpected zero page",
    "cache lookup failed",
    "could not find tuple",
    "catalog is missing",
    "is not a btree",
    "invalid magic number",
    "invalid checkpoint record",
    "was terminated by signal",
];

/// A message of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub(super) severity: String,
    pub(super) text: String,
    /// What follows it: detail, hint, context.
    pub(super) more: Vec<String>,
}

/// The messages of a log.
pub(super) fn messages(log: &str) -> Vec<Message> {
    let mut all: Vec<Message> = Vec::new();
    for line in log.lines() {
        let parted = line.split_once(":  ").filter(|(word, _)| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'0')
        });
        match parted {
            Some((
                word @ ("DETAIL" | "HINT" | "CONTEXT" | "STATEMENT" | "QUERY" | "LOCATION"),
                text,
            )) => {
                if let Some(last) = all.last_mut().filter(|_| word != "STATEMENT") {
                    last.more.push(text.to_owned());
                }
            }
            Some((severity, text)) => all.push(Message {
                severity: severity.to_owned(),
                text: text.to_owned(),
                more: Vec::new(),
            }),
            // Lines of a statement, or of another program.
            None => {}
        }
    }
    all
}

impl Message {
    fn says(&self, words: &str) -> bool {
        self.text.contains(words)
    }

    /// Whether it is about damage.
    fn is_damage(&self) -> bool {
        self.severity != "DEBUG" && DAMAGE.iter().any(|words| self.says(words))
    }
}

/// What a log comes to.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Told {
    /// Whether WAL was replayed.
    pub(super) replayed: bool,
    /// Messages about damage, each once, with what follows them.
    pub(super) damage: Vec<String>,
    /// Pages that were replaced by zeros.
    pub(super) zeroed: Vec<Page>,
}

/// Reads a log.
pub(super) fn told(log: &str) -> Told {
    let mut out = Told::default();
    for message in messages(log) {
        out.replayed |= message.says("redo starts at");
        if message.is_damage() {
            let mut line = format!("{}: {}", message.severity, message.text);
            if let Some(more) = message.more.first() {
                line = format!("{line} ({more})");
            }
            if !out.damage.contains(&line) {
                out.damage.push(line);
            }
        }
        for page in zeroed(&message) {
            if !out.zeroed.contains(&page) {
                out.zeroed.push(page);
            }
        }
    }
    out
}

/// The pages that a message says were replaced by zeros. Since version 18 several may be in one:
/// `zeroing out 2 invalid pages among blocks 5..8 of relation "base/5/16385"`; each of them has
/// a message of its own in the log as well.
fn zeroed(message: &Message) -> Vec<Page> {
    if !message.says("zeroing out") {
        return Vec::new();
    }
    let Some(path) = between(&message.text, "relation \"", "\"")
        .or_else(|| between(&message.text, "relation ", ";"))
    else {
        return Vec::new();
    };
    let one = between(&message.text, "page in block ", " ").and_then(|text| text.parse().ok());
    let range = between(&message.text, "among blocks ", " ").and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some((from.parse::<u64>().ok()?, to.parse::<u64>().ok()?))
    });
    match (one, range) {
        (Some(block), _) => vec![Page::new(path, block)],
        (None, Some((from, to))) => {
            // Which of them is said by the others; that it is among these is better than nothing.
            let first = message
                .more
                .iter()
                .find_map(|line| between(line, "Block ", " held the first")?.parse::<u64>().ok());
            match first {
                Some(block) => vec![Page::new(path, block)],
                None => (from..=to.min(from.saturating_add(255)))
                    .map(|block| Page::new(path, block))
                    .collect(),
            }
        }
        (None, None) => Vec::new(),
    }
}

/// What stands between two pieces of a text.
pub(super) fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after).map_or(rest, |(inner, _)| inner))
}

/// The last messages that say why a server did not come up, each with what follows it.
pub(super) fn last_words(log: &str) -> Vec<String> {
    let all = messages(log);
    let grave =
        |message: &&Message| matches!(message.severity.as_str(), "FATAL" | "PANIC" | "ERROR");
    let mut lines: Vec<String> = Vec::new();
    for message in all.iter().filter(grave).chain(all.iter().filter(|m| m.is_damage())) {
        let mut line = format!("{}: {}", message.severity, message.text);
        for more in &message.more {
            line = format!("{line} / {more}");
        }
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    if lines.is_empty() {
        let last = log.lines().map(str::trim).filter(|line| !line.is_empty());
        let last: Vec<String> = last.map(str::to_owned).collect();
        return last.get(last.len().saturating_sub(6)..).unwrap_or_default().to_vec();
    }
    lines.truncate(8);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_and_recovery_are_told_and_the_end_of_the_wal_is_none() {
        let told = told(
            "LOG:  database system was not properly shut down; automatic recovery in progress\n\
             LOG:  redo starts at 0/1\n\
             LOG:  invalid record length at 0/2: expected at least 24, got 0\n\
             LOG:  redo done at 0/1 system usage: CPU: user: 0.00 s\n\
             WARNING:  page verification failed, calculated checksum 1 but expected 2\n\
             WARNING:  invalid page in block 3 of relation base/16384/16385; zeroing out page\n\
             WARNING:  invalid page in block 3 of relation base/16384/16385; zeroing out page\n\
             STATEMENT:  SELECT 'corrupt'\n\
             ERROR:  missing chunk number 0 for toast value 16390 in pg_toast_16385\n",
        );
        assert!(told.replayed);
        assert_eq!(told.damage.len(), 3, "{told:?}");
        assert_eq!(told.zeroed, [Page::new("base/16384/16385", 3)]);
    }

    #[test]
    fn version_18_tells_of_many_at_once() {
        let told = told(
            "WARNING:  zeroing out 2 invalid pages among blocks 5..8 of relation \"base/5/16385\"\n\
             DETAIL:  Block 6 held the first zeroed page.\n\
             LOG:  invalid page in block 6 of relation \"base/5/16385\"; zeroing out page\n\
             LOG:  invalid page in block 8 of relation \"base/5/16385\"; zeroing out page\n",
        );
        let blocks: Vec<u64> = told.zeroed.iter().map(|page| page.block).collect();
        assert_eq!(blocks, [6, 8]);
    }

    #[test]
    fn why_a_server_did_not_come_up() {
        let words = last_words(
            "LOG:  starting\nPANIC:  could not locate a valid checkpoint record at 0/1\n\
             LOG:  startup process (PID 7) was terminated by signal 6: Aborted\n",
        );
        assert!(
            words[0].starts_with("PANIC: could not locate a valid checkpoint record"),
            "{words:?}"
        );
        assert_eq!(last_words("postgres: bad flag\n"), ["postgres: bad flag"]);
    }
}
