// Segment's and RudderStack's libraries for Node send to a server. Usage: node segment_client.js HOST:PORT LIBRARY EVENTS
const { setTimeout } = require("timers/promises");
const [address, library, events] = process.argv.slice(2);
const host = `http://${address}`;
const n = Number(events);

async function segment() {
  const { Analytics } = require("@segment/analytics-node");
  const client = new Analytics({ writeKey: "node-key", host, maxEventsInBatch: 15, flushInterval: 200, maxRetries: 40 });
  client.on("error", (e) => console.error("error", e.code, e.reason && e.reason.message));
  client.identify({ userId: "u1", traits: { plan: "pro", nothing: undefined, nan: NaN } });
  client.page({ anonymousId: "a1", category: "Docs", name: "Start" });
  client.screen({ anonymousId: "a1", name: "Home" });
  client.group({ userId: "u1", groupId: "g1", traits: { seats: 3 } });
  client.alias({ userId: "u1", previousId: "a1" });
  for (let i = 0; i < n; i++) {
    client.track({ userId: `u${i % 7}`, event: "Clicked", messageId: `segment-node-${i}`, properties: { i, text: "grüße 日本" } });
    if (i % 15 === 14) await setTimeout(20);
  }
  await client.closeAndFlush({ timeout: 90000 });
}

async function rudder() {
  const Rudder = require("@rudderstack/rudder-sdk-node");
  const client = new Rudder("rudder-key", { dataPlaneUrl: host, flushAt: 20, flushInterval: 200 });
  client.identify({ userId: "u1", traits: { plan: "pro" } });
  for (let i = 0; i < n; i++) {
    client.track({ userId: `u${i % 7}`, event: "Clicked", messageId: `rudder-node-${i}`, properties: { i } });
  }
  await client.flush();
  await setTimeout(500);
  await client.flush();
}

const run = { segment, rudder }[library];
run().then(() => { console.log("sent"); process.exit(0); }, (e) => { console.error(e); process.exit(1); });
