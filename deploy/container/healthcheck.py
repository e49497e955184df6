"""Whether the server of this container answers: status 0 or 1. Standard library only."""

import http.client
import os
import sys

TIMEOUT_S = 4


def main() -> int:
    port = int(os.environ.get("ONEBOX_PORT") or os.environ.get("PORT") or 8000)
    # Not by urllib: it would ask a proxy.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer on port {port}: {error}")
        return 1
    print(f"port {port} answers {status}")
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
