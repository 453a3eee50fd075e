//! Rules as people write them: the part of `pgark.toml` that is about rules.

use std::ops::Range;

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

use crate::format::rules::Algorithm;

/// A file of rules longer than this is refused.
const LONGEST: usize = 4 << 20;

/// Rules as written: names not yet looked up.
#[derive(Clone, Debug)]
pub struct RuleFile {
    pub(super) rules: Written,
    /// Where each line begins.
    lines: Vec<usize>,
}

/// Why a file of rules cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct RuleFileError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    #[serde(default)]
    pub(super) reference: Vec<WrittenReference>,
    #[serde(default)]
    pub(super) blob: Vec<WrittenBlob>,
    #[serde(default)]
    pub(super) count: Vec<WrittenCount>,
    /// Profiles may stand in the same file; they are none of ours.
    #[serde(default, rename = "profile")]
    _profile: Option<IgnoredAny>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenReference {
    pub(super) table: Spanned<String>,
    pub(super) column: Option<String>,
    pub(super) columns: Option<Vec<String>>,
    pub(super) references: OneOrMany,
    #[serde(default)]
    pub(super) empty: Empty,
}

/// `"image.fileId"` or `["a.x", "a.y"]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Empty {
    /// An empty string is a value like others.
    #[default]
    Value,
    /// An empty string means none.
    None,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenBlob {
    pub(super) table: Spanned<String>,
    pub(super) column: String,
    #[serde(default)]
    pub(super) not_empty: bool,
    #[serde(default)]
    pub(super) image: bool,
    pub(super) media_type: Option<String>,
    pub(super) checksum: Option<WrittenChecksum>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenChecksum {
    pub(super) column: String,
    pub(super) algorithm: Algorithm,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenCount {
    pub(super) table: Spanned<String>,
    #[serde(rename = "where")]
    pub(super) condition: Option<WrittenCondition>,
    pub(super) at_least: Option<u64>,
    pub(super) at_most: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenCondition {
    pub(super) column: String,
    pub(super) is: Option<Is>,
    pub(super) equals: Option<Value>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub(super) enum Is {
    #[serde(rename = "null")]
    Null,
    #[serde(rename = "not null")]
    NotNull,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Value {
    Bool(bool),
    Integer(i64),
    Text(String),
}

impl RuleFile {
    /// Reads rules from the text of a `pgark.toml`.
    ///
    /// # Errors
    /// [`RuleFileError`] with the line that is at fault.
    pub fn parse(text: &str) -> Result<Self, RuleFileError> {
        let mut lines = vec![0];
        lines.extend(text.match_indices('\n').map(|(at, _)| at + 1));
        let mut file = Self { rules: Written::default(), lines };
        if text.len() > LONGEST {
            return Err(file.fault(0, format!("the file is longer than {LONGEST} bytes")));
        }
        file.rules = toml::from_str(text).map_err(|error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            file.fault(at, error.message().replace('\n', ", "))
        })?;
        for rule in &file.rules.reference {
            let at = rule.table.span().start;
            match (&rule.column, &rule.columns) {
                (Some(_), None) => {}
                (None, Some(columns)) if !columns.is_empty() => {}
                _ => return Err(file.fault(at, "a reference has either column or columns")),
            }
            let count = rule.columns.as_ref().map_or(1, Vec::len);
            if rule.references.names().len() != count {
                return Err(file.fault(at, "references must name as many columns as refer"));
            }
        }
        for rule in &file.rules.blob {
            if !rule.not_empty
                && !rule.image
                && rule.media_type.is_none()
                && rule.checksum.is_none()
            {
                let what = "a blob rule asks for not_empty, image, media_type or checksum";
                return Err(file.fault(rule.table.span().start, what));
            }
        }
        for rule in &file.rules.count {
            let at = rule.table.span().start;
            match (rule.at_least, rule.at_most) {
                (None, None) => return Err(file.fault(at, "a count has at_least, at_most or both")),
                (Some(least), Some(most)) if least > most => {
                    return Err(file.fault(at, "at_least is more than at_most"));
                }
                _ => {}
            }
            let condition = rule.condition.as_ref();
            if condition.is_some_and(|both| both.is.is_some() == both.equals.is_some()) {
                return Err(file.fault(at, "a condition has either is or equals"));
            }
            // What the manifest can hold.
            if [rule.at_least, rule.at_most].iter().flatten().any(|limit| *limit >= 1 << 63) {
                return Err(file.fault(at, "a limit is too large"));
            }
        }
        Ok(file)
    }

    /// The line on which a piece of the text begins, from 1.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.lines.partition_point(|start| *start <= span.start).max(1)
    }

    fn fault(&self, at: usize, message: impl Into<String>) -> RuleFileError {
        RuleFileError { line: self.line(&(at..at)), message: message.into() }
    }
}

impl OneOrMany {
    pub(super) fn names(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}
