"""The few pages a visitor gets from the gateway itself: short, plain, without anything to load."""

import html

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:4em auto;padding:0 1em;color:#222}}</style></head>
<body><h1>{title}</h1>
{body}
</body></html>
"""

HEADERS = (
    (b"Content-Type", b"text/html; charset=utf-8"),
    (b"Cache-Control", b"no-store"),
    (b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"X-Content-Type-Options", b"nosniff"),
)


def page(title: str, *paragraphs: str) -> bytes:
    """A page; every argument is text and gets escaped."""
    body = "\n".join(f"<p>{html.escape(text)}</p>" for text in paragraphs)
    return _PAGE.format(title=html.escape(title), body=body).encode()


NOT_FOUND = page(
    "Nothing here",
    "This Remote Control link does not work, or not any more: a link opens once, within a minute, and its session ends "
    "after a while or when somebody closes it.",
    "Open a new Remote Control session from the console.",
)
"""The one answer to a wrong host, link, cookie or session."""

BAD_REQUEST = page("Bad request", "The gateway does not pass this request on to a device.")
CROSS_SITE = page("Refused", "This request came from another site's page, so it was not passed on to the device.")
TOO_MANY = page("Too many connections", "This Remote Control session has too many connections open. Close some tabs and reload.")


def offline(device: str) -> bytes:
    return page(
        f"{device} is offline",
        "The device has no connection to the gateway at the moment, so its page cannot be shown.",
        "Check its power and network. It comes back by itself within a minute or two of being online: then reload this page.",
    )


def not_answering(device: str) -> bytes:
    return page(
        f"{device} does not answer",
        "The device is connected, but its web page did not answer or broke off. It may be restarting.",
        "Wait a minute, then reload this page.",
    )


def leaves_device(device: str, target: bytes) -> bytes:
    shown = target[:500].decode("ascii", "replace")
    return page(
        f"{device} links elsewhere",
        f"The device wants to send the browser to another address: {shown}",
        "A Remote Control session shows the device's own page only. Go back, or open the address yourself if you trust it.",
    )


def no_tls(device: str) -> bytes:
    return page(
        f"{device} wants HTTPS",
        "The device sends the browser to its own HTTPS page, which its channel does not offer.",
        "Switch off the redirect to HTTPS in the device's web settings; the way through the channel is encrypted already.",
    )


def other_certificate(device: str) -> bytes:
    return page(
        f"{device} shows another certificate",
        "The device's HTTPS page has another key than when it was first opened through this gateway. Nothing was sent to it.",
        "That is right after a factory reset or a new certificate on the device; otherwise something else answers in its place. "
        "Once you know why, have the new one accepted: delete the device's web certificate through the admin API, and reload.",
    )


def session(device: str) -> bytes:
    """The session's own page: whose it is, and a button that ends it."""
    form = '<form method="post" action="/.portico/close"><button>End this session</button></form>'
    text = page(f"Remote Control of {device}", "This browser has a Remote Control session of this device's own page open.")
    return text.replace(b"</body>", b'<p><a href="/">To the page</a></p>' + form.encode() + b"</body>")


CLOSED = page("Session ended", "This Remote Control session is over. Open a new one from the console.")
