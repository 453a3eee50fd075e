//! The finding codes, made from spec/codes.toml by the build script.

use std::fmt;

use serde::{Serialize, Serializer};

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The archive is damaged, or a restore of it would fail or give something else.
    Error,
    /// It restores as it was, but what was there is doubtful.
    Warning,
    /// Something was not checked, and why.
    Note,
}

/// One entry of spec/codes.toml.
struct Facts {
    id: &'static str,
    name: &'static str,
    severity: Severity,
    title: &'static str,
    meaning: &'static str,
    advice: &'static str,
    spec: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/codes.rs"));

impl Code {
    /// The stable code, such as `E306`.
    pub const fn id(self) -> &'static str {
        self.facts().id
    }

    /// The name in `snake_case`, such as `chunk_digest`.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// How bad it is.
    pub const fn severity(self) -> Severity {
        self.facts().severity
    }

    /// A few words, for lists.
    pub const fn title(self) -> &'static str {
        self.facts().title
    }

    /// What is the case when this is found.
    pub const fn meaning(self) -> &'static str {
        self.facts().meaning
    }

    /// What to do.
    pub const fn advice(self) -> &'static str {
        self.facts().advice
    }

    /// The section of spec/format-1.md that is broken; empty where it is not the format's.
    pub const fn spec(self) -> &'static str {
        self.facts().spec
    }

    /// Whether this says that the file needs a newer pgark, which is exit code 4 and not damage.
    pub const fn is_too_new(self) -> bool {
        matches!(self, Self::VersionTooNew | Self::UnknownFeature)
    }

    /// Whether this says that a thin archive was not checked because its base is not there.
    pub const fn is_of_base(self) -> bool {
        matches!(self, Self::BaseMissing | Self::BaseDiffers)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use std::path::Path;

    /// Guards against a code used twice, out of its class, or without words.
    #[test]
    fn codes_are_distinct_sorted_and_described() {
        let mut last = 0;
        for code in Code::ALL {
            let number: u32 = code.id()[1..].parse().unwrap();
            assert!(code.id().len() == 4 && number > last, "{code} after {last}");
            last = number;
            assert!(!code.title().is_empty() && !code.title().ends_with('.'), "{code}");
            assert!(code.meaning().ends_with('.') && code.advice().ends_with('.'), "{code}");
        }
    }

    /// Guards against docs/codes.md going its own way. `PGARK_WRITE_DOCS=1` writes it.
    #[test]
    fn docs_are_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/codes.md");
        let want = table();
        if std::env::var_os("PGARK_WRITE_DOCS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &want).unwrap();
        }
        let have = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(have == want, "docs/codes.md is stale: run this test with PGARK_WRITE_DOCS=1");
    }

    fn table() -> String {
        let mut out = String::from(
            "# Finding codes\n\n\
             What `pgark verify` can say. Made from `spec/codes.toml`; do not edit.\n\n\
             `E` is an error: the archive is damaged, or a restore of it would fail or give \
             something else. `W` is a warning: it restores as it was, but what was there is \
             doubtful. `N` is a note: something was not checked, and why. Codes are stable; a \
             number is never used again.\n",
        );
        let classes = [
            "Identification, version, features, limits, unreadable media",
            "Container",
            "Manifest and index",
            "Objects, chunks, blobs",
            "Rows",
            "Schema",
            "Keys and references",
            "Images",
            "Signature and encryption",
            "Parity",
            "Keys, references and rules",
            "Images and other blobs",
        ];
        let mut class = usize::MAX;
        for code in Code::ALL {
            let digit = usize::from(code.id().as_bytes()[1] - b'0');
            if digit != class {
                class = digit;
                let title = classes[digit];
                write!(out, "\n## {title}\n\n| code | finding | what is the case | what to do |\n|---|---|---|---|\n").unwrap();
            }
            let section = match code.spec() {
                "" => String::new(),
                spec => format!(" (format section {spec})"),
            };
            writeln!(
                out,
                "| `{code}` | {} | {}{section} | {} |",
                code.title(),
                code.meaning(),
                code.advice()
            )
            .unwrap();
        }
        out
    }
}
