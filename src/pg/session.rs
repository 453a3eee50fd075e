//! Sessions: connected, with every setting fixed that changes what values look like or how long
//! things may take.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{
    ChannelBinding as PgChannelBinding, SslMode as PgSslMode, SslNegotiation,
};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{CancelToken, Client, Config, NoTls, Row, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{Attempt, AttemptError, PgError};
use super::params::{ChannelBinding, Host, Params, SslMode, Target};
use super::tls;

/// How long the end of a connection is waited for where only its reason is wanted.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Settings of every session. Values read as text under these are the same on every server, and
/// are understood on every server.
///
/// `lc_monetary`: `money` is stored as a number of the smallest unit and written as the locale has
/// it; under C both ways it goes through unchanged, whatever the two databases' locales are.
/// `jit`: compiling costs more than it saves on statements as simple as ours.
const SETTINGS: &str = "\
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED;\
SET DateStyle = 'ISO';\
SET IntervalStyle = 'postgres';\
SET TimeZone = 'UTC';\
SET extra_float_digits = 3;\
SET bytea_output = 'hex';\
SET lc_monetary = 'C';\
SET standard_conforming_strings = on;\
SET backslash_quote = 'safe_encoding';\
SET array_nulls = on;\
SET quote_all_identifiers = off;\
SET xmloption = 'content';\
SET synchronize_seqscans = off;\
SET max_parallel_workers_per_gather = 0;\
SET jit = off;\
SET row_security = off;\
SET statement_timeout = 0;\
SET lock_timeout = 0;\
SET idle_in_transaction_session_timeout = 0;\
SET idle_session_timeout = 0;\
SET client_min_messages = 'warning';\
SELECT pg_catalog.set_config('search_path', '', false)";

/// One connection to a server. Dropped, its connection is cut at once and the server rolls back;
/// [`Session::close`] ends it politely.
pub struct Session {
    client: Arc<Client>,
    guard: Guard,
    end: watch::Receiver<End>,
    canceller: Canceller,
    params: Params,
    version: u32,
    encoding: String,
}

/// How a connection ended, if it has.
#[derive(Clone, Debug, Default)]
struct End {
    over: bool,
    error: Option<Arc<tokio_postgres::Error>>,
}

impl Session {
    /// Connects to the first host that answers and makes the fixed settings.
    ///
    /// As libpq: hosts and their addresses are tried in order; an error that the server itself
    /// reports (a wrong password, say) ends the search, unless it is that it cannot accept
    /// connections now.
    pub async fn open(params: &Params) -> Result<Self, PgError> {
        let mut attempts = Vec::new();
        let second = (params.target == Target::PreferStandby).then_some(Target::Any);
        let first = match params.target {
            Target::PreferStandby => Target::Standby,
            target => target,
        };
        for target in [Some(first), second].into_iter().flatten() {
            for host in &params.hosts {
                for host in addresses(host, params, &mut attempts).await {
                    match attempt(params, &host, target).await {
                        Ok(session) => return Ok(session),
                        Err(Failure::Fatal(error)) => return Err(error),
                        Err(Failure::Cause(cause)) => {
                            let last = is_final(&cause);
                            attempts.push(Attempt { to: host.to_string(), cause });
                            if last {
                                return Err(PgError::Connect { attempts });
                            }
                        }
                    }
                }
            }
        }
        Err(PgError::Connect { attempts })
    }

    /// The client library's half. What it reports as "closed" has its reason in
    /// [`Session::explain`].
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn shared(&self) -> &Arc<Client> {
        &self.client
    }

    /// The parameters with the one host that answered.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// `server_version_num`, such as 150018.
    pub fn server_version_num(&self) -> u32 {
        self.version
    }

    /// `server_encoding`, such as `UTF8`. With `SQL_ASCII` bytes pass through as they are;
    /// otherwise text is UTF-8.
    pub fn server_encoding(&self) -> &str {
        &self.encoding
    }

    /// Makes scans give rows in the order they lie in the table: no index is used, for a session
    /// that reads tables.
    pub async fn read_in_heap_order(&self) -> Result<(), PgError> {
        self.run(
            "setting up a reading session",
            "SET enable_indexscan = off; SET enable_bitmapscan = off; \
             SET enable_indexonlyscan = off; SET enable_tidscan = on",
        )
        .await
    }

    /// Runs statements that give no rows. `doing` says what for, and names the object.
    pub async fn run(&self, doing: &str, sql: &str) -> Result<(), PgError> {
        match self.client.batch_execute(sql).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.explain(doing, error).await),
        }
    }

    /// Runs a query. `doing` says what for, and names the object.
    pub async fn rows(
        &self,
        doing: &str,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, PgError> {
        match self.client.query(sql, values).await {
            Ok(rows) => Ok(rows),
            Err(error) => Err(self.explain(doing, error).await),
        }
    }

    /// An error of [`Session::client`] as ours. If the connection is gone, its last words are
    /// waited for, briefly: the client library gives the reason to the connection alone.
    pub async fn explain(&self, doing: impl Into<String>, error: tokio_postgres::Error) -> PgError {
        self.watch().explain(doing, error).await
    }

    /// Asks the server to stop what a session is doing; can be sent to other threads and kept.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Ends the session politely and waits, but not for long, until the server has been told.
    pub async fn close(self) {
        let Self { client, mut guard, .. } = self;
        drop(client);
        // Past the limit the guard cuts it.
        let _ = timeout(LAST_WORDS, &mut guard.0).await;
    }

    pub(super) fn watch(&self) -> Watch {
        Watch(self.end.clone())
    }

    async fn set_up(&mut self) -> Result<(), PgError> {
        const DOING: &str = "setting up a session";
        self.run(DOING, SETTINGS).await?;
        let version = self.show(DOING, "server_version_num").await?;
        self.version = version
            .parse()
            .map_err(|_| PgError::protocol(DOING, format!("server_version_num is {version:?}")))?;
        if self.version >= 170_000 {
            self.run(DOING, "SET transaction_timeout = 0").await?;
        }
        // A tool that was killed while its statement waits for a lock or builds an index must not
        // leave that behind. Systems on which the server cannot notice refuse any value but 0.
        let _ = self.run(DOING, "SET client_connection_check_interval = '2s'").await;
        self.encoding = self.show(DOING, "server_encoding").await?;
        if self.encoding == "SQL_ASCII" {
            // With UTF8 the server would refuse to send what is not UTF-8.
            self.run(DOING, "SET client_encoding = 'SQL_ASCII'").await?;
        }
        Ok(())
    }

    async fn check_target(&self, target: Target) -> Result<(), Failure> {
        let doing = "asking what kind of server it is";
        let ask = async |name| match self.show(doing, name).await {
            Ok(value) => Ok(value == "on"),
            Err(error) => Err(Failure::Cause(AttemptError::Setup(Box::new(error)))),
        };
        let (name, wanted, problem) = match target {
            Target::Any | Target::PreferStandby => return Ok(()),
            Target::ReadWrite => ("transaction_read_only", false, "its sessions are read-only"),
            Target::ReadOnly => ("transaction_read_only", true, "its sessions are not read-only"),
            Target::Primary => ("in_hot_standby", false, "the server is a standby"),
            Target::Standby => ("in_hot_standby", true, "the server is not a standby"),
        };
        if ask(name).await? == wanted {
            Ok(())
        } else {
            Err(Failure::Cause(AttemptError::Unwanted(problem)))
        }
    }

    async fn show(&self, doing: &str, name: &str) -> Result<String, PgError> {
        let answer = match self.client.simple_query(&format!("SHOW {name}")).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.explain(doing, error).await),
        };
        answer
            .iter()
            .find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).map(ToOwned::to_owned),
                _ => None,
            })
            .ok_or_else(|| PgError::protocol(doing, format!("no value for {name}")))
    }
}

/// Cuts the connection when it is dropped. Without it, a connection that nobody reads from any
/// more would go on swallowing what the server sends: the rest of a table, perhaps.
struct Guard(JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Knows how a connection ended.
#[derive(Clone)]
pub(super) struct Watch(watch::Receiver<End>);

impl Watch {
    pub(super) async fn explain(
        &self,
        doing: impl Into<String>,
        error: tokio_postgres::Error,
    ) -> PgError {
        if !error.is_closed() {
            return PgError::server(doing, error);
        }
        let mut end = self.0.clone();
        let source = match timeout(LAST_WORDS, end.wait_for(|end| end.over)).await {
            Ok(Ok(end)) => end.error.clone(),
            _ => None,
        };
        PgError::Lost { doing: doing.into(), source }
    }
}

/// Asks a server to stop what a session is doing.
#[derive(Clone)]
pub struct Canceller {
    token: CancelToken,
    tls: Option<MakeRustlsConnect>,
}

impl Canceller {
    /// Sends the request, over a connection of its own, encrypted like the session's. The server
    /// does not say whether there was anything to stop.
    pub async fn cancel(&self) -> Result<(), PgError> {
        let sent = timeout(LAST_WORDS * 5, async {
            match &self.tls {
                Some(tls) => self.token.cancel_query(tls.clone()).await,
                None => self.token.cancel_query(NoTls).await,
            }
        });
        match sent.await {
            Ok(result) => result.map_err(|error| PgError::server("cancelling a statement", error)),
            Err(_) => Err(PgError::Silent {
                doing: "cancelling a statement".to_owned(),
                limit: LAST_WORDS * 5,
            }),
        }
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Canceller")
    }
}

/// Why one try did not lead to a session.
enum Failure {
    /// Nothing else is worth trying: the parameters themselves are at fault.
    Fatal(PgError),
    /// The next address may do better.
    Cause(AttemptError),
}

fn is_final(cause: &AttemptError) -> bool {
    match cause {
        AttemptError::Server(error) => {
            error.code().is_some_and(|code| *code != SqlState::CANNOT_CONNECT_NOW)
        }
        AttemptError::Setup(_) => true,
        AttemptError::Io(_) | AttemptError::Timeout(_) | AttemptError::Unwanted(_) => false,
    }
}

/// The addresses of a host, one `Host` each.
async fn addresses(host: &Host, params: &Params, attempts: &mut Vec<Attempt>) -> Vec<Host> {
    if host.address.is_some() || host.socket_directory().is_some() {
        return vec![host.clone()];
    }
    let mut fail = |cause| {
        attempts.push(Attempt { to: host.to_string(), cause });
        Vec::new()
    };
    let lookup = lookup_host((host.name.as_str(), host.port));
    let limit = params.timeout.unwrap_or(Duration::from_secs(3600));
    let found = match timeout(limit, lookup).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return fail(AttemptError::Io(error)),
        Err(_) => return fail(AttemptError::Timeout(limit)),
    };
    let hosts = found.map(|a| Host { address: Some(a.ip()), ..host.clone() }).collect::<Vec<_>>();
    if hosts.is_empty() {
        return fail(AttemptError::Unwanted("the host has no address"));
    }
    hosts
}

/// One address: in the clear, with TLS, or one after the other, as `sslmode` has it.
async fn attempt(params: &Params, host: &Host, target: Target) -> Result<Session, Failure> {
    // libpq never uses TLS on a socket, whatever sslmode says.
    let mode = match host.socket_directory() {
        Some(_) => SslMode::Disable,
        None => params.tls.mode,
    };
    match mode {
        SslMode::Disable => once(params, host, target, false).await,
        SslMode::Allow => match once(params, host, target, false).await {
            Err(Failure::Cause(AttemptError::Server(error))) if refuses(&error) => {
                once(params, host, target, true).await
            }
            other => other,
        },
        SslMode::Prefer => match once(params, host, target, true).await {
            Err(Failure::Cause(AttemptError::Server(error)))
                if refuses(&error) || no_tls(&error) =>
            {
                once(params, host, target, false).await
            }
            other => other,
        },
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
            once(params, host, target, true).await
        }
    }
}

/// The server would not have this user in this way (class 28): with or without TLS may differ.
fn refuses(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("28"))
}

/// No TLS could be set up. The client library shows the kind of its errors in words alone.
fn no_tls(error: &tokio_postgres::Error) -> bool {
    error.code().is_none() && error.to_string().contains("TLS")
}

async fn once(
    params: &Params,
    host: &Host,
    target: Target,
    encrypted: bool,
) -> Result<Session, Failure> {
    let tls =
        if encrypted { Some(tls::connector(&params.tls).map_err(Failure::Fatal)?) } else { None };
    let connecting = establish(params, host, target, tls);
    match params.timeout {
        None => connecting.await,
        Some(limit) => match timeout(limit, connecting).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Cause(AttemptError::Timeout(limit))),
        },
    }
}

async fn establish(
    params: &Params,
    host: &Host,
    target: Target,
    tls: Option<MakeRustlsConnect>,
) -> Result<Session, Failure> {
    let config = config(params, host, tls.is_some());
    let server = |error| Failure::Cause(AttemptError::Server(error));
    let (sender, end) = watch::channel(End::default());
    let (client, task) = if let Some(tls) = &tls {
        let (client, connection) = config.connect(tls.clone()).await.map_err(server)?;
        (client, tokio::spawn(drive(connection, sender)))
    } else {
        let (client, connection) = config.connect(NoTls).await.map_err(server)?;
        (client, tokio::spawn(drive(connection, sender)))
    };
    let guard = Guard(task);
    let canceller = Canceller { token: client.cancel_token(), tls };
    let mut session = Session {
        client: Arc::new(client),
        guard,
        end,
        canceller,
        params: params.pinned(host),
        version: 0,
        encoding: String::new(),
    };
    session.set_up().await.map_err(|e| Failure::Cause(AttemptError::Setup(Box::new(e))))?;
    session.check_target(target).await?;
    Ok(session)
}

/// Runs a connection to its end and leaves word of it.
async fn drive<C>(mut connection: C, sender: watch::Sender<End>)
where
    C: Future<Output = Result<(), tokio_postgres::Error>> + Unpin,
{
    let error = (&mut connection).await.err().map(Arc::new);
    // Before the connection is dropped: that is what tells the client that it is over.
    sender.send_replace(End { over: true, error });
    drop(connection);
}

fn config(params: &Params, host: &Host, encrypted: bool) -> Config {
    let mut config = Config::new();
    match (host.socket_directory(), host.address) {
        (Some(directory), _) => config.host_path(directory),
        // TLS wants a name; without one the address is the name.
        (None, Some(address)) if host.name.is_empty() => {
            config.host(address.to_string()).hostaddr(address)
        }
        (None, Some(address)) => config.host(&host.name).hostaddr(address),
        (None, None) => config.host(&host.name),
    };
    config
        .port(host.port)
        .user(&params.user)
        .dbname(params.database())
        .application_name(&params.application)
        .ssl_mode(if encrypted { PgSslMode::Require } else { PgSslMode::Disable })
        .ssl_negotiation(if params.tls.direct && encrypted {
            SslNegotiation::Direct
        } else {
            SslNegotiation::Postgres
        })
        .channel_binding(match params.tls.channel_binding {
            ChannelBinding::Disable => PgChannelBinding::Disable,
            ChannelBinding::Prefer => PgChannelBinding::Prefer,
            ChannelBinding::Require => PgChannelBinding::Require,
        })
        .keepalives(params.keepalives.on)
        .keepalives_idle(params.keepalives.idle)
        .keepalives_interval(params.keepalives.interval)
        .keepalives_retries(params.keepalives.count);
    if !params.keepalives.user_timeout.is_zero() {
        config.tcp_user_timeout(params.keepalives.user_timeout);
    }
    if let Some(options) = &params.options {
        config.options(options);
    }
    if let Some(password) = params.password_for(host) {
        config.password(password.reveal());
    }
    config
}
