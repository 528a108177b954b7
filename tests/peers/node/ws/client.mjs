// Connects, sends the messages, and prints what came back until the end as one line of JSON.
// usage: node client.mjs URL OPTIONS, where OPTIONS is {"messages": [...], "protocols": [...], "headers": {...},
// "deflate": bool, "replies": how many to wait for before closing with 1000, or null to wait for the server's close}
import WebSocket from "ws";

const [url, text] = process.argv.slice(2);
const options = JSON.parse(text);
const socket = new WebSocket(url, options.protocols ?? [], {
  headers: options.headers ?? {},
  perMessageDeflate: options.deflate ?? false,
});
const outcome = { protocol: "", extensions: "", messages: [], pongs: 0, code: null, reason: "", error: "" };

function finish() {
  console.log(JSON.stringify(outcome));
  process.exit(0);
}

socket.on("open", () => {
  outcome.protocol = socket.protocol;
  outcome.extensions = socket.extensions;
  socket.ping("are you there");
  for (const message of options.messages ?? []) socket.send(message);
  if (options.replies === 0) socket.close(1000);
});
socket.on("pong", (data) => {
  if (data.toString() === "are you there") outcome.pongs += 1;
});
socket.on("message", (data, binary) => {
  outcome.messages.push(binary ? { binary: data.toString("hex") } : data.toString());
  if (outcome.messages.length === options.replies) socket.close(1000);
});
socket.on("unexpected-response", (request, response) => {
  outcome.error = String(response.statusCode);
  finish();
});
socket.on("error", (error) => {
  outcome.error = error.message;
});
socket.on("close", (code, reason) => {
  outcome.code = code;
  outcome.reason = reason.toString();
  finish();
});
