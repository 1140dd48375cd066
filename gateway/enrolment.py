"""Enrolment's part of the composition."""

import os
from collections.abc import Callable

from autop.net.enrolment import Enrolments
from autop.settings import AutopSettings
from gateway.followed_store import FollowedStore
from registry.read_model import ReadModel
from registry.store import Store
from registry.vault import Vault


def enrolments(
    store: Store, read_model: ReadModel, vault: Vault, wall: Callable[[], float], settings: Callable[[], AutopSettings]
) -> Enrolments:
    """Who may enrol on this node. Its writes wait for the node's own memory: a device asks with its new token at once."""
    followed = FollowedStore(store, read_model)
    return Enrolments(store=followed, read_model=read_model, vault=vault, entropy=os.urandom, wall=wall, settings=settings)
