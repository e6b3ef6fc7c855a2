// Segment's library for browsers sends to a server: in Chromium, or where there is none or DELTAMILL_BROWSER=jsdom in jsdom,
// whose requests obey CORS too. Usage: node browser_client.js HOST:PORT EVENTS
const { spawn, execFileSync } = require("child_process");
const fs = require("fs");
const http = require("http");
const os = require("os");
const path = require("path");
const [address, events] = process.argv.slice(2);

const umd = path.join(path.dirname(require.resolve("@segment/analytics-next/package.json")), "dist/umd");
const page = `<!doctype html><title>page</title><script src="/umd/index.js"></script><script>
(async () => {
  const report = (text) => { const r = new XMLHttpRequest(); r.open("POST", "/report"); r.send(text); };
  try {
    const [analytics] = await window.AnalyticsNext.AnalyticsBrowser.load(
      { writeKey: "browser-key", cdnURL: "http://${address}" }, { integrations: { "Segment.io": { retryQueue: true } } });
    let taken = 0;
    const n = ${Number(events)};
    const sent = (context) => { if (!context.failedDelivery || !context.failedDelivery()) taken++; };
    await Promise.all([analytics.identify("u1", { plan: "pro" }), analytics.page("Docs", "Start"), analytics.group("g1", { seats: 3 })]);
    for (let i = 0; i < n; i++) {
      analytics.track("Clicked", { i, text: "gr\\u00fc\\u00dfe" }).then(sent);
      await new Promise((done) => setTimeout(done, 10));
    }
    report("sent");
  } catch (e) { report("failed: " + (e && e.stack || e)); }
})();
</script>`;

function chromium() {
  if (process.env.DELTAMILL_BROWSER === "jsdom") return;
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    try { return execFileSync("which", [name]).toString().trim(); } catch {}
  }
}

const profile = fs.mkdtempSync(path.join(os.tmpdir(), "browser-"));
let close = () => {};
function end(code) {
  close();
  try { fs.rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 }); } catch {}
  process.exit(code);
}

const server = http.createServer((request, response) => {
  if (request.url === "/report") {
    let text = "";
    request.on("data", (part) => (text += part));
    request.on("end", () => {
      response.end();
      console.log(text);
      // What is on its way, or to be sent again, keeps the page open until the caller has seen enough.
      if (text === "sent") process.stdin.on("data", () => {}).on("end", () => end(0)); else end(1);
    });
  } else if (request.url.startsWith("/umd/")) {
    fs.createReadStream(path.join(umd, path.basename(request.url))).on("error", () => response.writeHead(404).end()).pipe(response);
  } else {
    response.setHeader("content-type", "text/html");
    response.end(page);
  }
});
server.listen(0, "127.0.0.1", () => {
  const url = `http://127.0.0.1:${server.address().port}/`;
  const browser = chromium();
  console.log(browser ? "in Chromium" : "in jsdom");
  if (browser) {
    const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", `--user-data-dir=${profile}`];
    const child = spawn(browser, [...flags, url], { stdio: "ignore", detached: true });
    child.on("error", (e) => { console.error(e); end(1); });
    // With all its processes.
    close = () => process.kill(-child.pid, "SIGKILL");
  } else {
    const { JSDOM } = require("jsdom");
    JSDOM.fromURL(url, { runScripts: "dangerously", resources: "usable", pretendToBeVisual: true }).then((dom) => (close = () => dom.window.close()));
  }
});
setTimeout(() => { console.error("the page did not end"); end(1); }, 100000).unref();
