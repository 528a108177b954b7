// The GraphQL-over-HTTP audit: node audit.mjs URL. Prints {"total": ..., "failed": [{"id", "name", "reason"}]}.
import { auditServer } from "graphql-http";

const results = await auditServer({ url: process.argv[2] });
const failed = results.filter((result) => result.status !== "ok");
console.log(JSON.stringify({ total: results.length, failed: failed.map(({ id, name, reason }) => ({ id, name, reason })) }));
