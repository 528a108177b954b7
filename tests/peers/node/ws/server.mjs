// Serves, prints its port as the first line, and then each connection's end as a line of JSON.
// /echo  sends back what it gets              /count  the message {"n": N} makes N messages and a close with 1000
// /sum   adds {"n": N} up to an empty message, answers {"total": T}, closes with 1000
// /fail  sends an error message and closes with 4005 (NOT_FOUND)    /cut  sends one message and cuts the connection
import { WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: true });
server.on("listening", () => console.log(server.address().port));
server.on("connection", (socket, request) => {
  const path = request.url.split("?")[0];
  let total = 0;
  socket.on("close", (code, reason) => {
    console.log(JSON.stringify({ path: request.url, code, reason: reason.toString(), extensions: socket.extensions }));
  });
  socket.on("error", () => {});
  if (path === "/cut") {
    socket.send('{"n":1}', () => setTimeout(() => request.socket.destroy(), 50));
  }
  socket.on("message", (data, binary) => {
    const text = data.toString();
    switch (path) {
      case "/echo":
        socket.send(data, { binary });
        break;
      case "/count":
        for (let n = 0; n < JSON.parse(text).n; n += 1) socket.send(JSON.stringify({ n }));
        socket.close(1000);
        break;
      case "/sum":
        if (text === "") {
          socket.send(JSON.stringify({ total }));
          socket.close(1000);
        } else {
          total += JSON.parse(text).n;
        }
        break;
      case "/fail":
        socket.send(JSON.stringify({ error: { code: "NOT_FOUND", detail: "no such order" } }));
        socket.close(4005, "no such order");
        break;
    }
  });
});
