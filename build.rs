//! Makes the enum `verify::Code` from spec/codes.toml, the one source of finding codes.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use serde::Deserialize;

#[derive(Deserialize)]
struct Codes {
    code: Vec<Code>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    #[serde(rename = "code")]
    id: String,
    name: String,
    title: String,
    meaning: String,
    advice: String,
    spec: Option<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=spec/codes.toml");
    let source = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("spec/codes.toml");
    let codes: Codes = toml::from_str(&fs::read_to_string(source)?)?;
    let out = Path::new(&env::var("OUT_DIR")?).join("codes.rs");
    fs::write(out, rust(&codes.code)?)?;
    Ok(())
}

fn rust(codes: &[Code]) -> Result<String, Box<dyn Error>> {
    let mut variants = String::new();
    let mut facts = String::new();
    let mut all = String::new();
    for code in codes {
        let severity = match code.id.as_bytes() {
            [b'E', ..] => "Error",
            [b'W', ..] => "Warning",
            [b'N', ..] => "Note",
            _ => return Err(format!("{}: a code begins with E, W or N", code.id).into()),
        };
        let variant = camel(&code.name);
        writeln!(variants, "    /// `{}`: {}.\n    {variant},", code.id, code.title)?;
        writeln!(all, "        Code::{variant},")?;
        writeln!(
            facts,
            "            Code::{variant} => Facts {{ id: {:?}, name: {:?}, severity: Severity::{severity}, \
             title: {:?}, meaning: {:?}, advice: {:?}, spec: {:?} }},",
            code.id,
            code.name,
            code.title,
            code.meaning,
            code.advice,
            code.spec.as_deref().unwrap_or("")
        )?;
    }
    Ok(format!(
        "/// What a finding says, as a stable code (spec/codes.toml).\n\
         #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]\n\
         pub enum Code {{\n{variants}}}\n\n\
         impl Code {{\n    /// Every code, by number.\n    pub const ALL: &'static [Code] = &[\n{all}    ];\n\n    \
         const fn facts(self) -> Facts {{\n        match self {{\n{facts}        }}\n    }}\n}}\n"
    ))
}

/// `blob_missing` becomes `BlobMissing`.
fn camel(name: &str) -> String {
    let mut out = String::new();
    for word in name.split('_') {
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}
