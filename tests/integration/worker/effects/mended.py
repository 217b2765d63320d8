"""The same five, each with its effect tied to the job's key."""

import fcntl
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
    request = urllib.request.Request(  # noqa: S310
        f"{os.environ['PAYMENTS_URL']}/charges", str(job.variables["order"]).encode(), {"Idempotency-Key": job.key}
    )
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310
        pass


@registry.handler("append")
def append(job: Job) -> None:
    line = f"order {job.variables['order']}\n"
    with (PLACE / "log.txt").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if line not in file.readlines():
            file.write(line)


@registry.handler("insert")
def insert(job: Job) -> None:
    with closing(sqlite3.connect(PLACE / "shop.db")) as database, database:
        database.execute(
            "INSERT INTO orders (number) SELECT :number WHERE NOT EXISTS (SELECT 1 FROM orders WHERE number = :number)",
            {"number": job.variables["order"]},
        )


@registry.handler("count")
def count(job: Job) -> None:
    with closing(sqlite3.connect(PLACE / "shop.db")) as database, database:
        if database.execute("INSERT INTO done VALUES (?) ON CONFLICT DO NOTHING", (job.key,)).rowcount:
            database.execute("UPDATE counter SET value = value + 1")


@registry.handler("mail")
def mail(job: Job) -> None:
    text = f"Subject: order {job.variables['order']}\n\nThanks."
    with closing(sqlite3.connect(PLACE / "shop.db")) as database, database:
        if database.execute("INSERT INTO done VALUES (?) ON CONFLICT DO NOTHING", (job.key,)).rowcount:
            with smtplib.SMTP("127.0.0.1", int(os.environ["SMTP_PORT"]), timeout=10) as server:
                server.sendmail("shop@shop.example", "ada@shop.example", text)
