#!/usr/bin/env bash
# The tables by which PostgreSQL turns its encodings of one byte a character into UTF-8, asked of a
# server, as Rust: writes src/source/encodings.rs. Tables of other standards differ: what the web
# calls iso-8859-1 is PostgreSQL's WIN1252.
#
#   scripts/encodings.sh [MAJOR]     (18)
set -euo pipefail
cd "$(dirname "$0")/.."
major=${1:-18}

scripts/servers.sh "$major" >&2
bin=$(cd "${PGARK_CACHE:-.cache}/postgresql/$major/bin" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/pgark-encodings.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkfifo "$work/leash" "$work/ready"
scripts/throwaway.sh "$bin" <"$work/leash" >"$work/ready" &
exec 9>"$work/leash"
read -r word directory <"$work/ready"
[ "$word" = ready ] || exit 1

# 0 stands for a byte that is nothing; no byte of these stands for the character 0.
"$bin/psql" -XAtq -v ON_ERROR_STOP=1 -h "$directory" -U postgres postgres >"$work/tables" <<'SQL'
CREATE FUNCTION code(byte int, encoding text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    RETURN ascii(convert_from(set_byte('\x00', 0, byte), encoding));
EXCEPTION WHEN untranslatable_character OR character_not_in_repertoire THEN
    RETURN 0;
END $$;
SELECT format('    ("%s", [%s]),', encoding, string_agg(format('0x%s', to_hex(code(byte, encoding))), ', ' ORDER BY byte))
FROM unnest('{ISO_8859_5,ISO_8859_6,ISO_8859_7,ISO_8859_8,KOI8R,KOI8U,LATIN1,LATIN2,LATIN3,LATIN4,
    LATIN5,LATIN6,LATIN7,LATIN8,LATIN9,LATIN10,WIN866,WIN874,WIN1250,WIN1251,WIN1252,WIN1253,WIN1254,
    WIN1255,WIN1256,WIN1257,WIN1258}'::text[]) encoding, generate_series(128, 255) byte
GROUP BY encoding ORDER BY encoding COLLATE "C";
SQL
{
    echo '//! What the bytes from 0x80 on stand for in the encodings of one byte a character, as a server has'
    echo '//! it. Written by `scripts/encodings.sh`.'
    echo
    echo '/// Names as `client_encoding` has them, and a character for each byte; 0 if it stands for none.'
    echo "pub(super) static ENCODINGS: [(&str, [u16; 128]); $(wc -l <"$work/tables")] = ["
    cat "$work/tables"
    echo '];'
} >"$work/encodings.rs"
rustfmt --edition 2024 --config-path . "$work/encodings.rs"
cp "$work/encodings.rs" src/source/encodings.rs
