"""A server that takes mails: one file each in a folder.

smtp_server.py FOLDER starttls|plain [CERTIFICATE KEY USER PASSWORD]

Prints its port, and then a line for each connection that ends. By starttls it takes nothing without
TLS and a login; by plain it offers neither. Ends when its standard input does.
"""

import asyncio
import itertools
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

folder, mode = sys.argv[1:3]
numbers = itertools.count()


class Handler:
    async def handle_DATA(self, server, session, envelope):
        name = os.path.join(folder, str(next(numbers)))
        with open(name + ".part", "wb") as file:
            file.write(b"".join(b"To: %s\r\n" % to.encode() for to in envelope.rcpt_tos))
            file.write(envelope.original_content)
        os.rename(name + ".part", name + ".eml")
        return "250 taken"


class Server(SMTP):
    def connection_lost(self, error):
        super().connection_lost(error)
        print("ended", flush=True)


def options():
    if mode == "plain":
        return {}
    certificate, key, user, password = sys.argv[3:]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    known = LoginPassword(user.encode(), password.encode())

    def right(server, session, envelope, mechanism, given):
        return AuthResult(success=given == known)

    return {"tls_context": context, "require_starttls": True, "auth_required": True,
            "authenticator": right}


async def serve():
    loop = asyncio.get_running_loop()
    chosen = options()
    server = await loop.create_server(
        lambda: Server(Handler(), hostname="localhost", loop=loop, **chosen), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(serve())
