// Compiles every contract of a folder: `node compile.mjs FOLDER OUTPUT` writes {name: {abi, bytecode}} as JSON.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const solc = createRequire(join(process.cwd(), "package.json"))("solc");
const [folder, output] = process.argv.slice(2);
const names = readdirSync(folder).filter((name) => name.endsWith(".sol"));
const sources = Object.fromEntries(names.map((name) => [name, { content: readFileSync(join(folder, name), "utf8") }]));
const settings = {
  optimizer: { enabled: true, runs: 200 },
  evmVersion: "paris",
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
};
const result = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources, settings })));
for (const error of result.errors ?? []) console.error(error.formattedMessage);
if ((result.errors ?? []).some((error) => error.severity === "error")) process.exit(1);
const artifacts = {};
for (const contracts of Object.values(result.contracts)) {
  for (const [name, contract] of Object.entries(contracts)) {
    artifacts[name] = {
      abi: contract.abi,
      bytecode: `0x${contract.evm.bytecode.object}`,
      deployed: `0x${contract.evm.deployedBytecode.object}`,
    };
  }
}
writeFileSync(output, JSON.stringify(artifacts));
