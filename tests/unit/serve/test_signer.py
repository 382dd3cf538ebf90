"""Who signs assertions, and with which keys."""

from gateway.config.model import Assertion
from gateway.model import Assertion as Said
from gateway.serve.signer import Signer, SignerService

SECTION = Assertion()
SAID = Said(header=b"x-gateway-assertion", claims=b"{}")


def test_processes_that_share_a_folder_share_the_keys(tmp_path):
    assert Signer(SECTION, tmp_path).jwks == Signer(SECTION, tmp_path).jwks
    ((name, token),) = Signer(SECTION, tmp_path).sign(SAID)
    assert (name, token.count(b".")) == (b"x-gateway-assertion", 2)


def test_nothing_is_signed_without_a_section(tmp_path):
    service = SignerService()
    assert service.prepare(None, tmp_path) is None
    assert (service.sign(None), service.sign(SAID), service.jwks()) == ((), (), None)
