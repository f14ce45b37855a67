// Prints the image's bill of materials: Node, and all that lies in node_modules, as CycloneDX (`npm sbom` refuses a tree with an optional
// peer of another version). Run in the folder of package-lock.json.
import { readFileSync } from "node:fs";

const readJson = (path) => JSON.parse(readFileSync(path, "utf8"));
const { name, version, license } = readJson("package.json");

/** Null: the package is for another platform, or for development. */
function manifestOf(path) {
  try {
    return readJson(`${path}/package.json`);
  } catch (error) {
    if (error.code === "ENOENT") return null;
    throw error;
  }
}

function componentOf([path, { integrity, link }]) {
  const manifest = !path.includes("node_modules/") || link ? null : manifestOf(path);
  if (manifest === null) return [];
  const [algorithm, digest] = integrity?.split(" ")[0].split(/-(.+)/) ?? [];
  return {
    "bom-ref": path,
    type: "library",
    name: manifest.name,
    version: manifest.version,
    purl: `pkg:npm/${manifest.name.replace("@", "%40")}@${manifest.version}`,
    ...(typeof manifest.license === "string" && { licenses: [{ license: { name: manifest.license } }] }),
    ...(algorithm === "sha512" && {
      hashes: [{ alg: "SHA-512", content: Buffer.from(digest, "base64").toString("hex") }],
    }),
  };
}

const node = process.versions.node;
const sbom = {
  bomFormat: "CycloneDX",
  specVersion: "1.6",
  version: 1,
  metadata: {
    component: { "bom-ref": name, type: "application", name, version, licenses: [{ license: { name: license } }] },
  },
  components: [
    { "bom-ref": "node", type: "platform", name: "node", version: node, purl: `pkg:generic/node@${node}` },
    ...Object.entries(readJson("package-lock.json").packages).flatMap(componentOf),
  ],
};
process.stdout.write(`${JSON.stringify(sbom, null, 1)}\n`);
