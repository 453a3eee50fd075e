#!/usr/bin/env python3
"""Checks a pgark archive (format 1) and turns it into plain SQL, without pgark.

    python3 recover.py shop.pgark --check              is every byte right?
    python3 recover.py shop.pgark --list               what is inside
    python3 recover.py shop.pgark > shop.sql           everything, as SQL
    createdb shop_again
    psql -X -v ON_ERROR_STOP=1 -d shop_again -f shop.sql
    python3 recover.py shop.pgark --table public.image > image.sql    the rows of one table
    python3 recover.py shop.pgark --extract DIR        every distinct long value as a file

A thin archive takes data from others, which are given with --base FILE (perhaps several times).
The archive may also be a directory into which `tar xf` unpacked it. Of a damaged archive nothing
is written unless --damaged is given: then what is whole is written, and what is lost is named.

Needs Python 3.8 or later and nothing else, but for the `zstd` command where Python has no
compression.zstd of its own (it has from 3.14). Written from the specification alone, which is in
the archive as format-1.md.zst. Memory: one segment of rows (about 4 MiB; longer only for one
longer row), unpacked packs of up to 128 MiB, the manifest and the two SQL files.

Exit codes: 0 good, 1 the archive is damaged, 2 wrong usage, 3 could not be completed, 4 the
archive is of a newer format.
"""

import argparse
import collections
import hashlib
import os
import re
import struct
import subprocess
import sys
import tempfile

try:
    from compression import zstd as python_zstd  # Python 3.14
except ImportError:
    python_zstd = None

SEAL_MAGIC = b"PGARK SEAL\r\n\x1a\n\0\0"
FIXED = {1: "pgark-1.txt", 2: "recover.py", 3: "format-1.md.zst",
         4: "schema/pre-data.sql", 5: "schema/post-data.sql", 6: "catalog/%s.cbor"}
CATALOG, PACK, SEGMENT, PARITY = 6, 16, 17, 32
FEATURES = ("thin",)
BASES_MAX = 32
BLOCK = 131072
ENTRY_MAX = (8 << 30) - 1
MANIFEST_MAX, ITEMS_MAX, DEPTH_MAX = 64 << 20, 4194304, 16
SCHEMA_MAX = 1 << 30
CHUNK_MAX, PACK_MAX, PACK_CHUNKS = 16 << 20, 64 << 20, 65536
SEGMENT_MAX = (1 << 30) + (4 << 20)
LABEL_MAX = 511
LISTS_MAX, LISTED_MAX = 524288, 1048576
CACHE = 128 << 20
PIECE = 1 << 20


def fields(names, **inner):
    """The fields of a map that this version knows, with those of the maps in it."""
    return dict(dict.fromkeys(names.split()), **inner)


NAME = fields("schema name")
TYPE = fields("kind", name=NAME)
KEY = fields("name columns nulls_not_distinct constraint")
SQL = fields("kind schema name owner offset length drop")
MANIFEST = fields(
    "format version features created tool large_objects",
    index=fields("digest entries chunks blobs blob_chunks segments"),
    source=fields("server_version server_version_num database encoding collate ctype "
                  "locale_provider locale snapshot_time lsn standby pg_dump_version profile "
                  "comment salvaged", dump=fields("form made"),
                  properties=fields(
                      "owner tablespace comment connection_limit template",
                      privileges=fields("grantee grantor privilege grantable"),
                      labels=fields("provider label"), settings=fields("role name value"))),
    schema=fields("pre_data_digest post_data_digest", pre_data=SQL, post_data=SQL),
    enums=fields("labels", name=NAME),
    tables=fields("kind unlogged partition_bound partition_key condition data", name=NAME,
                  columns=fields("name sql_type typmod not_null generated identity default "
                                 "storage compression", base=TYPE, element=TYPE, domain=NAME,
                                 collation=fields("deterministic", name=NAME)),
                  primary_key=KEY, unique=KEY, checks=fields("name definition validated"),
                  partition_of=NAME, inherits=NAME),
    foreign_keys=fields("name columns referenced_columns match_type validated enforced",
                        table=NAME, references=NAME),
    sequences=fields("last_value is_called increment", name=NAME,
                     owned_by=fields("column", table=NAME)),
    bases=fields("manifest created length objects bytes"),
    rules=fields("", references=fields("columns referenced_columns empty_is_none", table=NAME,
                                       references=NAME),
                 blobs=fields("column not_empty image media_type", table=NAME,
                              checksum=fields("column algorithm")),
                 counts=fields("at_least at_most", table=NAME,
                               condition=fields("column test value"))))

# A line of COPY longer than this no server takes; such rows are inserted piece by piece.
LINE_MAX = 400 << 20
SHOWN = 50


def known(value, fields):
    """A value without the fields that this version does not know."""
    if isinstance(value, list):
        return [known(one, fields) for one in value]
    if fields is None or not isinstance(value, dict):
        return value
    return {name: known(one, fields[name]) for name, one in value.items() if name in fields}


class Damage(Exception):
    """Something in the archive is not as the specification says."""

    def __init__(self, code, what):
        super().__init__(what)
        self.code = code
        self.what = what


class TooNew(Exception):
    pass


class Failed(Exception):
    """Could not be completed, whatever the archive is like."""


def sha256(data):
    return hashlib.sha256(data).digest()


def say(text):
    sys.stderr.write(text.encode("ascii", "backslashreplace").decode("ascii") + "\n")


class Findings:
    def __init__(self, quiet=False):
        self.count, self.quiet = 0, quiet

    def add(self, code, what):
        self.count += 1
        if self.quiet:
            return
        if self.count <= SHOWN:
            say("%s: %s" % (code, what))
        elif self.count == SHOWN + 1:
            say("(more is wrong; only the first %d are told)" % SHOWN)


# ---- where the bytes are ----------------------------------------------------------------------

class ArchiveFile:
    """The one file."""

    unpacked = False

    def __init__(self, path):
        self.file = open(path, "rb", buffering=0)
        self.length = os.fstat(self.file.fileno()).st_size

    def read(self, name, body, offset, count):
        """`count` bytes from `offset` of the entry whose body begins at `body`."""
        at = body + offset
        if at + count > self.length:
            raise Damage("E112", "%s reaches beyond the end of the file" % name)
        self.file.seek(at)
        parts = []
        while count:
            part = self.file.read(min(count, 64 << 20))
            if not part:
                raise Damage("E112", "%s is cut off" % name)
            parts.append(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Directory:
    """What `tar xf` made of it: headers and padding are gone, all else is there."""

    unpacked = True

    def __init__(self, path):
        self.path = path
        self.open_name = self.file = None

    def size(self, name):
        try:
            return os.stat(os.path.join(self.path, *name.split("/"))).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, name, body, offset, count):
        if self.open_name != name:
            if self.file:
                self.file.close()
            self.open_name = None
            try:
                self.file = open(os.path.join(self.path, *name.split("/")), "rb")
            except (FileNotFoundError, NotADirectoryError):
                self.file = None
                raise Damage("E112", "%s is missing" % name)
            self.open_name = name
        self.file.seek(offset)
        data = self.file.read(count) if count <= ENTRY_MAX else b""
        if len(data) != count:
            raise Damage("E112", "%s is cut off" % name)
        return data


# ---- zstd ---------------------------------------------------------------------------------------

def one_frame(body):
    """Section 8.3: exactly one zstd frame, no dictionary, a window of at most 128 MiB."""
    def need(ok, what):
        if not ok:
            raise Damage("E304", what)

    need(len(body) >= 6 and body[:4] == b"\x28\xb5\x2f\xfd", "it is no zstd frame")
    flags = body[4]
    need(not flags & 0x0B, "its frame has a dictionary or reserved bits")
    single, size_flag = flags >> 5 & 1, flags >> 6
    at = 5
    if not single:
        exponent, mantissa = body[at] >> 3, body[at] & 7
        window = (1 << 10 + exponent) + ((1 << 10 + exponent) >> 3) * mantissa
        need(window <= 128 << 20, "its window is too large")
        at += 1
    width = (1 if single else 0, 2, 4, 8)[size_flag]
    need(at + width <= len(body), "its frame is cut off")
    if single:
        content = int.from_bytes(body[at:at + width], "little") + (256 if width == 2 else 0)
        need(content <= 128 << 20, "its window is too large")
    at += width
    while True:
        need(at + 3 <= len(body), "its frame is cut off")
        block = int.from_bytes(body[at:at + 3], "little")
        kind = block >> 1 & 3
        need(kind != 3, "it has a block of a reserved kind")
        at += 3 + (1 if kind == 1 else block >> 3)
        if block & 1:
            break
    at += 4 if flags & 4 else 0
    need(at == len(body), "it is not exactly one frame")


def unzstd(body, raw_length):
    one_frame(body)
    if python_zstd:
        try:
            decoder = python_zstd.ZstdDecompressor()
            raw = decoder.decompress(body, max_length=raw_length + 1)
        except python_zstd.ZstdError as error:
            raise Damage("E304", "it does not decode: %s" % error)
        if not decoder.eof and len(raw) == raw_length:
            raw += decoder.decompress(b"", max_length=1)
    else:
        with tempfile.TemporaryFile() as source:
            source.write(body)
            source.seek(0)
            try:
                tool = subprocess.Popen(["zstd", "-d", "-q", "-c"], stdin=source,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            except OSError as error:
                raise Failed("the zstd command is needed and cannot be run: %s" % error)
            with tool:
                raw = tool.stdout.read(raw_length + 1)
                if len(raw) > raw_length:
                    tool.kill()
                words = tool.stderr.read()
        if len(raw) <= raw_length and tool.returncode:
            why = words.decode("utf-8", "replace").strip()
            raise Damage("E304", "it does not decode: %s" % why)
    if len(raw) != raw_length:
        raise Damage("E304", "it does not decode to the length its head says")
    return raw


def unraw(body, raw_length):
    """Section 8.2: stored blocks, of one form only."""
    blocks = (raw_length + BLOCK - 1) // BLOCK
    if len(body) != 14 + raw_length + 3 * blocks or not blocks:
        raise Damage("E305", "its stored body has a wrong length")
    if body[:14] != b"\x28\xb5\x2f\xfd\xc0\x38" + struct.pack("<Q", raw_length):
        raise Damage("E305", "the frame of its stored body is damaged")
    parts, at, left = [], 14, raw_length
    while left:
        size = min(left, BLOCK)
        left -= size
        if body[at:at + 3] != (size << 3 | (not left)).to_bytes(3, "little"):
            raise Damage("E305", "the frame of its stored body is damaged")
        parts.append(body[at + 3:at + 3 + size])
        at += 3 + size
    return b"".join(parts)


# ---- CBOR (section 7.1) -----------------------------------------------------------------------

class Cbor:
    def __init__(self, data):
        self.data, self.at, self.items = data, 0, 0

    def bad(self, what):
        return Damage("E202", "manifest.cbor: %s at byte %d" % (what, self.at))

    def take(self, count):
        part = self.data[self.at:self.at + count]
        if len(part) != count:
            raise self.bad("cut off")
        self.at += count
        return part

    def item(self, depth=0):
        self.items += 1
        if self.items > ITEMS_MAX or depth > DEPTH_MAX:
            raise Damage("E005", "manifest.cbor: more items or levels than the format allows")
        first = self.take(1)[0]
        major, short = first >> 5, first & 31
        if major == 7:
            if short not in (20, 21):
                raise self.bad("a value that is not allowed")
            return short == 21
        if short < 24:
            number = short
        elif short < 28:
            number = int.from_bytes(self.take(1 << short - 24), "big")
            if number < (24, 1 << 8, 1 << 16, 1 << 32)[short - 24]:
                raise self.bad("a number not in its shortest form")
        else:
            raise self.bad("an indefinite length or reserved value")
        if number >= 1 << 63:
            raise self.bad("a number that is too large")
        if major == 0:
            return number
        if major == 1:
            return -1 - number
        if major == 6:
            raise self.bad("a tag")
        if number > len(self.data) - self.at:
            raise self.bad("a length beyond the end")
        if major == 2:
            return bytes(self.take(number))
        if major == 3:
            try:
                return self.take(number).decode("utf-8")
            except UnicodeDecodeError:
                raise self.bad("text that is not UTF-8")
        if major == 4:
            return [self.item(depth + 1) for _ in range(number)]
        result, last = {}, b""
        for _ in range(number):
            start = self.at
            key = self.item(depth + 1)
            encoded = self.data[start:self.at]
            if not isinstance(key, str) or encoded <= last:
                raise self.bad("a key that is not text, or not in order")
            last = encoded
            result[key] = self.item(depth + 1)
        return result


def decode_cbor(data):
    reader = Cbor(data)
    value = reader.item()
    if reader.at != len(data):
        raise reader.bad("something follows the manifest")
    if not isinstance(value, dict):
        raise reader.bad("not a map")
    return value


NONE = object()


def field(of, name, kind, default=NONE):
    """A field of a manifest's map, of the type it must have."""
    value = of.get(name, default) if isinstance(of, dict) else NONE
    if value is default and default is not NONE:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Damage("E203", "manifest.cbor: the field %r is missing or of a wrong type" % name)
    return value


def name_of(value):
    return field(value, "schema", str), field(value, "name", str)


# ---- the archive ------------------------------------------------------------------------------

Entry = collections.namedtuple("Entry", "number kind id offset length digest name base")
Head = collections.namedtuple("Head", "length zstd raw_length body_length rows digest chunks label blobs")


def tar_header(name, length, created):
    header = bytearray(512)
    header[0:len(name)] = name.encode("ascii")
    header[100:108] = b"0000644\0"
    header[108:116] = header[116:124] = b"0000000\0"
    header[124:136] = b"%011o\0" % length
    header[136:148] = b"%011o\0" % created
    header[148:156] = b" " * 8
    header[156:157] = b"0"
    header[257:265] = b"ustar\0" + b"00"
    header[148:156] = b"%07o\0" % sum(header)
    return bytes(header)


class Seal:
    def __init__(self, copy):
        (self.magic, self.version, self.reserved, self.total, self.created, self.index_at,
         self.index_length, self.index_digest, self.manifest_at, self.manifest_length,
         self.manifest_digest, self.tail_at, self.tail_length, self.tail_digest, self.rest,
         self.check) = struct.unpack("<16sI4sQQQQ32sQQ32sQQ32s296s32s", copy)
        self.whole = sha256(copy[:480]) == self.check
        self.valid = (self.whole and self.magic == SEAL_MAGIC and not any(self.reserved)
                      and not any(self.rest))


def read_seal(source, findings):
    if source.unpacked:
        size = source.size("seal")
        if size is None:
            raise Damage("E002", "no seal here: not a pgark archive that was unpacked")
        if size != 1024:
            raise Damage("E104", "the seal has a wrong length")
        copies, header, zeros = source.read("seal", 0, 0, 1024), None, bytes(1024)
    else:
        if source.length < 2560:
            raise Damage("E002", "too short: not a pgark archive, or its end is missing")
        tail = source.read("seal", source.length - 2560, 0, 2560)
        header, copies, zeros = tail[:512], tail[512:1536], tail[1536:]
    seals = [Seal(copies[:512]), Seal(copies[512:])]
    good = [seal for seal in seals if seal.valid]
    newer = [seal for seal in seals
             if seal.whole and seal.magic == SEAL_MAGIC and seal.version > 1]
    if newer:
        raise TooNew("the archive has format version %d; this script reads 1" % newer[0].version)
    if not good:
        if any(seal.magic == SEAL_MAGIC for seal in seals):
            raise Damage("E104", "both copies of the seal are damaged")
        end = b"" if source.unpacked else source.read("seal", max(0, source.length - 8192), 0,
                                                      min(8192, source.length))
        if re.search(rb"PGARK SEAL(\r?\r\n\x1a\r\n|\n\x1a\n)", end):
            raise Damage("E104", "the ends of lines were changed, as a transfer in text mode does: "
                                 "copy it again, in binary mode")
        raise Damage("E002", "no seal at the end: not a pgark archive, or its end is missing")
    seal = good[0]
    if seal.version != 1:
        raise Damage("E104", "the seal has no version")
    if copies[:512] != copies[512:]:
        findings.add("E103", "one copy of the seal is damaged; the other is used")
    if header is not None:
        if seal.created >= 8 ** 11 or header != tar_header("seal", 1024, seal.created):
            findings.add("E105", "seal: its tar header is damaged")
        if any(zeros):
            findings.add("E102", "the file does not end in two zero blocks")
        if seal.total != source.length:
            raise Damage("E101", "the file has %d bytes, its seal says %d"
                         % (source.length, seal.total))
    return seal


class Archive:
    def __init__(self, path, findings, bases=()):
        self.findings = findings
        self.source = Directory(path) if os.path.isdir(path) else ArchiveFile(path)
        self.seal = seal = read_seal(self.source, findings)
        if seal.created >= 8 ** 11:
            raise Damage("E104", "the seal's time does not fit a tar header")
        self.read_manifest()
        self.find_bases(bases)
        self.read_index()
        self.cache, self.cached = collections.OrderedDict(), 0

    def part(self, name, at, length, limit):
        if length > limit:
            raise Damage("E005", "%s is longer than the format allows" % name)
        if self.source.unpacked and self.source.size(name) != length:
            raise Damage("E112", "%s is missing or has a wrong length" % name)
        return self.source.read(name, at, 0, length)

    def read_manifest(self):
        seal = self.seal
        data = self.part("manifest.cbor", seal.manifest_at, seal.manifest_length, MANIFEST_MAX)
        if sha256(data) != seal.manifest_digest:
            raise Damage("E201", "manifest.cbor does not match its digest")
        self.manifest = manifest = decode_cbor(data)
        if manifest.get("format") != "pgark":
            raise Damage("E203", "manifest.cbor: not of a pgark archive")
        if field(manifest, "version", int) != 1:
            raise TooNew("the archive has format version %d; this script reads 1"
                         % manifest["version"])
        unknown = [str(name) for name in field(manifest, "features", list)
                   if name not in FEATURES]
        if unknown:
            raise TooNew("the archive needs features this script lacks: " + ", ".join(unknown))
        if field(manifest, "created", int) != seal.created:
            raise Damage("E206", "manifest and seal have different creation times")
        self.encoding = field(field(manifest, "source", dict), "encoding", str)

    def find_bases(self, paths):
        """Of a thin archive: which of the files given is which of its bases."""
        manifest = self.manifest
        self.named = field(manifest, "bases", list, [])
        if ("thin" in manifest["features"]) != bool(self.named):
            raise Damage("E203", "manifest.cbor: the feature thin is there exactly if bases are")
        if len(self.named) > BASES_MAX:
            raise Damage("E005", "manifest.cbor: more bases than the format allows")
        given = {}
        for path in paths:
            source = Directory(path) if os.path.isdir(path) else ArchiveFile(path)
            try:
                # What else is wrong with it is another matter than which one it is.
                given[read_seal(source, Findings(quiet=True)).manifest_digest] = source
            except Damage as damage:
                raise Failed("E211: %s is no base: %s" % (path, damage.what))
        self.bases = [given.get(field(base, "manifest", bytes)) for base in self.named]
        self.strangers = len(given) > sum(base is not None for base in self.bases)

    def need_bases(self):
        for base, source in zip(self.named, self.bases):
            if field(base, "objects", int) and source is None:
                raise Failed("%s: the archive is thin and needs the one of second %d since 1970 "
                             "with the manifest %s, %d bytes long: give it with --base%s"
                             % ("E211" if self.strangers else "E210", field(base, "created", int),
                                base["manifest"].hex(), field(base, "length", int),
                                "; what was given is another" if self.strangers else ""))

    def read_index(self):
        seal = self.seal
        name = "index"
        if self.source.unpacked and self.source.size(name) != seal.index_length:
            raise Damage("E112", "index is missing or has a wrong length")
        if seal.index_length < 64:
            raise Damage("E205", "index: too short")
        hasher, at = hashlib.sha256(), 0
        while at < seal.index_length:
            part = self.index_bytes(at, min(PIECE, seal.index_length - at))
            hasher.update(part)
            at += len(part)
        if hasher.digest() != seal.index_digest:
            raise Damage("E204", "index does not match its digest")
        magic, version, reserved, *counts, rest = struct.unpack(
            "<8sI4s5Q8s", self.index_bytes(0, 64))
        if magic != b"PGARKIDX" or any(reserved) or any(rest):
            raise Damage("E205", "index: malformed header")
        if version != 1:
            raise TooNew("the index has version %d; this script reads 1" % version)
        self.counts = dict(zip(("entries", "chunks", "blobs", "blob_chunks", "segments"), counts))
        if counts[0] >= 1 << 32 or counts[1] >= 1 << 32:
            raise Damage("E005", "index: more records than the format allows")
        self.sections, at = {}, 64
        for section, width in (("entries", 56), ("chunks", 44), ("blobs", 52),
                               ("blob_chunks", 4), ("segments", 8)):
            self.sections[section] = (at, width)
            at += width * self.counts[section]
        if at != seal.index_length:
            raise Damage("E205", "index: its length is not that of its records")
        told = field(self.manifest, "index", dict)
        if field(told, "digest", bytes) != seal.index_digest or any(
                field(told, key, int) != count for key, count in self.counts.items()):
            raise Damage("E206", "the index is not the one the manifest describes")

    def index_bytes(self, at, count):
        return self.source.read("index", self.seal.index_at, at, count)

    def record(self, section, number):
        at, width = self.sections[section]
        if number >= self.counts[section]:
            raise Damage("E205", "index: there is no number %d in %s" % (number, section))
        return self.index_bytes(at + number * width, width)

    def records(self, section):
        """All records in order, read in pieces."""
        at, width = self.sections[section]
        step = PIECE // width
        for first in range(0, self.counts[section], step):
            count = min(step, self.counts[section] - first)
            data = self.index_bytes(at + first * width, count * width)
            for place in range(count):
                yield data[place * width:(place + 1) * width]

    def find(self, section, digest):
        """The record with this digest; binary search, then the last steps in memory."""
        at, width = self.sections[section]
        low, high = 0, self.counts[section]
        while high - low > 32:
            middle = (low + high) // 2
            if self.index_bytes(at + middle * width, 32) <= digest:
                low = middle
            else:
                high = middle
        data = self.index_bytes(at + low * width, (high - low) * width)
        for place in range(0, len(data), width):
            if data[place:place + 32] == digest:
                return data[place:place + width]
        return None

    def entry(self, number):
        return self.as_entry(number, self.record("entries", number))

    def as_entry(self, number, record):
        kind, base, ident, offset, length, digest = struct.unpack("<HHIQQ32s", record)
        if kind == CATALOG:
            name = FIXED[kind] % digest.hex()
        elif kind in FIXED:
            name = FIXED[kind]
        elif kind in (PACK, SEGMENT):
            name = "objects/%s.zst" % digest.hex()
        elif kind == PARITY:
            name = "parity/%08d.rs" % ident
        else:
            raise Damage("E111", "index: entry %d is of an unknown kind, %d" % (number, kind))
        if ident and kind != PARITY:
            raise Damage("E205", "index: the record of %s has a number" % name)
        if offset >= 1 << 56 or (base and kind not in (PACK, SEGMENT)):
            raise Damage("E205", "index: the record of %s is impossible" % name)
        if base > len(self.named):
            raise Damage("E206", "index: %s is in base %d, which is not named" % (name, base))
        if length > ENTRY_MAX:
            raise Damage("E005", "%s is longer than the format allows" % name)
        return Entry(number, kind, ident, offset, length, digest, name, base)

    def body(self, entry, offset, count):
        source = self.bases[entry.base - 1] if entry.base else self.source
        return source.read(entry.name, entry.offset, offset, count)

    # -- objects

    def head(self, entry):
        if entry.length < 88:
            raise Damage("E302", "%s: too short for a head" % entry.name)
        fixed = self.body(entry, 0, 88)
        (frame, size, magic, kind, body_kind, label_length, count, raw_length, body_length, rows,
         digest, lists, listed) = struct.unpack("<II8sBBHIQQQ32sII", fixed)
        length = size + 8
        if length > min(entry.length, 64 << 20):
            raise Damage("E301", "%s: its head is damaged" % entry.name)
        data = self.body(entry, 0, length)
        if sha256(data) != entry.digest:
            raise Damage("E301", "%s: its head does not match its name" % entry.name)

        def need(ok):
            if not ok:
                raise Damage("E302", "%s: its head is malformed" % entry.name)

        need(frame == 0x184D2A5B and magic == b"PGARKOB1" and kind == entry.kind)
        need(size == 80 + 36 * count + label_length + 44 * lists + 32 * listed)
        need(label_length <= LABEL_MAX and lists <= LISTS_MAX and listed <= LISTED_MAX)
        need(body_kind in (0, 1) and length + body_length == entry.length)
        chunks = []
        for at in range(88, 88 + 36 * count, 36):
            chunks.append((data[at:at + 32], struct.unpack_from("<I", data, at + 32)[0]))
        at = 88 + 36 * count + label_length
        label = data[88 + 36 * count:at]
        blobs, place, last = [], at + 44 * lists, b""
        for at in range(at, place, 44):
            blob, blob_length, many = struct.unpack_from("<32sQI", data, at)
            need(blob > last and many >= 2)
            last = blob
            blobs.append((blob, blob_length, data[place:place + 32 * many]))
            place += 32 * many
        need(place == length)
        need(all(size for _, size in chunks) and sum(size for _, size in chunks) == raw_length)
        if kind == PACK:
            need(1 <= count <= PACK_CHUNKS and raw_length <= PACK_MAX and not rows
                 and not label and not blobs)
            need(all(size <= CHUNK_MAX for _, size in chunks))
        else:
            need(count == 1 and rows and raw_length <= SEGMENT_MAX and label.count(b"\0") == 1)
        stored = 14 + raw_length + 3 * ((raw_length + BLOCK - 1) // BLOCK)
        if body_kind:
            need(body_length < stored)
        else:
            need(body_length == stored and not any(digest))
        return Head(length, body_kind, raw_length, body_length, rows, digest, chunks, label,
                    blobs)

    def raw(self, entry, head):
        """An object's raw bytes, every chunk checked."""
        body = self.body(entry, head.length, head.body_length)
        try:
            if head.zstd:
                if sha256(body) != head.digest:
                    raise Damage("E303", "its body does not match its digest")
                raw = unzstd(body, head.raw_length)
            else:
                raw = unraw(body, head.raw_length)
        except Damage as damage:
            raise Damage(damage.code, "%s: %s" % (entry.name, damage.what))
        view, at = memoryview(raw), 0
        for digest, size in head.chunks:
            if sha256(view[at:at + size]) != digest:
                raise Damage("E306", "%s: the chunk %s does not match its digest"
                             % (entry.name, digest.hex()))
            at += size
        return raw

    def pack(self, number):
        if number in self.cache:
            self.cache.move_to_end(number)
            return self.cache[number]
        entry = self.entry(number)
        if entry.kind != PACK:
            raise Damage("E307", "index: a chunk is said to be in %s" % entry.name)
        raw = self.raw(entry, self.head(entry))
        self.cache[number] = raw
        self.cached += len(raw)
        while self.cached > CACHE and len(self.cache) > 1:
            self.cached -= len(self.cache.popitem(last=False)[1])
        return raw

    def chunk(self, record):
        digest, number, offset, length = struct.unpack("<32sIII", record)
        data = self.pack(number)[offset:offset + length]
        if len(data) != length or sha256(data) != digest:
            raise Damage("E307", "index: the chunk %s is not where it is said to be"
                         % digest.hex())
        return data

    def blob_record(self, digest):
        """Length, first blob chunk, number of chunks; of a single chunk its record; or None."""
        record = self.find("blobs", digest)
        if record:
            return struct.unpack("<QQI", record[32:]) + (None,)
        record = self.find("chunks", digest)
        if record:
            return struct.unpack("<I", record[40:])[0], 0, 1, record
        return None

    def blob(self, digest, length):
        """A blob's bytes in pieces; the last step is the check of the whole."""
        found = self.blob_record(digest)
        if found is None:
            raise Damage("E308", "the value %s is not in the archive" % digest.hex())
        total, first, count, single = found
        if total != length:
            raise Damage("E309", "the value %s has %d bytes, not %d"
                         % (digest.hex(), total, length))
        if single:
            yield self.chunk(single)
            return
        hasher, done = hashlib.sha256(), 0
        for place in range(first, first + count):
            number = struct.unpack("<I", self.record("blob_chunks", place))[0]
            part = self.chunk(self.record("chunks", number))
            hasher.update(part)
            done += len(part)
            if done > length:
                break
            yield part
        if done != length or hasher.digest() != digest:
            raise Damage("E310", "the value %s does not match its digest" % digest.hex())

    # -- tables

    def tables(self):
        """Name, columns and data of each table that has rows, in order."""
        for table in field(self.manifest, "tables", list):
            name = name_of(field(table, "name", dict))
            columns = []
            for column in field(table, "columns", list):
                if field(column, "generated", bool, False):
                    continue
                base = name_of(field(field(column, "base", dict), "name", dict))
                columns.append((field(column, "name", str), base == ("pg_catalog", "bytea")))
            if field(table, "kind", str) != "partitioned":
                yield name, columns, field(table, "data", dict)
            elif "data" in table:
                raise Damage("E207", "manifest.cbor: a partitioned table has data")
        if "large_objects" in self.manifest:
            columns = [("oid", False), ("owner", False), ("acl", False), ("comment", False),
                       ("data", True)]
            yield None, columns, field(self.manifest, "large_objects", dict)

    def segments(self, name, data):
        """The row text of each segment; a Damage in place of one that is lost."""
        for part in self.parts(name, data):
            yield part if isinstance(part, Damage) else part[2]

    def parts(self, name, data):
        """Of each segment its entry, its head and its row text; a Damage if it is lost."""
        label = b"\0" if name is None else ("%s\0%s" % name).encode("utf-8")
        first, count = field(data, "first_segment", int), field(data, "segments", int)
        for number in range(first, first + count):
            try:
                at, rows = struct.unpack("<II", self.record("segments", number))
                entry = self.entry(at)
                if entry.kind != SEGMENT:
                    raise Damage("E205", "index: segment %d is said to be in %s"
                                 % (number, entry.name))
                head = self.head(entry)
                if head.label != label or head.rows != rows:
                    raise Damage("E402", "%s: of another table or of other rows than the index "
                                         "says" % entry.name)
                text = self.raw(entry, head)
                if not text.endswith(b"\n") or text.count(b"\n") != rows:
                    raise Damage("E402", "%s: not as many rows as its head says" % entry.name)
            except Damage as damage:
                yield damage
            else:
                yield entry, head, text

    def listed(self, entry, head):
        """The blobs of many chunks in a segment's head are those of the index."""
        for digest, length, chunks in head.blobs:
            record = self.find("blobs", digest)
            same = False
            if record:
                _, known, first, count = struct.unpack("<32sQQI", record)
                numbers = [struct.unpack("<I", self.record("blob_chunks", first + at))[0]
                           for at in range(count)]
                same = known == length and chunks == b"".join(
                    self.record("chunks", number)[:32] for number in numbers)
            if not same:
                raise Damage("E315", "%s: the index does not have %s as its head lists it"
                             % (entry.name, digest.hex()))


ESCAPE = re.compile(rb"\\(.?)", re.DOTALL)
REFERENCE = re.compile(rb"#([0-9a-f]{64}):([1-9][0-9]{0,18})")
INLINE = re.compile(rb"\\\\x(?:[0-9a-f]{2}){0,64}")
ESCAPES = {b"\\": b"\\", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t",
           b"v": b"\v"}


def check_escapes(row):
    for match in ESCAPE.finditer(row):
        if match.group(1) == b"N":
            before, after = row[match.start() - 1:match.start()], row[match.end():match.end() + 1]
            if (match.start() == 0 or before == b"\t") and after in (b"", b"\t"):
                continue
        elif match.group(1) in ESCAPES:
            continue
        raise Damage("E401", "a backslash before something it does not stand before")


def unescape(value):
    """What a field stands for; None for NULL."""
    if value == b"\\N":
        return None
    return ESCAPE.sub(lambda match: ESCAPES[match.group(1)], value)


def reference(value):
    """(digest, length) of a reference; None for NULL or a short value."""
    if value == b"\\N" or INLINE.fullmatch(value):
        return None
    match = REFERENCE.fullmatch(value)
    if not match or int(match.group(2)) <= 64:
        raise Damage("E401", "a bytea field of no known form")
    return bytes.fromhex(match.group(1).decode("ascii")), int(match.group(2))


def fields_of(row, columns):
    fields = row.split(b"\t") if columns else ([] if not row else [row])
    if len(fields) != len(columns):
        raise Damage("E402", "a row has %d fields, not %d" % (len(fields), len(columns)))
    if b"\\" in row:
        check_escapes(row)
    return fields


def is_utf8(data):
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def shown(name):
    return "large objects" if name is None else "%s.%s" % name


# ---- checking ---------------------------------------------------------------------------------

class Checker:
    def __init__(self, archive):
        self.archive, self.findings = archive, archive.findings

    def tell(self, damage, where=""):
        self.findings.add(damage.code, where + damage.what)

    def all(self):
        self.layout()
        self.objects()
        self.blobs()
        self.schema()
        self.rows()

    def place(self, name, offset, length, cursor):
        """One entry's header, place and padding; where the next one begins."""
        source = self.archive.source
        if source.unpacked:
            if source.size(name) != length:
                self.findings.add("E112", "%s is missing or has a wrong length" % name)
            return 0
        if offset != cursor + 512:
            self.findings.add("E107" if offset > cursor + 512 else "E108",
                              "%s does not begin where the entry before it ends" % name)
        try:
            if offset < 512:
                raise Damage("E205", "%s has an impossible place" % name)
            header = source.read(name, offset - 512, 0, 512)
            if header != tar_header(name, length, self.archive.seal.created):
                self.findings.add("E105", "%s: its tar header is damaged" % name)
            padding = -length % 512
            if any(source.read(name, offset, length, padding)):
                self.findings.add("E106", "%s: the padding after it is not zero" % name)
        except Damage as damage:
            self.tell(damage)
        return offset + length + -length % 512

    def layout(self):
        archive, cursor, expected = self.archive, 0, sorted(FIXED)
        seen, last, taken = set(), (0, 0), [[0, 0] for _ in archive.named]
        for number, record in enumerate(archive.records("entries")):
            try:
                entry = archive.as_entry(number, record)
            except Damage as damage:
                self.tell(damage)
                continue
            if (entry.base, entry.offset) <= last and (entry.base or last[0]):
                self.findings.add("E205", "index: %s is not in the order of bases" % entry.name)
            last = max(last, (entry.base, entry.offset)) if entry.base else last
            if entry.base:
                taken[entry.base - 1][0] += 1
                taken[entry.base - 1][1] += entry.length
            elif entry.kind in FIXED:
                if not expected or expected[0] != entry.kind:
                    self.findings.add("E109", "%s is not where it must be" % entry.name)
                if entry.kind in expected:
                    expected.remove(entry.kind)
            elif entry.kind != PARITY and expected:
                self.findings.add("E109", "%s comes before entries that must precede it"
                                  % entry.name)
            # Names of objects are kept by eight bytes of their digest; all are checked as files.
            mark = (entry.kind == PARITY, entry.id, entry.digest[:8])
            if entry.kind not in FIXED and mark in seen:
                self.findings.add("E110", "%s is there twice" % entry.name)
            seen.add(mark)
            if entry.base:
                continue
            cursor = self.place(entry.name, entry.offset, entry.length, cursor)
            if entry.kind in FIXED or entry.kind == PARITY:
                self.whole(entry)
        for kind in expected:
            self.findings.add("E112", "%s is missing" % FIXED[kind])
        for number, (base, sums) in enumerate(zip(archive.named, taken), 1):
            if sums != [field(base, "objects", int), field(base, "bytes", int)]:
                self.findings.add("E206", "manifest.cbor: not what is taken from base %d" % number)
        seal = archive.seal
        cursor = self.place("index", seal.index_at, seal.index_length, cursor)
        cursor = self.place("manifest.cbor", seal.manifest_at, seal.manifest_length, cursor)
        if seal.tail_length:
            cursor = self.place("parity/tail.rs", seal.tail_at, seal.tail_length, cursor)
            self.whole(Entry(0, PARITY, 0, seal.tail_at, seal.tail_length, seal.tail_digest,
                             "parity/tail.rs", 0))
        if not archive.source.unpacked and cursor != archive.source.length - 2560:
            self.findings.add("E107" if cursor < archive.source.length - 2560 else "E108",
                              "seal does not begin where the entry before it ends")

    def whole(self, entry):
        try:
            hasher, at = hashlib.sha256(), 0
            while at < entry.length:
                part = self.archive.body(entry, at, min(8 << 20, entry.length - at))
                hasher.update(part)
                at += len(part)
            if hasher.digest() != entry.digest:
                raise Damage("E901" if entry.kind == PARITY else "E113",
                             "%s does not match its digest" % entry.name)
        except Damage as damage:
            self.tell(damage)

    def objects(self):
        """Every pack, and that its chunks are those of the index."""
        archive, chunks, whole = self.archive, 0, True
        named = set()
        for record in archive.records("segments"):
            named.add(struct.unpack("<I", record[:4])[0])
        for number, record in enumerate(archive.records("entries")):
            try:
                entry = archive.as_entry(number, record)
            except Damage:
                continue
            if entry.kind == SEGMENT and number not in named:
                self.findings.add("E314", "%s is named by nothing" % entry.name)
            if entry.kind == SEGMENT:
                try:
                    archive.listed(entry, archive.head(entry))
                except Damage as damage:
                    # All else is told where its rows are.
                    if damage.code == "E315":
                        self.tell(damage)
            if entry.kind != PACK:
                continue
            try:
                head = archive.head(entry)
                archive.raw(entry, head)
                at, before = 0, chunks
                for digest, size in head.chunks:
                    found = archive.find("chunks", digest)
                    # Of what a base has, the index has what is used.
                    if entry.base and (not found or found[32:36] != struct.pack("<I", number)):
                        at += size
                        continue
                    if not found or found[32:] != struct.pack("<III", number, at, size):
                        raise Damage("E307", "index: the chunk %s has no right record"
                                     % digest.hex())
                    at += size
                    chunks += 1
                if chunks == before:
                    self.findings.add("E314", "%s is named by nothing" % entry.name)
            except Damage as damage:
                self.tell(damage)
                whole = False
        if whole and chunks != archive.counts["chunks"]:
            self.findings.add("E307", "index: %d chunks, the packs hold %d"
                              % (archive.counts["chunks"], chunks))

    def blobs(self):
        archive, last, place = self.archive, b"", 0
        for record in archive.records("chunks"):
            if record[:32] <= last:
                self.findings.add("E205", "index: its chunks are not in order")
                break
            last = record[:32]
        last = b""
        for record in archive.records("blobs"):
            digest, length, first, count = struct.unpack("<32sQQI", record)
            if digest <= last or first != place or count < 2:
                self.findings.add("E205", "index: the record of the value %s is malformed"
                                  % digest.hex())
            last, place = digest, first + count
            try:
                for _ in archive.blob(digest, length):
                    pass
            except Damage as damage:
                self.tell(damage)
        if place != archive.counts["blob_chunks"]:
            self.findings.add("E205", "index: blob chunks that belong to no value")

    def schema(self):
        archive = self.archive
        lengths, digests = {}, {}
        for number, record in enumerate(archive.records("entries")):
            if number == 64:
                break
            entry = archive.as_entry(number, record)
            lengths.setdefault(entry.kind, entry.length)
            digests.setdefault(entry.kind, entry.digest)
            if entry.kind == CATALOG:
                self.catalog(entry)
        for kind, name in ((4, "pre_data"), (5, "post_data")):
            at = 0
            for item in field(field(archive.manifest, "schema", dict), name, list):
                if field(item, "offset", int) != at or field(item, "length", int) < 0:
                    at = -1
                    break
                at += item["length"]
            if at != lengths.get(kind, 0):
                self.findings.add("E501", "the objects of %s do not cover it" % FIXED[kind])
            self.statements(kind, name)
            if archive.manifest["schema"].get(name + "_digest") != digests.get(kind):
                self.findings.add("E206", "manifest.cbor: another digest of %s than the index's"
                                  % FIXED[kind])

    def statements(self, kind, name):
        """Each statement is UTF-8, unless the database has no encoding."""
        archive = self.archive
        if archive.encoding == "SQL_ASCII":
            return
        try:
            entry = next((entry for entry in map(archive.entry, range(
                min(archive.counts["entries"], 64))) if entry.kind == kind), None)
            if entry is None or entry.length > SCHEMA_MAX:
                return
            text = archive.body(entry, 0, entry.length)
        except Damage:
            return  # It is told where entries are checked.
        for item in archive.manifest["schema"][name]:
            at, length = field(item, "offset", int), field(item, "length", int)
            if at >= 0 <= length and not is_utf8(text[at:at + length]):
                self.findings.add("E502", "%s: the statements of %s are not UTF-8"
                                  % (FIXED[kind], " ".join(field(item, "name", str).split())))

    def catalog(self, entry):
        """The catalog is the manifest without what was not known before the rows."""
        manifest = self.archive.manifest
        try:
            if entry.length > MANIFEST_MAX:
                raise Damage("E005", "%s is longer than the format allows" % entry.name)
            catalog = decode_cbor(self.archive.body(entry, 0, entry.length))
            want = dict(manifest)
            want["index"] = {key: bytes(32) if key == "digest" else 0 for key in manifest["index"]}
            want["tables"] = [{key: value for key, value in table.items() if key != "data"}
                              for table in manifest["tables"]]
            want.pop("large_objects", None)
            if "bases" in want:
                want["bases"] = [dict(base, objects=0, bytes=0) for base in want["bases"]]
            if "salvaged" in want["source"]:
                want["source"] = dict(want["source"], salvaged="")
            # Fields of a later version are ignored here as everywhere.
            want, catalog = known(want, MANIFEST), known(catalog, MANIFEST)
            # Sequences may have gone on.
            now = ("last_value", "is_called")
            for side in (want, catalog):
                side["sequences"] = [{key: value for key, value in one.items() if key not in now}
                                     for one in field(side, "sequences", list)]
            if catalog != want:
                raise Damage("E208", "%s does not say what the manifest says" % entry.name)
        except Damage as damage:
            # What is not as it was written is told elsewhere.
            if sha256(self.archive.body(entry, 0, entry.length)) == entry.digest:
                self.tell(damage)

    def rows(self):
        archive, last, place = self.archive, None, 0
        for name, columns, data in archive.tables():
            where = shown(name) + ": "
            if name is not None:
                # By bytes, as everything in the format is.
                order = tuple(part.encode("utf-8") for part in name)
                if last is not None and order <= last:
                    self.findings.add("E207", "manifest.cbor: the tables are not in order")
                last = order
            if field(data, "first_segment", int) != place:
                self.findings.add("E207", where + "its segments do not follow those before")
            place = field(data, "first_segment", int) + field(data, "segments", int)
            self.table(where, name, columns, data)
        if place != archive.counts["segments"]:
            self.findings.add("E207", "index: segments that belong to no table")

    def table(self, where, name, columns, data):
        rows = total = size = blobs = blob_bytes = 0
        binary = [at for at, (_, is_binary) in enumerate(columns) if is_binary]
        whole, known = True, collections.OrderedDict()
        any_bytes = self.archive.encoding == "SQL_ASCII"
        for part in self.archive.parts(name, data):
            if isinstance(part, Damage):
                self.tell(part, where)
                whole = False
                continue
            entry, head, text = part
            size += len(text)
            valid, of_many, readable = any_bytes or is_utf8(text), set(), True
            for row in text[:-1].split(b"\n"):
                rows += 1
                if not valid and not is_utf8(row):
                    self.findings.add("E403", "%srow %d: text that is not UTF-8" % (where, rows))
                total += int.from_bytes(sha256(row), "little")
                try:
                    parts = fields_of(row, columns)
                    for at in binary:
                        found = reference(parts[at])
                        if not found:
                            continue
                        blobs += 1
                        blob_bytes += found[1]
                        if found not in known:
                            self.resolves(*found)
                            # Whether it has many chunks, and so stands in the head.
                            known[found] = self.archive.find("blobs", found[0]) is not None
                        if known[found]:
                            of_many.add(found[0])
                        if len(known) > 100000:
                            known.popitem(last=False)
                except Damage as damage:
                    self.tell(damage, "%srow %d: " % (where, rows))
                    readable = False
            if readable and of_many != {digest for digest, _, _ in head.blobs}:
                self.findings.add("E315", "%s%s: its head lists other values than its rows refer to"
                                  % (where, entry.name))
        if not whole:
            return
        digest = (total % (1 << 256)).to_bytes(32, "little")
        if rows != field(data, "rows", int):
            self.findings.add("E407", where + "%d rows, the manifest says %d" % (rows, data["rows"]))
        if digest != field(data, "digest", bytes):
            self.findings.add("E408", where + "its rows do not match the table's digest")
        if (size, blobs, blob_bytes) != tuple(
                field(data, key, int) for key in ("bytes", "blobs", "blob_bytes")):
            self.findings.add("E410", where + "its statistics are not those of the manifest")

    def resolves(self, digest, length):
        found = self.archive.blob_record(digest)
        if found is None:
            raise Damage("E308", "the value %s is not in the archive" % digest.hex())
        if found[0] != length:
            raise Damage("E309", "the value %s has %d bytes, not %d"
                         % (digest.hex(), found[0], length))


# ---- SQL --------------------------------------------------------------------------------------

def quoted(name):
    return '"%s"' % name.replace('"', '""')


def literal(text):
    """Under standard_conforming_strings."""
    return "'%s'" % text.replace("'", "''")


class Sql:
    PIECES = "pg_temp.pgark_pieces"

    def __init__(self, archive, out):
        self.archive, self.out, self.lost = archive, out, archive.findings
        self.pieces = False
        self.bytes_encoding = "utf-8" if archive.encoding != "SQL_ASCII" else "latin-1"

    def write(self, text):
        self.out.write(text if isinstance(text, bytes) else text.encode("utf-8"))

    def preamble(self):
        encoding = "SQL_ASCII" if self.archive.encoding == "SQL_ASCII" else "UTF8"
        source = field(self.archive.manifest, "source", dict)
        self.write("-- From the pgark archive of database %s, snapshot of %s, PostgreSQL %s.\n"
                   "-- Load it into a new, empty database: psql -X -v ON_ERROR_STOP=1 -f FILE\n\n"
                   % tuple(" ".join(field(source, key, str).split()) for key in
                           ("database", "snapshot_time", "server_version")))
        for name, value in (
                ("statement_timeout", "0"), ("lock_timeout", "0"),
                ("idle_in_transaction_session_timeout", "0"),
                ("client_encoding", "'%s'" % encoding), ("standard_conforming_strings", "on"),
                ("check_function_bodies", "off"), ("xmloption", "content"),
                ("client_min_messages", "warning"), ("row_security", "off"),
                ("search_path", "''"), ("default_tablespace", "''"),
                ("default_table_access_method", "heap"), ("DateStyle", "'ISO, MDY'"),
                ("IntervalStyle", "postgres"), ("TimeZone", "'UTC'")):
            self.write("SET %s = %s;\n" % (name, value))
        self.write("\n")

    def schema(self, kind, name):
        """The slices, each told from the next one by an empty line."""
        entry = next((entry for entry in map(self.archive.entry, range(
            self.archive.counts["entries"])) if entry.kind == kind), None)
        if entry is None or entry.length > SCHEMA_MAX:
            raise Damage("E112", "%s is missing or too long" % FIXED[kind])
        text = self.archive.body(entry, 0, entry.length)
        if sha256(text) != entry.digest:
            raise Damage("E113", "%s does not match its digest" % entry.name)
        for item in field(field(self.archive.manifest, "schema", dict), name, list):
            at = field(item, "offset", int)
            self.write(text[at:at + field(item, "length", int)] + b"\n")
        self.write("\n")

    def rows(self, wanted=None):
        for name, columns, data in self.archive.tables():
            if wanted is not None and name not in wanted:
                continue
            if not field(data, "rows", int):
                continue
            if name is None:
                self.large_objects(columns, data)
            else:
                self.table(name, columns, data)

    def table(self, name, columns, data):
        target = "%s.%s" % (quoted(name[0]), quoted(name[1]))
        listed = "(%s) " % ", ".join(quoted(column) for column, _ in columns) if columns else ""
        copy = "COPY %s %sFROM stdin;\n" % (target, listed)
        binary = [at for at, (_, is_binary) in enumerate(columns) if is_binary]
        self.write("\n-- %s: %d rows\n" % (" ".join(shown(name).split()), data["rows"]))
        self.write(copy)
        for text in self.archive.segments(name, data):
            if isinstance(text, Damage):
                self.lost.add(text.code, "%s: rows lost: %s" % (shown(name), text.what))
                continue
            if not binary:
                self.write(text)
                continue
            for row in text[:-1].split(b"\n"):
                try:
                    fields = fields_of(row, columns)
                    found = {at: reference(fields[at]) for at in binary}
                    found = {at: blob for at, blob in found.items() if blob}
                    self.check(found)
                except Damage as damage:
                    self.lost.add(damage.code, "%s: a row lost, beginning %r: %s"
                                  % (shown(name), row[:60], damage.what))
                    continue
                if len(row) + 2 * sum(length for _, length in found.values()) > LINE_MAX:
                    self.write("\\.\n")
                    self.insert(target, listed, fields, found)
                    self.write(copy)
                    continue
                for at, value in enumerate(fields):
                    if at:
                        self.out.write(b"\t")
                    if at in found:
                        self.out.write(b"\\\\x")
                        for part in self.archive.blob(*found[at]):
                            self.out.write(part.hex().encode("ascii"))
                    else:
                        self.out.write(value)
                self.out.write(b"\n")
        self.write("\\.\n")

    def check(self, found):
        """All of a row's values before its first byte is written: half a row helps nobody."""
        for digest, length in found.values():
            for _ in self.archive.blob(digest, length):
                pass

    def send(self, values):
        """Long values into a table of pieces: (number, digest, length) each."""
        if not self.pieces:
            self.write("CREATE TEMPORARY TABLE pgark_pieces "
                       "(value integer, n integer, piece bytea);\n")
            self.pieces = True
        self.write("TRUNCATE %s;\nCOPY %s (value, n, piece) FROM stdin;\n"
                   % (self.PIECES, self.PIECES))
        for number, digest, length in values:
            for n, part in enumerate(self.archive.blob(digest, length)):
                self.write("%d\t%d\t\\\\x%s\n" % (number, n, part.hex()))
        self.write("\\.\n")

    def insert(self, target, listed, fields, found):
        self.send([(at,) + blob for at, blob in found.items()])
        self.write("INSERT INTO %s %sOVERRIDING SYSTEM VALUE VALUES (" % (target, listed))
        for at, value in enumerate(fields):
            if at:
                self.write(", ")
            if at in found:
                self.write("(SELECT pg_catalog.string_agg(piece, ''::pg_catalog.bytea ORDER BY n)"
                           " FROM %s WHERE value = %d)" % (self.PIECES, at))
            else:
                plain = unescape(value)
                self.write("NULL" if plain is None else b"'" + plain.replace(b"'", b"''") + b"'")
        self.write(");\nTRUNCATE %s;\n" % self.PIECES)

    def large_objects(self, columns, data):
        self.write("\n-- large objects: %d\n" % data["rows"])
        for text in self.archive.segments(None, data):
            if isinstance(text, Damage):
                self.lost.add(text.code, "large objects lost: " + text.what)
                continue
            for row in text[:-1].split(b"\n"):
                try:
                    self.large_object(fields_of(row, columns))
                except Damage as damage:
                    self.lost.add(damage.code, "a large object lost, beginning %r: %s"
                                  % (row[:60], damage.what))

    def large_object(self, fields):
        oid, owner, acl, comment = (unescape(value) for value in fields[:4])
        if oid is None or not oid.isdigit() or owner is None:
            raise Damage("E401", "a large object without oid or owner")
        number = int(oid)
        blob = reference(fields[4])
        if blob:
            self.check({4: blob})
        words = owner.decode(self.bytes_encoding, "replace")
        self.write("BEGIN;\nSELECT pg_catalog.lo_create('%d');\n" % number)
        if blob:
            at = 0
            for part in self.archive.blob(*blob):
                for start in range(0, len(part), PIECE):
                    piece = part[start:start + PIECE]
                    self.write("SELECT pg_catalog.lo_put('%d', %d, '\\x%s');\n"
                               % (number, at, piece.hex()))
                    at += len(piece)
        elif fields[4] not in (b"\\N", b"\\\\x"):
            self.write("SELECT pg_catalog.lo_put('%d', 0, '\\x%s');\n"
                       % (number, fields[4][3:].decode("ascii")))
        self.write("ALTER LARGE OBJECT %d OWNER TO %s;\n" % (number, quoted(words)))
        if acl is not None:
            self.write("REVOKE ALL ON LARGE OBJECT %d FROM %s;\n" % (number, quoted(words)))
            for grant in grants(acl.decode(self.bytes_encoding, "replace"), number):
                self.write(grant)
        if comment is not None:
            self.write(b"COMMENT ON LARGE OBJECT %d IS '%s';\n"
                       % (number, comment.replace(b"'", b"''")))
        self.write("COMMIT;\n")

    def sequences(self):
        for sequence in field(self.archive.manifest, "sequences", list):
            schema, name = name_of(field(sequence, "name", dict))
            target = "%s.%s" % (quoted(schema), quoted(name))
            self.write("SELECT pg_catalog.setval(%s, %d, %s);\n" % (
                literal(target), field(sequence, "last_value", int),
                "true" if field(sequence, "is_called", bool) else "false"))
        self.write("\n")


def array_items(text):
    """The elements of a one-dimensional array of text, as PostgreSQL prints it."""
    if text[:1] != "{" or text[-1:] != "}":
        raise Damage("E401", "an ACL of no known form")
    items, item, in_quotes, at = [], "", False, 1
    while at < len(text) - 1:
        char = text[at]
        if char == "\\":
            at += 1
            item += text[at]
        elif char == '"':
            in_quotes = not in_quotes
        elif char == "," and not in_quotes:
            items.append(item)
            item = ""
        else:
            item += char
        at += 1
    return items + [item] if len(text) > 2 else items


def acl_name(text):
    """A role at the start of an ACL item, quoted where it needs to be; and what follows."""
    if text[:1] != '"':
        match = re.match(r"[^=/]*", text)
        return match.group(0), text[match.end():]
    name, at = "", 1
    while at < len(text):
        if text[at] == '"':
            if text[at + 1:at + 2] != '"':
                return name, text[at + 1:]
            at += 1
        name += text[at]
        at += 1
    raise Damage("E401", "an ACL of no known form")


def grants(acl, number):
    for item in array_items(acl):
        role, rest = acl_name(item)
        match = re.match(r"=((?:[rw]\*?)*)/", rest)
        if not match:
            raise Damage("E401", "an ACL of no known form")
        grantor, _ = acl_name(rest[match.end():])
        for letter, option in re.findall(r"([rw])(\*?)", match.group(1)):
            yield "SET SESSION AUTHORIZATION %s;\nGRANT %s ON LARGE OBJECT %d TO %s%s;\n" \
                "RESET SESSION AUTHORIZATION;\n" % (
                    quoted(grantor), {"r": "SELECT", "w": "UPDATE"}[letter], number,
                    quoted(role) if role else "PUBLIC", " WITH GRANT OPTION" if option else "")


# ---- what can be asked for --------------------------------------------------------------------

def show(archive, out):
    source = field(archive.manifest, "source", dict)
    lines = ["database   " + field(source, "database", str),
             "server     PostgreSQL " + field(source, "server_version", str),
             "snapshot   " + field(source, "snapshot_time", str),
             "made by    " + field(archive.manifest, "tool", str), "",
             "%12s %12s %15s  table" % ("rows", "long values", "their bytes")]
    for name, _, data in archive.tables():
        lines.append("%12d %12d %15d  %s" % (
            field(data, "rows", int), field(data, "blobs", int), field(data, "blob_bytes", int),
            shown(name)))
    out.write(("\n".join(lines) + "\n").encode("utf-8"))


def extract(archive, directory):
    """Every distinct long value as a file named by its digest, and a list of who refers to it."""
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "values.tsv"), "wb") as listing:
        listing.write(b"digest\tbytes\ttable\tcolumn\trow\n")
        for name, columns, data in archive.tables():
            binary = [at for at, (_, is_binary) in enumerate(columns) if is_binary]
            if not binary:
                continue
            number = 0
            for text in archive.segments(name, data):
                if isinstance(text, Damage):
                    archive.findings.add(text.code, "%s: rows lost: %s" % (shown(name), text.what))
                    continue
                for row in text[:-1].split(b"\n"):
                    number += 1
                    try:
                        fields = fields_of(row, columns)
                        for at in binary:
                            blob = reference(fields[at])
                            if blob:
                                save(archive, directory, blob)
                                listing.write(("%s\t%d\t%s\t%s\t%d\n" % (
                                    blob[0].hex(), blob[1], shown(name), columns[at][0],
                                    number)).encode("utf-8"))
                    except Damage as damage:
                        archive.findings.add(damage.code, "%s: row %d: %s"
                                             % (shown(name), number, damage.what))


def save(archive, directory, blob):
    path = os.path.join(directory, blob[0].hex())
    if os.path.exists(path):
        return
    try:
        with open(path + ".part", "wb") as out:
            for part in archive.blob(*blob):
                out.write(part)
        os.replace(path + ".part", path)
    except Damage:
        os.remove(path + ".part")
        raise


def arguments():
    parser = argparse.ArgumentParser(
        description="Checks a pgark archive and turns it into plain SQL for psql.",
        epilog="Exit codes: 0 good, 1 damaged, 2 usage, 3 could not be completed, 4 too new.")
    parser.add_argument("archive", help="the file, or a directory it was unpacked into")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="only check every byte")
    what.add_argument("--list", action="store_true", help="say what is inside")
    what.add_argument("--extract", metavar="DIR", help="write long values as files to DIR")
    what.add_argument("--table", metavar="SCHEMA.NAME", action="append",
                      help="only the rows of this table (may be given several times)")
    parser.add_argument("--base", metavar="FILE", action="append", default=[],
                        help="an archive that this one, if it is thin, takes data from (may be "
                             "given several times)")
    parser.add_argument("--damaged", action="store_true",
                        help="go on with what is whole of a damaged archive")
    return parser.parse_args()


def run(options, findings):
    archive = Archive(options.archive, findings, options.base)
    out = sys.stdout.buffer
    if options.list:
        show(archive, out)
        return
    archive.need_bases()
    wanted = None
    if options.table:
        known = {shown(name): name for name, _, _ in archive.tables() if name}
        for name in options.table:
            if name not in known:
                raise Failed("there is no table %s with rows in this archive (see --list)" % name)
        wanted = {known[name] for name in options.table}
    Checker(archive).all()
    if options.check:
        if not findings.count:
            say("good: every digest matches, every row and value is there")
        return
    if findings.count and not options.damaged:
        say("nothing was written; --damaged writes what is whole")
        return
    if options.extract:
        extract(archive, options.extract)
        return
    sql = Sql(archive, out)
    sql.preamble()
    if wanted is None:
        sql.schema(4, "pre_data")
    sql.rows(wanted)
    if wanted is None:
        sql.write("\n")
        sql.sequences()
        sql.schema(5, "post_data")
    out.flush()


def main():
    options = arguments()
    findings = Findings()
    try:
        run(options, findings)
    except Damage as damage:
        findings.add(damage.code, damage.what)
    except TooNew as error:
        say("E003: %s" % error)
        return 4
    except Failed as error:
        say("recover.py: %s" % error)
        return 3
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        say("recover.py: nobody reads the output any more")
        return 3
    except (OSError, MemoryError) as error:
        say("recover.py: could not be completed: %s" % (error or "out of memory"))
        return 3
    except KeyboardInterrupt:
        return 130
    if findings.count:
        say("%d %s found" % (findings.count, "fault" if findings.count == 1 else "faults"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
