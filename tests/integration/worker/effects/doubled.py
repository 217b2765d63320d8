"""Five handlers, each with an effect that happens twice when its job runs twice."""

import os
import smtplib
import sqlite3
import urllib.request
from contextlib import closing
from pathlib import Path

from rochallor_worker import Job, Registry

PLACE = Path(os.environ["PLACE"])
registry = Registry()


@registry.handler("charge")
def charge(job: Job) -> None:
    body = str(job.variables["order"]).encode()
    with urllib.request.urlopen(f"{os.environ['PAYMENTS_URL']}/charges", body, timeout=10):  # noqa: S310
        pass


@registry.handler("append")
def append(job: Job) -> None:
    with (PLACE / "log.txt").open("a") as file:
        file.write(f"order {job.variables['order']}\n")


@registry.handler("insert")
def insert(job: Job) -> None:
    with closing(sqlite3.connect(PLACE / "shop.db")) as database, database:
        database.execute("INSERT INTO orders (number) VALUES (?)", (job.variables["order"],))


@registry.handler("count")
def count(_: Job) -> None:
    with closing(sqlite3.connect(PLACE / "shop.db")) as database, database:
        database.execute("UPDATE counter SET value = value + 1")


@registry.handler("mail")
def mail(job: Job) -> None:
    with smtplib.SMTP("127.0.0.1", int(os.environ["SMTP_PORT"]), timeout=10) as server:
        server.sendmail("shop@shop.example", "ada@shop.example", f"Subject: order {job.variables['order']}\n\nThanks.")
