// A gateway in JavaScript, with nothing but Node's own fetch: `node client.mjs JSON`. Prints JSON.
//
// It behaves as the TypeScript client does: `manifestID` in that spelling, POSTs without a body but with a JSON content
// type, 15 seconds of patience, and the caller's name read out of the state. It pays every second instead of every ten.

const told = JSON.parse(process.argv[2]);
const json = { "content-type": "application/json", ...told.headers };
const patience = () => AbortSignal.timeout(15000);
const seen = { paid: 0, skipped: 0, refreshed: 0, authIds: [], sequence: [] };

async function ask(path, body) {
  const reply = await fetch(told.signer + path, { method: "POST", headers: json, body, signal: patience() });
  return { status: reply.status, headers: reply.headers, body: await reply.json() };
}

// The OrchestratorInfo inside a PaymentResult: field 16, a message.
function infoIn(result) {
  let at = 0;
  const varint = () => {
    let value = 0, shift = 0, byte;
    do { byte = result[at++]; value += (byte & 127) * 2 ** shift; shift += 7; } while (byte & 128);
    return value;
  };
  while (at < result.length) {
    const tag = varint();
    const length = varint();
    if (tag === 16 * 8 + 2) return result.subarray(at, at + length);
    at += length;
  }
  throw new Error("a PaymentResult without info");
}

async function terms() {
  const reply = await ask("/getOrchestratorInfo", JSON.stringify({ orchestrator: told.orchestrator }));
  if (reply.status !== 200) throw new Error(JSON.stringify(reply.body));
  return reply.body.orchestrator;
}

const signed = await ask("/sign-orchestrator-info");
if (signed.status !== 200) throw new Error(JSON.stringify(signed.body));
const listed = await fetch(`${told.signer}/discover-orchestrators?caps=live-video-to-video/streamdiffusion`, { headers: told.headers, signal: patience() });
seen.listed = (await listed.json()).map((entry) => entry.address);

let orchestrator = await terms();
const manifestID = Buffer.from(orchestrator, "base64").toString("latin1").match(/[0-9a-f]{8}(?=\x18)/)[0];
let state;
for (let call = 0; call < told.calls; call++) {
  const started = Date.now();
  const reply = await ask("/generate-live-payment", JSON.stringify({ orchestrator, manifestID, type: told.type, state }));
  if (reply.status === 200) {
    state = reply.body.state;
    const plain = JSON.parse(Buffer.from(state.State, "base64").toString());
    seen.authIds.push(plain.AuthID);
    seen.sequence.push(plain.SequenceNumber);
    const paid = await fetch(told.orchestrator + "/payment", {
      method: "POST",
      headers: { "Livepeer-Payment": reply.body.payment, "Livepeer-Segment": reply.body.segCreds },
      signal: patience(),
    });
    if (paid.status !== 200) throw new Error(await paid.text());
    orchestrator = Buffer.from(infoIn(new Uint8Array(await paid.arrayBuffer()))).toString("base64");
    seen.paid++;
  } else if (reply.status === 480) {
    seen.refreshedAt = reply.headers.get("livepeer-orchestrator-url");
    orchestrator = await terms();
    seen.refreshed++;
    continue;
  } else if (reply.status === 482) {
    seen.skipped++;
  } else {
    throw new Error(`${reply.status} ${JSON.stringify(reply.body)}`);
  }
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, 1000 - (Date.now() - started))));
}
console.log(JSON.stringify({ ...seen, address: signed.body.address }));
