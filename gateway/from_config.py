"""What the configuration means to several parts of the node."""

import ssl
from pathlib import Path

from gateway.config import WILDCARDS, Config
from gateway.errors import StartError
from gateway.state import StateFolder
from gateway.tls import CertificateFiles, local_certificates, utc


def certificates(config: Config, folder: StateFolder, wall: float) -> list[CertificateFiles]:
    """The certificates of portico.toml, or the node's own, which is made where there is none."""
    if pairs := config.tls.pairs:
        return [CertificateFiles(certificate, key, None) for certificate, key in pairs]
    domain = config.remote_control.domain
    names = {config.public_host, "localhost", "127.0.0.1", "::1", domain, f"*.{domain}"}
    names.update(one for one in config.listen.address if one not in WILDCARDS)
    return [local_certificates(folder.certificates, names, utc(wall))]


def trunk_tls(config: Config) -> ssl.SSLContext:
    """How trunks' TLS gateways are verified. Raises StartError for a CA file that cannot be used."""
    context = ssl.create_default_context()
    if config.sip.trunk_ca is not None:
        try:
            context.load_verify_locations(config.sip.trunk_ca)
        except OSError as error:
            raise StartError(f"sip.trunk_ca: {config.sip.trunk_ca}: {error.strerror or error}.") from None
    return context


def server_authority(config: Config, local: Path | None) -> bytes:
    """The authority (PEM) that devices are to check servers by; empty: none. `local`: this node's own CA, if it has one.

    Raises StartError."""
    if not config.autop.check_servers:
        return b""
    file = config.autop.server_ca or local
    if file is None:
        raise StartError("autop.server_ca: name the authority of tls.certificate, which autop.check_servers has devices check.")
    try:
        pem = file.read_bytes()
        ssl.create_default_context(cadata=pem.decode("ascii"))
    except (OSError, ValueError) as error:
        raise StartError(f"autop.server_ca: {file}: {getattr(error, 'strerror', None) or error}.") from None
    return pem


def domains(config: Config) -> frozenset[bytes]:
    """The names and addresses in a SIP URI that mean this gateway."""
    names = {
        config.public_host,
        *config.listen.address,
        "localhost",
        "127.0.0.1",
        "::1",
        *config.sip.domains,
    }
    return frozenset(name.lower().encode() for name in names)
