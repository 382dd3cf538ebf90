"""Bundles in OPA's exact shapes, made without the code that reads them."""

import base64
import gzip
import hashlib
import io
import json
import tarfile

import yaml

from gateway.jose.sign import sign_bytes

MANIFEST = b'{"revision":"v1","roots":[""],"rego_version":1}\n'


def entry(name, content=b"", *, kind=b"0", size=None, prefix=b"", magic=b"ustar\x0000", link=b""):
    """One file as OPA's tar writer puts it: a header without owner and time, and the contents."""
    fields = bytearray(512)
    name = name.encode() if isinstance(name, str) else name
    size = len(content) if size is None else size
    for at, value in (
        (0, name), (100, b"0000600\0"), (108, b"0000000\0"), (116, b"0000000\0"),
        (124, b"%011o\0" % size), (136, b"00000000000\0"), (148, b" " * 8), (156, kind),
        (157, link), (257, magic), (329, b"0000000\0"), (337, b"0000000\0"), (345, prefix),
    ):  # fmt: skip
        fields[at : at + len(value)] = value
    fields[148:156] = b"%06o\0 " % sum(fields)
    return bytes(fields) + content + bytes(-len(content) % 512)


def packed(*entries, end=bytes(1024)):
    """Entries as a .tar.gz."""
    return gzip.compress(b"".join(entries) + end, mtime=0)


def archive(files):
    """A .tar.gz as `opa build` writes it: its names begin with a slash."""
    return packed(*(entry(f"/{name}", _bytes(content)) for name, content in files.items()))


def with_tar(files, *, prefix="./", form=tarfile.PAX_FORMAT):
    """A .tar.gz as tar programs write it: with folders, times and owners."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", format=form) as tar:
        folder = tarfile.TarInfo(prefix)
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(prefix + name)
            info.size, info.mtime, info.uid, info.uname = len(_bytes(content)), 1.5, 1000, "me"
            tar.addfile(info, io.BytesIO(_bytes(content)))
    return made.getvalue()


def listed(files):
    """What `opa sign` lists of files: structured ones hashed by what they say."""
    return [
        {
            "name": name,
            "hash": hashlib.sha256(_hashed(name, _bytes(content))).hexdigest(),
            "algorithm": "SHA-256",
        }
        for name, content in files.items()
    ]


def signatures(files, key, *, kid=None, claims=None, header=None):
    """A `.signatures.json` as `opa sign` writes it."""
    payload = {"files": listed(files), **(claims or {})}
    head = {"alg": key.algorithm, **({"kid": kid} if kid else {}), **(header or {})}
    token = sign_bytes(json.dumps(head).encode(), json.dumps(payload).encode(), key)
    return json.dumps({"signatures": [token]}, indent=1).encode()


def signed(files, key, **how):
    """A signed .tar.gz."""
    return archive({**files, ".signatures.json": signatures(files, key, **how)})


def tokens(data):
    """The tokens in a `.signatures.json`."""
    return json.loads(data)["signatures"]


def claims_of(token):
    """The claims of a token, not verified."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def _bytes(content):
    return content if isinstance(content, bytes) else content.encode()


def _hashed(name, content):
    """For names in ASCII and numbers that are whole."""
    last = name.rpartition("/")[2]
    if last not in ("data.json", "data.yaml", ".manifest"):
        return content
    value = yaml.safe_load(content) if last.endswith("yaml") else json.loads(content)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
