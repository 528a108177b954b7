// node peer.mjs URL SECRET: receives webhooks, verifies and parses them, and prints each as a line of JSON, after a
// first line with the URL of its own; on each line of standard input, a mode, it sends an event to URL.
import http from "node:http";
import readline from "node:readline";
import { CloudEvent, HTTP } from "cloudevents";
import { Webhook } from "standardwebhooks";

const [url, secret] = process.argv.slice(2);
const webhook = new Webhook(secret);
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const server = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const body = Buffer.concat(parts).toString();
    try {
      webhook.verify(body, request.headers);
      const event = HTTP.toEvent({ headers: request.headers, body });
      event.validate();
      say({ received: event.toJSON() });
      response.writeHead(204).end();
    } catch (error) {
      say({ refused: String(error) });
      response.writeHead(400).end();
    }
  });
});
server.listen(0, "127.0.0.1", () => say({ url: `http://127.0.0.1:${server.address().port}/` }));

for await (const mode of readline.createInterface({ input: process.stdin })) {
  // Only ASCII: this SDK knows nothing of the percent-encoding of binary mode's headers.
  const event = new CloudEvent({ id: mode, source: "/node", type: "sent", subject: "size-1", tenant: "acme", data: { mode } });
  const message = mode === "batch" ? null : HTTP[mode](event);
  const body = message ? message.body : JSON.stringify([event]);
  const headers = message ? { ...message.headers } : { "content-type": "application/cloudevents-batch+json" };
  const now = new Date();
  headers["webhook-id"] = mode;
  headers["webhook-timestamp"] = String(Math.floor(now.getTime() / 1000));
  headers["webhook-signature"] = webhook.sign(mode, now, body);
  const answer = await fetch(url, { method: "POST", headers, body });
  say({ status: answer.status, answer: await answer.json() });
}
server.close();
