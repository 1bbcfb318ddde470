"""Any browser as a device: a page runs artifacts there, and the desk judges and stores what it posts."""

from __future__ import annotations

from edgeseg.devices.browser.bench_site import BenchSite, Received
from edgeseg.devices.browser.certificate import own_certificate
from edgeseg.devices.browser.offer import Offer, offer_of

__all__ = ["BenchSite", "Offer", "Received", "offer_of", "own_certificate"]
