// A GraphQL service of graphql-yoga and graphql-ws at /graphql. Prints {"port": ...}, then a line per call and per
// subscription that ended: {"field": ..., "args": ..., "headers": ...}, {"left": ...}.
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { GraphQLError } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { createSchema, createYoga } from "graphql-yoga";
import { WebSocketServer } from "ws";

const typeDefs = readFileSync(process.argv[2], "utf-8");
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const told = (field, args, context) => say({ field, args, headers: Object.fromEntries(context.request?.headers ?? []) });
const fail = (message, extensions) => { throw new GraphQLError(message, { extensions }); };

const node = (depth) => ({ name: `n${depth}`, children: depth ? [node(depth - 1), node(0)] : [] });
const shapes = [
  { __typename: "Circle", id: "c", radius: 1.5, size: 3 },
  { __typename: "Label", id: "l", text: "ä <>", size: "big" },
];
const resolvers = {
  Query: {
    order: (_, args, context) => {
      told("order", args, context);
      if (args.orderId === "none") return null;
      if (args.orderId === "missing") fail("no such order", { code: "NOT_FOUND" });
      if (args.orderId === "busy") fail("try later", { code: "RATE_LIMITED", retryAfter: 2 });
      if (args.orderId === "stock") {
        fail("the shelf is empty", { code: "X", status: "FAILED_PRECONDITION", details: [{ type: "OutOfStock", sku: "tea" }] });
      }
      if (args.orderId === "bug") throw new Error("secret stack");
      if (args.orderId === "half") return { ...order(args.orderId), note: () => fail("no note today", { code: "X" }) };
      return order(args.orderId);
    },
    count: (_, args, context) => { told("count", args, context); return "9007199254740993"; },
    tags: () => [{ key: "a", value: "1" }, { key: "b", value: "2" }],
    shapes: () => shapes,
    shape: (_, { id }) => shapes.find((shape) => shape.id === id) ?? null,
    tree: (_, { depth }) => node(depth),
  },
  Mutation: {
    place: (_, args, context) => {
      told("place", args, context);
      return { ...order("new"), lines: args.input.lines ?? [], note: JSON.stringify(args.input) };
    },
  },
  Subscription: {
    ticks: {
      async *subscribe(_, args, context) {
        told("ticks", args, { request: context.request ?? { headers: Object.entries(context.connectionParams ?? {}) } });
        try {
          for (let n = 1; args.count === 0 || n <= args.count; n += 1) {
            if (args.breakAt === n) fail("the clock broke", { code: "UNAVAILABLE" });
            if (args.cutAt === n) { for (const socket of wss.clients) socket.terminate(); }
            yield { ticks: { n, at: "2026-01-31T13:30:00.123456789Z" } };
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
        } finally {
          say({ left: "ticks" });
        }
      },
    },
  },
  Shape: { __resolveType: (shape) => shape.__typename },
  Sized: { __resolveType: (shape) => shape.__typename },
};
function order(orderId) {
  return {
    orderId, total: "9007199254740993", price: "12.30", placedAt: "2026-01-31T13:30:00.123456789Z", status: "PAID",
    lines: [{ sku: "tea", quantity: 2 }], note: null, extra: { any: [1, 2.5, null] }, blob: "AAEC", links: ["a", null],
  };
}

const schema = createSchema({ typeDefs, resolvers });
const yoga = createYoga({ schema, logging: false, maskedErrors: true, graphiql: false });
const server = createServer(yoga);
const wss = new WebSocketServer({ server, path: "/graphql" });
useServer(
  {
    schema,
    context: (ctx) => ({ connectionParams: ctx.connectionParams }),
    onConnect: (ctx) => ctx.connectionParams?.["x-token"] !== "bad",
  },
  wss,
);
server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
process.stdin.on("end", () => process.exit(0)).resume();
