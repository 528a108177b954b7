// node peer.js call JSON: calls the gateway at each of [{encoding, transport, port}], and prints what came back.
// node peer.js serve JSON: serves each of [{encoding, transport}], and prints their ports; ends with standard input.
const thrift = require("thrift");
const Everythings = require("./gen/Everythings");
const types = require("./gen/everything_types");

const PROTOCOLS = {
  binary: thrift.TBinaryProtocol,
  compact: thrift.TCompactProtocol,
  json: thrift.TJSONProtocol,
};
const TRANSPORTS = {
  buffered: thrift.TBufferedTransport,
  framed: thrift.TFramedTransport,
  http: thrift.TBufferedTransport,
};

function everything() {
  return new types.Everything({
    flag: true,
    tiny: -128,
    small: -32768,
    medium: 2147483647,
    big: new thrift.Int64("0x20000000000001"),
    ratio: 0.1,
    text: "näher \u{1F980}",
    names: ["a", ""],
    numbers: [1, -1],
    counts: { x: 1 },
    payment: new types.Payment({ card: "4711" }),
    tree: new types.Node({ name: "root", children: [new types.Node({ name: "leaf" })] }),
    palette: [1, 5],
    far: 1,
  });
}

function connect({ encoding, transport, port }) {
  const options = { transport: TRANSPORTS[transport], protocol: PROTOCOLS[encoding], path: "/rpc" };
  if (transport === "http") {
    const connection = thrift.createHttpConnection("127.0.0.1", port, options);
    return [connection, thrift.createHttpClient(Everythings, connection)];
  }
  const connection = thrift.createConnection("127.0.0.1", port, options);
  return [connection, thrift.createClient(Everythings, connection)];
}

async function talk(where) {
  const [connection, client] = connect(where);
  connection.on("error", (error) => console.error(where, error));
  const sent = everything();
  const told = {};
  const back = await client.swap(sent);
  told.swapped = JSON.stringify(back) === JSON.stringify(await client.swap(back)) && back.text === sent.text;
  told.big = back.big.toOctetString ? back.big.toOctetString() : String(back.big);
  told.sums = await Promise.all([5, 4, 3, 2, 1].map((number) => client.add(number, 1)));
  await client.nothing();
  try {
    await client.swap(new types.Everything({ text: "refuse" }));
  } catch (error) {
    told.refused = [error instanceof types.Refused, error.message, error.color];
  }
  try {
    await client.echo("no route");
  } catch (error) {
    told.unknown = [error.type, error.message];
  }
  if (connection.end) connection.end();
  return told;
}

const handler = {
  async swap(value) {
    if (value.text === "refuse") throw new types.Refused({ message: "so", color: 2 });
    return value;
  },
  add(left, right) {
    // The later ones are answered first.
    return new Promise((resolve) => setTimeout(() => resolve(left + right), 60 - 5 * left));
  },
  nothing() {},
};

function serve({ encoding, transport }) {
  const options = { transport: TRANSPORTS[transport], protocol: PROTOCOLS[encoding] };
  const server =
    transport === "http"
      ? thrift.createWebServer({ services: { "/rpc": { ...options, processor: Everythings, handler } } })
      : thrift.createServer(Everythings, handler, options);
  server.on("error", (error) => console.error(error.message));
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
}

async function main() {
  const [, , verb, places] = process.argv;
  const work = JSON.parse(places).map(verb === "call" ? talk : serve);
  console.log(JSON.stringify(await Promise.all(work)));
  if (verb === "serve") process.stdin.on("end", () => process.exit(0)).resume();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
