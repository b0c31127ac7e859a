"""A TCP stream of numbered records: ``stream.py serve ADDRESS`` counts what comes, ``stream.py send FROM TO`` sends.

The sender writes a record every 2 ms until its standard input ends, then how many it sent; the receiver checks that
every octet comes once and in order, and answers with the number of records.
"""

from __future__ import annotations

import select
import socket
import struct
import sys

PORT = 7007
RECORD = struct.Struct("!Q56x")


def serve(address: str) -> None:
    """Take one connection, and say how many records came in order."""
    with socket.create_server((address, PORT), family=socket.AF_INET6) as server:
        print("listening", flush=True)
        connection, _ = server.accept()
        count, octets = 0, b""
        with connection:
            while data := connection.recv(65536):
                octets += data
                whole = len(octets) // RECORD.size * RECORD.size
                for (number,) in RECORD.iter_unpack(octets[:whole]):
                    assert number == count, f"record {number} after {count - 1}"
                    count += 1
                octets = octets[whole:]
            assert not octets, "the last record is cut off"
            connection.sendall(RECORD.pack(count))
        print(f"received {count}", flush=True)


def send(source: str, destination: str) -> None:
    """Send until standard input ends, and say how many records the other side has got."""
    with socket.create_connection((destination, PORT), source_address=(source, 0)) as connection:
        print("connected", flush=True)
        count = 0
        while not select.select([sys.stdin], [], [], 0.002)[0]:
            connection.sendall(RECORD.pack(count))
            count += 1
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(RECORD.size, socket.MSG_WAITALL)
        print(f"sent {count}, received {RECORD.unpack(answer)[0]}", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        send(sys.argv[2], sys.argv[3])
