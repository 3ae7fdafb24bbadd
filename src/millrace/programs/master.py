"""A master, put together: store, blobs, verbs, duties, server. Everything concrete is built here."""

import random
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from millrace.api.app import build_app
from millrace.blobs.blobs import Blobs
from millrace.blobs.open import open_blobs
from millrace.config.settings import MasterSettings, SettingError
from millrace.programs import api_key
from millrace.programs.listen import is_loopback, listen, url_of
from millrace.programs.server import HttpServer
from millrace.runtime.service import Service, Services
from millrace.scheduler.duties import Duties
from millrace.scheduler.farm import Farm, Rules
from millrace.scheduler.offers import Offers
from millrace.store.open import open_store
from millrace.store.store import Store
from millrace.telemetry.logs import logger

log = logger("master")
DATABASE = "millrace.db"
BLOBS = "blobs"
SECOND_S = 1
