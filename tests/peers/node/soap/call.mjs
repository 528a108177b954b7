// One SOAP call: node call.mjs LIBRARY WSDL OPERATION ARGUMENTS(JSON) [1.2]. Prints {"result": ...} or {"fault": ...}.
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const [library, wsdl, operation, args, version] = process.argv.slice(2);

const described = (error) => ({
  fault: error.root?.Envelope?.Body?.Fault ?? null,
  message: String(error.message ?? error),
  status: error.response?.status ?? error.response?.statusCode ?? null,
});

async function soap() {
  const client = await require("soap").createClientAsync(wsdl, { forceSoap12Headers: version === "1.2" });
  const [result] = await client[`${operation}Async`](JSON.parse(args));
  return result ?? null;
}

function strongSoap() {
  return new Promise((resolve, reject) => {
    require("strong-soap").soap.createClient(wsdl, version === "1.2" ? { forceSoap12Headers: true } : {}, (error, client) => {
      if (error) return reject(error);
      const method = client[operation];
      method(JSON.parse(args), (fault, result) => (fault ? reject(fault) : resolve(result ?? null)));
    });
  });
}

try {
  console.log(JSON.stringify({ result: await (library === "soap" ? soap() : strongSoap()) }));
} catch (error) {
  console.log(JSON.stringify(described(error)));
}
