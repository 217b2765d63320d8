"""Once per step, an e-mail: a table says which steps have sent theirs. A manual retry sends another one.

A mail that can't be sent leaves no row. Only if a worker dies between the mail and the end of the transaction is a
second one sent; it has the same Message-ID, by which mail systems recognise it.
"""

import os
import smtplib
import sqlite3
from contextlib import closing
from email.message import EmailMessage

from rochallor_worker import Job, Registry

DATABASE = os.environ.get("MAIL_DATABASE", "mail.db")
SERVER = os.environ.get("SMTP_HOST", "localhost")
PORT = int(os.environ.get("SMTP_PORT", "25"))
registry = Registry()


@registry.handler("welcome-mail", timeout=20)
def welcome(job: Job) -> None:
    mail = EmailMessage()
    mail["Message-ID"] = f"<{job.key}@shop.example>"
    mail["From"], mail["To"] = "hello@shop.example", job.variables["address"]
    mail["Subject"] = "Welcome"
    mail.set_content("Good to have you here.")
    with closing(sqlite3.connect(DATABASE)) as database, database:  # one transaction
        database.execute("CREATE TABLE IF NOT EXISTS mail (job_key TEXT PRIMARY KEY)")
        if database.execute("INSERT INTO mail VALUES (?) ON CONFLICT (job_key) DO NOTHING", (job.key,)).rowcount:
            with smtplib.SMTP(SERVER, PORT, timeout=10) as server:
                server.send_message(mail)
