//! What to connect to, and as whom: connection string, service file, environment and defaults put
//! together in libpq's order (the first that says something counts).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::conninfo;
use super::error::PgError;
pub use super::options::{
    ChannelBinding, ClientCert, Host, Keepalives, RootCert, SslMode, Target, TlsParams,
};
use super::options::{
    KNOWN, SOCKET_DIRECTORIES, TARGETS, Values, hosts, keepalives, timeout, tls, unknown,
};
use super::passfile::Passfile;

/// Variables that libpq reads and [`KNOWN`] does not name. A child must not inherit them.
const MORE_VARIABLES: &[&str] = &[
    "PGSERVICEFILE",
    "PGSYSCONFDIR",
    "PGREQUIRESSL",
    "PGSSLCOMPRESSION",
    "PGKRBSRVNAME",
    "PGGSSLIB",
    "PGGSSDELEGATION",
    "PGLOADBALANCEHOSTS",
    "PGCLIENTENCODING",
    "PGDATESTYLE",
    "PGTZ",
    "PGGEQO",
    "PGMINPROTOCOLVERSION",
    "PGMAXPROTOCOLVERSION",
];

/// Variables that say which database is meant. Where a profile says that, they are not looked at:
/// a profile leads to the same database in every shell.
const PLACE_VARIABLES: &[&str] =
    &["PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE", "PGTARGETSESSIONATTRS"];

/// A password. Only [`Secret::reveal`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes charge of a password.
    pub fn new(password: impl AsRef<str>) -> Self {
        Self(Arc::from(password.as_ref()))
    }

    /// The password itself: for the server and for the environment of a child, nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Everything needed to connect. Its `Debug` output has no password in it.
#[derive(Clone, Debug)]
pub struct Params {
    pub(super) hosts: Vec<Host>,
    pub(super) user: String,
    pub(super) application: String,
    pub(super) options: Option<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) target: Target,
    pub(super) tls: TlsParams,
    pub(super) keepalives: Keepalives,
    database: String,
    password: Option<Secret>,
    passfile: Arc<Passfile>,
    fallback: Option<Secret>,
    place: Option<String>,
    notes: Vec<String>,
}

/// What is around the program; tests bring their own.
pub(super) struct Surroundings<'a> {
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    pub(super) home: Option<PathBuf>,
    login: &'a dyn Fn() -> Option<String>,
}

impl Params {
    /// Puts the parameters together. `conn` is a URL, a list of `key=value`, or the name of a
    /// database; what it does not say comes from its service, the `PG*` environment and libpq's
    /// defaults. Nothing is connected to yet.
    pub fn resolve(conn: Option<&str>) -> Result<Self, PgError> {
        Self::resolve_in(
            conn,
            &Surroundings {
                variable: &|name| std::env::var(name).ok(),
                home: std::env::home_dir().filter(|home| !home.as_os_str().is_empty()),
                login: &|| whoami::username().ok(),
            },
        )
    }

    /// The same, but which database is meant is for `conn` alone to say (and the service it names):
    /// host, port, database and service of the environment are not looked at.
    pub fn resolve_apart(conn: &str) -> Result<Self, PgError> {
        let hidden = |name: &str| PLACE_VARIABLES.contains(&name);
        Self::resolve_in(
            Some(conn),
            &Surroundings {
                variable: &|name| std::env::var(name).ok().filter(|_| !hidden(name)),
                home: std::env::home_dir().filter(|home| !home.as_os_str().is_empty()),
                login: &|| whoami::username().ok(),
            },
        )
    }

    /// The parameters that a connection string names, as pairs of name and value.
    pub fn pairs(conn: &str) -> Result<Vec<(String, String)>, PgError> {
        conninfo::parse(conn)
    }

    /// Whether a connection string may have a parameter of this name.
    pub fn is_parameter(name: &str) -> bool {
        KNOWN.iter().any(|(known, _)| *known == name)
    }

    fn resolve_in(conn: Option<&str>, around: &Surroundings<'_>) -> Result<Self, PgError> {
        let values = Values::gather(conn, around)?;
        let mut notes = Vec::new();

        let user = match values.get("user") {
            Some(user) => user.to_owned(),
            None => (around.login)().ok_or_else(|| {
                PgError::parameter("user", "none is given, and the system's user has no name")
            })?,
        };
        let database = values.get("dbname").unwrap_or(&user).to_owned();

        let passfile = match values.get("passfile") {
            Some(path) => Some(PathBuf::from(path)),
            None => around.home.as_ref().map(|home| home.join(".pgpass")),
        };
        let passfile = passfile.map(|path| Passfile::read(&path, &mut notes)).unwrap_or_default();

        let target = match values.get("target_session_attrs") {
            None => Target::Any,
            Some(text) => TARGETS
                .iter()
                .find(|(name, _)| *name == text)
                .map(|(_, target)| *target)
                .ok_or_else(|| unknown("target_session_attrs", text))?,
        };
        for (name, asks_nothing) in [
            ("gssencmode", &["disable", "prefer"][..]),
            ("sslcrl", &[]),
            ("sslcrldir", &[]),
            ("requirepeer", &[]),
            ("require_auth", &[]),
            ("replication", &["0", "false", "off", "no"]),
        ] {
            if let Some(value) = values.get(name)
                && !asks_nothing.contains(&value)
            {
                return Err(PgError::parameter(name, format!("{value:?} is not supported")));
            }
        }

        Ok(Self {
            hosts: hosts(&values)?,
            application: values
                .get("application_name")
                .or_else(|| values.get("fallback_application_name"))
                .unwrap_or("pgark")
                .to_owned(),
            options: values.get("options").map(ToOwned::to_owned),
            timeout: timeout(&values)?,
            target,
            tls: tls(&values, around.home.as_deref(), &mut notes)?,
            keepalives: keepalives(&values)?,
            password: values.get("password").map(Secret::new),
            passfile: Arc::new(passfile),
            fallback: None,
            place: None,
            user,
            database,
            notes,
        })
    }

    /// A server's Unix socket, and nothing of the environment: no service, no password, no options.
    ///
    /// # Errors
    /// [`PgError::Parameter`] if the folder is no absolute path.
    pub(super) fn socket(
        folder: &str,
        port: u16,
        user: &str,
        database: &str,
    ) -> Result<Self, PgError> {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
        let conn = format!(
            "host='{}' port={port} user='{}' dbname='{}'",
            quoted(folder),
            quoted(user),
            quoted(database)
        );
        let around = Surroundings { variable: &|_| None, home: None, login: &|| None };
        Self::resolve_in(Some(&conn), &around)
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The role to log in as.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The same server and role, another database. A password from the password file is looked
    /// up for that one.
    #[must_use]
    pub fn with_database(&self, name: &str) -> Self {
        Self { database: name.to_owned(), ..self.clone() }
    }

    /// The same with settings that the session begins with, as in `PGOPTIONS`.
    #[must_use]
    pub fn with_options(self, options: impl Into<String>) -> Self {
        Self { options: Some(options.into()), ..self }
    }

    /// The same with a password for where none is given and the password file has none.
    #[must_use]
    pub fn or_password(self, password: Option<Secret>) -> Self {
        Self { fallback: password, ..self }
    }

    /// The same with words for the place, such as `container shop-db-1`, where the host is only a
    /// way to it.
    #[must_use]
    pub fn at(self, place: impl Into<String>) -> Self {
        Self { place: Some(place.into()), ..self }
    }

    /// Whether there is a password for every host.
    pub fn has_password(&self) -> bool {
        self.hosts.iter().all(|host| self.password_for(host).is_some())
    }

    /// Things a person should know, such as a password file that was ignored.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Where this leads, for messages: host, port, database and user, never a password.
    pub fn describe(&self) -> String {
        let hosts = self.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        let place =
            self.place.as_ref().map_or_else(|| format!("on {hosts}"), |p| format!("in {p}"));
        format!("database {} {place} as user {}", self.database, self.user)
    }

    /// The environment for a child such as `pg_dump` that is to connect in the same way. The
    /// password goes here and never on a command line. The variables of
    /// [`Params::libpq_variables`] are to be removed from the child's environment first.
    ///
    /// With more than one host the child could end up on another server: take the parameters of
    /// the session, [`super::Session::params`], which name the one that answered.
    pub fn pg_dump_env(&self) -> Vec<(String, String)> {
        let mut out: Vec<(String, String)> = Vec::new();
        let mut add = |name: &str, value: &str| out.push((name.to_owned(), value.to_owned()));
        let joined = |part: &dyn Fn(&Host) -> String| {
            self.hosts.iter().map(part).collect::<Vec<_>>().join(",")
        };
        add("PGHOST", &joined(&|host| host.name.clone()));
        if self.hosts.iter().any(|host| host.address.is_some()) {
            add(
                "PGHOSTADDR",
                &joined(&|host| host.address.map(|a| a.to_string()).unwrap_or_default()),
            );
        }
        add("PGPORT", &joined(&|host| host.port.to_string()));
        add("PGUSER", &self.user);
        add("PGDATABASE", &self.database);
        if let Some(password) = self.hosts.first().and_then(|host| self.password_for(host)) {
            add("PGPASSWORD", password.reveal());
        }
        add("PGAPPNAME", &self.application);
        if let Some(options) = &self.options {
            add("PGOPTIONS", options);
        }
        if let Some(timeout) = self.timeout {
            add("PGCONNECT_TIMEOUT", &timeout.as_secs().to_string());
        }
        if self.hosts.len() > 1
            && let Some((name, _)) = TARGETS.iter().find(|(_, target)| *target == self.target)
        {
            add("PGTARGETSESSIONATTRS", name);
        }
        add("PGSSLMODE", self.tls.mode.name());
        if self.tls.direct {
            add("PGSSLNEGOTIATION", "direct");
        }
        match &self.tls.root {
            RootCert::System => add("PGSSLROOTCERT", "system"),
            RootCert::File(path) => add("PGSSLROOTCERT", &path.to_string_lossy()),
            RootCert::None => {}
        }
        match &self.tls.client {
            Some(client) => {
                add("PGSSLCERT", &client.cert.to_string_lossy());
                add("PGSSLKEY", &client.key.to_string_lossy());
            }
            None => add("PGSSLCERTMODE", "disable"),
        }
        if !self.tls.sni {
            add("PGSSLSNI", "0");
        }
        if !self.tls.allow_12 {
            add("PGSSLMINPROTOCOLVERSION", "TLSv1.3");
        }
        if !self.tls.allow_13 {
            add("PGSSLMAXPROTOCOLVERSION", "TLSv1.2");
        }
        match self.tls.channel_binding {
            ChannelBinding::Disable => add("PGCHANNELBINDING", "disable"),
            ChannelBinding::Prefer => {}
            ChannelBinding::Require => add("PGCHANNELBINDING", "require"),
        }
        out
    }

    /// Every environment variable that changes what libpq connects to or how: a service in the
    /// environment, for example, beats `PGHOST`.
    pub fn libpq_variables() -> impl Iterator<Item = &'static str> {
        let known = KNOWN.iter().map(|(_, variable)| *variable).filter(|v| !v.is_empty());
        known.chain(MORE_VARIABLES.iter().copied())
    }

    /// The password for one host: given, or found in the password file.
    pub(super) fn password_for(&self, host: &Host) -> Option<&Secret> {
        if self.password.is_some() {
            return self.password.as_ref();
        }
        let find = |name: &str| self.passfile.find(name, host.port, &self.database, &self.user);
        let found = match host.socket_directory() {
            Some(_) if SOCKET_DIRECTORIES.contains(&host.name.as_str()) => {
                find("localhost").or_else(|| find(&host.name))
            }
            None if host.name.is_empty() => {
                host.address.and_then(|address| find(&address.to_string()))
            }
            _ => find(&host.name),
        };
        found.or(self.fallback.as_ref())
    }

    /// The same, with only this one host left.
    pub(super) fn pinned(&self, host: &Host) -> Self {
        Self { hosts: vec![host.clone()], target: Target::Any, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn resolve_at(conn: &str, env: &[(&str, &str)], home: &Path) -> Result<Params, PgError> {
        Params::resolve_in(
            Some(conn),
            &Surroundings {
                variable: &|name| {
                    env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
                },
                home: Some(home.to_owned()),
                login: &|| Some("me".to_owned()),
            },
        )
    }

    fn resolve(conn: &str, env: &[(&str, &str)]) -> Result<Params, PgError> {
        resolve_at(conn, env, Path::new("/nonexistent"))
    }

    fn places(params: &Params) -> String {
        params.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    /// Guards against another default than libpq's, and against a TCP connection to localhost
    /// that nobody asked for.
    #[test]
    fn nothing_said_is_the_socket_and_the_systems_user() {
        let params = resolve("", &[]).unwrap();
        assert_eq!(
            params.describe(),
            "database me on socket /var/run/postgresql/.s.PGSQL.5432 or \
             socket /tmp/.s.PGSQL.5432 as user me"
        );
        assert_eq!(params.tls.mode, SslMode::Prefer);
        assert_eq!(params.timeout, None);
        assert_eq!(resolve("user=bob", &[]).unwrap().database(), "bob");
        assert_eq!(resolve("app", &[]).unwrap().database(), "app");
    }

    #[test]
    fn the_string_beats_the_environment() {
        let env = [
            ("PGHOST", "envhost"),
            ("PGPORT", "6000"),
            ("PGUSER", "envuser"),
            ("PGDATABASE", "envdb"),
            ("PGPASSWORD", "envpass"),
            ("PGSSLMODE", "require"),
            ("PGCONNECT_TIMEOUT", "1"),
            ("PGAPPNAME", "app"),
            ("PGOPTIONS", "-c geqo=off"),
            ("PGTARGETSESSIONATTRS", "primary"),
        ];
        let params = resolve("", &env).unwrap();
        assert_eq!(params.describe(), "database envdb on host envhost, port 6000 as user envuser");
        assert_eq!(params.tls.mode, SslMode::Require);
        // libpq takes one second for two.
        assert_eq!(params.timeout, Some(Duration::from_secs(2)));
        assert_eq!(params.target, Target::Primary);
        assert_eq!(params.application, "app");
        let params = resolve("postgres://u:p@h:1/d?sslmode=disable", &env).unwrap();
        assert_eq!(params.describe(), "database d on host h, port 1 as user u");
        assert_eq!(params.password_for(&params.hosts[0]).unwrap().reveal(), "p");
        assert_eq!(params.tls.mode, SslMode::Disable);
        // What is empty says nothing, but hides the environment, as with libpq.
        assert_eq!(resolve("host=''", &env).unwrap().hosts.len(), 2);
    }

    #[test]
    fn hosts_addresses_and_ports_go_together() {
        let ok = |conn: &str| places(&resolve(conn, &[]).unwrap());
        assert_eq!(
            ok("postgres://h1:1,h2,[::1]:3/d"),
            "host h1, port 1; host h2, port 5432; host ::1, port 3"
        );
        assert_eq!(ok("host=a,b port=7"), "host a, port 7; host b, port 7");
        assert_eq!(
            ok("host=a,b hostaddr=10.0.0.1,10.0.0.2"),
            "host a (10.0.0.1), port 5432; host b (10.0.0.2), port 5432"
        );
        assert_eq!(ok("hostaddr=::1"), "host ::1, port 5432");
        assert_eq!(ok("postgres://%2Frun%2Fpg:5/d"), "socket /run/pg/.s.PGSQL.5");
        for bad in [
            "host=a,b hostaddr=10.0.0.1",
            "host=a,b port=1,2,3",
            "port=0",
            "port=65536",
            "port=x",
            "hostaddr=localhost",
            "host=@abstract",
        ] {
            assert!(resolve(bad, &[]).is_err(), "{bad}");
        }
    }

    /// Guards against asking for protection and not getting it without a word.
    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            "sslmode=verify-fully",
            "sslmode=require sslrootcert=system",
            "sslnegotiation=direct",
            "sslcertmode=require",
            "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
            "channel_binding=maybe",
            "gssencmode=require",
            "requirepeer=postgres",
            "require_auth=scram-sha-256",
            "sslcrl=/x",
            "target_session_attrs=master",
            "hots=x",
            "connect_timeout=soon",
        ] {
            assert!(resolve(bad, &[]).is_err(), "{bad}");
        }
        let system = resolve("sslrootcert=system", &[]).unwrap();
        assert_eq!(system.tls.mode, SslMode::VerifyFull);
        assert!(resolve("gssencmode=disable replication=false sslcrl=''", &[]).is_ok());
    }

    /// Guards against passwords in output of any kind.
    #[test]
    fn the_password_is_shown_nowhere() {
        let params = resolve("postgres://u:hunter2@h/d", &[]).unwrap();
        assert!(!format!("{params:?} {}", params.describe()).contains("hunter2"));
        // A password with a stray quote or blank does not end up as the name of a parameter.
        let error = resolve("password=a Hunter2=b", &[]).unwrap_err().to_string();
        assert!(!error.contains("Hunter2"), "{error}");
    }

    #[test]
    fn a_service_stands_between_string_and_environment() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join(".pg_service.conf"),
            "[s]\nhost=svc\nport=7000\nuser=svcuser\n[odd]\nhots=x\n",
        )
        .unwrap();
        let env = [("PGSERVICE", "s"), ("PGHOST", "envhost"), ("PGDATABASE", "envdb")];
        let params = resolve_at("user=u", &env, dir.path()).unwrap();
        assert_eq!(params.describe(), "database envdb on host svc, port 7000 as user u");
        let params = resolve_at("service=s", &[], dir.path()).unwrap();
        assert_eq!(params.describe(), "database svcuser on host svc, port 7000 as user svcuser");
        assert!(resolve_at("service=odd", &[], dir.path()).is_err());
        assert!(resolve_at("service=none", &[], dir.path()).is_err());
        let missing = [("PGSERVICEFILE", "/nonexistent/file")];
        assert!(resolve_at("service=s", &missing, dir.path()).is_err());
    }

    #[test]
    fn the_password_file_is_asked_per_host_and_database() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".pgpass");
        let lines =
            "localhost:*:*:*:socket\nh:*:one:*:first\nh:*:two:*:second\n10.0.0.1:*:*:*:ip\n";
        fs::write(&file, lines).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let found =
            |params: &Params| params.password_for(&params.hosts[0]).map(|s| s.reveal().to_owned());
        let params = resolve_at("host=h dbname=one", &[], dir.path()).unwrap();
        assert_eq!(found(&params).as_deref(), Some("first"));
        assert_eq!(found(&params.with_database("two")).as_deref(), Some("second"));
        assert_eq!(found(&params.with_database("three")), None);
        let sockets = resolve_at("dbname=one", &[], dir.path()).unwrap();
        assert_eq!(found(&sockets).as_deref(), Some("socket"));
        let ip = resolve_at("hostaddr=10.0.0.1", &[], dir.path()).unwrap();
        assert_eq!(found(&ip).as_deref(), Some("ip"));
        // Given is given.
        let given = resolve_at("host=h dbname=one", &[("PGPASSWORD", "x")], dir.path()).unwrap();
        assert_eq!(found(&given).as_deref(), Some("x"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let open = resolve_at("host=h dbname=one", &[], dir.path()).unwrap();
        assert_eq!((found(&open), open.notes().len()), (None, 1));
    }

    /// Guards against a child that connects elsewhere: everything is said, and what is inherited
    /// can be removed.
    #[test]
    fn a_child_gets_the_same_connection() {
        let conn = "postgres://u:p@h:1/d?sslmode=verify-full&sslrootcert=/r&sslcertmode=disable";
        let env = resolve(conn, &[]).unwrap().pg_dump_env();
        let get = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(get("PGHOST"), Some("h"));
        assert_eq!(get("PGPORT"), Some("1"));
        assert_eq!(get("PGPASSWORD"), Some("p"));
        assert_eq!(get("PGSSLMODE"), Some("verify-full"));
        assert_eq!(get("PGSSLROOTCERT"), Some("/r"));
        assert_eq!(get("PGSSLCERTMODE"), Some("disable"));
        let all: Vec<_> = Params::libpq_variables().collect();
        assert!(env.iter().all(|(name, _)| all.contains(&name.as_str())));
        assert!(all.contains(&"PGSERVICE") && all.contains(&"PGHOSTADDR"));
    }
}
