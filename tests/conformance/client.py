"""The echo client that the conformance suite judges, for a fuzzing server of Autobahn's.

    AB_URL=ws://127.0.0.1:9001 AB_AGENT=geventws python tests/conformance/client.py

As a user would write it, but for the limit: case 9.1.6 sends a message of 16 MiB.
"""

import os
from urllib.parse import quote

import geventws
from geventws import connect

URL = os.environ["AB_URL"]
AGENT = quote(os.environ["AB_AGENT"])


def main():
    with connect(f"{URL}/getCaseCount") as ws:
        count = int(ws.wait())
    for case in range(1, count + 1):
        with connect(f"{URL}/runCase?case={case}&agent={AGENT}", max_message_size=16 << 20) as ws:
            try:
                for message in ws:
                    ws.send(message)
            except geventws.ConnectionClosed:
                pass  # the suite ends a case as it likes
        print(f"{case} of {count}", flush=True)
    connect(f"{URL}/updateReports?agent={AGENT}").close()


if __name__ == "__main__":
    main()
