//! A first `pgark.toml`, from what lies in a folder: files of Docker Compose, `.env`, and the
//! environment. No password goes into it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use yaml_rust2::{Yaml, YamlLoader};

use crate::pg::Params;

/// A longer file is not looked into.
const LONGEST: u64 = 4 << 20;

/// How deep the lists of a file may be in each other.
const DEEPEST: usize = 64;

/// What an image of a server has in its name, and what images of other programs have as well.
const SERVERS: [&str; 4] = ["postgres", "postgis", "timescale", "pgvector"];
const OTHERS: [&str; 7] =
    ["exporter", "postgrest", "postgraphile", "backup", "pgbouncer", "pgadmin", "pgpool"];

/// How many archives the draft keeps.
const KEEP: &str = "{ last = 3, daily = 7, weekly = 4, monthly = 12 }";

const HEAD: &str = "\
# Environments that pgark knows by name: pgark create NAME, pgark restore NAME, pgark list NAME.
# What else may stand here: docs/profiles.md. Rules ([[reference]] and the like) may stand in this
# file too: pgark rules suggest ARCHIVE proposes some.
#
# No password belongs here. It comes from PGPASSWORD, ~/.pgpass, a password_file, or from the
# container itself.
";

/// A draft.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// The file's text.
    pub text: String,
    /// What was found, a line each.
    pub found: Vec<String>,
    /// The names of the profiles in it.
    pub profiles: Vec<String>,
}

/// A database that was found.
struct Found {
    /// A proposal for its name.
    name: String,
    /// Where it was found.
    origin: String,
    /// Lines of the profile.
    lines: Vec<String>,
}

/// Looks into a folder; `variable` is the environment.
///
/// # Errors
/// What the system says of the folder. A file that cannot be read or understood is told among what
/// was found.
pub fn look(folder: &Path, variable: &dyn Fn(&str) -> Option<String>) -> io::Result<Draft> {
    let mut found = Vec::new();
    let dotenv = dotenv(&folder.join(".env"), &mut found);
    // As Docker Compose has it: the environment outranks the file.
    let value = |name: &str| {
        let set = variable(name).filter(|value| !value.is_empty());
        set.or_else(|| dotenv.get(name).cloned()).filter(|value| !value.is_empty())
    };
    let mut databases = Vec::new();
    let mut services = Vec::new();
    for name in compose_files(folder)? {
        let all = match services_of(&folder.join(&name)) {
            Ok(all) => all,
            Err(problem) => {
                found.push(format!("{name}: not understood ({problem})"));
                continue;
            }
        };
        services.extend(all.iter().map(|service| service.name.clone()));
        let mut servers = all.iter().filter(|service| service.is_server(&value)).peekable();
        if servers.peek().is_none() {
            found.push(format!("{name}: no service with a PostgreSQL image"));
        }
        for (at, service) in servers.enumerate() {
            let stem = compose_name(&name);
            let profile = if at == 0 { stem } else { format!("{stem}-{}", tame(&service.name)) };
            databases.push(service.found(&name, profile, &value));
        }
    }
    databases.extend(by_environment(&value, &dotenv, &services, &mut found));
    Ok(write(databases, found))
}

/// Names of Docker Compose's files in a folder, the plain one first.
fn compose_files(folder: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let yaml = [".yml", ".yaml"].iter().any(|ending| name.ends_with(ending));
        let compose = name.starts_with("docker-compose") || name.starts_with("compose");
        // An override is part of the plain one.
        if yaml && compose && !name.contains("override") {
            names.push(name);
        }
    }
    names.sort_by_key(|name| (compose_name(name) != "dev", name.clone()));
    Ok(names)
}

/// `docker-compose.staging.yml` is `staging`, the plain one `dev`.
fn compose_name(file: &str) -> String {
    let stem = file.trim_end_matches(".yaml").trim_end_matches(".yml");
    let rest = stem.trim_start_matches("docker-").trim_start_matches("compose");
    match tame(rest.trim_matches(['.', '-', '_'])) {
        name if name.is_empty() => "dev".to_owned(),
        name => name,
    }
}

/// As a profile's name may be.
fn tame(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = name.chars().map(fits).take(40).collect();
    name.trim_matches(['-', '_', '.']).to_owned()
}

/// A service of Docker Compose.
struct Service {
    name: String,
    image: String,
    environment: BTreeMap<String, String>,
}

fn services_of(path: &Path) -> Result<Vec<Service>, String> {
    let text = read(path).map_err(|error| error.to_string())?;
    let depth = text.lines().map(|line| line.len() - line.trim_start().len()).max().unwrap_or(0);
    let brackets = text.matches(['[', '{']).count();
    if depth > DEEPEST * 8 || brackets > 10_000 {
        return Err("it is nested too deeply".to_owned());
    }
    let documents = YamlLoader::load_from_str(&text).map_err(|error| error.to_string())?;
    let Some(Yaml::Hash(services)) = documents.first().map(|document| &document["services"]) else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for (name, service) in services {
        let Some(name) = name.as_str() else { continue };
        let mut environment = BTreeMap::new();
        match &service["environment"] {
            Yaml::Hash(pairs) => {
                for (key, value) in pairs {
                    let Some(key) = key.as_str() else { continue };
                    environment.insert(key.to_owned(), scalar(value));
                }
            }
            Yaml::Array(lines) => {
                let pairs = lines.iter().filter_map(|line| line.as_str()?.split_once('='));
                environment.extend(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
            }
            _ => {}
        }
        let image = service["image"].as_str().unwrap_or_default().to_owned();
        all.push(Service { name: name.to_owned(), image, environment });
    }
    Ok(all)
}

fn scalar(value: &Yaml) -> String {
    match value {
        Yaml::String(text) | Yaml::Real(text) => text.clone(),
        Yaml::Integer(number) => number.to_string(),
        Yaml::Boolean(truth) => truth.to_string(),
        _ => String::new(),
    }
}

type Value<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Service {
    /// Whether a `PostgreSQL` server runs in it.
    fn is_server(&self, value: Value<'_>) -> bool {
        let image = filled(&self.image, value).to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| image.contains(word));
        has(&SERVERS) && !has(&OTHERS)
    }

    fn found(&self, file: &str, name: String, value: Value<'_>) -> Found {
        let setting = |name: &str| {
            let set = self.environment.get(name).map(|text| filled(text, value));
            set.filter(|text| !text.is_empty())
        };
        let origin =
            format!("{file}: service {} (image {})", self.name, filled(&self.image, value));
        let mut lines = vec![format!(
            "compose = {{ file = {}, service = {} }}",
            quoted(file),
            quoted(&self.name)
        )];
        lines.push(
            "# The user, the database and the password are the container's own, unless they".into(),
        );
        lines.push("# are named here:".into());
        let user = setting("POSTGRES_USER").unwrap_or_else(|| "postgres".to_owned());
        let database = setting("POSTGRES_DB").unwrap_or_else(|| user.clone());
        lines.push(format!("# user = {}", quoted(&user)));
        lines.push(format!("# dbname = {}", quoted(&database)));
        Found { name, origin, lines }
    }
}

/// A database that `DATABASE_URL` or libpq's variables lead to.
fn by_environment(
    value: Value<'_>,
    dotenv: &BTreeMap<String, String>,
    services: &[String],
    found: &mut Vec<String>,
) -> Option<Found> {
    let origin = |name: &str| {
        let place = if dotenv.contains_key(name) { ".env" } else { "the environment" };
        format!("{name} of {place}")
    };
    let mut pairs = BTreeMap::new();
    let from;
    if let Some(url) = value("DATABASE_URL") {
        from = origin("DATABASE_URL");
        // As some libraries have it: postgresql+asyncpg://
        let (scheme, rest) = url.split_once("://")?;
        let scheme = scheme.split('+').next().unwrap_or_default();
        if scheme != "postgres" && scheme != "postgresql" {
            found.push(format!("{from}: not a PostgreSQL URL"));
            return None;
        }
        // What the URL never says again: its password.
        let Ok(all) = Params::pairs(&format!("{scheme}://{rest}")) else {
            found.push(format!("{from}: not understood"));
            return None;
        };
        pairs.extend(all);
    } else {
        let names = [
            ("PGHOST", "host"),
            ("PGPORT", "port"),
            ("PGUSER", "user"),
            ("PGDATABASE", "dbname"),
            ("PGSSLMODE", "sslmode"),
            ("PGSERVICE", "service"),
        ];
        for (name, key) in names {
            if let Some(value) = value(name) {
                pairs.insert(key.to_owned(), value);
            }
        }
        let first = names.iter().find(|(name, _)| value(name).is_some()).map(|(name, _)| *name);
        if let Some(first) = first {
            from = origin(first);
        } else {
            let host = value("POSTGRES_HOST")?;
            from = origin("POSTGRES_HOST");
            pairs.insert("host".to_owned(), host);
            let names =
                [("POSTGRES_PORT", "port"), ("POSTGRES_USER", "user"), ("POSTGRES_DB", "dbname")];
            for (name, key) in names {
                if let Some(value) = value(name) {
                    pairs.insert(key.to_owned(), value);
                }
            }
        }
    }
    let host = pairs.get("host").cloned().unwrap_or_default();
    if services.contains(&host) {
        found.push(format!("{from}: leads to service {host}, which is there already"));
        return None;
    }
    if !pairs.contains_key("dbname") && !pairs.contains_key("service") {
        found.push(format!("{from}: no database is named"));
        return None;
    }
    let wanted =
        ["service", "host", "hostaddr", "port", "user", "dbname", "sslmode", "sslrootcert"];
    let lines = wanted
        .iter()
        .filter_map(|key| Some(format!("{key} = {}", quoted(pairs.get(*key)?))))
        .collect();
    let local =
        host.is_empty() || host.starts_with('/') || host == "localhost" || host == "127.0.0.1";
    let name = if local { "local" } else { "remote" }.to_owned();
    Some(Found { name, origin: from, lines })
}

fn write(databases: Vec<Found>, mut found: Vec<String>) -> Draft {
    let mut text = HEAD.to_owned();
    let mut profiles: Vec<String> = Vec::new();
    for database in databases {
        let mut name = database.name.clone();
        let mut number = 2;
        while profiles.contains(&name) {
            name = format!("{}{number}", database.name);
            number += 1;
        }
        found.push(format!("{}: profile {name}", database.origin));
        _ = writeln!(text, "\n# From {}.\n[profile.{}]", database.origin, quoted_key(&name));
        for line in &database.lines {
            _ = writeln!(text, "{line}");
        }
        _ = writeln!(text, "dir = {}", quoted(&format!("backups/{name}")));
        _ = writeln!(text, "keep = {KEEP}");
        profiles.push(name);
    }
    if profiles.is_empty() {
        found.push("no database was found: the file has an example".to_owned());
        text.push_str(
            "\n# [profile.staging]\n# host = \"db.example.org\"\n# user = \"app\"\n# dbname = \"shop\"\n\
             # dir = \"backups/staging\"\n",
        );
        _ = writeln!(text, "# keep = {KEEP}");
    }
    text.push_str(
        "\n# Further settings of a profile:\n\
         # aliases = [\"sit\"]                 other names for it\n\
         # protected = true                  replacing its database needs its name to be typed\n\
         # password_file = \"secrets/staging\" a file with the password alone\n\
         # on_success = \"...\"                a command that gets the report as JSON\n\
         # on_failure = \"...\"\n",
    );
    Draft { text, found, profiles }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A key of TOML; one with a dot is quoted.
fn quoted_key(name: &str) -> String {
    if name.contains('.') { quoted(name) } else { name.to_owned() }
}

fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > LONGEST {
        return Err(io::Error::other("it is too long"));
    }
    fs::read_to_string(path)
}

/// `NAME=value` lines, quoted or not, as Docker Compose reads them.
fn dotenv(path: &Path, found: &mut Vec<String>) -> BTreeMap<String, String> {
    let text = match read(path) {
        Ok(text) => text,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                found.push(format!(".env: not read ({error})"));
            }
            return BTreeMap::new();
        }
    };
    let pair = |line: &str| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
        let value = value.trim();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let value = match quote {
            Some(quote) => value.get(1..)?.split(quote).next()?,
            None => value.split(" #").next()?.trim_end(),
        };
        Some((name.trim().to_owned(), value.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

/// Puts variables in: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`; `$$` is a dollar.
fn filled(text: &str, value: Value<'_>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(inner) = rest.strip_prefix('{') {
            let Some((inner, after)) = inner.split_once('}') else { break };
            let end = inner.find([':', '-', '?', '+']).unwrap_or(inner.len());
            let (name, rule) = inner.split_at(end);
            let default = rule.strip_prefix(":-").or_else(|| rule.strip_prefix('-'));
            out.push_str(&value(name).or_else(|| default.map(Into::into)).unwrap_or_default());
            rest = after;
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
            out.push_str(&value(name).unwrap_or_default());
            rest = after;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    //! Guards against a password in the draft, and against a draft that cannot be read back.

    use super::super::config::Config;
    use super::super::docker::Place;
    use super::*;

    fn drafted(files: &[(&str, &str)], environment: &[(&str, &str)]) -> (Draft, Config) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let draft = look(folder.path(), &variable).unwrap();
        assert!(!draft.text.contains("hunter2"), "{}", draft.text);
        assert!(!draft.found.concat().contains("hunter2"), "{:?}", draft.found);
        let config = Config::parse(&draft.text, &folder.path().join("pgark.toml")).unwrap();
        let names: Vec<_> = config.profiles.iter().map(|profile| profile.name.clone()).collect();
        let mut sorted = draft.profiles.clone();
        sorted.sort();
        assert_eq!(names, sorted);
        (draft, config)
    }

    #[test]
    fn services_of_compose_become_profiles() {
        let compose = "
x-common: &common
  restart: always
services:
  app:
    build: .
    environment: [POSTGRES_PASSWORD=hunter2]
  db:
    <<: *common
    image: ${DB_IMAGE:-postgres:16-alpine}
    environment:
      POSTGRES_USER: ${DB_USER}
      POSTGRES_DB: shop
      POSTGRES_PASSWORD: hunter2
  exporter:
    image: prom/postgres-exporter
";
        let staging = "services: {database: {image: 'postgis/postgis:15', environment: [\"POSTGRES_USER=app\", POSTGRES_PASSWORD=hunter2]}}";
        let (draft, config) = drafted(
            &[
                ("docker-compose.yml", compose),
                ("docker-compose.staging.yaml", staging),
                ("docker-compose.override.yml", "services: {db: {image: postgres}}"),
                ("compose-broken.yml", "services: [\n"),
                (".env", "DB_USER='the user' # comment\nexport DB_PASSWORD=hunter2\n"),
            ],
            &[],
        );
        assert_eq!(draft.profiles, ["dev", "staging"]);
        let Some(Place::Compose { files, service, .. }) = &config.profile("dev").unwrap().place
        else {
            panic!()
        };
        assert!(files[0].ends_with("docker-compose.yml"));
        assert_eq!(service, "db");
        assert!(
            draft.text.contains("# user = \"the user\"\n# dbname = \"shop\"\n"),
            "{}",
            draft.text
        );
        assert!(
            draft
                .text
                .contains("# From docker-compose.yml: service db (image postgres:16-alpine).")
        );
        assert!(draft.text.contains("# user = \"app\"\n# dbname = \"app\"\n"));
        assert!(
            draft.found.iter().any(|line| line.starts_with("compose-broken.yml: not understood"))
        );
        assert!(config.profiles.iter().all(|profile| profile.notes.is_empty()));
    }

    #[test]
    fn the_environment_leads_to_a_database() {
        let url = "DATABASE_URL=\"postgresql+asyncpg://app:hunter2@db.example.org:5433/shop?schema=public\"";
        let (draft, config) = drafted(&[(".env", url)], &[]);
        assert_eq!(draft.profiles, ["remote"]);
        let wanted =
            "host = \"db.example.org\"\nport = \"5433\"\nuser = \"app\"\ndbname = \"shop\"\n";
        assert!(draft.text.contains(wanted), "{}", draft.text);
        assert!(config.profiles[0].connect().unwrap().notes.is_empty());
        // One that leads to a service is that service's.
        let (draft, _) = drafted(
            &[
                (".env", "DATABASE_URL=postgres://app:hunter2@db/shop"),
                ("compose.yml", "services:\n  db:\n    image: postgres"),
            ],
            &[],
        );
        assert_eq!(draft.profiles, ["dev"]);
        let (draft, _) = drafted(
            &[],
            &[("PGHOST", "/run/x"), ("PGDATABASE", "a\"b"), ("PGPASSWORD", "hunter2")],
        );
        assert_eq!(draft.profiles, ["local"]);
        let (draft, _) = drafted(&[], &[("DATABASE_URL", "mysql://root:hunter2@h/x")]);
        assert!(draft.profiles.is_empty());
        assert!(draft.text.contains("# [profile.staging]"));
    }
}
