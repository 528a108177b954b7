"""A page to write queries on. It asks nothing but the endpoint itself, and its policy lets it ask nothing else."""

from typing import Final

from gateway.net.http_server import HttpReply

_STYLE: Final = """
:root { color-scheme: light dark; font: 14px/1.5 system-ui, sans-serif; }
body { margin: 0; display: grid; grid-template: auto 1fr / 1fr 1fr 18rem; gap: .75rem; height: 100vh; padding: .75rem;
  box-sizing: border-box; }
header { grid-column: 1 / 4; display: flex; gap: 1rem; align-items: center; }
h1 { font-size: 1.1rem; margin: 0; }
section { display: flex; flex-direction: column; gap: .5rem; min-height: 0; }
textarea, pre, aside { font: 13px/1.5 ui-monospace, monospace; border: 1px solid #8886; border-radius: 6px;
  padding: .6rem; margin: 0; background: transparent; color: inherit; overflow: auto; }
textarea { resize: none; } #query { flex: 3; } #variables { flex: 1; } pre { flex: 1; white-space: pre-wrap; }
aside h2 { font-size: .9rem; margin: .6rem 0 .2rem; } aside div { white-space: pre-wrap; }
button { font: inherit; padding: .3rem 1rem; border-radius: 6px; border: 1px solid #8888; cursor: pointer; }
label { font-size: .8rem; opacity: .8; }
"""

_SCRIPT: Final = """
const $ = (id) => document.getElementById(id);
const type = (t) => t.kind === "NON_NULL" ? type(t.ofType) + "!" : t.kind === "LIST" ? `[${type(t.ofType)}]` : t.name;
let running;
async function* lines(response) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of response.body) {
    const parts = (rest + decoder.decode(chunk, {stream: true})).split("\\n\\n");
    rest = parts.pop();
    yield* parts;
  }
}
async function ask(query, variables, signal) {
  return fetch(location.pathname, {method: "POST", signal, body: JSON.stringify({query, variables}), headers: {
    "content-type": "application/json",
    "accept": "application/graphql-response+json, application/json;q=0.9, text/event-stream;q=0.5"}});
}
async function run() {
  if (running) { running.abort(); return; }
  running = new AbortController();
  $("run").textContent = "Stop";
  try {
    const text = $("variables").value.trim();
    const response = await ask($("query").value, text ? JSON.parse(text) : {}, running.signal);
    if (response.headers.get("content-type").startsWith("text/event-stream")) {
      $("result").textContent = "";
      for await (const event of lines(response)) {
        const data = event.split("\\n").find((line) => line.startsWith("data: {"));
        if (data) $("result").textContent += JSON.stringify(JSON.parse(data.slice(6)), null, 2) + "\\n";
      }
    } else $("result").textContent = JSON.stringify(await response.json(), null, 2);
  } catch (error) { if (error.name !== "AbortError") $("result").textContent = String(error); }
  running = undefined;
  $("run").textContent = "Run";
}
async function schema() {
  const named = "kind name ofType{kind name ofType{kind name ofType{kind name ofType{kind name}}}}";
  const {data} = await (await ask(`{__schema{types{kind name description fields{name args{name type{${named}}}
    type{${named}}} inputFields{name type{${named}}} enumValues{name} possibleTypes{name}}}}`)).json();
  for (const t of data ? data.__schema.types : []) {
    if (t.name.startsWith("__")) continue;
    const given = (f) => f.args && f.args.length ? `(${f.args.map(member).join(", ")})` : "";
    const member = (f) => `${f.name}${given(f)}: ${type(f.type)}`;
    const names = (t.enumValues || t.possibleTypes || []).map((v) => v.name);
    const body = [...(t.fields || t.inputFields || []).map(member), ...names];
    const head = document.createElement("h2"), text = document.createElement("div");
    head.textContent = `${t.kind.toLowerCase().replace("_", " ")} ${t.name}`;
    text.textContent = body.join("\\n");
    $("schema").append(head, text);
  }
}
$("run").onclick = run;
document.onkeydown = (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run(); };
schema();
"""

_PAGE: Final = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>GraphQL</title>
<style>{_STYLE}</style></head><body>
<header><h1>GraphQL</h1><button id="run">Run</button><label>Ctrl+Enter runs the query</label></header>
<section><textarea id="query" spellcheck="false" aria-label="Query">{{ __typename }}</textarea>
<textarea id="variables" spellcheck="false" aria-label="Variables" placeholder="Variables, as JSON"></textarea>
</section>
<pre id="result" aria-live="polite"></pre><aside id="schema"></aside>
<script>{_SCRIPT}</script></body></html>
"""

PAGE: Final = HttpReply(
    200,
    (
        ("Content-Type", "text/html; charset=utf-8"),
        (
            "Content-Security-Policy",
            "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        ("Cache-Control", "no-store"),
    ),
    _PAGE.encode(),
)
