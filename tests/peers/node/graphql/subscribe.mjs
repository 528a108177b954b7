// One operation: node subscribe.mjs ws|sse URL REQUEST(JSON) [COUNT] [HEADERS(JSON)].
// Prints a JSON line for each result, and last {"end": "complete"}, {"end": "error", "error": ...} or {"end": "left"}
// where it unsubscribed after COUNT results.
import { createClient as createSseClient } from "graphql-sse";
import { createClient as createWsClient } from "graphql-ws";
import WebSocket from "ws";

const [transport, url, request, count, headers] = process.argv.slice(2);
const given = headers ? JSON.parse(headers) : {};
const client = transport === "ws"
  ? createWsClient({ url, webSocketImpl: WebSocket, lazy: true, retryAttempts: 0, connectionParams: given })
  : createSseClient({ url, retryAttempts: 0, headers: given });

const described = (error) => {
  if (Array.isArray(error)) return error;
  if (error && "code" in error) return { code: error.code, reason: error.reason };
  return { message: String(error && error.message || error) };
};
let seen = 0;
let leave;
let left = false;
const end = (line) => {
  console.log(JSON.stringify(line));
  setTimeout(() => process.exit(0), 20);
};
leave = client.subscribe(JSON.parse(request), {
  next: (result) => {
    console.log(JSON.stringify(result));
    seen += 1;
    if (count && seen === Number(count)) {
      left = true;
      leave();
      setTimeout(() => end({ end: "left" }), 50);
    }
  },
  error: (error) => end({ end: "error", error: described(error) }),
  complete: () => { if (!left) end({ end: "complete" }); },
});
