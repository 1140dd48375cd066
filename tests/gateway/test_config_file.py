"""The configuration: defaults work, every mistake is named with its file, key and what is allowed."""

import tomllib
from pathlib import Path

import pytest

from gateway import config_file
from gateway.config import OFF, Config
from gateway.errors import ConfigError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "portico.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_no_file_is_a_working_configuration() -> None:
    assert config_file.load(None) == Config()
    assert Config().listen.sip_udp == 5060


@pytest.mark.parametrize("ports", ["9500", "9500-", "80-90", "9500-9499", "9500-9999", "9500-70000", "9500-9501-9502"])
def test_ports_of_sessions(tmp_path: Path, ports: str) -> None:
    good = config_file.load(written(tmp_path, '[remote_control]\nports = "9500-9502"\n'))
    assert good.remote_control.port_range == (9500, 9501, 9502)
    assert Config().remote_control.port_range == ()
    with pytest.raises(ConfigError, match=r"remote_control\.ports"):
        config_file.load(written(tmp_path, f'[remote_control]\nports = "{ports}"\n'))


def test_values_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, '[listen]\naddress = "127.0.0.1"\nsip_udp = 0\n[sip]\ndomains = ["a.example"]\n')
    read = config_file.load(path)
    assert (read.listen.address, read.listen.sip_udp, read.sip.domains) == (("127.0.0.1",), 0, ("a.example",))
    assert read.public_host == "127.0.0.1"


def test_addresses_of_both_families(tmp_path: Path) -> None:
    read = config_file.load(written(tmp_path, '[listen]\naddress = ["0.0.0.0", "::"]\n'))
    assert read.listen.address == ("0.0.0.0", "::")
    assert config_file.load(written(tmp_path, '[listen]\naddress = ["2001:db8::5", "0.0.0.0"]\n')).public_host == "2001:db8::5"


@pytest.mark.parametrize("address", ['"localhost"', "[]", '["::", "::1"]', '["127.0.0.1", 5]', "3", '"0.0.0.0/0"'])
def test_what_is_no_address_or_two_of_a_family(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError, match=r"listen\.address: .*address"):
        config_file.load(written(tmp_path, f"[listen]\naddress = {address}\n"))


def test_an_unknown_key_names_file_key_and_what_is_allowed(tmp_path: Path) -> None:
    path = written(tmp_path, "[listen]\nsip_udpp = 5060\n")
    with pytest.raises(ConfigError) as caught:
        config_file.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "listen.sip_udpp" in message
    assert "Did you mean 'sip_udp'" in message
    assert "remote_control" in message
    assert caught.value.status == 2


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[listen]\nsip_udp = "5060"\n', "listen.sip_udp"),
        ("[listen]\nsip_udp = 70000\n", "listen.sip_udp"),
        ("[listen]\nsip_udp = true\n", "listen.sip_udp"),
        ('[log]\nlevel = "loud"\n', "log.level"),
        ('[sip]\nrealm = "with space"\n', "sip.realm"),
        ('[remote_control]\ndomain = "UPPER"\n', "remote_control.domain"),
        ('[public]\nhost = "a b"\n', "public.host"),
        ("node = 3\n", "node"),
        ('[media]\nengine = "asterisk"\n', "media.engine"),
        ("[media]\nfirst_port = 80\n", "media.first_port"),
        ('[media]\naddresses = ["a.example"]\n', "media.addresses"),
        ('[media]\nrtpengine = ["a.example:2223"]\n', "media.rtpengine"),
        ('[autop]\nlogin_algorithms = ["SHA-512-256"]\n', "autop.login_algorithms"),
        ("[tls]\ndevice_ca = 3\n", "tls.device_ca"),
        ("listen = 3\n", "listen"),
    ],
)
def test_a_bad_value_names_its_key(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        config_file.load(written(tmp_path, text))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config_file.load(written(tmp_path, "[listen]\nfoo = 1\nsip_udp = -5\n[nope]\n"))
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("text", ["[listen", "a = \x00", "\udcff"])
def test_no_toml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "portico.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match="TOML"):
        config_file.load(path)


def test_a_missing_file_and_a_huge_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config_file.load(tmp_path / "absent.toml")
    huge = tmp_path / "huge.toml"
    huge.write_bytes(b"#" * (config_file.MAX_CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="larger"):
        config_file.load(huge)


def test_certificates_in_their_order(tmp_path: Path) -> None:
    pair = '[[tls.certificates]]\ncertificate = "{0}.pem"\nkey = "{0}.key"\n'
    two = pair.format("b") + pair.format("c")
    a, b, c = ((Path(f"{name}.pem"), Path(f"{name}.key")) for name in "abc")
    assert config_file.load(written(tmp_path, two)).tls.pairs == (b, c)
    assert config_file.load(written(tmp_path, '[tls]\ncertificate = "a.pem"\nkey = "a.key"\n' + two)).tls.pairs == (a, b, c)
    assert Config().tls.pairs == ()


def test_mistakes_in_a_list_of_sections_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config_file.load(written(tmp_path, '[[tls.certificates]]\ncertificate = "a.pem"\nkeyy = "a.key"\n'))
    assert "tls.certificates.0.keyy: unknown key. Did you mean 'key'?" in str(caught.value)
    assert "tls.certificates.0.key: field required" in str(caught.value)


def test_rules_across_keys(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="go together"):
        config_file.load(written(tmp_path, '[tls]\ncertificate = "a.pem"\n'))
    with pytest.raises(ConfigError, match="min_expires"):
        config_file.load(written(tmp_path, "[sip]\nmin_expires = 600\nmax_expires = 300\n"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('engine = "rtpengine"', "at least one instance"),
        ("first_port = 30000\nlast_port = 20000", "not below"),
        ('addresses = ["1.2.3.400"]', "media.addresses"),
        ('addresses = ["192.0.2.1", "192.0.2.2"]', "one of each"),
        ('rtpengine = ["192.0.2.1:99999"]', "no IP address"),
    ],
)
def test_rules_of_media(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config_file.load(written(tmp_path, f"[media]\n{text}\n"))


def test_the_reference_is_itself_a_valid_configuration() -> None:
    assert config_file.parse(tomllib.loads(config_file.reference()), "reference") == Config()


def test_what_belongs_to_a_lan_is_off() -> None:
    assert Config().listen.tftp == OFF
    assert Config().pnp.interfaces == ()


def test_networks_are_read(tmp_path: Path) -> None:
    read = config_file.load(written(tmp_path, '[tftp]\nnetworks = ["10.1.0.0/16", "192.0.2.7", "fd00::/8"]\n'))
    assert read.tftp.networks == ("10.1.0.0/16", "192.0.2.7/32", "fd00::/8")


@pytest.mark.parametrize("networks", ["[]", '"10.0.0.0/8"', '["10.0.0.1/8"]', '["all"]', "[10]", '["10.0.0.0/33"]'])
def test_what_is_no_network(tmp_path: Path, networks: str) -> None:
    for section in ("tftp", "pnp"):
        with pytest.raises(ConfigError, match=rf"{section}\.networks: "):
            config_file.load(written(tmp_path, f"[{section}]\nnetworks = {networks}\n"))


@pytest.mark.parametrize("interfaces", ['["an interface"]', '[""]', '["x/y"]', '["eth0eth0eth0eth0"]', '"eth0"'])
def test_what_is_no_interface(tmp_path: Path, interfaces: str) -> None:
    with pytest.raises(ConfigError, match=r"pnp\.interfaces"):
        config_file.load(written(tmp_path, f"[pnp]\ninterfaces = {interfaces}\n"))
