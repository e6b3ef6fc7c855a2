"""Segment's and RudderStack's libraries for Python send to a server.

usage: segment_client.py HOST:PORT LIBRARY EVENTS
"""
import datetime
import importlib
import sys

address, library, events = sys.argv[1:]
module = importlib.import_module({"segment": "segment.analytics.client", "rudder": "rudderstack.analytics.client"}[library])
failures = []
client = module.Client(
    f"{library}-key",
    host=f"http://{address}",
    gzip=True,
    max_retries=40,
    upload_interval=0.1,
    on_error=lambda error, items: failures.append((error, len(items))),
)


when = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
client.identify(user_id="u1", traits={"plan": "pro"})
for i in range(int(events)):
    client.track(
        user_id=f"u{i % 7}",
        event="Clicked",
        properties={"i": i, "big": 12345678901234567890},
        timestamp=when,
        message_id=f"{library}-python-{i}",
    )
client.flush()
client.join()
assert not failures, failures
print("sent")
