//! The settings that the copy's server gets: its own, none of the old server's.

use std::fmt::Write as _;
use std::fs;
use std::io;

use super::RescueOptions;
use super::control::Control;
use crate::pg::throwaway::Keeper;

/// Nothing of the outside is reached, nothing of the old server's runs, nothing changes but by us.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    ("dynamic_shared_memory_type", "mmap"),
    ("shared_buffers", "128MB"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("synchronous_commit", "off"),
    ("checkpoint_timeout", "1h"),
    ("max_wal_size", "1GB"),
    ("autovacuum", "off"),
    ("wal_level", "replica"),
    ("max_wal_senders", "0"),
    // What slots and origins there are has a place; nothing uses it.
    ("max_replication_slots", "1000"),
    ("max_logical_replication_workers", "0"),
    ("hot_standby", "off"),
    ("archive_mode", "off"),
    ("restore_command", ""),
    ("archive_cleanup_command", ""),
    ("recovery_end_command", ""),
    ("primary_conninfo", ""),
    ("ssl", "off"),
    ("shared_preload_libraries", ""),
    ("session_preload_libraries", ""),
    ("local_preload_libraries", ""),
    ("jit", "off"),
    ("restart_after_crash", "off"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("lc_messages", "C"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_line_prefix", ""),
    ("log_min_messages", "warning"),
];

/// Writes the files of settings into the copy.
pub(super) fn write(
    keeper: &Keeper,
    options: &RescueOptions,
    control: &Control,
    major: u32,
) -> io::Result<()> {
    let mut settings: Vec<(String, String)> =
        SETTINGS.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let mut set = |name: &str, value: String| settings.push((name.into(), value));
    // What recovery may need room for.
    let at_least = |name, least: u64| control.setting(name).max(least).to_string();
    let connections = u64::try_from(options.jobs).unwrap_or(0).saturating_mul(2).saturating_add(50);
    set("max_connections", at_least("max_connections", connections));
    set("max_worker_processes", at_least("max_worker_processes", 8));
    set("max_prepared_transactions", at_least("max_prepared_xacts", 0));
    set("max_locks_per_transaction", at_least("max_locks_per_xact", 1024));
    if major >= 17 {
        // They act on who logs in.
        set("event_triggers", "off".into());
    }
    if major >= 18 {
        set("max_active_replication_origins", "1000".into());
    }
    if options.zero_damaged_pages {
        set("zero_damaged_pages", "on".into());
        set("ignore_system_indexes", "on".into());
    }
    settings.extend(options.settings.iter().cloned());
    let mut text = String::from("# Written by pgark rescue.\n");
    for (name, value) in settings {
        let value = value.replace('\\', "\\\\").replace('\'', "''");
        _ = writeln!(text, "{name} = '{value}'");
    }
    for (name, text) in [
        ("postgresql.conf", text.as_str()),
        ("pg_hba.conf", "local all all trust\n"),
        ("pg_ident.conf", ""),
    ] {
        let path = keeper.folder().join("data").join(name);
        fs::write(&path, text)?;
        keeper.give(&path)?;
    }
    Ok(())
}

/// The libraries that the old server had loaded: what is stored may need them.
pub(super) fn libraries(texts: &[Option<&[u8]>]) -> Option<String> {
    let mut found = None;
    // The later file and the later line count.
    for text in texts.iter().flatten() {
        for line in String::from_utf8_lossy(text).lines() {
            let Some(rest) = line.trim_start().strip_prefix("shared_preload_libraries") else {
                continue;
            };
            let rest = rest.trim_start().trim_start_matches('=').trim_start();
            let value = match rest.strip_prefix('\'') {
                Some(quoted) => quoted.split('\'').next().unwrap_or_default(),
                None => rest.split(['#', ' ', '\t']).next().unwrap_or_default(),
            };
            found = Some(value.trim().to_owned());
        }
    }
    found.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_the_old_server() {
        let of = |text: &str| libraries(&[Some(text.as_bytes())]);
        assert_eq!(of("#shared_preload_libraries = 'x'\n"), None);
        assert_eq!(of("shared_preload_libraries = ''  # (change)\n"), None);
        let two = "shared_preload_libraries = 'a'\n  shared_preload_libraries='b, c' # d\n";
        assert_eq!(of(two).as_deref(), Some("b, c"));
        assert_eq!(of("shared_preload_libraries pg_cron\n").as_deref(), Some("pg_cron"));
        let later = libraries(&[Some(b"shared_preload_libraries = 'a'"), None, Some(b"x = 1")]);
        assert_eq!(later.as_deref(), Some("a"));
    }
}
