"""Why a bundle is refused."""

from __future__ import annotations

from enum import Enum

from gateway.errors import ConfigError, Problem


class Reason(Enum):
    """A stable code and what usually helps; docs/bundles.md lists all of them."""

    # the archive
    ARCHIVE_MALFORMED = ("archive-malformed", "build it with `gateway bundle build` or `opa build`")
    ARCHIVE_TOO_LARGE = ("archive-too-large", "")
    ENTRY_REFUSED = ("entry-refused", "a bundle holds regular files only")
    NAME_REFUSED = ("name-refused", "")
    NAME_TWICE = ("name-twice", "each file once")
    # what is in it
    CONTENT_REFUSED = ("content-refused", "")
    MANIFEST_MALFORMED = ("manifest-malformed", "")
    # its signature
    UNSIGNED = ("unsigned", "`gateway bundle sign` signs it")
    KEYS_MISSING = ("keys-missing", "name the trusted keys in the bundle's verification")
    SIGNATURE_MALFORMED = ("signature-malformed", "")
    SIGNATURES_MANY = ("signatures-many", "leave exactly one")
    KEY_UNKNOWN = ("key-unknown", "")
    KEY_EXPIRED = ("key-expired", "sign it with a newer key")
    SIGNATURE_INVALID = ("signature-invalid", "")
    SIGNATURE_EXPIRED = ("signature-expired", "sign it again")
    SCOPE_MISMATCH = ("scope-mismatch", "")
    FILE_UNSIGNED = ("file-unsigned", "sign the bundle as it is now")
    FILE_MISSING = ("file-missing", "sign the bundle as it is now")
    DIGEST_MISMATCH = ("digest-mismatch", "sign the bundle as it is now")

    def __init__(self, code: str, remedy: str) -> None:
        self.code = code
        self.remedy = remedy


class BundleError(ConfigError):
    """The bundle at `where` is refused for one reason; it changes nothing."""

    def __init__(
        self, reason: Reason, message: str, *, remedy: str = "", where: str = "", name: str = ""
    ) -> None:
        self.reason = reason
        self.message = message
        self.remedy = remedy or reason.remedy
        self.name = name
        file = "/".join(part for part in (where, name) if part)
        said = f"{message} [{reason.code}]"
        super().__init__((Problem(said, file=file, remedy=self.remedy),))

    def of(self, where: str) -> BundleError:
        """The same of the bundle that is called `where`."""
        return BundleError(
            self.reason, self.message, remedy=self.remedy, where=where, name=self.name
        )
