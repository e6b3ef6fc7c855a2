// Segment's own Webhooks destination, as published, delivers one by one and in batches.
// Usage: node webhook_sender.js URL SECRET
const { Destination } = require("@segment/actions-core");
const definition = require("@segment/action-destinations/dist/destinations/webhook").default;

const [url, sharedSecret] = process.argv.slice(2);
const mapping = { url, method: "POST", data: { "@path": "$." } };
const subscription = { subscribe: 'type = "track"', partnerAction: "send", mapping };
const settings = { sharedSecret, subscription, subscriptions: [subscription] };
const destination = new Destination(definition);
const event = (n) => ({
  type: "track",
  event: "Order Completed",
  userId: `user-${n}`,
  messageId: `message-${n}`,
  timestamp: "2026-01-02T03:04:05.678Z",
  properties: { revenue: 12.5, note: "grüße, \"日本\"", products: [{ sku: `s${n}` }] },
});

async function main() {
  for (let n = 0; n < 3; n++) await destination.onEvent(event(n), settings);
  await destination.onBatch([3, 4, 5, 6].map(event), settings);
  console.log("sent");
}

main().catch((e) => {
  console.error(e.message, e.response && e.response.status, e.response && e.response.content);
  process.exit(1);
});
